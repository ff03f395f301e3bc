#!/bin/sh
# SPDX-License-Identifier: MIT
# Every file of fuzz/corpus/TARGET through replay_TARGET. A corpus without a
# program, or without files, fails.
set -u
src=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
build=${top_builddir:-.}
bad=0
for dir in "$src"/fuzz/corpus/*/; do
	target=$(basename "$dir")
	if [ ! -x "$build/replay_$target" ]; then
		echo "no program replay_$target"
		bad=1
		continue
	fi
	out=$("$build/replay_$target" "$dir"*) || {
		echo "$target: failed ($?)"
		bad=1
		continue
	}
	echo "$target: $out"
	[ "$out" = "0 files" ] && bad=1
done
exit $bad
