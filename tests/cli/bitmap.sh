#!/bin/sh
# SPDX-License-Identifier: MIT
# Bitmaps of images that no program makes.
. "${top_srcdir:-.}/tests/lib.sh"

# a disk of no bytes that has a bitmap: refused, and left as it is
expect 0 "$byre" create -q -f qcow2 disk 1M
expect 0 "$byre" qemu-img bitmap --add disk a
dd if=/dev/zero of=disk bs=1 seek=24 count=8 conv=notrunc 2>/dev/null
cp disk was
expect 1 "$byre" qemu-img bitmap --clear disk a
one_line "qemu-img: *an empty disk has no bitmaps*"
same disk was
finish
