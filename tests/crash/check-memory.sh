#!/bin/sh
# SPDX-License-Identifier: MIT
# Memory runs out while a broken snapshot table is mended: the snapshot stays,
# with what it holds, and nobody hears that all is well.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
have qemu-img && have qemu-io || skip "no genuine qemu-img and qemu-io"

# An entry with 8 bytes of extra data; version 3 wants 16.
(
	cd "$dir" &&
		qemu-img create -q -f qcow2 -o cluster_size=512 old 64K &&
		qemu-io -f qcow2 -c 'write -P 1 0 30k' old >/dev/null &&
		qemu-img snapshot -c s old || exit 1
	at=$((0x$(od -An -tx1 -j64 -N8 old | tr -d ' \n')))
	dd if=old of=name bs=1 skip=$((at + 64)) count=2 2>/dev/null
	dd if=name of=old bs=1 seek=$((at + 48)) conv=notrunc 2>/dev/null
	printf '\010' |
		dd of=old bs=1 seek=$((at + 39)) conv=notrunc 2>/dev/null
) || fail "cannot make the image"

cp "$dir/old" "$w/t"
shim FAIL= -- "$byre" check -f qcow2 --repair=all t
[ $rc -eq 0 ] || fail "without faults: exit $rc"
n=$(count malloc)
runs=0
for i in $(seq 10 "$n"); do
	cp "$dir/old" "$w/t"
	shim FAIL="malloc:$i:ENOMEM" -- "$byre" check -f qcow2 --repair=all t
	[ $rc -eq 1 ] || [ $rc -eq 0 ] || fail "malloc $i: exit $rc"
	qemu-img snapshot -l "$w/t" 2>/dev/null | grep -q '^1 *s ' ||
		fail "malloc $i: the snapshot is gone"
	runs=$((runs + 1))
done
echo "$runs runs"
