#!/bin/sh
# SPDX-License-Identifier: MIT
# Files stay under 600 lines, functions under 100 lines and a (modified
# McCabe: a switch counts once) complexity of 25. The file rule holds for
# tests too, the function rules for the product. Proves first on planted
# violations that it can fail.
set -u
root=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT

have_pmccabe=yes
command -v pmccabe >/dev/null 2>&1 || have_pmccabe=no

check_files() {
	(cd "$1" && find src io format tests fuzz bench \
		\( -name '*.[ch]' -o -name '*.sh' \) -type f 2>/dev/null |
	LC_ALL=C sort | while read -r f; do
		n=$(wc -l <"$f")
		[ "$n" -lt 600 ] || echo "$f: $n lines (limit 599)"
	done)
}

check_functions() {
	[ $have_pmccabe = yes ] || return 0
	(cd "$1" && find src io format -name '*.c' -type f 2>/dev/null |
	LC_ALL=C sort | xargs pmccabe 2>/dev/null | awk '{
		where = $6 " " $7
		if ($5 >= 100)
			print where ": " $5 " lines (limit 99)"
		if ($1 > 25)
			print where ": complexity " $1 " (limit 25)"
	}')
}

check_tree() {
	check_files "$1"
	check_functions "$1"
}

expect() {
	if [ "$1" = clean ]; then
		[ -z "$(check_tree "$tmp/t")" ] || {
			echo "self-test: $2 is refused" >&2; exit 99; }
	else
		[ -n "$(check_tree "$tmp/t")" ] || {
			echo "self-test: $2 was not noticed" >&2; exit 99; }
	fi
}

# function LINES BRANCHES: a function of that many lines and branches
function_of() {
	awk -v lines="$1" -v branches="$2" 'BEGIN {
		print "int\nf(int a)\n{"
		for (i = 0; i < branches; i++)
			print "\tif (a == " i ")\n\t\treturn 1;"
		for (i = 2 * branches; i < lines - 6; i++)
			print "\ta++;"
		print "\treturn a;\n}"
	}'
}

mkdir -p "$tmp/t/src" "$tmp/t/io" "$tmp/t/format"
awk 'BEGIN { for (i = 0; i < 599; i++) print "/* */" }' >"$tmp/t/io/a.c"
expect clean "a file of 599 lines"
echo "/* */" >>"$tmp/t/io/a.c"
expect violation "a file of 600 lines"
rm "$tmp/t/io/a.c"
if [ $have_pmccabe = yes ]; then
	function_of 90 24 >"$tmp/t/io/a.c"
	expect clean "a function of 90 lines and complexity 25"
	function_of 110 3 >"$tmp/t/io/a.c"
	expect violation "a function of 110 lines"
	function_of 60 25 >"$tmp/t/io/a.c"
	expect violation "a function of complexity 26"
else
	echo "pmccabe is not installed: function sizes are not checked"
fi

out=$(check_tree "$root") || exit 99
if [ -n "$out" ]; then
	printf '%s\n' "$out"
	exit 1
fi
exit 0
