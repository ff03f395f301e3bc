#!/bin/sh
# SPDX-License-Identifier: MIT
# Every call of "cache ensure" fails or kills in turn: the base is whole or
# absent, staging holds what was killed at most, and the next one succeeds.
# Where the file system lacks a feature, the bytes are the same.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
make_sources
name=$(printf x | sha1sum | cut -d ' ' -f 1)
base=$w/i/_base/$name
mkdir "$w/i"

# forget: the base, its record and what was staged
forget() {
	rm -rf "$base" "$w/i/_base/.byre/records" "$w/i/_base/.byre/staging"
	mkdir -p "$w/i/_base/.byre/records" "$w/i/_base/.byre/staging"
}

staged() {
	ls -A "$w/i/_base/.byre/staging" 2>/dev/null
}

# judge RULE: what the last run left
judge() {
	if [ -e "$base" ]; then
		cmp -s "$base" "$dir/want" || fail "$1: exit $rc, other bytes"
	fi
	case $rc in
	0)
		[ -e "$base" ] || fail "$1: exit 0 and no base"
		# a record may be missing, but not without a word
		[ -s "$dir/err" ] || [ -s "$w/i/_base/.byre/records/$name.json" ] ||
			fail "$1: no record, and nothing is said"
		;;
	1) one_line "$1" ;;
	*) by_signal "$1" ;;
	esac
	case $1:$rc in
	unlink:* | *:13[07] | *:143) ;;
	*) [ -z "$(staged)" ] || fail "$1: exit $rc, staged: $(staged)" ;;
	esac
}

# try RULE ARGS...
try() {
	rule=$1
	shift
	forget
	shim FAIL="$rule" -- "$byre" cache ensure --instances i x "$@"
	judge "$rule"
	shim FAIL= -- "$byre" cache ensure --instances i x "$@"
	[ $rc -eq 0 ] || fail "after $rule: exit $rc"
	cmp -s "$base" "$dir/want" || fail "after $rule: other bytes"
	# nothing is built on a qcow2 that has none
	case $* in
	*--keep-qcow2*) [ -s "$w/i/_base/.byre/records/$name.json" ] ||
		fail "after $rule: no record" ;;
	esac
}

# sweep_ensure ARGS...
sweep_ensure() {
	forget
	shim FAIL= -- "$byre" cache ensure --instances i x "$@"
	[ $rc -eq 0 ] || fail "without faults: exit $rc: $*"
	[ -s "$dir/err" ] && fail "without faults: speaks: $*"
	cp "$base" "$dir/want"
	every_fault try "$@"
	echo "$runs runs: $*"
}

# a qcow2 that is empty when it is looked at must not be raw then
on_read="EIO eof"
sweep_ensure --from src.raw
sweep_ensure --from src.qcow2
sweep_ensure --from src.qcow2 --keep-qcow2
[ -z "$long" ] || sweep_ensure --from src.qcow2 --kernel

for deny in nfs link otmpfile ficlone,copy fallocate seek io_uring direct \
	link,ficlone,copy,fallocate,seek; do
	for how in "" --keep-qcow2; do
		forget
		shim FAIL= -- "$byre" cache ensure --instances i x \
			--from src.qcow2 $how
		[ $rc -eq 0 ] || fail "exit $rc"
		cp "$base" "$dir/want"
		forget
		shim DENY=$deny -- "$byre" cache ensure --instances i x \
			--from src.qcow2 $how
		[ $rc -eq 0 ] || fail "without $deny: exit $rc"
		cmp -s "$base" "$dir/want" || fail "without $deny: other bytes"
		[ -z "$(staged)" ] || fail "without $deny: staged: $(staged)"
	done
done

# A base whose maker died before its record may not have its name on disk yet.
rm -f "$w/i/_base/.byre/records/$name".*
shim FAIL= -- "$byre" cache ensure --instances i x --from src.qcow2
awk '$1 == "sync" { print $2 }' "$dir/log" | grep -q '_base$' ||
	fail "the name of a base that was found is not flushed"

# the answer to the link got lost on its way
forget
shim DENY=nfs FAIL=link:1:lost -- "$byre" cache ensure --instances i x \
	--from src.qcow2 --log json
[ $rc -eq 0 ] || fail "its own link: exit $rc"
grep -q '"event": "added"' "$dir/err" || fail "its own link: taken for another"

# The way of a base: its data, a flush, the name, a flush of the directory;
# and of the two files of its record: data, a flush, the name; then a flush of
# both names.
forget
shim FAIL= -- "$byre" cache ensure --instances i x --from src.qcow2
steps=$(awk '$5 >= 0 && $1 ~ /^(write|sync|link|rename)$/ {
	s = $1 ($1 == "sync" && $2 !~ /staging/ ? "-dir" : "")
	if (s != last)
		print s
	last = s
}' "$dir/log" | tr '\n' ' ')
[ "$steps" = "write sync link sync-dir write sync rename write sync rename \
sync-dir " ] || fail "the steps are: $steps"
exit 0
