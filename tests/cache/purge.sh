#!/bin/sh
# SPDX-License-Identifier: MIT
# purge: all of an image's bases or none, and nothing that is used.
. "${top_srcdir:-.}/tests/cache/lib.sh"

make_raw data.raw
n=$(name img)
b=$base/$n

# fresh: a base, a sized copy, what Nova left, an overlay on nothing yet
fresh() {
	rm -rf "$inst"
	mkdir "$inst"
	cache ensure img --from data.raw -q || exit 99
	cache ensure other --from data.raw -q || exit 99
	cp data.raw "$b"_20
	: >"$b.part"
	: >"$b.converted"
	: >"$b.info"
	mkdir "$inst/uuid-1"
}

# stays PATTERN ARGS...: refused, with everything where it was
stays() {
	pattern=$1
	shift
	before=$(ls -lA "$base" "$base/.byre/records")
	expect 1 cache purge img "$@"
	one_line "byre: cache purge: $pattern"
	[ "$(ls -lA "$base" "$base/.byre/records")" = "$before" ] ||
		fail "something went: $(ls -lA "$base")"
}

fresh
ln -s data.raw "$b"_21
expect 0 cache purge img --log json
[ "$(grep -c '"event": "removed"' err)" -eq 5 ] || fail "log: $(cat err)"
case $(cat out) in
"removed 5 files, "*) ;;
*) fail "says $(cat out)" ;;
esac
absent "$b" "${b}_20" "$b.part" "$b.converted" "$b.info" \
	"$base/.byre/records/$n.json" "$base/.byre/records/$n.leaves"
[ -L "${b}_21" ] || fail "a planted link went"
[ -s "$base/$(name other)" ] || fail "another image's base went"
[ -e "$inst/locks/nova-$n" ] || fail "a lock file went"
expect 1 cache purge nothing
one_line 'byre: cache purge: *: there is no base of that image: *'
expect 2 cache purge
expect 2 cache purge a b

# used, by the one or the other, of any kind of disk
for disk in disk disk.rescue; do
	for used in "$b" "${b}_20"; do
		fresh
		"$byre" create -f qcow2 -u -b "$used" -F raw \
			"$inst/uuid-1/$disk" 20M -q || exit 99
		stays "*: is used by *$disk"
	done
done
rm "$inst/uuid-1/disk.rescue"
expect 0 cache purge img -q
silent
absent "$b" "${b}_20"

# open in another process
fresh
sleep 60 <"$b" &
pid=$!
stays "*: is open *"
kill $pid
wait $pid 2>/dev/null
expect 0 cache purge img -q

# a host that shares the storage may use it unseen
fresh
printf '{"elsewhere": %s.5}' "$(date +%s)" >"$inst/compute_nodes"
stays "*: may be used by host elsewhere*"
expect 0 cache purge img -q --host elsewhere
absent "$b"

# one works under a lock file that Nova removed
fresh
: >>"$inst/locks/nova-$n"
sleep 60 >>"$inst/locks/nova-$n" &
pid=$!
while [ ! "/proc/$pid/fd/1" -ef "$inst/locks/nova-$n" ]; do sleep 0.02; done
rm "$inst/locks/nova-$n"
stays "*: has a lock file that was removed and is open in *"
kill $pid
wait $pid 2>/dev/null
expect 0 cache purge img -q

# a disk that cannot be read may use anything, unless somebody knows better
fresh
"$byre" create -f qcow2 -u -b "$b" -F raw "$inst/uuid-1/disk" 20M || exit 99
chmod 0 "$inst/uuid-1/disk"
if ! cat "$inst/uuid-1/disk" >/dev/null 2>&1; then
	stays "*: may be used by a disk that cannot be read: *disk"
	expect 0 cache purge img -q --ignore-disk "$inst/uuid-1/disk"
	absent "$b"
fi
finish
