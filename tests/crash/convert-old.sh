#!/bin/sh
# SPDX-License-Identifier: MIT
# Every call of a conversion into an existing file fails or kills in turn: the
# file keeps its inode, its bytes too where nothing had been changed yet, and
# the message says so where something had.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
make_sources
seq 7 90000 | head -c 400000 >"$dir/old"
truncate -s 4194816 "$dir/old"

after_failure() {
	[ $rc -eq 1 ] && changed || return 0
	grep -q 'may be partial' "$dir/err" ||
		fail "$1: partial and does not say so"
}

sweep old -- "$byre" convert -f qcow2 -O raw src.qcow2 t
same_without old ficlone,copy fallocate seek direct -- \
	"$byre" convert -f qcow2 -O raw src.qcow2 t
sweep old -- "$byre" convert -n -f qcow2 -O raw src.qcow2 t
same_without old ficlone,copy fallocate seek direct -- \
	"$byre" convert -n -f qcow2 -O raw src.qcow2 t

# After a flush that failed nothing more is written, not even bitmaps: the next
# flush would not tell what is missing on the disk.
(cd "$w" && "$byre" create -f qcow2 t 4194816 &&
	"$byre" qemu-img bitmap --add t b && mv t "$dir/old") ||
	fail "cannot make a target with a bitmap"
cp "$dir/old" "$w/t"
shim FAIL= -- "$byre" convert -n -f raw -O qcow2 src.raw t
[ $rc -eq 0 ] || fail "with a bitmap: exit $rc"
for i in $(seq 1 "$(count sync)"); do
	cp "$dir/old" "$w/t"
	shim FAIL="sync:$i:EIO" -- "$byre" convert -n -f raw -O qcow2 src.raw t
	[ $rc -eq 1 ] || fail "flush $i fails: exit $rc"
	awk '$1 == "sync" && $5 < 0 { bad = 1; next }
		bad && $1 ~ /^(write|ringwrite|sync|fallocate|punch)$/ { n++ }
		END { exit n > 0 }' "$dir/log" ||
		fail "flush $i fails, and the work goes on"
done
rm "$w/t"
