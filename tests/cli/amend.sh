#!/bin/sh
# SPDX-License-Identifier: MIT
# amend -p in the front: the walks over refcounts, the entries of L1 tables.
. "${top_srcdir:-.}/tests/lib.sh"

# told OPTIONS PERCENTS
told() {
	expect 0 "$byre" qemu-img amend -p -o "$1" a.qcow2
	got=$(tr '\r' '\n' <out | sed -n 's|^ *(\([0-9.]*\)/100%)$|\1|p' |
		uniq | tr '\n' ' ')
	[ "$got" = "$2 " ] || fail "amend $1: $got"
}

# 58 clusters of data and 5 of tables: the table behind them needs a block more
head -c 29696 /dev/urandom >data
truncate -s 64k data
"$byre" convert -q -S 512 -o cluster_size=512,refcount_bits=1 -O qcow2 data a.qcow2 ||
	fail "no image"
told refcount_bits=64 "0.00 33.33 66.67 50.00 75.00 100.00"
"$byre" check -q a.qcow2 || fail "not clean"

rm a.qcow2
"$byre" qemu-img create -q -f qcow2 a.qcow2 2G || fail "no image"
told refcount_bits=8 "0.00 33.33 66.67 100.00"
told refcount_bits=16 "0.00 33.33 66.67 100.00"
told compat=0.10 "0.00 25.00 50.00 75.00 100.00"
told compat=1.1 "0.00 100.00"
finish
