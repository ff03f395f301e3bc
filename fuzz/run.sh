#!/bin/sh
# SPDX-License-Identifier: MIT
# make fuzz: builds every target with clang's libFuzzer and sanitizers in
# ./fuzz.build and runs each for TIME seconds (default 60) on its corpus. TARGET
# picks one. Finds are left in fuzz.build/TARGET/; the exit code says so.
set -u
src=${top_srcdir:?}
build=$PWD/fuzz.build
time=${TIME:-60}
clang=${FUZZ_CC:-$(command -v clang || command -v clang-14 || true)}
flags="-g -O1 -std=gnu17 -fno-omit-frame-pointer -I. -I$src/src -I$src"
san=address,undefined

mkdir -p "$build/obj" || exit 99
echo 'int LLVMFuzzerTestOneInput(void); int LLVMFuzzerTestOneInput(void) {return 0;}' \
	>"$build/try.c"
if [ -z "$clang" ] ||
	! "$clang" -fsanitize=fuzzer,$san "$build/try.c" -o "$build/try" \
		2>/dev/null; then
	echo "clang with libFuzzer is not installed: nothing was fuzzed"
	exit 77
fi

echo "building in $build"
objs=
for c in $SOURCES; do
	case $c in *.c) ;; *) continue ;; esac
	o=$build/obj/$(echo "${c%.c}" | tr / _).o
	objs="$objs $o"
	[ "$o" -nt "$src/$c" ] && continue
	# shellcheck disable=SC2086
	"$clang" $flags $CODEC_CFLAGS -fsanitize=fuzzer-no-link,$san \
		-fno-sanitize-recover=undefined -c "$src/$c" -o "$o" || exit 1
done

bad=0
for t in "$src"/fuzz/fuzz_*.c; do
	name=$(basename "$t" .c)
	name=${name#fuzz_}
	[ -n "${TARGET:-}" ] && [ "$TARGET" != "$name" ] && continue
	dir=$build/$name
	mkdir -p "$dir/corpus" || exit 99
	# of the program, a target names what it needs
	more=
	for c in $(sed -n 's/^ \* sources: //p' "$t"); do
		more="$more $src/$c"
	done
	# shellcheck disable=SC2086
	"$clang" $flags -fsanitize=fuzzer,$san -fno-sanitize-recover=undefined \
		"$t" $more $objs $CODEC_LIBS -lpthread -o "$dir/fuzz" || exit 1
	# the corpus is text: each file as its bytes
	for f in "$src/fuzz/corpus/$name"/*; do
		"./replay_$name" --write "$dir/corpus/$(basename "$f")" "$f" ||
			exit 99
	done
	echo "$name: $time s"
	(cd "$dir" && ./fuzz -max_total_time="$time" -timeout=20 -max_len=65536 \
		-rss_limit_mb=1024 -print_final_stats=1 corpus >log 2>&1) || {
		echo "$name: FOUND, see $dir/log"
		grep -E 'ERROR|SUMMARY|Test unit' "$dir/log" | head -5
		bad=1
		continue
	}
	grep -E 'number_of_executed_units|DONE' "$dir/log"
done
exit $bad
