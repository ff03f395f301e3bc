#!/bin/sh
# SPDX-License-Identifier: MIT
# What clean removes, what it keeps, what it touches, and what it says.
. "${top_srcdir:-.}/tests/cache/lib.sh"

make_raw data.raw
host=$(uname -n)

# base ID AGE: a base that was not used for AGE ("2 days")
base() {
	cache ensure "$1" --from data.raw -q || exit 99
	touch -d "${2:-0 minutes} ago" "$inst/_base/$(name "$1")"
}

# overlay INSTANCE/DISK BACKING
overlay() {
	mkdir -p "$inst/$(dirname "$1")"
	rm -f "$inst/$1"
	"$byre" create -q -f qcow2 -u -b "$2" -F raw "$inst/$1" 12M || exit 99
}

# clean ARGS...: runs it
clean() {
	expect 0 cache clean "$@"
}

here() {
	for id; do
		[ -e "$inst/_base/$(name "$id")" ] || fail "$id is gone"
	done
}

gone() {
	for id; do
		absent "$inst/_base/$(name "$id")" \
			"$inst/_base/.byre/records/$(name "$id").json" \
			"$inst/_base/.byre/records/$(name "$id").leaves"
	done
}

# age of a base in seconds
idle() {
	echo $(($(date +%s) - $(stat -c %Y "$inst/_base/$(name "$1")")))
}

# ages: a day; a sized copy an hour
base old '25 hours'
base young '23 hours'
cp data.raw "$inst/_base/$(name old)_20"
touch -d '2 hours ago' "$inst/_base/$(name old)_20"
cp data.raw "$inst/_base/$(name young)_20"
touch -d '50 minutes ago' "$inst/_base/$(name young)_20"
before=$(cd "$inst" && find . -printf '%p %s %T@ %C@\n' | sort)
clean --dry-run
after=$(cd "$inst" && find . -printf '%p %s %T@ %C@\n' | sort)
[ "$before" = "$after" ] || fail "--dry-run changed something"
grep -q "^remove $(name old): not used for" out || fail "no plan: $(cat out)"
grep -q "^keep   $(name young): not used for" out || fail "no plan: $(cat out)"
grep -q "^would remove 2 files" out || fail "no sum: $(cat out)"
clean
gone old
here young
absent "$inst/_base/$(name old)_20"
[ -e "$inst/_base/$(name young)_20" ] || fail "a young copy went"
grep -q "^removed 2 files" out || fail "no sum: $(cat out)"
clean --min-age 22h --min-age-resized 3601s
gone young
[ -e "$inst/_base/$(name young)_20" ] || fail "--min-age-resized"
clean --min-age-resized 30m
absent "$inst/_base/$(name young)_20"

# every disk of an instance counts, by name, path and inode, at any depth
i=0
for disk in disk disk.local disk.swap disk.rescue disk.eph0 disk.config; do
	base "used$i" '3 days'
	overlay "inst-$i/$disk" "$inst/_base/$(name "used$i")"
	i=$((i + 1))
done
base resized '3 days'
overlay "inst-0_resize/disk" "../_base/$(name resized)"
base moved '3 days'
overlay "inst-7/disk" "/old/instances/_base/$(name moved)"
base linked '3 days'
ln "$inst/_base/$(name linked)" "$inst/alias"
overlay "inst-8/disk" "$inst/alias"
base deep '3 days'
overlay "inst-9/below" "$inst/_base/$(name deep)"
overlay "inst-9/disk" below
base spare '3 days'
clean --json
gone spare
for id in used0 used1 used2 used3 used4 used5 resized moved linked deep; do
	here "$id"
	[ "$(idle "$id")" -lt 3600 ] || fail "$id is not touched"
done
[ "$(field removed out)" = 1 ] || fail "removed: $(field removed out)"
[ "$(field touched out)" = 10 ] || fail "touched: $(field touched out)"
# wherever it lies beneath an instance; what is not there may stand on a base
base nested '3 days'
overlay "snapshots/tmp1/x.delta" "$inst/_base/$(name nested)"
base missing '3 days'
overlay inst-10/disk /nowhere/mid.qcow2
clean
here nested missing
grep -q 'warning: /nowhere/mid.qcow2: is not there' err ||
	fail "not told: $(cat err)"
[ "$(idle nested)" -lt 3600 ] || fail "a nested disk's base is not touched"
touch -d '3 days ago' "$inst/_base/$(name nested)"
rm -r "$inst/snapshots"
clean --ignore-disk mid.qcow2
silent
gone nested missing
rm "$inst/alias"
for id in used0 used1 used2 used3 used4 used5 resized moved linked deep; do
	touch -d '3 days ago' "$inst/_base/$(name "$id")"
done
rm -r "$inst"/inst-*
# what is listed stays, its copies too; what is pinned as well
cp data.raw "$inst/_base/$(name used1)_5"
touch -d '3 days ago' "$inst/_base/$(name used1)_5"
cache pin used2 || fail "pin"
touch -d '3 days ago' "$inst/_base/$(name used2)"
clean --in-use used0 --in-use used1 --log json
here used0 used1 used2
[ -e "$inst/_base/$(name used1)_5" ] || fail "a listed image's copy went"
gone used3 used4 used5 resized moved linked deep
[ "$(grep -c '"event": "removed"' err)" -eq 7 ] || fail "log: $(cat err)"
[ "$(grep -c '"event": "touched"' err)" -eq 3 ] || fail "log: $(cat err)"
[ "$(idle used2)" -gt 3600 ] || fail "a pinned base is touched"
cache unpin used2
touch -d '3 days ago' "$inst/_base/$(name used2)"
clean
gone used2

# who has it open, or its lock
base open '3 days'
exec 7<"$inst/_base/$(name open)"
clean
here open
[ "$(idle open)" -lt 3600 ] || fail "an open base is not touched"
exec 7<&-
touch -d '3 days ago' "$inst/_base/$(name open)"
exec 7<"$inst/_base/$(name open)"
# (/proc of a name space of its own does not show it, a lease does)
if unshare -pf --mount-proc true 2>unshare.err &&
	[ "$(stat -f -c %T "$inst")" != nfs ]; then
	unshare -pf --mount-proc "$byre" cache clean --instances "$inst" \
		--log text >out 2>err || fail "in a name space: $(cat err)"
	here open
	[ "$(idle open)" -lt 3600 ] || fail "a base open elsewhere: no touch"
	grep -q "^byre: cache: touched $(name open)" err || fail "$(cat err)"
fi
exec 7<&-
touch -d '3 days ago' "$inst/_base/$(name open)"
if command -v python3 >/dev/null; then
	# as fasteners does: lockf on the whole of Nova's lock file
	mkfifo go
	python3 -c '
import fcntl, sys
f = open(sys.argv[1], "a")
fcntl.lockf(f, fcntl.LOCK_EX)
open(sys.argv[2], "w").close()
open(sys.argv[3]).read()' "$inst/locks/nova-$(name open)" locked go &
	while [ ! -e locked ]; do sleep 0.05; done
	clean --dry-run
	grep -q "^remove $(name open)" out || fail "no plan: $(cat out)"
	clean --budget 0
	here open
	grep -q 'bytes more are wanted' out || fail "lacking: $(cat out)"
	: >go
	wait $!
fi
clean
gone open
[ -e "$inst/locks/nova-$(name open)" ] || fail "a lock file was removed"

# Nova's manager removes lock files that somebody waits for, or works under
base astray '3 days'
lock=$inst/locks/nova-$(name astray)
: >>"$lock"
exec 7>>"$lock"
rm "$lock"
clean
here astray
clean --dry-run
grep -q "^remove $(name astray)" out || fail "no plan: $(cat out)"
[ -e "$lock" ] || fail "no lock file is left"
exec 7<&-
# and one that is removed while we hold it
if strace -o trace true 2>/dev/null; then
	ASAN_OPTIONS=detect_leaks=0 \
	strace -f -o trace -e trace=renameat,renameat2 \
		-e inject=renameat,renameat2:delay_enter=700000 \
		"$byre" cache clean --instances "$inst" >out 2>err &
	pid=$!
	n=$(stat -c %i "$lock")
	while kill -0 $pid 2>/dev/null &&
		! grep -q "OFDLCK .*:$n " /proc/locks; do
		sleep 0.02
	done
	rm "$lock"
	wait $pid || fail "clean under strace: $(cat err)"
	here astray
	same data.raw "$inst/_base/$(name astray)"
	staged
fi
touch -d '3 days ago' "$inst/_base/$(name astray)"
clean
gone astray

# a disk that cannot be read keeps what was there when it was changed last
base dark '3 days'
mkdir "$inst/i1"
printf 'QFI\373\0\0\0\3' >"$inst/i1/disk"
clean
here dark
grep -q 'warning: .*i1/disk: its qcow2 header is cut off' err ||
	fail "not told: $(cat err)"
clean --json
grep -q '"path": ".*/i1/disk"' out || fail "not told: $(cat out)"
clean --ignore-disk "$inst/i1/disk"
silent
gone dark
# (births are not told by every file system)
if [ "$(stat -c %W data.raw)" -gt 0 ]; then
	base later '3 days'
	touch -d '5 days ago' "$inst/i1/disk"
	clean
	here later # its inode changed just now
fi
rm -r "$inst/i1"
clean

# a host that shares the storage
base shared '3 days'
printf '{"%s": %s.5, "other": %s.25}' "$host" "$(date +%s)" \
	"$(($(date +%s) - 3600))" >"$inst/compute_nodes"
clean
here shared
clean --json
[ "$(field shared-with out)" = other ] || fail "shared: $(cat out)"
clean
grep -q '^host other shares the storage' out || fail "shared: $(cat out)"
clean --unused shared --dry-run
grep -q "^remove $(name shared)" out || fail "--unused: $(cat out)"
clean --host other
gone shared
base shared '3 days'
printf '{"%s": %s.5, "other": %s.25}' "$host" "$(date +%s)" \
	"$(($(date +%s) - 90000))" >"$inst/compute_nodes"
clean
gone shared
base shared '3 days'
echo '{"other' >"$inst/compute_nodes"
clean
here shared
# (that is what Nova leaves while it writes)
: >"$inst/compute_nodes"
clean
here shared
rm "$inst/compute_nodes"
clean
gone shared

# what Nova and others left
part=$inst/_base/$(name left).part
cp data.raw "$part"
cp data.raw "$inst/_base/$(name left).converted"
cp data.raw "$inst/_base/$(name new).part"
cp data.raw "$inst/_base/something"
cp data.raw "$inst/_base/$(name left).info"
mkdir "$inst/_base/$(name dir)"
ln -s "$dir/data.raw" "$inst/_base/$(name link)"
nl=$(printf 'a\nb')
cp data.raw "$inst/_base/$nl"
touch -h -d '2 days ago' "$inst"/_base/* "$inst/_base/$nl"
touch "$inst/_base/$(name new).part"
exec 7<"$part"
clean
[ -e "$part" ] || fail "an open .part went"
absent "$inst/_base/$(name left).converted"
exec 7<&-
clean
absent "$part"
for f in "$(name new).part" something "$(name left).info" "$(name dir)" \
	"$(name link)" "$nl"; do
	[ -e "$inst/_base/$f" ] || fail "$f went"
done
same data.raw "$inst/_base/something"
clean --dry-run
grep -q '^keep   a\\x0ab: no name of the cache' out || fail "$(cat out)"
rm -r "$inst/_base/$(name dir)" "$inst/_base/$(name link)" "$inst/_base/$nl" \
	"$inst/_base/something" "$inst/_base/$(name new).part" \
	"$inst/_base/$(name left).info"

# staged by nobody alive; the record of a base that is gone
# (and one staged that had got its name already, with a guest on it)
echo x >"$inst/_base/.byre/staging/somebody-0"
mkdir "$inst/i2"
for f in .disk.byre-0123abcd .disk.info.byre; do
	cp data.raw "$inst/i2/$f"
	touch -d '2 days ago' "$inst/i2/$f"
done
cp data.raw "$inst/i2/.disk.byre-0123abcx"
exec 7<"$inst/i2/.disk.info.byre"
base lost
rm "$inst/_base/$(name lost)"
base named
ln "$inst/_base/$(name named)" "$inst/_base/.byre/staging/named-1"
if command -v python3 >/dev/null; then
	python3 -c '
import fcntl, sys
f = open(sys.argv[1])
fcntl.lockf(f, fcntl.LOCK_SH, 1, 100)
open(sys.argv[2], "w").close()
sys.stdin.read()' "$inst/_base/$(name named)" running <go &
	pid=$!
	exec 8>go
	while [ ! -e running ]; do sleep 0.05; done
fi
clean --json
[ "$(field removed-staging out)" = 3 ] || fail "staging: $(cat out)"
[ "$(field removed-records out)" = 1 ] || fail "records: $(cat out)"
gone lost
here named
exec 8>&-
wait
rm "$inst/_base/$(name named)"
staged
absent "$inst/i2/.disk.byre-0123abcd"
[ -e "$inst/i2/.disk.info.byre" ] || fail "an open one went"
[ -e "$inst/i2/.disk.byre-0123abcx" ] || fail "somebody's file went"
exec 7<&-
clean
absent "$inst/i2/.disk.info.byre"

# what was rotten long ago, unless somebody runs on it
q=$inst/_base/.byre/quarantine
now=$(date +%s)
for at in $((now - 31 * 86400)) $((now - 29 * 86400)) $((now + 100)); do
	cp data.raw "$q/$(name rot).$at.0123abcd"
done
old=$q/$(name rot).$((now - 31 * 86400)).0123abcd
cp data.raw "$q/kept.by.somebody"
exec 7<"$old"
clean
[ -e "$old" ] || fail "an open one went"
exec 7<&-
clean --min-age never
[ -e "$old" ] || fail "it went although nothing is to go"
clean --log text --json
if [ -e "$old" ]; then
	echo "no leases here: quarantine is not emptied"
else
	grep -q "removed $(name rot).*: rotten, long ago" err ||
		fail "not told: $(cat err)"
	[ "$(field removed-quarantined out)" = 1 ] || fail "$(cat out)"
fi
rm -f "$old"
[ "$(ls "$q" | wc -l)" -eq 3 ] || fail "quarantine holds $(ls "$q")"
rm "$q"/*

# budget and watermarks: the longest unused first, and ages do not matter
for n in 1 2 3 4; do
	base "b$n" "$((10 - n)) minutes"
done
one=$(($(stat -c %b "$inst/_base/$(name b1)") * 512))
cache pin b1
touch -d '9 minutes ago' "$inst/_base/$(name b1)"
clean --budget $((3 * one + one / 2))
gone b2
here b1 b3 b4
clean --budget 0 --min-age never
gone b3 b4
here b1
grep -q 'bytes more are wanted' out || fail "lacking: $(cat out)"
cache unpin b1
touch -d '9 minutes ago' "$inst/_base/$(name b1)"
clean --low 1 --high 100
here b1

# what was touched since the search began is in use, budget or not
touch -d '1 hour' "$inst/_base/$(name b1)"
clean --budget 0 --min-age 0
here b1
touch -d '1 minute ago' "$inst/_base/$(name b1)"
clean --min-age 0
gone b1

# the command line
expect 2 cache clean x
expect 2 cache clean --min-age
expect 2 cache clean --min-age 1y
expect 2 cache clean --min-age -1
expect 2 cache clean --low 10
expect 2 cache clean --low 90 --high 80
expect 2 cache clean --high 101 --low 5
expect 2 cache clean --budget x
expect 1 "$byre" cache clean --instances "$dir/nosuch"
# a dry run needs no more than a directory
mkdir -p bare/_base
expect 0 "$byre" cache clean --dry-run --instances bare
[ -z "$(ls -A bare/_base)" ] || fail "a dry run made something"
finish
