#!/bin/sh
# SPDX-License-Identifier: MIT
# The front beside the genuine qemu-img: every command line that callers are
# known to use for info, convert, create and resize, and every way of getting
# one wrong. Status, stdout, stderr and the files that are left must be equal.
. "${top_srcdir:-.}/tests/lib.sh"
need_qemu_img
mkdir bin empty
ln -s "$byre" bin/qemu-img
ours=$dir/bin/qemu-img

# The files that the command lines use.
mkdir world world/_base world/i1 world/nowrite
(
	cd world || exit 99
	{
		yes 'some content that is not zeros' | head -c 100000
		head -c 300000 /dev/zero
		yes 'and some more of it' | head -c 100001
	} >plain
	truncate -s 1M plain
	"$qemu_img" convert -q -f raw -O qcow2 plain img.qcow2
	"$qemu_img" convert -q -f raw -O qcow2 -c plain packed.qcow2
	cp img.qcow2 _base/b1.qcow2
	cp plain _base/b1
	printf 'hello' >odd
	: >nothing
	truncate -s 1M img.raw
	truncate -s 512K small
	cp img.raw 'with space'
	cp img.raw 'a,b=c'
	"$qemu_img" create -q -f qcow2 -o backing_file=../_base/b1,backing_fmt=raw \
		i1/disk
	"$qemu_img" create -q -f qcow2 -o \
		backing_file="$PWD/_base/b1",backing_fmt=raw i1/abs 4M
	"$qemu_img" create -q -f qcow2 -b \
		"json:{'driver':'raw','file':{'filename':'_base/b1'}}" \
		-F raw i1/json
	"$qemu_img" create -q -u -f qcow2 -b missing -F raw orphan 1M
	"$qemu_img" create -q -u -f qcow2 -b nbd:x:1 -F raw remote 1M
	"$qemu_img" create -q -f qcow2 -o data_file=ext,data_file_raw=on dataf 1M
	rm ext
	# the data file that is named in it is not the one that it is of
	"$qemu_img" convert -q -f raw -O qcow2 -B _base/b1 -F raw \
		-o data_file=stale plain moved
	mv stale fresh
	truncate -s 1M stale
	# some program that knows no bitmaps has cleared the bit
	"$qemu_img" create -q -f qcow2 oldmap 1M
	"$qemu_img" bitmap --add oldmap b
	printf '\000' | dd of=oldmap bs=1 seek=95 conv=notrunc 2>/dev/null
	"$qemu_img" create -q -f qcow2 -b oldmap -F qcow2 overmap 2>/dev/null
	cp img.qcow2 snap.qcow2
	"$qemu_img" snapshot -c abc snap.qcow2
	"$qemu_img" convert -q -f raw -O vmdk plain img.vmdk
	"$qemu_img" convert -q -f raw -O vdi plain img.vdi
	"$qemu_img" convert -q -f raw -O vhdx plain img.vhdx
	printf 'LUKS\272\276\000\001' >luks
	truncate -s 1M luks
	mkdir dir
) || { echo "cannot make the files"; exit 99; }
rm -f out err
cp -a --sparse=always world pristine

# Everything in it is old: what a run changed is what is not.
find pristine -exec touch -h -d 2001-01-01 {} +
(cd pristine && find . | LC_ALL=C sort) >p.names

# again: a world like at the start, in the same place for both
again() {
	[ -z "$dirty" ] && return
	rm -rf world
	cp -a --sparse=always pristine world
	dirty=
}
dirty=yes

# snapshot_of FILE: the names, and the content of what changed
snapshot_of() {
	(cd world && find . | LC_ALL=C sort) >"$1.names"
	(cd world && find . -type f -newermt 2002-01-01 -size -40M -print0 |
		LC_ALL=C sort -z | xargs -0r md5sum) >"$1.sums"
	if [ -s "$1.sums" ] || ! cmp -s p.names "$1.names"; then
		dirty=yes
	fi
}

# both ARGS...: runs the one and the other
both() {
	again
	(cd world && "$qemu_img" "$@") >g.out 2>g.err </dev/null
	g=$?
	snapshot_of g
	again
	(cd world && "$ours" "$@") >b.out 2>b.err </dev/null
	b=$?
	snapshot_of b
	checks=$((checks + 1))
}

differ() {
	fail "qemu-img $*"
	diff g.out b.out | sed 's/^/    out /' >&2
	diff g.err b.err | sed 's/^/    err /' >&2
}

# q: everything is equal
q() {
	both "$@"
	[ $g -eq $b ] || fail "status $g is $b: qemu-img $*"
	cmp -s g.out b.out && cmp -s g.err b.err || differ "$@"
	cmp -s g.names b.names || fail "names: $* $(diff g.names b.names)"
	cmp -s g.sums b.sums || fail "content: $* $(diff g.sums b.sums)"
}

# c: as q, but files that differ need the same content for a guest (compressed
# data may be packed in another way)
c() {
	both "$@"
	[ $g -eq $b ] || fail "status $g is $b: qemu-img $*"
	cmp -s g.out b.out && cmp -s g.err b.err || differ "$@"
	cmp -s g.names b.names || fail "names: $* $(diff g.names b.names)"
	again
	(cd world && "$qemu_img" "$@" && mv new.img ../g.img) >/dev/null 2>&1
	(cd world && "$ours" "$@" && mv new.img ../b.img) >/dev/null 2>&1
	"$qemu_img" compare -q g.img b.img || fail "content: $*"
	"$qemu_img" check -q b.img || fail "check: $*"
	rm -f g.img b.img
}

# s: as q for a shrunken image, whose tables may lie elsewhere
s() {
	both "$@"
	[ $g -eq $b ] || fail "status $g is $b: qemu-img $*"
	cmp -s g.out b.out && cmp -s g.err b.err || differ "$@"
	eval "name=\${$(($# - 1))}"
	mv "world/$name" b.img
	again
	(cd world && "$qemu_img" "$@") >/dev/null 2>&1
	"$qemu_img" check -q -U b.img || fail "check: $*"
	mv "world/$name" "world/$name.g" && mv b.img "world/$name"
	"$qemu_img" compare -q "world/$name.g" "world/$name" ||
		fail "content: $*"
	dirty=yes
}

# f: both fail with the same messages; ours leaves nothing, qemu-img may
f() {
	both "$@"
	[ $g -eq 1 ] && [ $b -eq 1 ] || fail "status $g and $b: qemu-img $*"
	cmp -s g.out b.out && cmp -s g.err b.err || differ "$@"
	cmp -s p.names b.names || fail "names: $* $(diff p.names b.names)"
}

# m: both fail; the message of ours matches a pattern
m() {
	pattern=$1
	shift
	both "$@"
	[ $g -ne 0 ] && [ $b -eq 1 ] || fail "status $g and $b: qemu-img $*"
	case $(cat b.err) in
	$pattern) ;;
	*) fail "'$(cat b.err)' is not like '$pattern': qemu-img $*" ;;
	esac
}

# r: qemu-img can, byre refuses by name, with one line, and leaves nothing
r() {
	pattern=$1
	shift
	again
	(cd world && run "$ours" "$@"; exit $status)
	b=$?
	snapshot_of b
	checks=$((checks + 1))
	[ $b -eq 1 ] || fail "status $b: qemu-img $*"
	[ ! -s out ] || fail "stdout: $(cat out)"
	one_line "$pattern"
	cmp -s p.names b.names || fail "names: $* $(diff p.names b.names)"
}

# delayed allocation must not change disk sizes between two looks
again
sync -f world
. "$top_srcdir/tests/compat/argv-lines.sh"
. "$top_srcdir/tests/compat/argv-nodes.sh"
. "$top_srcdir/tests/compat/argv-read.sh"
finish
