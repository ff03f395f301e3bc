#!/bin/sh
# SPDX-License-Identifier: MIT
# SIGINT and SIGTERM at moments that nobody chose: what ends by a signal has
# left nothing, what ends well has left the whole image.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
make_sources
(cd "$w" && "$byre" convert -c -f raw -O qcow2 src.raw t) ||
	fail "plain conversion"
mv "$w/t" "$dir/want"
before=$(entries)
rounds=20
[ -n "$long" ] && rounds=500
ended=0
for i in $(seq 1 $rounds); do
	sig=INT
	[ $((i % 2)) -eq 0 ] && sig=TERM
	# not in the background: a shell makes that ignore SIGINT
	(cd "$w" && exec timeout -s $sig "0.0$(((i * 7) % 40 + 10))" \
		"$byre" convert -c -f raw -O qcow2 src.raw t) 2>"$dir/err"
	rc=$?
	if [ -e "$w/t" ]; then
		cmp -s "$w/t" "$dir/want" || fail "$sig: part of an image"
		[ $rc -eq 0 ] || [ $rc -eq 124 ] || fail "$sig: exit $rc"
		rm "$w/t"
	else
		[ $rc -ne 0 ] || fail "$sig: exit 0 and no image"
		ended=$((ended + 1))
	fi
	[ "$(entries)" = "$before" ] || fail "$sig: left $(entries)"
done
echo "$ended of $rounds were ended by the signal"
