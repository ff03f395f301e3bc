#!/bin/sh
# SPDX-License-Identifier: MIT
# Includes go down the layers only: base <- io <- format <- op <- cache <-
# cli and api (net sits on io). An include names its folder, and each
# third-party header has exactly one home. Runs first on a planted violation
# of each rule, so that a check that cannot fail is itself a failure.
set -u
root=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT

# check_tree ROOT: prints violations, one per line.
check_tree() {
	(cd "$1" && find src io format -name '*.[ch]' | LC_ALL=C sort |
	xargs awk '
	function layer(p) {
		if (p ~ /^(src\/)?base\//) return 0
		if (p ~ /^io\//) return 1
		if (p ~ /^format\//) return 2
		if (p ~ /^(src\/)?op\//) return 3
		if (p ~ /^(src\/)?cache\//) return 4
		if (p ~ /^(src\/)?net\//) return 5
		if (p ~ /^(src\/)?cli\//) return 6
		if (p ~ /^src\/(api(_[a-z]*)?\.[ch]|byre\.h)$/ || p == "byre.h") return 6
		return -1
	}
	function folder(p) {
		if (p ~ /^src\/api/) return "api"
		sub(/^src\//, "", p)
		sub(/\/[^\/]*$/, "", p)
		return p
	}
	/^[ \t]*#[ \t]*include[ \t]*"/ {
		inc = $0
		sub(/^[^"]*"/, "", inc)
		sub(/".*$/, "", inc)
		if (inc == "config.h" || inc == "byre.h")
			next
		if (inc !~ /\//) {
			printf "%s:%d: \"%s\" does not name its folder\n", \
				FILENAME, FNR, inc
			next
		}
		from = layer(FILENAME)
		to = layer(inc)
		if (from < 0 || to < 0)
			printf "%s:%d: \"%s\" is in no known layer\n", \
				FILENAME, FNR, inc
		else if (to > from || (from == 5 && to > 1 && to != 5) ||
			 (to == 5 && from != 5))
			printf "%s:%d: \"%s\" is a layer above\n", \
				FILENAME, FNR, inc
		else if (from == 6 && to == 6 &&
			 folder(FILENAME) != folder(inc))
			printf "%s:%d: \"%s\": api and cli do not meet\n", \
				FILENAME, FNR, inc
	}
	/^[ \t]*#[ \t]*include[ \t]*</ {
		inc = $0
		sub(/^[^<]*</, "", inc)
		sub(/>.*$/, "", inc)
		if (inc !~ /^(zlib|zstd|libdeflate|liburing|xxhash|jansson|lz4|openssl\/.*|curl\/.*)\.h$/)
			next
		if (FILENAME ~ /\.h$/)
			printf "%s:%d: <%s> in a header\n", FILENAME, FNR, inc
		if ((inc in home) && home[inc] != FILENAME)
			printf "%s:%d: <%s> has a home already: %s\n", \
				FILENAME, FNR, inc, home[inc]
		else
			home[inc] = FILENAME
	}')
}

# plant FILE LINE: a tree with this one violation must be reported.
plant() {
	rm -rf "$tmp/t"
	mkdir -p "$tmp/t/src/base" "$tmp/t/src/op" "$tmp/t/io" "$tmp/t/format"
	printf '#include "base/err.h"\n#include <zlib.h>\n' \
		>"$tmp/t/format/codec_zlib.c"
	if [ -n "$(check_tree "$tmp/t")" ]; then
		echo "self-test: a clean tree is refused" >&2
		exit 99
	fi
	mkdir -p "$tmp/t/$(dirname "$1")"
	printf '%s\n' "$2" >>"$tmp/t/$1"
	if [ -z "$(check_tree "$tmp/t")" ]; then
		echo "self-test: '$2' in $1 was not noticed" >&2
		exit 99
	fi
}

plant src/base/a.c '#include "io/file.h"'
plant io/a.h '#include "format/image.h"'
plant format/a.c '#include "op/convert.h"'
plant src/op/a.c '#include "cli/main.h"'
plant src/net/a.c '#include "format/probe.h"'
plant io/a.c '#include "file.h"'
plant format/a.c '#include <zlib.h>'
plant format/a.h '#include <zstd.h>'

out=$(check_tree "$root") || exit 99
if [ -n "$out" ]; then
	printf '%s\n' "$out"
	exit 1
fi
exit 0
