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
