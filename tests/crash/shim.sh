#!/bin/sh
# SPDX-License-Identifier: MIT
# The shim itself, with the smallest program that publishes a file: each
# fault is felt, each refused feature has a way around it that gives the same
# bytes, and whatever fails leaves the directory empty.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
probe=$top_builddir/tests/crash/probe
size=100000

ring=
shim FAIL= -- "$probe" -r t 1
[ $rc -eq 0 ] && grep -q '^ringwrite ' "$dir/log" && ring=-r
[ -n "$ring" ] || echo "no io_uring here: without it"
rm -f "$w/t"

shim FAIL= -- "$probe" t $size
[ $rc -eq 0 ] || fail "plain run: $rc"
[ "$(count write)" -eq 1 ] && [ "$(count link)" -eq 1 ] &&
	[ "$(count sync)" -eq 2 ] || fail "counts: $(cat "$dir/count")"
# the data, its flush, the name, the directory's flush: in this order
order=$(awk '{ print $1 }' "$dir/log" | grep -E '^(write|sync|link)$' |
	tr '\n' ' ')
[ "$order" = "write sync link sync " ] || fail "order: $order"
mv "$w/t" "$dir/want"

for r in "" $ring; do
	for deny in otmpfile linktmp otmpfile,link fallocate io_uring \
		otmpfile,fallocate,copy,ficlone,io_uring linktmp,copy,seek; do
		[ -n "$r" ] && case $deny in *io_uring*) continue ;; esac
		shim DENY=$deny -- "$probe" $r t $size
		[ $rc -eq 0 ] || fail "without $deny: $rc"
		cmp "$w/t" "$dir/want" || fail "without $deny: other bytes"
		[ "$(entries)" = "./t " ] || fail "without $deny: $(entries)"
		rm -f "$w/t"
	done
done
if [ -n "$ring" ]; then
	shim DENY=io_uring -- "$probe" -r t $size
	[ $rc -eq 1 ] || fail "a ring that is denied: $rc"
fi

# attempt RULE WANT [VAR]: WANT is fail, pass or signal.
attempt() {
	shim FAIL=$1 ${3:+"$3"} -- "$probe" $r t $size
	case $2 in
	fail)
		[ $rc -eq 1 ] || fail "$1 ($r): exit $rc"
		one_line "$1"
		[ -z "$(entries)" ] || fail "$1 ($r) left: $(entries)"
		;;
	pass)
		[ $rc -eq 0 ] || fail "$1 ($r): exit $rc"
		cmp "$w/t" "$dir/want" || fail "$1 ($r): other bytes"
		rm "$w/t"
		;;
	signal)
		[ $rc -gt 128 ] || fail "$1 ($r): exit $rc"
		[ -z "$(entries)" ] || fail "$1 ($r) left: $(entries)"
		;;
	esac
}

for r in "" $ring; do
	wr="write"
	[ -n "$r" ] && wr=ringwrite
	for rule in $wr:1:EIO $wr:1:ENOSPC sync:1:EIO sync:2:EIO link:1:EIO \
		link:1:ENOSPC ftruncate:1:EIO open:1:EIO open:2:EACCES; do
		attempt $rule fail
		attempt $rule fail DENY=otmpfile
	done
	for rule in $wr:1:short sync:3:EIO open:1:EACCES; do
		attempt $rule pass
		attempt $rule pass DENY=otmpfile
	done
	attempt $wr:1:kill signal
	attempt sync:1:kill signal
	attempt link:1:kill signal
done
r=
attempt malloc:1+:ENOMEM fail
attempt write:1:EINTR pass
attempt unlink:1:EIO pass # of a name that is one too many
echo "the shim fails, refuses and records as asked"
