#!/bin/sh
# SPDX-License-Identifier: MIT
# Which gate the front uses: qemu-img's trust, unless byre.conf, the
# environment or an option says that a source is not trusted.
. "${top_srcdir:-.}/tests/lib.sh"

front() {
	"$byre" qemu-img "$@"
}

mkdir cache trusted cache2
yes secret | head -c 100000 >secret
"$byre" create -f qcow2 -u -b "$dir/secret" -F raw cache/evil 100352 || exit 99
cp cache/evil trusted/evil
cp cache/evil cache2/evil
ln -s ../cache/evil trusted/link
ln -s cache aliasdir
printf '# comment\n\n  untrusted = %s/cache/  \nuntrusted=%s/nosuch\n' \
	"$dir" "$dir" >byre.conf
BYRE_CONF=$dir/byre.conf
export BYRE_CONF

refused() {
	expect 1 front convert -O raw "$1" new
	one_line "qemu-img: Could not open '$1': *backing file*"
	absent new
}

followed() {
	expect 0 front convert -O raw "$1" new
	silent
	cmp -s -n 100000 new secret || fail "content of $1"
	rm -f new
}

refused cache/evil
refused ./cache/../cache/evil
refused "$dir/cache/evil"
refused aliasdir/evil
refused trusted/link
followed trusted/evil
followed cache2/evil
# and by all that read
for c in map "map --output=json" measure "measure -O qcow2"; do
	expect 1 front $c cache/evil
	one_line "qemu-img: Could not open 'cache/evil': *backing file*"
	[ ! -s out ] || fail "$c says something"
	expect 0 front $c trusted/evil
	expect 1 front $c --untrusted trusted/evil
done
for c in "cache/evil secret" "secret cache/evil"; do
	expect 2 front compare $c
	one_line "qemu-img: Could not open 'cache/evil': *backing file*"
done
expect 0 front compare trusted/evil secret
expect 1 front dd if=cache/evil of=new
one_line "qemu-img: Could not open 'cache/evil': *backing file*"
absent new
expect 0 front dd if=trusted/evil of=new
cmp -s -n 100000 new secret || fail "dd: content"
rm -f new
for c in map measure; do
	expect 1 "$byre" $c trusted/evil
	one_line "byre: $c: trusted/evil: *backing file*"
	expect 0 "$byre" $c --trusted trusted/evil
	expect 0 "$byre" $c --allow-backing="$dir" trusted/evil
done
expect 2 "$byre" compare secret trusted/evil
one_line "byre: compare: trusted/evil: *backing file*"
expect 0 "$byre" compare --trusted secret trusted/evil
expect 1 "$byre" dd if=trusted/evil of=new
one_line "byre: dd: trusted/evil: *backing file*"
absent new
checks=$((checks + 1))
(cd cache && front convert -O raw evil ../new) 2>err && fail "by a bare name"
absent new
# names are told, whatever the policy
expect 0 front info cache/evil
silent
grep -q "^backing file: $dir/secret" out || fail "info hides the backing name"
for v in 1 yes; do
	BYRE_UNTRUSTED=$v refused trusted/evil
done
BYRE_UNTRUSTED=0 followed trusted/evil
BYRE_UNTRUSTED= followed trusted/evil
expect 1 front convert --untrusted -O raw trusted/evil new
absent new

# without -f nothing under an untrusted directory is written to as a qcow2
"$byre" create -f qcow2 cache/plain 1M
expect 1 front resize cache/plain 2M
expect 0 front resize -f qcow2 cache/plain 2M

# a configuration that cannot be understood is no configuration to go by
for text in 'untrused = /x' 'untrusted' 'untrusted = relative' '= /x'; do
	echo "$text" >bad.conf
	BYRE_CONF=$dir/bad.conf
	expect 1 front convert -O raw trusted/evil new
	one_line "qemu-img: *bad.conf: line 1: *"
	absent new
done
BYRE_CONF=$dir/missing.conf
expect 1 front convert -O raw trusted/evil new
one_line "qemu-img: *missing.conf: *No such file or directory"
: >empty.conf
BYRE_CONF=$dir/empty.conf
followed cache/evil
unset BYRE_CONF
followed cache/evil

# the native commands look at none of this
BYRE_CONF=$dir/missing.conf BYRE_LENIENT=1 expect 1 \
	"$byre" convert trusted/evil new
one_line "byre: convert: trusted/evil: *backing file*"
BYRE_UNTRUSTED=1 expect 0 "$byre" convert --trusted trusted/evil new

# a snapshot is judged as what is read, though the active state is harmless
if command -v qemu-img >/dev/null && command -v qemu-io >/dev/null; then
	rm -f new
	qemu-img create -q -f qcow2 inner.qcow2 1M
	qemu-img convert -f raw -O qcow2 inner.qcow2 outer.qcow2
	expect 1 "$byre" convert outer.qcow2 new
	one_line "byre: convert: outer.qcow2: *guest data is itself a qcow2*"
	qemu-img snapshot -c s outer.qcow2
	qemu-io -f qcow2 -c 'write -z 0 64k' outer.qcow2 >/dev/null
	expect 0 "$byre" convert outer.qcow2 new
	rm -f new
	expect 1 "$byre" convert -l s outer.qcow2 new
	one_line "byre: convert: outer.qcow2: *guest data is itself a qcow2*"
	absent new
	expect 0 "$byre" convert --trusted -l s outer.qcow2 new
fi
finish
