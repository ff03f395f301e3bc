#!/bin/sh
# SPDX-License-Identifier: MIT
# Outputs that fail: a pipe nobody reads, a full or closed stdout, a limit on
# the size of files. Errors, never a death by signal; no temporaries.
. "${top_srcdir:-.}/tests/lib.sh"

head -c 3000000 /dev/urandom >data.raw
"$byre" convert -O qcow2 data.raw data.qcow2 || exit 99
(ulimit -f 1) 2>/dev/null || { echo "no limit on files here"; exit 77; }

limit() {
	checks=$((checks + 1))
	(ulimit -f 1 && exec "$@") >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
	[ "$status" -eq 1 ] || fail "status $status, not 1: $*"
	one_line '*too large*'
	only data.raw data.qcow2
}

for front in "" qemu-img; do
	for o in "-O raw" "-O qcow2" "-O qcow2 -c" "-t none -O raw"; do
		case $front in
		"") [ "$o" = "-t none -O raw" ] && continue ;;
		esac
		limit "$byre" $front convert -f qcow2 $o data.qcow2 new
	done
	limit "$byre" $front create -f qcow2 new 1G
	limit "$byre" $front create -f raw -o preallocation=full new 1M
	limit "$byre" $front resize -f raw --preallocation=full data.raw 4M
done

# progress and the line of create are news, not the result
for front in "" qemu-img; do
	for c in "convert -p -O raw data.raw" "create -f qcow2"; do
		size=
		[ "$c" = "create -f qcow2" ] && size=1M
		for to in '| :' '>&-' '>/dev/full'; do
			checks=$((checks + 1))
			rm -f code
			eval "{ sleep 0; \"\$byre\" \$front \$c new \$size
				echo \$? >code; } 2>err $to"
			[ "$(cat code)" = 0 ] || fail "$front $c $to: $(cat code)"
			silent
			rm -f new code
		done
	done
done

# what info says is its result
for to in '>&-' '>/dev/full'; do
	for front in "" qemu-img; do
		checks=$((checks + 1))
		eval "\"\$byre\" \$front info data.qcow2 2>err $to"
		[ $? -eq 1 ] || fail "$front info $to"
		one_line '*cannot write the output*'
	done
done

# the number of a closed stream is no image's: nothing is said into one
"$byre" create -f qcow2 -b data.qcow2 -F qcow2 over.qcow2 || exit 99
"$byre" create -f raw new.raw 3M || exit 99
for front in "" qemu-img; do
	for to in '>&-' '<&- >&-' '2>&-' '<&- >&- 2>&-'; do
		checks=$((checks + 1))
		for c in "rebase -p -b '' over.qcow2" \
			"convert -p -n -O raw over.qcow2 new.raw" \
			"check -r all over.qcow2" "resize over.qcow2 4M"; do
			eval "\"\$byre\" \$front $c >/dev/null 2>&1 $to"
		done
		for f in over.qcow2 data.qcow2; do
			[ "$(head -c 3 $f)" = QFI ] || fail "$front: $f $to"
		done
	done
done
finish
