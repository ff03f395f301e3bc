#!/bin/sh
# SPDX-License-Identifier: MIT
# Bad input of the native commands: status 1, one line that names the command
# and the file, and nothing left under a new name.
. "${top_srcdir:-.}/tests/lib.sh"

bad() {
	pattern=$1
	shift
	expect 1 "$byre" "$@"
	one_line "byre: $pattern"
	[ ! -s out ] || fail "an error speaks on stdout: $*"
}

truncate -s 1M a.raw
printf 'text' >odd
mkdir d
mkfifo fifo
"$byre" create -f qcow2 q.qcow2 1M || fail "cannot create"
"$byre" create -f qcow2 -b a.raw -F raw over.qcow2 || fail "no overlay"
set -- a.raw d fifo odd over.qcow2 q.qcow2

for c in info inspect digest map measure; do
	bad "$c: missing: cannot open: No such file or directory" $c missing
	bad "$c: d: is a directory*" $c d
	bad "$c: fifo: is a fifo*" $c fifo
	bad "$c: odd/x: *Not a directory" $c odd/x
	bad "$c: */dev/null: is a character device*" $c /dev/null
done
for o in d fifo missing; do
	expect 2 "$byre" compare $o a.raw
	one_line "byre: compare: $o: *"
	expect 2 "$byre" compare a.raw $o
	one_line "byre: compare: $o: *"
done
bad "info: a.raw: Image is not in qcow2 format" info -f qcow2 a.raw
bad "convert: missing: cannot open: No such file or directory" \
	convert missing new
bad "convert: missing: *No such file or directory" convert a.raw missing new
bad "convert: d: is a directory*" convert d new
bad "convert: d: is a directory*" convert a.raw d
bad "convert: a.raw: *" convert -f qcow2 a.raw new
bad "convert: *nodir/new: *No such file or directory" convert a.raw nodir/new
bad "convert: *odd/new: *Not a directory" convert a.raw odd/new
bad "convert: a.raw: *" convert a.raw a.raw
# what would be emptied is read by nobody, though no lock says so
cp a.raw keep
bad "convert: a.raw: is a source and the target" \
	convert -U -O qcow2 -o data_file=a.raw a.raw new
bad "convert: *the image cannot be its own data file" \
	convert -O qcow2 -o data_file=new a.raw new
bad "convert: ./odd: *" \
	convert -O qcow2 -o data_file=./odd a.raw odd
cmp a.raw keep || fail "a source was changed"
[ "$(cat odd)" = text ] || fail "a target was changed"
cp q.qcow2 base.qcow2
expect 1 "$byre" qemu-img convert -O qcow2 -B base.qcow2 -F qcow2 q.qcow2 \
	base.qcow2
grep -q 'is a backing file and the target' err || fail "$(cat err)"
cmp q.qcow2 base.qcow2 || fail "a backing file was changed"
rm keep base.qcow2
bad "convert: odd: output file is smaller than input file*" \
	convert -n a.raw odd
bad "convert: missing: *No such file or directory" convert -n a.raw missing
bad "convert: q.qcow2: no snapshot 'x'" convert -l x q.qcow2 new
bad "convert: a.raw: *limit is 4096" convert --max-size=4k a.raw new
bad "convert: over.qcow2: *backing*" convert over.qcow2 new
bad "convert: *Cluster size must be*" \
	convert -O qcow2 -o cluster_size=3 a.raw new
bad "create: a.raw: *exists*" create a.raw 1M
bad "create: *nodir/new: *No such file or directory" create nodir/new 1M
bad "create: missing: *No such file or directory" \
	create -f qcow2 -b missing -F raw new
bad "create: *Cluster size must be*" create -f qcow2 -o cluster_size=3 new 1M
bad "create: *too large*" create -f qcow2 new 7E
bad "resize: missing: *No such file or directory" resize missing 1M
bad "resize: d: is a directory*" resize d 1M
bad "resize: a.raw: *shrink*" resize -f raw a.raw 512K
bad "resize: q.qcow2: *" resize q.qcow2 2M
bad "resize: q.qcow2: *multiple of 512" resize -f qcow2 q.qcow2 2000000
bad "snapshot: q.qcow2: there is no such snapshot: No such file*" \
	snapshot -f qcow2 -d x q.qcow2
bad "snapshot: a.raw: a raw image has no snapshots*" \
	snapshot -f raw -c x a.raw
bad "snapshot: q.qcow2: the format was not given*" snapshot -c x q.qcow2
only "$@"
[ "$(stat -c %s a.raw)" -eq 1048576 ] || fail "a refused resize changed a.raw"

# the name of a file is escaped, and the line stays one
bad "info: a?x0ab?x1b: cannot open*" info "$(printf 'a\nb\033')"
# and escaped once, be it that of a backing file
checks=$((checks + 1))
"$byre" qemu-img create -q -u -f qcow2 -b "$(printf 'a\nb')" -F raw lone 1M
"$byre" qemu-img info --backing-chain lone 2>err && fail "info of lone succeeds"
one_line "qemu-img: Could not open 'a?x0ab': Could not open 'a?x0ab': *"
rm lone

# a directory that cannot be written
mkdir ro
chmod 555 ro
if ! (: >ro/x) 2>/dev/null; then
	bad "convert: *ro/new: *Permission denied" convert a.raw ro/new
	bad "create: *ro/new: *Permission denied" create ro/new 1M
	chmod 444 a.raw
	bad "resize: a.raw: *Permission denied" resize a.raw 2M
	chmod 644 a.raw
fi

# output that cannot be written is an error too
if [ -c /dev/full ]; then
	checks=$((checks + 1))
	"$byre" info a.raw >/dev/full 2>err && fail "info to /dev/full succeeds"
	one_line "byre: info: *No space left on device"
fi

# a source cut short: an error, unless it is to be salvaged
"$byre" convert -O qcow2 q.qcow2 full.qcow2
yes data | head -c 1048576 >data.raw
"$byre" convert -O qcow2 data.raw cut.qcow2
truncate -s 700000 cut.qcow2
bad "convert: cut.qcow2: *" convert cut.qcow2 new
bad "convert: cut.qcow2: *" convert --trusted cut.qcow2 new
absent new
expect 0 "$byre" convert --trusted --salvage cut.qcow2 new
grep -q '^byre: convert: warning: ' err || fail "--salvage without a warning"
cmp -s -n 131072 new data.raw || fail "--salvage lost good data"
expect 1 "$byre" qemu-img convert cut.qcow2 new2
absent new2
BYRE_LENIENT=1 expect 0 "$byre" qemu-img convert cut.qcow2 new2
grep -q '^qemu-img: warning: ' err || fail "lenient without a warning"
same new new2 "salvage and lenient"
finish
