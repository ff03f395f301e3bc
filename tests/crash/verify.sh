#!/bin/sh
# SPDX-License-Identifier: MIT
# "cache verify" under faults: holes are not read, what the disk does not give
# is rot and names its block, and no failing call loses a base or a verdict.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
name=$(printf x | sha1sum | cut -d ' ' -f 1)
base=$w/i/_base/$name
record=$w/i/_base/.byre/records/$name.json
mkdir "$w/i"
cd "$w" || exit 99

# 16 MiB in a file of 64 GiB
i=0
while [ $i -lt 4 ]; do
	dd if=/dev/urandom of=src.raw bs=1M count=4 seek=$((i * 15000 + 7)) \
		conv=notrunc 2>/dev/null || fail "cannot make the source"
	i=$((i + 1))
done
truncate -s 64G src.raw
"$byre" cache ensure --instances i x --from src.raw -q ||
	fail "cannot make a base"

# read by the last run, of the base
bytes() {
	awk -v f="i/_base/$name" '($1 == "read" || $1 == "ringread") &&
		$2 == f && $5 >= 0 { n += $4 } END { printf "%d\n", n }' \
		"$dir/log"
}

for how in FAIL= DENY=direct DENY=io_uring cached; do
	case $how in
	cached) shim FAIL= -- "$byre" cache verify --instances i --cached ;;
	*) shim $how -- "$byre" cache verify --instances i ;;
	esac
	[ $rc -eq 0 ] || fail "$how: exit $rc"
	n=$(bytes)
	[ "$n" -ge $((16 << 20)) ] && [ "$n" -le $((17 << 20)) ] ||
		fail "$how: $n bytes read of 16 MiB"
done

# what the disk does not give is rot, and named; what was read is not lost
shim FAIL= -- "$byre" cache verify --instances i
if [ "$(count ringread)" -gt 4 ]; then
	shim FAIL=ringread:1+:EIO -- "$byre" cache verify --instances i
	[ $rc -eq 3 ] || fail "nothing is given: exit $rc"
	grep -q "^rotten  $name: 16 blocks: cannot read " "$dir/out" ||
		fail "nothing is given: $(cat "$dir/out")"
	[ "$(grep -c '^        bytes' "$dir/out")" -eq 4 ] ||
		fail "nothing is given: $(cat "$dir/out")"
	grep -q '"rotten": 16' "$record" || fail "not recorded"
	shim FAIL=ringread:1:EIO -- "$byre" cache verify --instances i
	[ $rc -eq 0 ] || fail "given the second time: exit $rc"
fi

dd if=src.raw of=small.raw bs=1M skip=7 count=4 2>/dev/null
rm src.raw
truncate -s 6M small.raw
rm -rf i
mkdir i
"$byre" cache ensure --instances i x --from small.raw -q ||
	fail "cannot make a base"
shim FAIL= -- "$byre" cache verify --instances i

# try RULE
try() {
	shim FAIL="$1" -- "$byre" cache verify --instances i
	cmp -s "$base" small.raw || fail "$1: other bytes"
	case $rc in
	0 | 3) ;;
	1) one_line "$1" ;;
	*) by_signal "$1" ;;
	esac
	case $1:$rc in
	sync:*:0 | rename:*:0) fail "$1: passed over" ;;
	read:*:3 | ring*:3 | lseek:*:3) ;;
	*:3) fail "$1: is no rot: $(cat "$dir/out")" ;;
	esac
	shim FAIL= -- "$byre" cache verify --instances i
	[ $rc -eq 0 ] || fail "after $1: exit $rc"
	grep -q '"rotten": 0' "$record" || fail "after $1: still rotten"
}

on_any="kill term int"
on_read="EIO short"
every_fault try
echo "$runs runs"

# every call of a repair: the name is never without a file, and what is there
# is one or the other
cp small.raw "$dir/rotten"
printf XXXX | dd of="$dir/rotten" bs=1 seek=2000000 conv=notrunc 2>/dev/null
rot() {
	rm -rf i
	mkdir i
	"$byre" cache ensure --instances i x --from small.raw -q
	cat "$dir/rotten" >"$base"
	"$byre" cache verify --instances i -q >"$dir/out"
	[ $? -eq 3 ] || fail "no rot"
}
rot
shim FAIL= -- "$byre" cache verify --instances i x --repair --from small.raw
[ $rc -eq 4 ] || fail "repair: exit $rc"

# try_repair RULE
try_repair() {
	rot
	shim FAIL="$1" -- "$byre" cache verify --instances i x --repair \
		--from small.raw
	cmp -s "$base" small.raw || cmp -s "$base" "$dir/rotten" ||
		fail "$1: exit $rc: neither"
	[ $rc -ne 4 ] || cmp -s "$base" small.raw || fail "$1: not repaired"
	shim FAIL= -- "$byre" cache verify --instances i x --repair \
		--from small.raw
	case $rc in
	0 | 4) ;;
	*) fail "after $1: exit $rc" ;;
	esac
	cmp -s "$base" small.raw || fail "after $1: rotten"
}

faults_of() {
	case $1 in
	write | sync | link | rename | unlink | open) echo EIO kill ;;
	esac
}
every_fault try_repair
echo "$runs runs: repair"
exit 0
