#!/bin/sh
# SPDX-License-Identifier: MIT
# What the objects export, keep and call:
#  - foo.c exports foo_* only; a noun that is split over foo_bar.c, foo_baz.c
#    may export foo_* from each of them;
#  - only src/cli has mutable globals (const tables with pointers in them live
#    in .data.rel.ro and are fine);
#  - only src/cli prints, exits and reads the environment;
#  - libbyre exports byre_* only.
# Looks at the objects of the build; proves first on planted violations that
# it can fail.
set -u
build=${top_builddir:-.}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
CC=${CC:-cc}

for tool in nm objdump; do
	command -v $tool >/dev/null 2>&1 || {
		echo "$tool is not installed"; exit 77; }
done

# Calls that speak, end the process or look around it.
forbidden='printf|vprintf|fprintf|vfprintf|dprintf|puts|fputs|putchar|fputc'
forbidden="$forbidden|putc|fwrite|perror|error|err|errx|warn|warnx|stdout"
forbidden="$forbidden|stderr|exit|_exit|_Exit|quick_exit|abort|getenv"
forbidden="$forbidden|secure_getenv|environ|setenv|system|popen|fork|vfork"
forbidden="$forbidden|signal|sigaction|chdir|umask|setlocale|strtok"

# Nouns whose header is shared: qcow2_write.h's placed_list.
also() {
	case $1 in
	qcow2_write) echo 'placed' ;;
	api | api_chain | api_cache | api_check) echo 'byre' ;;
	*) echo "$1" ;;
	esac
}

# check_object FOLDER STEM OBJECT
check_object() {
	noun=${2%%_*}
	if [ "$1" != src/cli ]; then
		nm -g --defined-only "$3" | awk -v where="$1/$2.c" \
			-v a="$noun" -v b="$(also "$2")" '
		$3 !~ /^__/ && index($3, a "_") != 1 &&
		index($3, b "_") != 1 && $3 != a {
			print where ": exports " $3
		}'
		objdump -t "$3" | awk -v where="$1/$2.c" '
		$0 ~ / [lg] .*[ \t](\.data|\.bss|\.tdata|\.tbss|\.data\.[^r][^ \t]*|\.bss\.[^ \t]*|\*COM\*)[ \t]/ &&
		$0 !~ / d +[^ ]+[ \t]/ && $NF !~ /^(\.|__)/ {
			print where ": mutable global " $NF
		}'
		nm -u "$3" | awk -v where="$1/$2.c" -v bad="^($forbidden)\$" '
		{
			s = $2
			sub(/@.*$/, "", s)
			sub(/^__/, "", s)
			sub(/_chk$/, "", s)
			if (s ~ bad)
				print where ": uses " s
		}'
	fi
}

check_tree() {
	(cd "$1" && find src io format -path '*/.libs/*.o' 2>/dev/null |
	LC_ALL=C sort | while read -r o; do
		folder=${o%/.libs/*}
		stem=${o##*/}
		check_object "$folder" "${stem%.o}" "$o"
	done)
	lib=$(find "$1/.libs" -name 'libbyre.so.*' -type f 2>/dev/null |
		head -n 1)
	[ -n "$lib" ] && nm -D --defined-only "$lib" | awk '
		$3 !~ /^byre_/ && $3 !~ /^BYRE_/ {
			print "libbyre.so: exports " $3
		}'
	:
}

plant() {
	rm -rf "$tmp/t"
	mkdir -p "$tmp/t/io/.libs" "$tmp/t/src/cli/.libs"
	echo 'const char *const foo_names[] = {"a"};
	static const int t[] = {1, 2}; int foo_get(int i);
	int foo_get(int i) { return t[i & 1]; }' >"$tmp/a.c"
	echo 'int n; int main(void) { return n++; }' >"$tmp/b.c"
	$CC -fPIC -c -o "$tmp/t/io/.libs/foo.o" "$tmp/a.c" &&
	$CC -fPIC -c -o "$tmp/t/src/cli/.libs/main.o" "$tmp/b.c" || {
		echo "no compiler for the self-test"; exit 77; }
	out=$(check_tree "$tmp/t")
	[ -z "$out" ] || {
		echo "self-test: a clean object is refused: $out" >&2
		exit 99
	}
	printf '%s\n' "$2" >"$tmp/a.c"
	$CC -fPIC -w -c -o "$tmp/t/io/.libs/$1.o" "$tmp/a.c" || exit 99
	[ -n "$(check_tree "$tmp/t")" ] || {
		echo "self-test: '$2' was not noticed" >&2
		exit 99
	}
}

plant foo 'int bar_get(void) { return 1; }'
plant foo 'static int n; int foo_next(void) { return n++; }'
plant foo 'static int n = 7; int foo_next(void) { return n++; }'
plant foo 'static _Thread_local int n; int foo_next(void) { return n++; }'
plant foo 'int foo_count;'
plant foo '#include <stdio.h>
int foo_say(int i) { return printf("%d\n", i); }'
plant foo '#include <stdlib.h>
const char *foo_home(void) { return getenv("HOME"); }'
plant foo '#include <stdlib.h>
void foo_stop(void) { abort(); }'

# The sanitizers' own data would drown the answer.
if find "$build/io" "$build/src/base" -path '*/.libs/*.o' -exec nm -u {} + \
	2>/dev/null | grep -q '__asan_init\|__ubsan_handle'; then
	echo "sanitizer build: the objects are not as written"
	exit 77
fi
n=$(cd "$build" && find src io format -path '*/.libs/*.o' 2>/dev/null |
	wc -l)
if [ "$n" -eq 0 ]; then
	echo "no objects below $build" >&2
	exit 99
fi
out=$(check_tree "$build") || exit 99
if [ -n "$out" ]; then
	printf '%s\n' "$out"
	exit 1
fi
exit 0
