#!/bin/sh
# SPDX-License-Identifier: MIT
# The manual pages and the tables of options say the same, both ways; so do
# the completion and the commands. Shows first that it can fail.
. "${top_srcdir:-.}/tests/lib.sh"

# the options that a page lists: "letter name argument"
in_page() {
	sed -n '/^\.SH OPTIONS/,/^\.SH [^O]/p' "$1" | awk '
	/^\.TP/ { getline; print }' | sed 's/\\f[BIR]//g; s/\\-/-/g'
}

# the same of a table
in_table() {
	"$byre" help --options "$1" | awk -F '\t' '{
		s = $1
		if ($2 != "")
			s = s (s != "" ? ", " : "") $2 ($3 != "" ? "=" $3 : "")
		else if ($3 != "")
			s = s " " $3
		print s
	}'
}

for c in $("$byre" help --commands); do
	page=$top_srcdir/man/byre-$c.1
	[ -f "$page" ] || { fail "no page for $c"; continue; }
	in_page "$page" | sort >page
	in_table "$c" | sort >table
	checks=$((checks + 1))
	diff page table >diff || fail "$c: page (<) and program (>): $(cat diff)"
	[ -s table ] || fail "$c has no options"
	grep -q "byre.-$c\|byre\\\\-$c" "$top_srcdir/man/byre.1" ||
		fail "byre.1 does not name $c"
	sed 's/\\-\\-help/--hulp/' "$page" >planted
	in_page planted | sort >page
	diff page table >/dev/null && fail "$c: a planted difference passes"
done
for page in "$top_srcdir"/man/byre-*.1; do
	c=${page##*/byre-}
	"$byre" help --commands | grep -qx "${c%.1}" ||
		fail "a page for no command: $page"
done
if command -v groff >/dev/null; then
	groff -man -ww -Tutf8 "$top_srcdir"/man/*.1 >page 2>diff
	[ ! -s diff ] || fail "$(cat diff)"
fi

# the completion asks the program
if command -v bash >/dev/null; then
	for want in "convert:--target-format" "info:--backing-chain"; do
		checks=$((checks + 1))
		PATH=$top_builddir:$PATH bash -c '
			. "$1"
			COMP_WORDS=(byre "$2" --)
			COMP_CWORD=2
			_byre
			printf "%s\n" "${COMPREPLY[@]}"' - \
			"$top_srcdir/src/cli/completion.bash" \
			"${want%%:*}" >out
		grep -qx -- "${want#*:}" out ||
			fail "completion lacks ${want#*:}: $(cat out)"
	done
fi

# the cache's commands have a level more
for c in $("$byre" help --commands cache); do
	checks=$((checks + 1))
	"$byre" help --options cache "$c" | grep -q -- --instances ||
		fail "cache $c has no options"
	[ "$("$byre" help cache "$c")" = "$("$byre" cache "$c" --help)" ] ||
		fail "help cache $c"
	grep -q "^\.B byre cache $c\$" "$top_srcdir/man/byre-cache.1" ||
		fail "byre-cache.1 does not name $c"
done
[ "$("$byre" help cache)" = "$("$byre" cache --help)" ] || fail "help cache"
if command -v bash >/dev/null; then
	for want in "cache|en|2|ensure" "cache ensure|--exp|3|--expect"; do
		checks=$((checks + 1))
		PATH=$top_builddir:$PATH bash -c '
			. "$1"
			IFS="|" read -r words current at found <<<"$2"
			COMP_WORDS=(byre $words "$current")
			COMP_CWORD=$at
			_byre
			printf "%s\n" "${COMPREPLY[@]}" | grep -qx -- "$found"' \
			- "$top_srcdir/src/cli/completion.bash" "$want" ||
			fail "completion lacks $want"
	done
fi
finish
