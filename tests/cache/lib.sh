# SPDX-License-Identifier: MIT
# For the cache's shell tests: an instances directory, names in it, sources.
. "${top_srcdir:-.}/tests/lib.sh"
unset BYRE_INSTANCES
inst=$dir/instances
mkdir "$inst" || exit 99
base=$inst/_base

cache() {
	c=$1
	shift
	"$byre" cache "$c" --instances "$inst" "$@"
}

# name ID: what Nova calls it
name() {
	printf %s "$1" | sha1sum | cut -d ' ' -f 1
}

# nothing is left in staging
staged() {
	[ -z "$(ls -A "$base/.byre/staging" 2>/dev/null)" ] ||
		fail "staging holds $(ls -A "$base/.byre/staging")${1:+ ($1)}"
}

# field NAME FILE: a member of a JSON object printed by byre
field() {
	sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$2"
}

# a disk of 12 MiB: data, written zeros, data, a hole
make_raw() {
	{
		yes 'some content' | head -c 3000000
		head -c 5000000 /dev/zero
		yes 'more of it' | head -c 1000000
	} >"$1"
	truncate -s 12M "$1"
}
