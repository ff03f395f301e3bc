# SPDX-License-Identifier: MIT
# For shell tests: sourced first. A directory of its own, the program, and a
# few ways to say what must hold. A test goes on after a failure and ends with
# finish.
set -u
top_builddir=${top_builddir:-$(pwd)}
top_srcdir=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
byre=$top_builddir/byre
LC_ALL=C
export LC_ALL
unset BYRE_CONF BYRE_LENIENT BYRE_UNTRUSTED BYRE_QEMU_COMPAT
ulimit -c 0 2>/dev/null

[ -x "$byre" ] || { echo "no $byre: nothing to test"; exit 77; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/byre-test.XXXXXX") || exit 99
trap 'chmod -R u+rwx "$dir" 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 99' HUP INT TERM
cd "$dir" || exit 99
failures=0
checks=0

# The genuine qemu-img, never ours; skips the test where there is none.
need_qemu_img() {
	qemu_img=$(command -v qemu-img) || { echo "no qemu-img"; exit 77; }
	case $("$qemu_img" --version) in
	*byre*) echo "qemu-img is byre's own front"; exit 77 ;;
	*"version 7.2"*) ;;
	*) echo "qemu-img is not 7.2"; exit 77 ;;
	esac
}

fail() {
	echo "FAIL: $*" >&2
	failures=$((failures + 1))
}

# run COMMAND...: status in $status, output in files out and err
run() {
	"$@" >"$dir/out" 2>"$dir/err" </dev/null
	status=$?
}

# expect STATUS COMMAND...
expect() {
	want=$1
	shift
	checks=$((checks + 1))
	run "$@"
	[ "$status" -eq "$want" ] || {
		fail "status $status, not $want: $*"
		sed 's/^/    /' "$dir/err" >&2
	}
}

# one_line PATTERN: stderr is exactly one line, and matches
one_line() {
	[ "$(wc -l <"$dir/err")" -eq 1 ] ||
		fail "not one line on stderr: $(cat "$dir/err")"
	case $(cat "$dir/err") in
	$1) ;;
	*) fail "'$(cat "$dir/err")' does not look like '$1'" ;;
	esac
}

silent() {
	[ ! -s "$dir/err" ] || fail "stderr says: $(cat "$dir/err")"
}

same() {
	cmp -s "$1" "$2" || fail "$1 and $2 differ${3:+ ($3)}"
}

absent() {
	for f; do
		[ ! -e "$f" ] || fail "$f exists"
	done
}

# nothing but these names is in the current directory
only() {
	found=$(ls -A | grep -vxE 'out|err' | tr '\n' ' ')
	want=$(printf '%s\n' "$@" | sort | tr '\n' ' ')
	[ "$found" = "$want" ] || fail "the directory holds: $found"
}

finish() {
	if [ "$failures" -ne 0 ]; then
		echo "$failures of $checks checks failed" >&2
		exit 1
	fi
	echo "$checks checks"
	exit 0
}
