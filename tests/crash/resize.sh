#!/bin/sh
# SPDX-License-Identifier: MIT
# Every call of resize fails or kills in turn, and power is lost between any
# two barriers: the image stays an image with the guest's bytes, of the old or
# the new size. Genuine qemu-img judges.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
have qemu-img && have qemu-io || skip "qemu-utils are not installed"

# sound RULE FILE: leaks at most, and the guest's bytes.
sound() {
	qemu-img check -q -f qcow2 "$2" >"$dir/check" 2>&1
	s=$?
	[ $s -eq 0 ] || [ $s -eq 3 ] || {
		sed 's/^/  check: /' "$dir/check"
		fail "$1: qemu-img check: $s"
	}
	qemu-img compare -q -f qcow2 -F qcow2 "$2" "$dir/old" \
		>"$dir/check" 2>&1 || {
		sed 's/^/  compare: /' "$dir/check"
		fail "$1: other content"
	}
}

# The image that is resized: 512-byte clusters, so that tables are many.
make_old() {
	qemu-img create -q -f qcow2 -o "$1" "$dir/old" "$2" &&
		qemu-io -f qcow2 -c 'write -P 1 0 64k' \
			-c 'write -P 2 900k 4k' "$dir/old" >/dev/null ||
		fail "cannot make the image"
}

after_failure() {
	[ "$old_format" = raw ] || sound "$1" "$w/t"
}

# lose COMMAND: what power may leave of it.
lose() {
	cp "$dir/old" "$w/t"
	rm -f "$dir/trace"
	shim TRACE="$dir/trace" TRACED=t -- "$@"
	[ $rc -eq 0 ] || fail "traced: exit $rc"
	barriers=$(grep -c '^sync t ' "$dir/log")
	seeds=6
	[ -n "$long" ] && seeds=100
	for k in $(seq 0 "$barriers"); do
		for seed in $(seq 1 $seeds); do
			cp "$dir/old" "$dir/left"
			"$replay" "$dir/trace" "$dir/left" "$k" "$seed"
			case $? in
			0) sound "power lost after barrier $k, $seed" \
				"$dir/left" ;;
			3) break ;;
			*) fail "replay" ;;
			esac
		done
	done
	rm -f "$w/t"
	echo "$barriers barriers: $*"
}

s_eof= # the image itself is what is read here
old_format=qcow2
make_old cluster_size=512 1M
sweep old -- "$byre" resize -f qcow2 t 1100K
lose "$byre" resize -f qcow2 t 1100K
# the L1 table has to move
sweep old -- "$byre" resize -f qcow2 t 64M
lose "$byre" resize -f qcow2 t 64M
if [ -n "$long" ]; then
	# so has the refcount table
	lose "$byre" resize -f qcow2 t 2G
	make_old cluster_size=65536 1M
	lose "$byre" resize -f qcow2 t 2T
fi

old_format=raw
seq 1 40000 | head -c 200000 >"$dir/old"
truncate -s 200192 "$dir/old"
sweep old -- "$byre" resize -f raw t 1M
sweep old -- "$byre" resize -f raw --shrink t 100K
