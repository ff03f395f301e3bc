#!/bin/sh
# SPDX-License-Identifier: MIT
# Disks from bases: what they are, what is refused, what is left.
. "${top_srcdir:-.}/tests/cache/lib.sh"

make_raw data.raw
"$byre" convert -O qcow2 data.raw data.qcow2 || exit 99
cache ensure img --from data.qcow2 -q || exit 99
b=$base/$(name img)
digest=$("$byre" digest data.raw | cut -d ' ' -f 1)

info() {
	"$byre" info --output=json "$1" >info.out || fail "info $1"
	field "$2" info.out
}

# content DISK: what a guest reads begins with the image
content() {
	rm -f read.raw
	"$byre" convert --trusted -O raw "$1" read.raw || fail "cannot read $1"
	cmp -s -n 12582912 data.raw read.raw || fail "content of $1"
}

# an overlay, straight on the base
touch -d '3 days ago' "$b"
expect 0 cache spawn img "$inst/i1/disk" --size 20G
silent
[ "$(info "$inst/i1/disk" virtual-size)" = 21474836480 ] || fail "size"
[ "$(info "$inst/i1/disk" format)" = qcow2 ] || fail "format"
[ "$(info "$inst/i1/disk" backing-filename)" = "$b" ] || fail "backing file"
[ "$(info "$inst/i1/disk" backing-filename-format)" = raw ] || fail "its format"
[ "$(stat -c %Y "$b")" -gt $(($(date +%s) - 3600)) ] || fail "not touched"
[ "$(cat "$inst/i1/disk.info")" = "{\"$inst/i1/disk\": \"qcow2\"}" ] ||
	fail "disk.info: $(cat "$inst/i1/disk.info")"
# byte for byte what qemu-img creates for Nova
if command -v qemu-img >/dev/null; then
	qemu-img create -q -f qcow2 -o "backing_file=$b,backing_fmt=raw" \
		genuine 20G && same genuine "$inst/i1/disk" "qemu-img create"
fi

# a second one into disk.info; size 0 and no size are the image's
expect 0 cache spawn img "$inst/i1/disk.local" --size 0 --json
[ "$(field virtual-size out)" = 12582912 ] || fail "size 0: $(cat out)"
[ "$(field base out)" = "$(name img)" ] || fail "base: $(cat out)"
content "$inst/i1/disk.local"
[ "$(cat "$inst/i1/disk.info")" = \
	"{\"$inst/i1/disk\": \"qcow2\", \"$inst/i1/disk.local\": \"qcow2\"}" ] ||
	fail "disk.info: $(cat "$inst/i1/disk.info")"
(cd "$inst" && "$byre" cache spawn img i1/disk.x --instances .) ||
	fail "relative names"
grep -q "\"$inst/i1/disk.x\": \"qcow2\"" "$inst/i1/disk.info" ||
	fail "disk.info: $(cat "$inst/i1/disk.info")"
[ "$(info "$inst/i1/disk.x" full-backing-filename)" -ef "$b" ] ||
	fail "relative"

# refused PATTERN ARGS...: with nothing left
refused() {
	pattern=$1
	shift
	expect 1 cache spawn "$@" "$inst/no/such/disk"
	one_line "byre: cache spawn: $pattern"
	absent "$inst/no"
}
refused '*image virtual size larger than flavor root disk*' img --size 11M
refused '*not in the cache*' nosuch
expect 1 cache spawn img "$inst/i1/disk"
one_line '*cannot create: File exists'
cp "$inst/i1/disk.info" kept
echo '{' >"$inst/i1/disk.info"
expect 1 cache spawn img "$inst/i1/disk.y"
one_line '*disk.info: not valid JSON*'
absent "$inst/i1/disk.y"
mv kept "$inst/i1/disk.info"

# where clean does not look it is made, and that is said; with its root it is
# seen. What is seen is silent: beneath an instance's directory, by a link too
mkdir -p "$dir/far/i" "$dir/near" || exit 99
ln -s "$dir/near" "$inst/linked"
cache ensure far --from data.raw -q || exit 99

# cleans WHAT ARGS...: would do with its base
cleans() {
	verdict=$1
	shift
	touch -d '3 days ago' "$base/$(name far)"
	expect 0 cache clean --dry-run "$@"
	grep -q "^$verdict *$(name far)" out || fail "$t, $*: $(cat out)"
}
for t in far/i/disk instances/locks/disk; do
	expect 0 cache spawn far "$dir/$t"
	one_line "byre: cache spawn: warning: $dir/$t: clean sees what it is \
built on only with --instance-root"
	cleans remove
	cleans touch --instance-root "$dir/${t%/*}"
	rm "$dir/$t"
done
expect 0 cache spawn far "$inst/../far/disk" -q --log json
[ "$(grep -c '"event": "unseen"' err)" = 1 ] || fail "log: $(cat err)"
expect 0 cache spawn far "$dir/far/flat" --flat
silent
for t in linked/disk linked/./disk linked/sub/disk ../near/disk \
	../near/sub/deep/disk i0/sub/disk i1/../i0/disk at.root; do
	expect 0 cache spawn far "$inst/$t"
	silent
	cleans touch
	rm "$inst/$t"
done
for t in a.xml console.log disk.info; do
	expect 1 cache spawn far "$inst/i10/$t"
	one_line "byre: cache spawn: *$t: no disk has such a name: clean *"
done
for how in "" --flat; do
	t=.d.byre-01234567
	# shellcheck disable=SC2086
	expect 1 cache spawn far "$inst/i10/$t" $how
	one_line "byre: cache spawn: *$t: no disk has such a name: clean would \
remove it as one that was never finished"
done
absent "$inst/i10"
rm -r "$dir/far" "$inst/linked" "$base/$(name far)"

# flat: raw, and as long as asked for
expect 0 cache spawn img "$inst/i2/disk" --flat --size 1G
[ "$(stat -c %s "$inst/i2/disk")" = 1073741824 ] || fail "size of flat"
cmp -s -n 12582912 data.raw "$inst/i2/disk" || fail "content of flat"
[ "$(stat -c %b "$inst/i2/disk")" -lt 20000 ] || fail "flat lost its holes"
[ "$(cat "$inst/i2/disk.info")" = "{\"$inst/i2/disk\": \"raw\"}" ] ||
	fail "disk.info: $(cat "$inst/i2/disk.info")"
expect 0 cache spawn img "$inst/i2/full" --flat --preallocate
[ "$(stat -c %b "$inst/i2/full")" -ge 24576 ] || fail "not preallocated"
same data.raw "$inst/i2/full"

# an overlay's room is reserved with its metadata
expect 0 cache spawn img "$inst/i2/pre" --preallocate --size 64M
[ ! -s err ] || grep -q 'cannot reserve' err || fail "says $(cat err)"
[ -s err ] || [ "$(stat -c %b "$inst/i2/pre")" -ge 131072 ] ||
	fail "room is not reserved"
content "$inst/i2/pre"

# the classic: on an extended copy
expect 0 cache spawn img "$inst/i3/disk" --sized-base --size 2G --json
[ "$(field base out)" = "$(name img)_2" ] || fail "base: $(cat out)"
[ "$(stat -c %s "${b}_2")" = 2147483648 ] || fail "size of the copy"
[ "$(info "$inst/i3/disk" backing-filename)" = "${b}_2" ] || fail "backing"
[ "$(info "$inst/i3/disk" virtual-size)" = 2147483648 ] || fail "size"
r=$base/.byre/records/$(name img)_2.json
[ "$(field content-digest "$r")" = "$digest" ] || fail "digest of the copy"
[ "$(field kind "$r")" = sized ] || fail "kind of the copy"
cmp -s -n 12582912 data.raw "${b}_2" || fail "content of the copy"
same "${r%.json}.leaves" "$base/.byre/records/$(name img).leaves" \
	"leaves of the copy"
inode=$(stat -c %i "${b}_2")
touch -d '3 days ago' "${b}_2"
expect 0 cache spawn img "$inst/i3/disk2" --sized-base --size 2G
[ "$(stat -c %i "${b}_2")" = "$inode" ] || fail "copied again"
[ "$(stat -c %Y "${b}_2")" -gt $(($(date +%s) - 3600)) ] || fail "not touched"
refused '*whole GiB*' img --sized-base --size 1500M
truncate -s 1G "${b}_2"
refused '*is 1073741824 bytes long*' img --sized-base --size 2G
staged

# a base that is removed while a disk is made on it comes back: Nova's manager
# works at times under a lock file that has lost its name
# lose FILE ARGS...: a spawn that is slow at its end, and loses FILE
lose() {
	lost=$1
	shift
	checks=$((checks + 1))
	touch -d '3 days ago' "$lost"
	ASAN_OPTIONS=detect_leaks=0 \
	strace -f -o trace -e trace=linkat -e inject=linkat:delay_enter=700000 \
		"$byre" cache spawn --instances "$inst" --log json "$@" \
		>out 2>err &
	pid=$!
	while kill -0 $pid 2>/dev/null &&
		[ "$(stat -c %Y "$lost")" -lt $(($(date +%s) - 3600)) ]; do
		sleep 0.02
	done
	rm "$lost"
	wait $pid || fail "spawn without $lost: $(cat err)"
}
if strace -o trace true 2>/dev/null; then
	for from in data.raw "data.qcow2 --keep-qcow2"; do
		# shellcheck disable=SC2086
		cache ensure lost -q --from $from || exit 99
		lose "$base/$(name lost)" lost "$inst/i9/disk" --size 1G
		grep -q '"event": "restored"' err || fail "no event: $(cat err)"
		content "$inst/i9/disk"
		expect 0 cache verify lost -q
		expect 0 cache spawn lost "$inst/i9/disk2" --verify
		content "$inst/i9/disk2"
		rm -r "$inst/i9" "$base/$(name lost)"
	done
	cache ensure lost -q --from data.raw || exit 99
	expect 0 cache spawn lost "$inst/i9/disk" --sized-base --size 1G
	lose "$base/$(name lost)_1" lost "$inst/i9/disk2" --sized-base --size 1G
	content "$inst/i9/disk2"
	rm -r "$inst/i9" "$base/$(name lost)" "$base/$(name lost)_1"
	staged
fi

# a base that is kept as a qcow2
cache ensure kept --from data.qcow2 --keep-qcow2 -q || exit 99
expect 0 cache spawn kept "$inst/i4/disk" --size 1G
[ "$(info "$inst/i4/disk" backing-filename-format)" = qcow2 ] || fail "kept"
content "$inst/i4/disk"
expect 0 cache spawn kept "$inst/i4/flat" --flat
same data.raw "$inst/i4/flat" "flat of a qcow2"
refused '*larger than*' kept --size 1M
# without its record nobody knows what it is
rm "$base/.byre/records/$(name kept).json"
refused '*looks like qcow2' kept
expect 0 cache ensure kept --from data.qcow2
refused '*looks like qcow2' kept
# but who asks for it once more has it looked through
expect 0 cache ensure kept --from data.qcow2 --keep-qcow2
[ "$(field kind "$base/.byre/records/$(name kept).json")" = adopted ] ||
	fail "kind of what was adopted"
expect 0 cache spawn kept "$inst/i4/adopted"
content "$inst/i4/adopted"

# is it the base that was recorded?
expect 0 cache spawn img "$inst/i5/disk" --verify
printf x | dd of="$b" bs=1 seek=70000 conv=notrunc 2>/dev/null
refused '*its content is not the one that was recorded' img --verify
expect 0 cache spawn img "$inst/i5/blind"
truncate -s 13M "$b"
refused '*is 13631488 bytes long, its record says 12582912' img
# another file of the same content is as good; one of other content is not
rm "$b"
cp data.raw "$b"
expect 0 cache spawn img "$inst/i5/again"
silent
[ "$(field ino "$base/.byre/records/$(name img).json")" = \
	"$(stat -c %i "$b")" ] || fail "the record keeps the old inode"
rm "$b"
cp data.raw "$b"
printf x | dd of="$b" bs=1 seek=70000 conv=notrunc 2>/dev/null
refused '*its content is not the one that was recorded' img
# Nova's own have no record
rm "$base/.byre/records/$(name img).json"
expect 0 cache spawn img "$inst/i5/nova"
refused '*no record*' img --verify
: >"$b"
refused '*is empty' img
rm "$b"
ln -s "$dir/data.raw" "$b"
refused '*symbolic link*' img
rm "$b"

# the file system in it grows too
if PATH=$PATH:/sbin:/usr/sbin command -v mkfs.ext4 >/dev/null; then
	PATH=$PATH:/sbin:/usr/sbin
	truncate -s 16M ext.raw
	mkfs.ext4 -q -F ext.raw || exit 99
	cache ensure ext --from ext.raw -q || exit 99
	for mode in --flat --sized-base; do
		expect 0 cache spawn ext "$inst/i6/disk$mode" $mode --size 1G \
			--resize-fs --json
		[ "$(field file-system-resized out)" = true ] ||
			fail "not resized: $(cat out err)"
	done
	for f in "$inst/i6/disk--flat" "$base/$(name ext)_1"; do
		e2fsck -fn "$f" >log 2>&1 || fail "e2fsck: $(cat log)"
		blocks=$(dumpe2fs -h "$f" 2>/dev/null |
			sed -n 's/^Block count: *//p')
		size=$(dumpe2fs -h "$f" 2>/dev/null |
			sed -n 's/^Block size: *//p')
		[ $((blocks * size)) = 1073741824 ] ||
			fail "$f has $blocks blocks of $size"
	done
	r=$base/.byre/records/$(name ext)_1.json
	[ "$(field content-digest "$r")" = \
		"$("$byre" digest "$base/$(name ext)_1" | cut -d ' ' -f 1)" ] ||
		fail "digest of the grown copy"
	[ -s "${r%.json}.leaves" ] || fail "no leaves of the grown copy"
	expect 0 cache verify "$(name ext)_1"
	# a tool that does not end goes with whoever waits for it
	mkdir bin
	printf '#!/bin/sh\necho $$ >tool.pid\nexec sleep 30\n' >bin/e2fsck
	chmod +x bin/e2fsck
	PATH=$dir/bin:$PATH "$byre" cache spawn --instances "$inst" ext \
		"$inst/i9/disk" --flat --size 1G --resize-fs 2>/dev/null &
	pid=$!
	while [ ! -s tool.pid ]; do
		sleep 0.05
	done
	kill -TERM $pid
	wait $pid
	[ $? -eq 143 ] || fail "not ended by the signal"
	kill -0 "$(cat tool.pid)" 2>/dev/null && fail "the tool lives on"
	absent "$inst/i9"
	# a broken one fails, and leaves nothing
	cp ext.raw bad.raw
	head -c 8192 /dev/urandom | dd of=bad.raw bs=1 seek=4096 \
		conv=notrunc 2>/dev/null
	cache ensure bad --from bad.raw -q || exit 99
	run cache spawn bad "$inst/i7/disk" --flat --size 1G --resize-fs
	[ "$status" -eq 0 ] || absent "$inst/i7"
	cache ensure plain --from data.raw -q || exit 99
	expect 0 cache spawn plain "$inst/i8/disk" --flat --size 1G \
		--resize-fs --json
	[ "$(field file-system-resized out)" = false ] || fail "resized what?"
fi

# a base and a disk in one go; what is there is not fetched again
expect 0 cache spawn both "$inst/b1/disk" --from data.raw --size 20M \
	--expect "md5:$(md5sum <data.raw | cut -d ' ' -f 1)" --log json
added=$(grep -c '"event": "added"' err)
[ "$added" -eq 1 ] || fail "log: $(cat err)"
"$byre" compare -q --trusted "$inst/b1/disk" data.raw ||
	fail "not the source's content"
expect 0 cache spawn both "$inst/b2/disk" --from nothing
cat data.raw | cache spawn piped "$inst/b3/disk" --from - --flat ||
	fail "a disk from a pipe"
cmp -s "$inst/b3/disk" data.raw || fail "another content from a pipe"
expect 1 cache spawn none "$inst/b4/disk" --from nothing
absent "$inst/b4" "$base/$(name none)"

# the command line
expect 2 cache spawn img a --format raw
expect 2 cache spawn img a --expect md5:0
expect 2 cache spawn img
expect 2 cache spawn img a b
expect 2 cache spawn img a --flat --sized-base
expect 2 cache spawn img a --resize-fs
expect 2 cache spawn img a --size x
staged
finish
