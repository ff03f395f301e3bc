#!/bin/sh
# SPDX-License-Identifier: MIT
# Where rebase leaves the ways of qemu-img 7.2, which loses data there.
. "${top_srcdir:-.}/tests/lib.sh"

front() {
	expect 0 "$byre" qemu-img "$@"
}

# holes of a version 2 image get a backing file: they must stay zeros
head -c 2097152 /dev/zero | tr '\0' x >below
head -c 3072 /dev/zero | tr '\0' y >data
truncate -s 1M data
for opts in compat=0.10 compat=0.10,cluster_size=512 compat=1.1; do
	rm -f over
	front convert -O qcow2 -o "$opts" data over
	front rebase -f qcow2 -b below -F raw over
	front compare -f raw -F qcow2 data over
	front check -q over
	front rebase -f qcow2 -b '' over
	front compare -f raw -F qcow2 data over
done

# no loops, even where locks are not looked at
front create -q -f qcow2 -b below -F raw over
front create -q -f qcow2 -b over -F qcow2 upper
cp over was
for new in over upper; do
	expect 1 "$byre" qemu-img rebase -U -f qcow2 -b $new -F qcow2 over
	one_line "qemu-img: *the image would be its own backing file*"
	same over was
done
finish
