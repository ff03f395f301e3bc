#!/bin/sh
# SPDX-License-Identifier: MIT
# From a source to a base: what it becomes, what is refused, what is left.
. "${top_srcdir:-.}/tests/cache/lib.sh"

make_raw data.raw
"$byre" convert -O qcow2 -c data.raw data.qcow2 || exit 99

# refused STATUS ID PATTERN ARGS...: and nothing is left of it
refused() {
	want_status=$1 id=$2 pattern=$3
	shift 3
	expect "$want_status" cache ensure "$@" -- "$id"
	one_line "byre: cache ensure: $pattern"
	absent "$base/$(name "$id")" \
		"$base/.byre/records/$(name "$id").json"
	staged "$id"
}

# raw and qcow2 become a sparse raw base of the same content
digest=$("$byre" digest data.raw | cut -d ' ' -f 1)
for f in raw qcow2; do
	expect 0 cache ensure "image-$f" --from data.$f
	silent
	b=$base/$(name "image-$f")
	[ "$(cat out)" = "$b" ] || fail "says $(cat out)"
	same "$b" data.raw "$f"
	[ "$(stat -c %b "$b")" -lt 9000 ] || fail "holes were written"
	[ "$(stat -c %a "$b")" = 644 ] || fail "mode $(stat -c %a "$b")"
	staged $f
	r=$base/.byre/records/$(name "image-$f").json
	[ "$(field content-digest "$r")" = "$digest" ] || fail "digest of $f"
	[ "$(field image-id "$r")" = "image-$f" ] || fail "id of $f"
	[ "$(field policy "$r")" = safe ] || fail "policy of $f"
	[ "$(stat -c %s "${r%.json}.leaves")" -eq $((32 + 9 * 16)) ] ||
		fail "leaves of $f"
done

# once is enough: neither the source nor the tables are looked at again, and
# the base is touched
b=$base/$(name image-raw)
touch -d 2001-01-01 "$b"
inode=$(stat -c %i "$b")
expect 0 cache ensure image-raw --from nothing --json
[ "$(field added out)" = false ] || fail "added twice"
[ "$(field content-digest out)" = "$digest" ] || fail "no digest"
[ "$(stat -c %i "$b")" = "$inode" ] || fail "replaced"
[ "$(stat -c %Y "$b")" -gt 1000000000 ] || fail "not touched"
expect 0 cache ensure image-raw --from nothing -q --log json
grep -q '"event": "present", "name": "'"$(name image-raw)"'"' err ||
	fail "log: $(cat err)"

# a disk ends with a sector
head -c 1000 data.raw >odd.raw
expect 0 cache ensure odd --from odd.raw -f raw
[ "$(stat -c %s "$base/$(name odd)")" -eq 1024 ] || fail "size of odd"
cmp -s -n 1000 "$base/$(name odd)" odd.raw || fail "content of odd"

# a kernel does not, and is nobody's business
cp data.qcow2 kernel
printf x >>kernel
expect 0 cache ensure kernel --from kernel --kernel --json
same "$base/$(name kernel)" kernel kernel
[ "$(field virtual-size out)" -eq "$(stat -c %s kernel)" ] ||
	fail "size of kernel"
[ "$(field kind "$base/.byre/records/$(name kernel).json")" = kernel ] ||
	fail "kind of kernel"
# neither is taken for the other, and nothing is touched
for how in "kernel data.raw" "image-raw data.raw --kernel" \
	"kernel data.qcow2 --keep-qcow2"; do
	set -- $how
	b=$base/$(name "$1")
	is=kernel not=disk
	[ "$1" = kernel ] || is=disk not=kernel
	touch -d 2001-01-01 "$b"
	expect 1 cache ensure "$1" --from "$2" ${3:-}
	one_line "byre: cache ensure: $(name "$1"): is cached as a $is, not \
as a $not"
	[ "$(stat -c %Y "$b")" -lt 1000000000 ] || fail "$how: touched"
done
expect 0 cache ensure kernel --from nothing --kernel -q
silent
for how in "--from data.raw" "" --flat "--sized-base --size 1G"; do
	touch -d 2001-01-01 "$base/$(name kernel)"
	# shellcheck disable=SC2086
	expect 1 cache spawn kernel "$inst/kernel/disk" $how
	one_line "byre: cache spawn: $(name kernel): is cached as a kernel, \
not as a disk"
	[ "$(stat -c %Y "$base/$(name kernel)")" -lt 1000000000 ] ||
		fail "spawn $how: touched"
	absent "$inst/kernel"
done
refused 1 kernel2 'kernel: * bytes, limit 1000' --from kernel --kernel \
	--max-size 1000

# a qcow2 that is kept is kept byte by byte
expect 0 cache ensure kept --from data.qcow2 --keep-qcow2 --json
same "$base/$(name kept)" data.qcow2 kept
[ "$(field format out)" = qcow2 ] || fail "format of kept"
[ "$(field virtual-size out)" -eq 12582912 ] || fail "size of kept"
[ "$(field content-digest out)" = "$digest" ] || fail "digest of kept"
# and stays one, which is said to who may take it for raw
expect 0 cache ensure kept --from data.qcow2
[ "$(cat err)" = "byre: cache ensure: warning: was kept as a qcow2 \
(--keep-qcow2) and still is one" ] || fail "of kept: $(cat err)"
expect 0 cache ensure kept --from data.qcow2 --keep-qcow2
silent
expect 1 cache ensure kept --from kernel --kernel
one_line 'byre: cache ensure: *: is cached as a disk, not as a kernel'
expect 0 cache ensure image-qcow2 --from data.qcow2 --keep-qcow2 --json
[ "$(field format out)" = raw ] || fail "format of image-qcow2"
# but not with a refcount that lies: offset 2 x 64k is the first block
"$byre" convert -O qcow2 data.raw bad.qcow2
at=$(od -An -tu8 --endian=big -j 48 -N 8 bad.qcow2)
at=$(od -An -tu8 --endian=big -j $at -N 8 bad.qcow2)
printf '\0\0' | dd of=bad.qcow2 bs=1 seek=$((at + 10)) conv=notrunc 2>/dev/null
refused 1 bad 'bad.qcow2: the check of its tables found damage' \
	--from bad.qcow2 --keep-qcow2

# what the policy refuses
echo secret >secret
"$byre" create -f qcow2 -u -b "$dir/secret" -F raw evil.qcow2 1M || exit 99
refused 1 evil 'evil.qcow2: *backing file*' --from evil.qcow2
refused 1 evil 'evil.qcow2: *backing file*' --from evil.qcow2 --keep-qcow2
refused 1 lie '*qcow2*' --from data.qcow2 -f raw
refused 1 lie '*' --from data.raw -f qcow2
head -c 200000 data.qcow2 >cut.qcow2
refused 1 cut 'cut.qcow2: *' --from cut.qcow2
"$byre" convert -O qcow2 data.raw plain.qcow2 || exit 99
head -c $(($(stat -c %s plain.qcow2) - 30000)) plain.qcow2 >cut.qcow2
for how in "" --keep-qcow2; do
	refused 1 cut 'cut.qcow2: *: data cluster at * is cut off by *' \
		--from cut.qcow2 $how
done
refused 1 big '*limit*' --from data.qcow2 --max-size 11M
refused 1 big '*limit*' --from data.raw --max-size 11M
expect 0 cache ensure fits --from data.qcow2 --max-size 12M
: >empty
refused 1 empty 'empty: the source is empty' --from empty
refused 1 none 'none: cannot open: No such file*' --from none
mkdir sub
refused 1 dir 'sub: *directory*' --from sub
mkfifo pipe
refused 1 pipe 'pipe: *fifo*' --from pipe

# the command line
expect 2 cache ensure --from data.raw
expect 2 cache ensure a b --from data.raw
expect 2 cache ensure a
expect 2 cache ensure a --from data.raw --kernel --keep-qcow2
expect 1 cache ensure a --from data.raw -f vdi --log text
expect 2 cache ensure a --from data.raw -f nosuch
expect 2 cache ensure a --from data.raw --log loud
expect 2 "$byre" cache
expect 2 "$byre" cache nosuch
expect 0 "$byre" cache --help
expect 1 "$byre" cache ensure a --from data.raw --instances "$dir/nosuch"

# any text is an id, and stays inside
for id in '../../../etc/x' 'a
b' '-x' '/' '.' "quote'\"\\" 'bild-ä' '%s%n'; do
	expect 0 cache ensure --from odd.raw -q -- "$id"
	silent
	cmp -s -n 1000 "$base/$(name "$id")" odd.raw || fail "id '$id'"
done
expect 1 cache ensure --from odd.raw -- "$(printf '\377')"
expect 1 cache ensure --from odd.raw -- ''
expect 1 cache ensure --from odd.raw -- "$(yes a | head -c 2500 | tr -d '\n')"
[ "$(ls "$dir" | tr '\n' ' ')" = "$(ls "$dir" | grep -v etc | tr '\n' ' ')" ] ||
	fail "something escaped"

# BYRE_INSTANCES, another name for _base, and locks elsewhere
BYRE_INSTANCES=$inst expect 0 "$byre" cache ensure odd --from nothing -q
mkdir locks2
expect 0 cache ensure odd --from odd.raw --base-dir bases \
	--locks-dir locks2 -q
[ -s "$inst/bases/$(name odd)" ] || fail "--base-dir"
[ -e "locks2/nova-$(name odd)" ] || fail "--locks-dir"
expect 0 cache ensure odd --from odd.raw --base-dir "$dir/abs" -q
[ -s "abs/$(name odd)" ] || fail "--base-dir with a path"

# what Nova made is a base; what cannot be one is not used
cp data.raw "$base/$(name nova)"
expect 0 cache ensure nova --from nothing --json
[ -z "$(field content-digest out)" ] || fail "a digest from nowhere"
: >"$base/$(name zero)"
expect 1 cache ensure zero --from data.raw
one_line 'byre: cache ensure: *: is empty'
truncate -s 11M "$base/$(name image-raw)"
expect 1 cache ensure image-raw --from data.raw
one_line 'byre: cache ensure: *is 11534336 bytes long, its record says 12582912'
# another file in its place is judged by its content: Nova made it anew
b=$base/$(name image-raw)
rm "$b"
cp data.raw "$b"
expect 0 cache ensure image-raw --from nothing --json
[ "$(field content-digest out)" = "$digest" ] || fail "not recognised"
[ "$(field ino "$base/.byre/records/$(name image-raw).json")" = \
	"$(stat -c %i "$b")" ] || fail "the record keeps the old inode"
rm "$b"
cp data.raw "$b"
printf x | dd of="$b" bs=1 seek=70000 conv=notrunc 2>/dev/null
expect 1 cache ensure image-raw --from data.raw
one_line 'byre: cache ensure: *its content is not the one that was recorded'
rm "$b"
cp odd.raw "$b"
expect 1 cache ensure image-raw --from data.raw
one_line 'byre: cache ensure: *its content is not the one that was recorded'
# its conversion may end elsewhere than ours; what we kept as a qcow2 is raw
for size in 1000 4096; do
	rm "$base/$(name odd)"
	cp odd.raw "$base/$(name odd)"
	truncate -s $size "$base/$(name odd)"
	expect 0 cache ensure odd --from nothing --json
	[ -n "$(field content-digest out)" ] || fail "odd, $size bytes"
	expect 0 cache spawn odd "$inst/odd-$size/disk"
	silent
done
rm "$base/$(name kept)"
cp data.raw "$base/$(name kept)"
expect 0 cache ensure kept --from nothing --json
[ "$(field format out)" = raw ] || fail "format of what was kept"
[ "$(field content-digest out)" = "$digest" ] || fail "digest of what was kept"
expect 0 cache spawn kept "$inst/kept/disk"
"$byre" info --output=json "$inst/kept/disk" >info.out
[ "$(field backing-filename-format info.out)" = raw ] || fail "$(cat info.out)"

# what is planted is not followed
echo precious >precious
ln -s "$dir/precious" "$base/$(name link)"
expect 1 cache ensure link --from data.raw
one_line 'byre: cache ensure: *: is a symbolic link, no regular file'
mkdir "$base/$(name dir2)"
expect 1 cache ensure dir2 --from data.raw
one_line 'byre: cache ensure: *: is a directory, no regular file'
ln -s "$dir/precious" "$inst/locks/nova-$(name lock)"
expect 1 cache ensure lock --from data.raw
one_line 'byre: cache ensure: *: is a symbolic link, no regular file'
[ "$(cat precious)" = precious ] || fail "a link was followed"

# a file system that is full: nothing is left, and later it works
full() {
	(ulimit -f 1000; cache ensure full --from data.raw) # 512 KB or 1 MB
}
expect 1 full
absent "$base/$(name full)"
staged full
expect 0 cache ensure full --from data.raw
same "$base/$(name full)" data.raw full

# a record that cannot be written is a pity
chmod a-w "$base/.byre/records"
if touch "$base/.byre/records/x" 2>/dev/null; then
	rm "$base/.byre/records/x"
else
	expect 0 cache ensure norecord --from data.raw
	one_line 'byre: cache ensure: warning: no record: *'
	same "$base/$(name norecord)" data.raw norecord
fi
chmod u+w "$base/.byre/records"

finish
