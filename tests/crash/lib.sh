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
			LD_PRELOAD=$shim "$@"
		exit $? # so that "Killed" is said in here
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

# ---- sweeps: one command, each of its calls failing in turn ----

byre=$(program byre)
long=${BYRE_CHECK_LONG:-}

# sample N: which of N calls fail; all of them in the long form.
sample() {
	if [ -n "$long" ]; then
		seq 1 "$1"
	else
		printf '%s\n' 1 2 3 $(($1 / 2)) $(($1 - 1)) "$1" |
			awk -v n="$1" '$1 >= 1 && $1 <= n && !seen[$1]++'
	fi
}

# What may befall a call in a sweep. on_any: signals before any call; on_read:
# of reads (eof: a source that is cut while it is read); on_unlink. Tests set
# these, or have their own table.
on_any="kill term"
on_read=EIO
on_unlink=EIO
faults_of() {
	case $1 in
	any) echo "$on_any" ;;
	malloc) echo ENOMEM ;;
	unlink) echo "$on_unlink" ;;
	read | ringread) echo "$on_read" ;;
	write | ringwrite) echo EIO ENOSPC short ;;
	fallocate | ftruncate) echo EIO ENOSPC ;;
	*) echo EIO ;;
	esac
}

# every_fault FUNCTION ARGS...: FUNCTION RULE ARGS for the calls that the last
# run made, one after the other. How many they were is in $runs.
every_fault() {
	f_run=$1
	shift
	cp "$dir/count" "$dir/counts"
	runs=0
	while read -r f_call f_n; do
		for f_what in $(faults_of "$f_call"); do
			for f_i in $(sample "$f_n"); do
				runs=$((runs + 1))
				"$f_run" "$f_call:$f_i:$f_what" "$@"
			done
		done
	done <"$dir/counts"
}

# The calls whose failure nobody may pass over.
strict() {
	case $1 in
	write | ringwrite | sync | link) return 0 ;;
	*) return 1 ;;
	esac
}

# Did anything change the target t in the last run?
changed() {
	awk '$2 == "t" && $5 >= 0 &&
		$1 ~ /^(write|ringwrite|punch|fallocate|ftruncate|clone|copy)$/ {
			n++
		}
		END { exit !n }' "$dir/log" 2>/dev/null
}

# by_signal RULE: such an end is one that the rule asked for.
by_signal() {
	case $1:$rc in
	*:kill:137 | *:term:143 | *:int:130) ;;
	*) fail "$1: exit $rc" ;;
	esac
}

# judge_new RULE CALL N: t was absent before.
judge_new() {
	case $rc in
	0)
		cmp -s "$w/t" "$dir/want" || fail "$1: exit 0 and other bytes"
		if strict "$2" && [ "$(count "$2")" -ge "$3" ]; then
			fail "$1: exit 0, the failure was passed over"
		fi
		rm -f "$w/t"
		;;
	1) one_line "$1" ;;
	*)
		by_signal "$1"
		# after its name was given
		! cmp -s "$w/t" "$dir/want" || rm "$w/t"
		;;
	esac
	[ "$(entries)" = "$before" ] || fail "$1: exit $rc, left $(entries)"
}

# judge_old RULE CALL N: t existed, as $dir/old.
judge_old() {
	[ "$(stat -c %i "$w/t")" = "$inode" ] || fail "$1: another inode"
	case $rc in
	0)
		cmp -s "$w/t" "$dir/want" || fail "$1: exit 0 and other bytes"
		if strict "$2" && [ "$(count "$2")" -ge "$3" ]; then
			fail "$1: exit 0, the failure was passed over"
		fi
		;;
	1) one_line "$1" ;;
	*) by_signal "$1" ;;
	esac
	if [ "$rc" -ne 0 ]; then
		changed || cmp -s "$w/t" "$dir/old" ||
			fail "$1: changed without a call"
		after_failure "$1"
	fi
	rm -f "$w/t"
	[ "$(entries)" = "$before" ] || fail "$1: left $(entries)"
}

# What else holds for an existing target after a failure; tests redefine it.
after_failure() {
	:
}

# attempt KIND RULE [VAR=VALUE] -- COMMAND: KIND is new or old.
attempt() {
	a_kind=$1
	a_rule=$2
	shift 2
	if [ "$a_kind" = old ]; then
		cp --sparse=always "$dir/old" "$w/t"
		inode=$(stat -c %i "$w/t")
	fi
	shim FAIL="$a_rule" "$@"
	a_nth=${a_rule#*:}
	judge_$a_kind "$a_rule" "${a_rule%%:*}" "${a_nth%%:*}"
}

# sweep KIND [VAR=VALUE] -- COMMAND that writes t.
sweep() {
	s_kind=$1
	shift
	on_any="kill term int"
	on_read="EIO short ${s_eof-eof}"
	# a temporary name that will not go away, stays
	on_unlink=
	rm -f "$w/t"
	before=$(entries)
	[ "$s_kind" = new ] || cp --sparse=always "$dir/old" "$w/t"
	shim "$@"
	[ $rc -eq 0 ] || fail "without faults: exit $rc: $*"
	[ -s "$dir/err" ] && fail "without faults: speaks: $*"
	mv "$w/t" "$dir/want"
	every_fault sweep_one "$s_kind" "$@"
	echo "$runs runs: $*"
}

# sweep_one RULE KIND [VAR=VALUE] -- COMMAND
sweep_one() {
	o_rule=$1
	o_kind=$2
	shift 2
	# a short transfer is no failure
	case $o_rule in
	*:short) short_attempt "$o_kind" "$o_rule" "$@" ;;
	*) attempt "$o_kind" "$o_rule" "$@" ;;
	esac
}

# The same as attempt, but it has to succeed.
short_attempt() {
	a_kind=$1
	a_rule=$2
	shift 2
	[ "$a_kind" = old ] && cp --sparse=always "$dir/old" "$w/t"
	shim FAIL="$a_rule" "$@"
	[ $rc -eq 0 ] || fail "$a_rule: exit $rc"
	cmp -s "$w/t" "$dir/want" || fail "$a_rule: other bytes"
	rm -f "$w/t"
}

# same_without KIND DENY... -- COMMAND: each feature refused, the same bytes.
same_without() {
	w_kind=$1
	shift
	w_denies=
	while [ "$1" != -- ]; do
		w_denies="$w_denies $1"
		shift
	done
	for w_deny in $w_denies; do
		[ "$w_kind" = old ] && cp --sparse=always "$dir/old" "$w/t"
		shim DENY="$w_deny" "$@"
		[ $rc -eq 0 ] || fail "without $w_deny: exit $rc: $*"
		cmp -s "$w/t" "$dir/want" ||
			fail "without $w_deny: other bytes: $*"
		rm -f "$w/t"
		[ "$(entries)" = "$before" ] ||
			fail "without $w_deny: left $(entries)"
	done
}

have() {
	command -v "$1" >/dev/null 2>&1
}

# make_sources: src.raw (data, holes, an odd size) and src.qcow2.
make_sources() {
	(
		cd "$w" || exit 99
		seq 1 60000 | head -c 300000 >src.raw
		truncate -s 3M src.raw
		seq 5 30000 | head -c 100000 >>src.raw
		truncate -s 4194816 src.raw
		if have qemu-img; then
			qemu-img convert -c -f raw -O qcow2 src.raw src.qcow2
		else
			"$byre" convert -c -f raw -O qcow2 src.raw src.qcow2
		fi
	) || fail "cannot make the sources"
}
