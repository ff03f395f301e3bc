#!/bin/sh
# SPDX-License-Identifier: MIT
# Every source file names its licence once, and nothing is left "to be done".
# Proves first on planted violations that it can fail.
set -u
root=${top_srcdir:-$(cd "$(dirname "$0")/.." && pwd)}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
words='TO''DO|FIX''ME|X''XX|HA''CK:|WI''P'

sources() {
	find src io format tests fuzz bench -type f \( -name '*.[ch]' \
		-o -name '*.sh' -o -name '*.py' \
		-o -name '*.map' -o -name '*.img' \) 2>/dev/null
	for f in Makefile.am configure.ac quickstart check; do
		[ -f "$f" ] && echo "$f"
	done
}

check_tree() {
	(cd "$1" || exit 99
	sources | LC_ALL=C sort >"$tmp/list"
	while read -r f; do
		# recipes of images are data; lists of files are lists
		case $f in *.img) continue ;; esac
		n=$(head -n 5 "$f" | grep -c 'SPDX-License-Identifier: MIT')
		[ "$n" -eq 1 ] || echo "$f: no SPDX line at its top"
	done <"$tmp/list"
	while read -r f; do
		grep -nwE "$words" "$f" /dev/null
	done <"$tmp/list"
	:)
}

plant() {
	rm -rf "$tmp/t"
	mkdir -p "$tmp/t/io"
	printf '/* SPDX-License-Identifier: MIT */\n' >"$tmp/t/io/a.c"
	if [ -n "$(check_tree "$tmp/t")" ]; then
		echo "self-test: a clean tree is refused" >&2
		exit 99
	fi
	printf '%s\n' "$2" >>"$tmp/t/$1"
	if [ -z "$(check_tree "$tmp/t")" ]; then
		echo "self-test: '$2' in $1 was not noticed" >&2
		exit 99
	fi
}

plant io/a.c "/* TO""DO: later */"
plant io/a.c "/* FIX""ME */"
plant io/a.c "int x; /* X""XX */"
plant io/b.c "int x;"
plant io/a.sh "#!/bin/sh"

out=$(check_tree "$root") || exit 99
if [ -n "$out" ]; then
	printf '%s\n' "$out"
	exit 1
fi
exit 0
