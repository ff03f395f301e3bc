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
one_line "qemu-img: *Could not read bitmap 'a' from image*"
same disk was

# every entry of the refcount table names one block that is full: no free
# cluster in terabytes, and that is known soon
expect 0 "$byre" create -q -f qcow2 full 1M
printf '\0\0\0\0\0\2\0\0' >entries
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13; do
	cat entries entries >more
	mv more entries
done
dd if=entries of=full bs=64k seek=1 conv=notrunc 2>/dev/null
tr '\0' '\377' </dev/zero | dd of=full bs=64k count=1 seek=2 conv=notrunc \
	iflag=fullblock 2>/dev/null
cp full was
expect 1 "$byre" qemu-img bitmap --add full a
one_line "qemu-img: *past the end of the file are not 0*"
same full was
expect 1 "$byre" qemu-img snapshot -c s full
one_line "qemu-img: *"
expect 1 "$byre" qemu-img amend -o refcount_bits=32 full
one_line "qemu-img: *"

# a convert that breaks off stores the bitmap, with what it wrote, and leaves
# nothing behind
head -c 16M /dev/urandom >raw
expect 0 "$byre" convert -q -O qcow2 raw bad
printf '\177' | dd of=bad bs=1 seek=$((0x40000 + 2001)) conv=notrunc 2>/dev/null
expect 0 "$byre" create -q -f qcow2 to 16M
expect 0 "$byre" qemu-img bitmap --add to a
expect 0 "$byre" qemu-img bitmap --add --disable to b
expect 1 "$byre" qemu-img convert -n -O qcow2 bad to
expect 0 "$byre" check to
expect 0 "$byre" info --output=json to
grep -q in-use out && fail "a bitmap is still in use"
finish
