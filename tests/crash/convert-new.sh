#!/bin/sh
# SPDX-License-Identifier: MIT
# Every call of a conversion to a new file fails or kills in turn: nothing
# appears under the new name but the whole image, and nothing beside it. Where
# the file system lacks a feature, the bytes are the same.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
make_sources
features="otmpfile linktmp otmpfile,renameat2 ficlone,copy fallocate seek
	io_uring direct otmpfile,ficlone,copy,fallocate,seek,io_uring"

run() {
	sweep new -- "$byre" "$@"
	same_without new $features -- "$byre" "$@"
}

run convert -f raw -O raw src.raw t
run convert -f qcow2 -O raw src.qcow2 t
run convert -f raw -O qcow2 src.raw t
if [ -n "$long" ]; then
	run convert -c -f raw -O qcow2 src.raw t
	# what was asked for by name is not replaced by something else
	sweep new -- "$byre" convert -f qcow2 -O raw --engine=uring -t none \
		-T none src.qcow2 t
	run convert -f qcow2 -O qcow2 -o preallocation=full src.qcow2 t
	run convert -f raw -O raw -S 0 src.raw t
fi

# The way of a durable file: all data, a flush, the name, a flush.
shim FAIL= -- "$byre" convert -f qcow2 -O raw src.qcow2 t
last=$(awk '$1 ~ /^(write|ringwrite|ftruncate|fallocate|copy|sync|link)$/ &&
	$5 >= 0 { print $1 }' "$dir/log" | tail -n 3 | tr '\n' ' ')
[ "$last" = "sync link sync " ] || fail "the end is not sync link sync: $last"
