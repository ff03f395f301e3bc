#!/bin/sh
# SPDX-License-Identifier: MIT
# Under limits and under observation: little memory, few and bounded reads,
# no file opened that need not be, no library loaded for nothing.
. "${top_srcdir:-.}/tests/lib.sh"

if nm "$byre" 2>/dev/null | grep -q __asan_init; then
	echo "a sanitizer's shadow does not fit under a limit"
	exit 77
fi

yes 'some content' | head -c 20000000 >data.raw
truncate -s 64M data.raw
"$byre" convert -O qcow2 -c data.raw packed || exit 99
"$byre" create -f qcow2 huge 1P -o cluster_size=2M || exit 99

limited() {
	kib=$1
	shift
	checks=$((checks + 1))
	(ulimit -v "$kib" && exec "$@") >out 2>err || {
		fail "under $kib KiB: $*"
		cat err >&2
	}
}

limited 65536 "$byre" info packed
limited 65536 "$byre" info huge
limited 65536 "$byre" qemu-img info --output=json packed
limited 65536 "$byre" qemu-img create -f qcow2 -b data.raw -F raw over
limited 65536 "$byre" inspect packed
limited 262144 "$byre" inspect --deep huge
limited 262144 "$byre" convert packed new1
limited 262144 "$byre" convert -O qcow2 -c -m 16 packed new2
limited 262144 "$byre" qemu-img convert -m 16 packed new3
same data.raw new1
same data.raw new3

# fewer files than workers want rings: they go without
checks=$((checks + 1))
(ulimit -n 16 && exec "$byre" convert -m 16 -t none -T none data.raw new4) \
	2>err || fail "under 16 files: $(cat err)"
[ ! -f new4 ] || same data.raw new4

if command -v ldd >/dev/null; then
	checks=$((checks + 1))
	ldd "$byre" >libs 2>/dev/null
	grep -E 'libcurl|libcrypto|libssl|libstdc' libs &&
		fail "a library that nothing here needs"
fi

command -v strace >/dev/null || { echo "no strace: half the test"; finish; }
strace -o trace true 2>/dev/null || { echo "strace may not trace"; finish; }

# info opens the one file, and reads little of it
"$byre" create -f qcow2 -u -b "$dir/data.raw" -F raw o1 64M
"$byre" create -f qcow2 -o data_file=ext o2 64M
for f in o1 o2 huge packed; do
	for front in "" qemu-img; do
		checks=$((checks + 1))
		strace -f -e trace=openat,openat2,open,pread64,read \
			-o trace "$byre" $front info -U $f >out 2>err ||
			fail "info $f: $(cat err)"
		grep -E '"([^"]*/)?(ext|data\.raw)"' trace &&
			fail "info $f opens what $f names"
		bytes=$(awk '/pread64/ { n += $NF } END { print n + 0 }' trace)
		[ "$bytes" -le 1048576 ] || fail "info $f reads $bytes bytes"
	done
done
# nothing is opened for writing by those who only read
for c in "info o1" "inspect --deep packed" "digest packed"; do
	checks=$((checks + 1))
	strace -f -e trace=openat,openat2,open,creat,unlink,unlinkat,rename \
		-o trace "$byre" $c >out 2>err || fail "$c: $(cat err)"
	grep -E 'O_RDWR|O_WRONLY|O_CREAT|unlink|rename' trace &&
		fail "$c writes"
done
finish
