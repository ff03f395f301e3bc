#!/bin/sh
# SPDX-License-Identifier: MIT
# Builds every golden image and asks byre what it makes of it: inspect, inspect
# --deep, info, convert (safe and trusted), and the qemu-img front (plain and
# lenient). Asserted are verdict, reason, exit code, one line of stderr, no
# target left behind, guest bytes, and bounds on time and memory. Where the
# genuine qemu-img is installed the recipes' own claims are checked against
# it. The language of expectations is in README.recipes.
#
# run.sh [NAME...] looks at these images only; KEEP=1 leaves the directory.
set -u
here=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}/tests/golden
build=${top_builddir:-$(pwd)}
mkimage=$build/mkimage
byre=${BYRE:-$build/byre}
[ -x "$byre" ] || { echo "no byre in this build"; exit 77; }
# KiB of address space: what callers give, and less. A sanitizer's shadow and
# such limits do not go together.
info_as=65536
convert_as=262144
if nm "$byre" 2>/dev/null | grep -q __asan_init; then
	info_as=unlimited
	convert_as=unlimited
fi
ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0
export ASAN_OPTIONS
unset BYRE_LENIENT BYRE_UNTRUSTED

# qemu-img by name may be ours; the genuine one says nothing of byre.
genuine=
for q in ${GENUINE_QEMU_IMG:-} /usr/bin/qemu-img; do
	if [ -x "$q" ] && ! "$q" --version 2>/dev/null | grep -q byre; then
		genuine=$q
	fi
done
[ -n "$genuine" ] || echo "no genuine qemu-img: the recipes are not checked"

dir=$(mktemp -d) || exit 99
[ -n "${KEEP:-}" ] && echo "images in $dir" || trap 'rm -rf "$dir"' EXIT
ASAN_OPTIONS=detect_leaks=0 "$mkimage" "$dir" "$here"/*.img || exit 99

failed=0
count=0
fail() {
	failed=$((failed + 1))
	printf 'FAIL %s: %s\n' "$name" "$*"
	[ -s err ] && head -c 400 err | tr -c '[:print:]\n' '?' | sed 's/^/    /'
}

# limited KIB COMMAND...: sets code; stdout in out, stderr in err
limited() {
	(ulimit -t 10
	ulimit -v "$1" 2>/dev/null
	shift
	exec timeout -k 2 30 "$@") >out 2>err </dev/null
	code=$?
}

expected() { # WORD OTHERWISE: sets want and text
	l=$(grep "^$1 " expect | head -n 1)
	if [ -z "$l" ]; then
		want=$2
		text=
	else
		l=${l#"$1" }
		want=${l%% *}
		text=
		[ "$want" = "$l" ] || text=${l#* }
	fi
}

one_line() { # WHAT
	# and the hints that qemu-img gives with it
	if [ "$(grep -vc '^You can force-remove ' err)" -ne 1 ]; then
		fail "$1: $(wc -l <err) lines of stderr instead of one"
	elif LC_ALL=C grep -q '[[:cntrl:]]' err; then
		fail "$1: control bytes on stderr"
	fi
}

reasons() { # IDS: a|b|c among out's
	[ "$1" = any ] && return 0
	grep -qE "\"($1)\"" out
}

check_inspect() {
	plain=0
	deep=0
	ids=
	expected refuse ''
	[ -n "$want" ] && { plain=1; deep=1; ids=$want; }
	expected refuse-deep ''
	[ -n "$want" ] && { deep=1; ids=$want; }
	limited $info_as "$byre" inspect $native --output=json img
	[ $code -eq $plain ] || fail "inspect: exit $code instead of $plain"
	if [ $plain = 1 ] && [ $special = no ]; then
		reasons "$ids" || fail "inspect: reason $ids is not given:" \
			"$(tr -d '\n' <out | head -c 600)"
	fi
	limited $info_as "$byre" inspect --deep $native --output=json img
	[ $code -eq $deep ] || fail "inspect --deep: exit $code, not $deep"
	if [ $deep = 1 ] && [ $special = no ]; then
		reasons "$ids" || fail "inspect --deep: reason $ids is not" \
			"given: $(tr -d '\n' <out | head -c 600)"
	fi
	limited $info_as "$byre" inspect --deep $native img
	[ $code -eq $deep ] || fail "inspect as text: exit $code, not $deep"
}

check_info() {
	limited $info_as "$byre" qemu-img info $option --output=json img
	mine=$code
	cp out info.json
	case $mine in 0) ;; 1) one_line "info" ;;
	*) fail "info: exit $mine" ;; esac
	expected info any
	ours=$want
	[ $ours = any ] || [ $ours -eq $mine ] ||
		fail "info: exit $mine instead of $ours"
	expected 'qemu info' any
	[ "$want" = any ] || [ $ours != any ] || [ "$want" -eq $mine ] ||
		fail "info: exit $mine instead of $want"
	limited $info_as "$byre" info $option img
	[ $code -eq $mine ] || fail "native info: exit $code, front $mine"
	[ -n "$genuine" ] && [ $special = no ] || return
	limited unlimited "$genuine" info $option --output=json img
	[ "$want" = any ] || [ "$want" -eq $code ] ||
		fail "the recipe errs: genuine info exits $code, not $want"
	# what is refused by name here is opened there, or passes as raw
	case $name in unsupported-*) return ;; esac
	[ $ours = any ] || return
	case $code in
	0)	[ $mine -eq 0 ] || fail "info: exit $mine, genuine 0"
		# equal but for what the file system says of the output files
		[ $mine -ne 0 ] || diff out info.json >/dev/null ||
			fail "info: JSON differs from the genuine one" ;;
	1)	[ $mine -eq 1 ] || fail "info: exit $mine, genuine 1" ;;
	esac
}

check_convert() { # WORD DEFAULT COMMAND...
	word=$1
	expected "$1" "$2"
	shift 2
	[ -n "$want" ] || return
	rm -f out.raw
	limited $convert_as "$@" img out.raw
	if [ "$want" = any ]; then
		[ $code -le 1 ] || fail "$word: exit $code"
		[ $code -ne 1 ] || one_line "$word"
		[ $code -ne 1 ] || [ ! -e out.raw ] ||
			fail "$word: a target is left behind"
		rm -f out.raw
		return
	fi
	[ "$code" = "$want" ] || fail "$word: exit $code instead of $want"
	if [ $code -eq 0 ] && [ "$want" = 0 ]; then
		if [ "$class" = slow-compare ]; then
			[ "$(stat -c %s out.raw)" = "$virtual" ] ||
				fail "$word: wrong size"
		else
			cmp out.raw want.raw >err 2>&1 ||
				fail "$word: wrong guest bytes"
		fi
	elif [ $code -ne 0 ]; then
		[ ! -e out.raw ] || fail "$word: a target is left behind"
		one_line "$word"
		[ -z "$text" ] || grep -qF -- "$text" err ||
			fail "$word: stderr lacks '$text'"
	fi
	rm -f out.raw
}

# qemu-img 7.2 dies of a signal on some of these (an address of 0x80). The shell
# between has that in err instead of the test's log; the status is the same.
check_by_genuine() { # SECONDS
	limited unlimited sh -c 'timeout "$@"; exit $?' sh "$1" \
		"$genuine" check -f qcow2 img
}

# Whatever is wrong, check says so within the limits of info, as the genuine
# one does where that comes to an end.
check_check() {
	[ $special = no ] || return
	case $class in info-only|special) return ;; esac
	[ "$(sed -n 's/^format //p' expect)" = qcow2 ] || return
	limited $info_as "$byre" check -f qcow2 img
	mine=$code
	case $mine in 0|1|2|3) ;; *) fail "check: exit $mine" ;; esac
	case $name in good-*|bad-reftable*) ;; *) return ;; esac
	[ -n "$genuine" ] || return
	grep -q '^header backing\|backing-file' expect && return
	check_by_genuine 3
	[ $code -ge 124 ] || [ $code -eq 1 ] || [ $code -eq $mine ] ||
		fail "check: exit $mine, genuine $code"
}

check_genuine() {
	[ -n "$genuine" ] && [ $special = no ] || return
	case $name in
	good-*) expected 'qemu convert' 0 ;;
	*) expected 'qemu convert' any ;;
	esac
	if [ "$want" != any ] && [ "$class" = all ]; then
		limited unlimited timeout 10 "$genuine" convert $option -O raw img out.raw
		[ "$code" = "$want" ] ||
			fail "the recipe errs: genuine convert exits $code"
		if [ $code = 0 ] && [ -z "$(grep '^class guest-any' expect)" ]
		then
			case $name in good-*)
			cmp out.raw want.raw >err 2>&1 ||
				fail "the recipe errs: genuine convert differs"
			esac
		fi
	fi
	rm -f out.raw
	case $name in
	good-raw*|bad-raw*|unsupported-*) return ;;
	good-*) expected 'qemu check' 0 ;;
	*) expected 'qemu check' any ;;
	esac
	[ "$want" = any ] || {
		check_by_genuine 10
		[ "$code" = "$want" ] ||
			fail "the recipe errs: genuine check exits $code"
	}
}

check_image() {
	count=$((count + 1))
	option=$(sed -n 's/^option //p' expect)
	class=$(sed -n 's/^class //p' expect)
	virtual=$(sed -n 's/^virtual //p' expect)
	special=no
	[ "${class:=all}" != special ] || special=yes
	if [ "$option" = - ]; then
		option=
	elif [ -z "$option" ] && [ $special = no ]; then
		option="-f $(sed -n 's/^format //p' expect)"
	elif [ "${option#-l}" != "$option" ]; then
		option="-f qcow2 $option"
	fi
	native="$option $(sed -n 's/^option-native //p' expect)"
	# inspect and info know no snapshots
	with_snapshot=$native
	front=$option
	native=$(echo "$native" | sed 's/-l [a-z0-9]*//')
	option=$(echo "$option" | sed 's/-l [a-z0-9]*//')
	check_inspect
	check_info
	check_check
	option=$front
	if [ "$class" != info-only ] && [ "$class" != inspect-only ]; then
		good=
		native_good=$deep
		case $name in good-*) good=0 ;; esac
		check_convert convert $native_good \
			"$byre" convert $with_snapshot -O raw
		check_convert trusted "$good" \
			"$byre" convert --trusted $with_snapshot -O raw
		check_convert front "$good" \
			"$byre" qemu-img convert $front -O raw
		check_convert lenient "" \
			env BYRE_LENIENT=1 "$byre" qemu-img convert $front \
			-O raw
	fi
	check_genuine
}

if [ $# -eq 0 ]; then
	set -- $(cd "$dir" && ls)
fi
for name in "$@"; do
	cd "$dir/$name" || exit 99
	check_image
done
echo "$count images, $failed failures"
[ $failed -eq 0 ]
