#!/bin/sh
# SPDX-License-Identifier: MIT
# What the options of the native commands do.
. "${top_srcdir:-.}/tests/lib.sh"

ok() {
	expect 0 "$byre" "$@"
	silent
}

{
	yes 'some content' | head -c 3000000
	head -c 5000000 /dev/zero
	yes 'more of it' | head -c 1000000
} >data.raw
truncate -s 12M data.raw

for o in "" "-c" "-c -o compression_type=zstd" "-c --deflate-window=32k" \
	"-c --level=1" "-o cluster_size=4k" "-o extended_l2=on" "-m 1" "-m 4" \
	"--engine=threads" "-S 0" "-S 64k" "-t none" "-t directsync" \
	"-t writeback" "-t writethrough -T none" "-W" "-r 1G" "-o compat=v2" \
	"-o refcount_bits=1" "-U" "-q" "--salvage"; do
	rm -f a.qcow2 b.raw
	ok convert -f raw -O qcow2 $o data.raw a.qcow2
	ok convert -f qcow2 -O raw a.qcow2 b.raw
	same data.raw b.raw "convert $o"
done
[ "$(stat -c %b b.raw)" -lt 16000 ] || fail "holes were written"

# the same bytes for any number of workers, either engine, and both names
ok convert -O qcow2 -c -m 1 data.raw one
ok convert -O qcow2 -c -m 3 data.raw three
ok convert --target-format=qcow2 --compress --workers=2 \
	--engine=threads data.raw two
same one three "workers"
same one two "workers, engine"

# a rate is a rate: 3 MiB, in windows of 1 MiB that are due a second each
head -c 3m data.raw >three.raw
begun=$(date +%s%N)
ok convert -r 1M -m 1 -S 4k three.raw slow
[ $(($(date +%s%N) - begun)) -ge 2000000000 ] || fail "-r 1M is not held"
same three.raw slow
rm three.raw slow

# several sources, one after the other
ok convert data.raw data.raw twice
cat data.raw data.raw | cmp -s - twice || fail "concatenation"

# -n keeps the inode, and overwrites
cp data.raw target
truncate -s 13M target
inode=$(stat -c %i target)
ok convert -n one target
[ "$(stat -c %i target)" = "$inode" ] || fail "-n makes a new file"
cmp -s -n 12582912 data.raw target || fail "-n content"
yes junk | head -c 100000 >exists
ok convert one exists
same data.raw exists "an existing target"

# names
ok convert --image-opts driver=qcow2,file.filename=one by-opts
same data.raw by-opts
ok convert 'json:{"driver":"qcow2","file":{"filename":"one"}}' by-json
same data.raw by-json
cp one 'a:b'
ok convert 'a:b' by-colon
same data.raw by-colon
ok convert file:one file-named
same data.raw file-named

# digests: of any form of the content, and in the same pass
ok convert --digest one pass
cut -d ' ' -f 1 out >d1
grep -qx 'byre1:[0-9a-f]\{32\}' d1 || fail "digest: $(cat d1)"
for f in data.raw one two pass; do
	ok digest $f
	[ "$(cut -d ' ' -f 1 out)" = "$(cat d1)" ] || fail "digest of $f"
	[ "$(cat out)" = "$(cat d1)  12582912  $f" ] || fail "line: $(cat out)"
done
ok digest --output=json one two
[ "$(grep -c '"digest": "byre1:' out)" -eq 2 ] || fail "digest --output=json"
ok resize -f raw pass +1G
ok digest pass
[ "$(cut -d ' ' -f 1,3 out)" = "$(cat d1) 1086324736" ] ||
	fail "extension changes the digest: $(cat out)"
ok resize -f raw --shrink pass -1G
same data.raw pass "resized there and back"

# overlays: what may be followed
mkdir bases
mv data.raw bases/
ok create -f qcow2 -b bases/data.raw -F raw over --trusted
expect 1 "$byre" convert over flat
absent flat
ok convert --allow-backing=bases over flat
same bases/data.raw flat "overlay"
ok convert --trusted over flat2
same bases/data.raw flat2 "overlay"
mkdir elsewhere
expect 1 "$byre" convert --allow-backing=elsewhere over flat3
absent flat3
ok info over
# the name may say that it is a file: then from the working directory
mkdir sub
for front in "" qemu-img; do
	for c in "create -f qcow2" "convert -O qcow2 bases/data.raw"; do
		o="-b file:bases/data.raw -F raw"
		case "$front $c" in
		" create"*) o="$o --trusted" ;;
		*convert*) o="-B ${o#-b }" ;;
		esac
		rm -f sub/over
		expect 0 "$byre" $front $c $o sub/over
		ok convert --trusted sub/over flat4
		same bases/data.raw flat4 "file: $front $c"
		rm flat4
	done
	expect 1 "$byre" $front create -f qcow2 -b nbd:bases/data.raw -F raw no
	grep -q 'no other protocol' err || fail "nbd: $(cat err)"
	absent no
done
ok info over
ok info --backing-chain --trusted over
[ "$(grep -c '^image:' out)" -eq 2 ] || fail "--backing-chain"
expect 1 "$byre" inspect over
grep -q backing out || fail "inspect does not name the backing file"
ok inspect one
ok inspect --deep one
ok inspect --deep --output=json one
grep -q '"safe": true' out || fail "inspect --output=json"
expect 1 "$byre" inspect --max-size=1M one

# a symbolic link to nothing: what is behind it is made, the link stays
mkdir links
for front in "" qemu-img; do
	for what in "convert -f raw -O raw bases/data.raw" "create -f qcow2"; do
		size=
		[ "$what" = "create -f qcow2" ] && size=1M
		rm -f links/* dangling
		ln -s links/first dangling
		ln -s second links/first
		case "$front $what" in
		" create"*)
			expect 1 "$byre" $what dangling $size
			one_line '*dangling: cannot create: File exists'
			absent links/second
			continue ;;
		esac
		expect 0 "$byre" $front $what dangling $size
		[ -f links/second ] && [ -L dangling ] && [ -L links/first ] ||
			fail "$front $what through a link"
		rm dangling
		ln -s none/file dangling
		expect 1 "$byre" $front $what dangling $size
		one_line '*dangling*: No such file or directory'
		rm dangling
		ln -s dangling dangling
		expect 1 "$byre" $front $what dangling $size
		one_line '*dangling*: Too many levels of symbolic links'
	done
done
rm -rf links dangling

# progress
ok convert --progress-fd=3 one p1 3>lines
grep -qvx '{"done":[0-9]*,"total":[0-9]*}' lines && fail "$(cat lines)"
tail -n 1 lines | grep -qx '{"done":\([0-9]*\),"total":\1}' ||
	fail "the last line is not the end: $(tail -n 1 lines)"
ok convert -p one p2
tr '\r' '\n' <out | tail -n 2 | grep -qx '    (100.00/100%)' ||
	fail "-p: $(cat out)"
ok convert -p -q one p3
[ ! -s out ] || fail "-q: $(cat out)"

# a device as the data file has to have the room
truncate -s 1M half
if device=$(losetup -f --show half 2>/dev/null); then
	trap 'losetup -d "$device"; rm -rf "$dir"' EXIT
	for what in "qemu-img create -f qcow2 -o data_file=$device t 2M" \
		"convert -f raw -O qcow2 -o data_file=$device zeros t" \
		"qemu-img convert -f raw -O qcow2 -o data_file=$device zeros t"; do
		truncate -s 2M zeros
		expect 1 "$byre" $what
		grep -q 'a device of 1048576 bytes cannot grow' err ||
			fail "$what: $(cat err)"
		absent t
	done
	truncate -s 1M zeros
	ok convert -f raw -O qcow2 -o data_file=$device zeros t
else
	echo "no loop devices: without them"
fi
finish
