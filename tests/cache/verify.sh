#!/bin/sh
# SPDX-License-Identifier: MIT
# verify: rot is found and named, passes are taken up again, and what is
# rotten is replaced or goes, unless somebody would miss it.
. "${top_srcdir:-.}/tests/cache/lib.sh"

make_raw data.raw
"$byre" convert -O qcow2 -c data.raw data.qcow2 || exit 99
n=$(name img)
b=$base/$n
records=$base/.byre/records

# flip FILE OFFSET: one byte of it
flip() {
	printf X | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

fresh() {
	rm -rf "$inst"
	mkdir "$inst"
	cache ensure img --from data.raw -q || exit 99
}

state() {
	cache list | awk -v n="$1" '$1 == n { print }' | grep -q " $2 " ||
		fail "list: $1 is not $2: $(cache list)"
}

# rot PATTERN...: of the base $who; behind the first, each a line of its own
who=$n
rot() {
	silent
	grep -q "^rotten  $who: $1\$" out || fail "no '$1': $(cat out)"
	shift
	[ "$(grep -c '^        bytes' out)" -eq $# ] || fail "$(cat out)"
	for r; do
		grep -qx "        bytes $r" out || fail "no '$r': $(cat out)"
	done
}

# expect_or_leaseless ARGS...: status 1, or 0 where nobody can say who writes
expect_or_leaseless() {
	"$@" >out 2>err
	case $? in
	1) return 0 ;;
	0) echo "no leases here" ;;
	*) fail "$*: $(cat err)" ;;
	esac
	return 1
}

fresh
for how in "" --cached "-m 1" "--rate 100M"; do
	expect 0 cache verify $how
	silent
	[ "$(cat out)" = "good    $n" ] || fail "says $(cat out)"
done
state "$n" verified
[ "$(field verified "$records/$n.json")" -gt 0 ] || fail "no time"
expect 0 cache verify img --log json -q
[ ! -s out ] || fail "is not quiet"
one_line "*\"event\": \"verified\", \"name\": \"$n\", \"image-id\": \"img\"*"
expect 0 cache verify "$n" --json -p
expect 1 cache verify nothing
one_line 'byre: cache verify: nothing: there is no base of that name *'
expect 2 cache verify --from data.raw
expect 2 cache verify --from data.raw --repair
expect 2 cache verify img -f raw
expect 2 cache verify img --rate x

# in data, at a border, in written zeros and in a hole behind all data
flip "$b" 8500000
for how in "" --cached; do
	expect 3 cache verify $how
	rot '1 blocks' '8388608 to 9437183'
done
state "$n" rotten
expect 1 cache spawn img "$inst/uuid/disk"
one_line 'byre: cache spawn: *: 1 of its blocks are rotten*'
expect 1 cache ensure img --from data.raw
one_line 'byre: cache ensure: *: 1 of its blocks are rotten*'
# another file with the right content is not what was found rotten
cp -p "$b" rotten
rm "$b"
cp data.raw "$b"
expect 0 cache spawn img "$inst/uuid/disk"
silent
rm -r "$inst/uuid"
state "$n" digest
fresh
flip "$b" 8500000
expect 3 cache verify
flip "$b" 1048575
flip "$b" 1048576
flip "$b" 4500000
flip "$b" 12582911
expect 3 cache verify --log text
grep -q "^byre: cache: rotten $n (img): 5 blocks\$" err || fail "$(cat err)"
: >err
rot '5 blocks' '0 to 2097151' '4194304 to 5242879' '8388608 to 9437183' \
	'11534336 to 12582911'
expect 3 cache verify img --json
[ "$(grep -c '"start"' out)" -eq 4 ] || fail "JSON: $(cat out)"
# what was data is a hole
cp data.raw "$b"
expect 0 cache verify
dd if=/dev/zero of="$b" bs=1M count=1 conv=notrunc 2>/dev/null
expect 3 cache verify
rot '1 blocks' '0 to 1048575'
truncate -s 1M "$b"
expect 3 cache verify
rot 'is 1048576 bytes long, its record says 12582912'

# without its leaves rot is found all the same, and good ones are kept again
fresh
rm "$records/$n.leaves"
flip "$b" 5
expect 3 cache verify
rot 'the digest is another one, .*'
[ ! -e "$records/$n.leaves" ] || fail "leaves of rot"
dd if=data.raw of="$b" bs=4k count=1 conv=notrunc 2>/dev/null
expect 0 cache verify
[ "$(stat -c %s "$records/$n.leaves")" -eq $((32 + 9 * 16)) ] ||
	fail "no leaves"
flip "$b" 5
expect 3 cache verify
rot '1 blocks' '0 to 1048575'

# extended copies, byre's and Nova's
fresh
cache spawn img "$inst/uuid/disk" --sized-base --size 1G -q || exit 99
cp --sparse=always "$b" "${b}_2"
truncate -s 2G "${b}_2"
expect 0 cache verify img
[ "$(sort out | tr '\n' ' ')" = "good    $n good    ${n}_1 good    ${n}_2 " ] ||
	fail "says $(cat out)"
[ "$(field kind "$records/${n}_2.json")" = sized ] || fail "kind"
for i in 1 2; do
	flip "${b}_$i" 8500000
	expect 3 cache verify "${n}_$i"
	who=${n}_$i
	rot '1 blocks' '8388608 to 9437183'
	flip "${b}_$i" 500000000
	expect 3 cache verify "${n}_$i"
	grep -q 'bytes 499122176 to 500170751' out || fail "$(cat out)"
done
who=$n
expect 3 cache verify
grep -q "^good    $n\$" out || fail "the image is not good: $(cat out)"
# repaired from the image's source
for i in 1 2; do
	expect 4 cache verify "${n}_$i" --repair --from data.qcow2
	[ "$(stat -c %s "${b}_$i")" -eq $((i << 30)) ] || fail "size of $i"
	cmp -s -n 12582912 "${b}_$i" data.raw || fail "content of $i"
done
expect 0 cache verify
# a copy whose file system was resized is no rot
if command -v mkfs.ext4 >/dev/null && command -v resize2fs >/dev/null; then
	truncate -s 16M ext.raw
	mkfs.ext4 -q -F ext.raw || exit 99
	cache ensure ext --from ext.raw -q || exit 99
	e=$base/$(name ext)_1
	cp "$base/$(name ext)" "$e"
	truncate -s 1G "$e"
	resize2fs "$e" 2>/dev/null >&2
	expect 0 cache verify ext
	grep -q "^adopted $(name ext)_1\$" out || fail "says $(cat out)"
	expect 0 cache verify ext
	flip "$e" 5000000
	expect 3 cache verify ext
fi

# what has no record gets one
fresh
cp data.raw "$base/$(name nova)"
truncate -s 3M "$base/swap_3"
expect 0 cache verify nova swap_3 --log text
[ "$(sort out | tr '\n' ' ')" = "adopted $(name nova) adopted swap_3 " ] ||
	fail "says $(cat out)"
grep -q "recorded $(name nova) (nova)" err || fail "$(cat err)"
[ "$(field kind "$records/$(name nova).json")" = adopted ] || fail "kind"
[ "$(field kind "$records/swap_3.json")" = blank ] || fail "kind of swap"
[ "$(field content-digest "$records/$(name nova).json")" = \
	"$(field content-digest "$records/$n.json")" ] || fail "digest"
state "$(name nova)" adopted
expect 0 cache verify
[ "$(grep -c '^good ' out)" -eq 3 ] || fail "says $(cat out)"
flip "$base/$(name nova)" 3000000
expect 3 cache verify nova
who=$(name nova)
rot '1 blocks' '2097152 to 3145727'
who=$n
cp data.qcow2 "$base/$(name odd)"
expect 1 cache verify odd
one_line 'byre: cache verify: *: no record tells its format, and it looks like qcow2'
absent "$records/$(name odd).json"

# nothing of a file that is not whole
: >"$base/$(name nil)"
expect 1 cache verify nil
one_line 'byre: cache verify: *: is empty'
cp data.raw "$base/$(name nil)"
exec 7>>"$base/$(name nil)"
if expect_or_leaseless cache verify nil; then
	one_line 'byre: cache verify: *: another process is writing it'
	absent "$records/$(name nil).json"
fi
exec 7>&-
expect 0 cache verify nil

# anew SOURCE NAME: another file by that name, as others make them
anew() {
	cp --sparse=always "$1" "$base/$2.new"
	mv "$base/$2.new" "$base/$2"
}

# a blank base that was formatted anew is no rot, and then it may rot
truncate -s 3M other.swap
flip other.swap 1000
anew other.swap swap_3
expect 0 cache verify swap_3
[ "$(cat out)" = "adopted swap_3" ] || fail "says $(cat out)"
expect 0 cache verify swap_3
silent
flip "$base/swap_3" 2000
expect 3 cache verify swap_3
# an image made anew has the same content, maybe with other zeros at its end
cp data.raw longer.raw
truncate -s 12582912 longer.raw
truncate -s +1536 longer.raw
anew longer.raw "$n"
expect 0 cache verify img
[ "$(cat out)" = "good    $n" ] || fail "says $(cat out)"
[ "$(field virtual-size "$records/$n.json")" -eq 12584448 ] || fail "size"
expect 0 cache spawn img "$inst/uuid2/disk"
cp data.raw other.raw
flip other.raw 8500000
truncate -s 13M other.raw
anew other.raw "$n"
expect 3 cache verify img
rot '1 blocks' '8388608 to 9437183'
[ "$(field file-size "$records/$n.json")" -eq 12584448 ] || fail "forgotten"
expect 4 cache verify img --repair --from longer.raw
same "$b" longer.raw
# and one that rotted and was made anew is built on
flip "$b" 5
expect 3 cache verify img
expect 1 cache spawn img "$inst/uuid3/disk"
anew data.raw "$n"
expect 0 cache spawn img "$inst/uuid3/disk"
[ "$(field virtual-size "$records/$n.json")" -eq 12582912 ] || fail "size"
[ "$(field rotten "$records/$n.json")" -eq 0 ] || fail "rotten still"

# a qcow2 that was kept: its data, its header
fresh
"$byre" convert -O qcow2 data.raw plain.qcow2 || exit 99
cache ensure kept --from plain.qcow2 --keep-qcow2 -q || exit 99
k=$base/$(name kept)
who=$(name kept)
expect 0 cache verify kept
at=$("$byre" map --output json "$k" |
	sed -n 's/.*"start": 0,.*"offset": \([0-9]*\).*/\1/p')
flip "$k" $((at + 2000000))
expect 3 cache verify kept
rot '1 blocks' '1048576 to 2097151'
expect 3 cache verify kept --repair --from data.raw
one_line 'byre: cache verify: data.raw: makes a base that is raw, *'
expect 4 cache verify kept --repair --from plain.qcow2
same "$k" plain.qcow2 "kept, repaired"
dd if=/dev/zero of="$k" bs=1 count=8 conv=notrunc 2>/dev/null
expect 3 cache verify kept
expect 4 cache verify kept --repair --from data.qcow2
expect 0 cache verify kept
who=$n

# zeros that are on the disk are read, and count
fresh
dd if=/dev/zero of="$base/swap_12" bs=1M count=12 2>/dev/null
"$byre" cache verify swap_12 --instances "$inst" --rate 20k -m 1 \
	--progress-fd 3 3>progress >out 2>err &
pid=$!
i=0
while ! grep -qs '"done":[1-9]' progress && [ $i -lt 600 ]; do
	i=$((i + 1))
	sleep 0.05
done
kill -TERM $pid
wait $pid
[ $? -eq 143 ] || fail "it was read at once: $(cat out err)"

# stopped, and taken up where it was
# (the rate would last for minutes: the first read of idle I/O may wait)
fresh
"$byre" cache verify --instances "$inst" --rate 20k -m 1 --progress-fd 3 \
	3>progress >out 2>err &
pid=$!
i=0
while ! grep -qs '"done":[1-9]' progress && [ $i -lt 600 ]; do
	i=$((i + 1))
	sleep 0.05
done
kill -TERM $pid
wait $pid
[ $? -eq 143 ] || fail "the signal did not end it: $(cat err)"
at=$(field verify-at "$records/$n.json")
[ "$at" -gt 0 ] || fail "no place to go on from"
expect 0 cache list --json
[ "$(field verify-at out)" = "$at" ] || fail "list: $(cat out)"
# from the page cache it is not taken up, nor does that count
expect 0 cache verify --json --cached
[ "$(field from out)" -eq 0 ] || fail "--cached goes on"
flip "$b" 5
flip "$b" 8500000
expect 3 cache verify --json
[ "$(field from out)" -eq "$at" ] || fail "goes on from $(field from out)"
[ "$(field rotten-blocks out)" -eq 1 ] || fail "$(cat out)"
expect 3 cache verify
rot '2 blocks' '0 to 1048575' '8388608 to 9437183'

# repaired, with a guest on the rotten one
fresh
cache pin img
sed -i 's/"created": [0-9]*/"created": 1000000000/' "$records/$n.json"
mkdir "$inst/uuid"
cache spawn img "$inst/uuid/disk" -q || exit 99
flip "$b" 100
cp "$b" rotten.raw
inode=$(stat -c %i "$b")
sleep 60 <"$b" &
pid=$!
make_raw other.raw
flip other.raw 5000000
expect 3 cache verify img --repair --from other.raw
one_line 'byre: cache verify: other.raw: its content is not the one that *'
same "$b" rotten.raw
cp data.raw longer.raw
truncate -s 16M longer.raw
expect 3 cache verify img --repair --from longer.raw
one_line 'byre: cache verify: longer.raw: makes a base of 16777216 bytes, *'
same "$b" rotten.raw
expect 3 cache verify img --repair
one_line 'byre: cache verify: *: is used by *uuid/disk'
same "$b" rotten.raw
staged
[ "$(stat -c %i "$b")" = "$inode" ] || fail "replaced"
[ -z "$(ls "$base/.byre/quarantine")" ] || fail "in quarantine"
sum=$(sha256sum <data.qcow2 | cut -d ' ' -f 1)
expect 4 cache verify img --repair --from data.qcow2 --log text
grep -q "^byre: cache: replaced $n (img)" err || fail "$(cat err)"
same "$b" data.raw "repaired"
staged
q=$base/.byre/quarantine/$(ls "$base/.byre/quarantine")
[ "$(stat -c %i "$q")" = "$inode" ] || fail "what was there is gone"
same "$q" rotten.raw
expect 0 cache verify
[ "$(field pinned "$records/$n.json")" = true ] || fail "the pin is gone"
[ "$(field image-id "$records/$n.json")" = img ] || fail "the id is gone"
[ "$(field created "$records/$n.json")" = 1000000000 ] || fail "since when?"
kill $pid
wait $pid 2>/dev/null
if [ -x "$top_builddir/byre-fetch" ]; then
	flip "$b" 100
	expect 4 cache verify img --repair --from data.qcow2 \
		--expect "sha256:$sum"
	same "$b" data.raw "repaired, fetched"
fi
# and without a source: only what nobody misses
flip "$b" 100
rm -r "$inst/uuid"
sleep 60 <"$b" &
pid=$!
expect 3 cache verify --repair
one_line 'byre: cache verify: *: is open *'
kill $pid
wait $pid 2>/dev/null
printf '{"elsewhere": %s}' "$(date +%s)" >"$inst/compute_nodes"
expect 3 cache verify --repair
one_line 'byre: cache verify: *: may be used by host elsewhere*'
expect 4 cache verify --repair --host elsewhere --json
[ "$(field repair out)" = quarantined ] || fail "$(cat out)"
same "$base/.byre/quarantine/$(field quarantined-as out)" rotten.raw
absent "$b" "$records/$n.json" "$records/$n.leaves"
expect 0 cache verify
expect 0 cache ensure img --from data.raw -q
expect 0 cache verify
finish
