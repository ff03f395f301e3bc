#!/bin/sh
# SPDX-License-Identifier: MIT
# Every call of "cache spawn" and "cache clean" fails or kills in turn: a disk
# is whole and noted, or absent; a base in use stays; the next run succeeds.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
make_sources
name=$(printf x | sha1sum | cut -d ' ' -f 1)
base=$w/i/_base/$name
mkdir "$w/i"
(cd "$w" && "$byre" cache ensure --instances i x --from src.raw -q) ||
	fail "cannot make a base"

# forget: the instance, and what was made for it
forget() {
	rm -rf "$w/i/a" "${base}_1" "$w/i/_base/.byre/records/${name}_1".* \
		"$w/i/_base/.byre/staging"
	mkdir -p "$w/i/_base/.byre/staging"
}

staged() {
	ls -A "$w/i/_base/.byre/staging"
}

# judge RULE: what the last run left
judge() {
	if [ -e "$w/i/a/disk" ]; then
		cmp -s "$w/i/a/disk" "$dir/want" ||
			fail "$1: exit $rc, other bytes"
		grep -q '/i/a/disk": ' "$w/i/a/disk.info" ||
			fail "$1: exit $rc, no note"
	fi
	[ ! -e "${base}_1" ] || [ "$(stat -c %s "${base}_1")" = 1073741824 ] ||
		fail "$1: exit $rc, a partial base"
	case $rc in
	0) [ -e "$w/i/a/disk" ] || fail "$1: exit 0 and no disk" ;;
	1)
		one_line "$1"
		# what is to be taken back may fail as well
		case $1 in
		unlink:* | open:* | any:* | *:ENOMEM) ;;
		*) [ ! -e "$w/i/a" ] || fail "$1: exit 1, left $(ls -A "$w/i/a")" ;;
		esac
		;;
	*) by_signal "$1" ;;
	esac
	case $1:$rc in
	sync:*:0)
		grep -q 'warning: no record: ' "$dir/err" ||
			fail "$1: a flush failed, and nobody says so"
		;;
	unlink:* | *:13[07] | *:143) ;;
	*) [ -z "$(staged)" ] || fail "$1: exit $rc, staged: $(staged)" ;;
	esac
}

# try RULE ARGS...
try() {
	rule=$1
	shift
	forget
	shim FAIL="$rule" -- "$byre" cache spawn --instances i x i/a/disk "$@"
	judge "$rule"
	rm -f "$w/i/a/disk"
	shim FAIL= -- "$byre" cache spawn --instances i x i/a/disk "$@"
	[ $rc -eq 0 ] || fail "after $rule: exit $rc"
	cmp -s "$w/i/a/disk" "$dir/want" || fail "after $rule: other bytes"
}

# sweep_spawn ARGS...
sweep_spawn() {
	forget
	shim FAIL= -- "$byre" cache spawn --instances i x i/a/disk "$@"
	[ $rc -eq 0 ] || fail "without faults: exit $rc: $*"
	[ -s "$dir/err" ] && fail "without faults: speaks: $*"
	cp "$w/i/a/disk" "$dir/want"
	every_fault try "$@"
	echo "$runs runs: spawn $*"
}

sweep_spawn --size 1G
sweep_spawn --flat --size 6M
sweep_spawn --sized-base --size 1G
cmp -s -n 4194816 "$base" "${base}_1" || fail "the copy has other bytes"

for deny in nfs link otmpfile ficlone,copy fallocate seek io_uring \
	link,otmpfile,ficlone,copy,fallocate,seek; do
	for how in --flat "--sized-base --size 1G" "--size 1G"; do
		forget
		shim FAIL= -- "$byre" cache spawn --instances i x i/a/disk $how
		[ $rc -eq 0 ] || fail "exit $rc"
		mv "$w/i/a/disk" "$dir/want"
		forget
		shim DENY=$deny -- "$byre" cache spawn --instances i x \
			i/a/disk $how
		[ $rc -eq 0 ] || fail "without $deny: exit $rc"
		cmp -s "$w/i/a/disk" "$dir/want" ||
			fail "without $deny: other bytes: $how"
		[ "$(ls -A "$w/i/a" | tr '\n' ' ')" = "disk disk.info " ] ||
			fail "without $deny: left $(ls -A "$w/i/a")"
	done
done

# ---- clean ----

old=$w/i/_base/$(printf old | sha1sum | cut -d ' ' -f 1)

# as it was: a base in use and one that is not, both unused for a long time
again() {
	[ -e "$old" ] || (cd "$w" && "$byre" cache ensure --instances i old \
		--from src.raw -q) || fail "cannot make a base"
	touch -d '3 days ago' "$old" "$base"
}

forget
(cd "$w" && "$byre" cache spawn --instances i x i/a/disk) || fail "no disk"
again
shim FAIL= -- "$byre" cache clean --instances i -q
[ $rc -eq 0 ] || fail "clean without faults: exit $rc"
[ ! -e "$old" ] || fail "clean without faults: nothing went"

# try_clean RULE
try_clean() {
	again
	shim FAIL="$1" -- "$byre" cache clean --instances i -q
	[ -e "$base" ] || fail "$1: exit $rc, in use and gone"
	case $rc in
	0 | 1) ;;
	*) by_signal "$1" ;;
	esac
	shim FAIL= -- "$byre" cache clean --instances i -q
	[ $rc -eq 0 ] || fail "after $1: exit $rc"
	[ -e "$base" ] || fail "after $1: in use and gone"
	[ ! -e "$old" ] || fail "after $1: still there"
	[ -z "$(staged)" ] || fail "after $1: $(staged)"
}

every_fault try_clean
echo "$runs runs: clean"
exit 0
