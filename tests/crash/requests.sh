#!/bin/sh
# SPDX-License-Identifier: MIT
# What is asked of the kernel: io_uring carries the data when asked for by
# name, and holes are not read.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
make_sources

# bytes NAME... of the last run, in calls of a page or more: the data
bytes() {
	awk -v names=" $* " 'index(names, " " $1 " ") && $5 >= 0 &&
		$4 >= 4096 { n += $4 } END { printf "%d\n", n }' "$dir/log"
}

shim FAIL= -- "$byre" convert -f raw -O raw -S 4k --engine=uring -t none -T none \
	src.raw t
if [ $rc -eq 0 ]; then
	[ "$(bytes ringread)" -ge 300000 ] || fail "the ring read nothing"
	[ "$(bytes ringwrite)" -ge 300000 ] || fail "the ring wrote nothing"
	[ "$(bytes write)" -lt 65536 ] || fail "data went past the ring"
	cmp "$w/src.raw" "$w/t" || fail "other bytes"
	rm "$w/t"
else
	grep -q 'io_uring\|O_DIRECT' "$dir/err" || fail "uring: exit $rc"
	echo "no io_uring or no O_DIRECT here: without it"
fi
shim FAIL= -- "$byre" convert -f raw -O raw -S 4k --engine=threads src.raw t
[ $rc -eq 0 ] || fail "threads: exit $rc"
[ "$(bytes ringread ringwrite)" -eq 0 ] || fail "threads: used a ring"
rm "$w/t"

# blocks of its own were asked for, or those of the source may be bad
for o in -S4k -opreallocation=falloc --salvage; do
	shim FAIL= -- "$byre" convert -f raw -O raw $o src.raw t
	[ $rc -eq 0 ] || fail "$o: exit $rc"
	! grep -q '^clone ' "$dir/log" || fail "$o: tried to share blocks"
	rm "$w/t"
done

# where blocks can be shared, what lies in a row is shared in one call
head -c 33554432 /dev/urandom >"$w/row.raw"
if cp --reflink=always "$w/row.raw" "$w/t" 2>/dev/null; then
	rm "$w/t"
	shim FAIL= -- "$byre" convert -f raw -O raw row.raw t
	[ $rc -eq 0 ] || fail "clone: exit $rc"
	[ "$(grep -c '^clone ' "$dir/log")" -eq 1 ] ||
		fail "32 MiB in a row: not one clone"
	[ "$(bytes read ringread)" -le 524288 ] || fail "a clone was read"
	cmp "$w/row.raw" "$w/t" || fail "clone: other bytes"
	rm "$w/t"
else
	echo "no shared blocks here: without clones"
fi
rm "$w/row.raw"

# data MiB in a raw file of 1 TiB
data=16
[ -n "$long" ] && data=1024
cd "$w" || exit 99
truncate -s 1T huge.raw 2>/dev/null || {
	echo "no files of 1 TiB here"
	exit 0
}
i=0
while [ $i -lt 16 ]; do
	dd if=/dev/urandom of=huge.raw bs=1M count=$((data / 16)) \
		seek=$((i * 60000 + 7)) conv=notrunc 2>/dev/null ||
		fail "cannot make the source"
	i=$((i + 1))
done
shim FAIL= -- "$byre" convert -f raw -O qcow2 huge.raw t
[ $rc -eq 0 ] || fail "1 TiB: exit $rc"
n=$(bytes read ringread)
# a hundredth more, and what looks at the format
max=$((data * 1024 * 1024 / 100 * 101 + 524288))
[ "$n" -le "$max" ] || fail "1 TiB with $data MiB: $n bytes read, at most $max"
[ "$n" -ge $((data * 1024 * 1024)) ] || fail "1 TiB: only $n bytes read"
echo "1 TiB with $data MiB of data: $n bytes read"
