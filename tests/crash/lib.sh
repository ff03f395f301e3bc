# SPDX-License-Identifier: MIT
# For the crash tests: where things are, a directory, and runs under the shim.
top_builddir=$(cd "${top_builddir:-.}" && pwd)
shim=$top_builddir/tests/crash/.libs/shim.so
replay=$top_builddir/tests/crash/replay
dir=$(mktemp -d "${TMPDIR:-/tmp}/byre-crash-XXXXXX") || exit 99
dir=$(cd "$dir" && pwd -P)
trap 'rm -rf "$dir"' EXIT
trap 'exit 99' HUP INT TERM
# The work happens in w alone; what the test itself needs is beside it.
w=$dir/w
mkdir "$w"
LC_ALL=C
export LC_ALL

skip() {
	echo "SKIP: $*"
	exit 77
}

fail() {
	echo "FAIL: $*"
	[ -s "$dir/err" ] && sed 's/^/  stderr: /' "$dir/err"
	ls -lA "$w" | sed 's/^/  /'
	exit 1
}

# A libtool wrapper is a script: the program itself is in .libs.
program() {
	if [ -x "$top_builddir/.libs/$1" ]; then
		echo "$top_builddir/.libs/$1"
	elif [ -x "$top_builddir/$1" ]; then
		echo "$top_builddir/$1"
	fi
}

# shim VAR=VALUE... -- COMMAND: runs it in w; its status is in $rc, its
# stderr in $dir/err.
shim() {
	rm -f "$dir/count" "$dir/log"
	set -- "$@"
	(
		vars=
		while [ "$1" != -- ]; do
			export "BYRE_SHIM_$1"
			shift
		done
		shift
		cd "$w" || exit 99
		BYRE_SHIM_DIR=$w BYRE_SHIM_COUNT=$dir/count \
			BYRE_SHIM_LOG=$dir/log \
			LD_LIBRARY_PATH=$top_builddir/.libs \
			LD_PRELOAD=$shim exec "$@"
	) >"$dir/out" 2>"$dir/err"
	rc=$?
}

# count CALL: how many of them the last run made.
count() {
	awk -v c="$1" '$1 == c { print $2 }' "$dir/count"
}

# One line and no more is said about a failure.
one_line() {
	[ "$(wc -l <"$dir/err")" -eq 1 ] ||
		fail "$1: not exactly one line on stderr"
}

# entries: the names in w, hidden ones too.
entries() {
	(cd "$w" && find . -mindepth 1 | LC_ALL=C sort | tr '\n' ' ')
}

[ -e "$shim" ] || skip "the shim was not built"
grep -q __asan_init "$top_builddir/tests/crash/probe" &&
	skip "a sanitizer's runtime has to come first"
LD_PRELOAD=$shim true 2>/dev/null || skip "LD_PRELOAD does not work here"
