#!/bin/sh
# SPDX-License-Identifier: MIT
# Every call of create fails or kills in turn: a whole image or none.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
make_sources
features="otmpfile linktmp otmpfile,renameat2 fallocate direct"

run() {
	sweep new -- "$byre" create "$@"
	same_without new $features -- "$byre" create "$@"
}

run -f raw t 10M
run -f qcow2 t 10M
run -f qcow2 -b src.qcow2 -F qcow2 t
run -f qcow2 -o preallocation=metadata t 10M

# over NFS the answer to a link that was made may get lost: the next one is
# that the name exists
before=$(entries)
shim DENY=nfs FAIL=link:1:lost -- "$byre" create -f raw t 10M
[ $rc -eq 0 ] || fail "its own link: exit $rc"
rm "$w/t"
[ "$(entries)" = "$before" ] || fail "its own link: left $(entries)"

# a data file without its image is of no use, also behind a link to nothing
for link in "" link; do
	[ -z "$link" ] || ln -s real "$w/d"
	before=$(entries)
	shim FAIL=link:2:EIO -- "$byre" create -f qcow2 -o data_file=d t 1M
	[ $rc -eq 1 ] || fail "no name for the image: exit $rc"
	[ "$(entries)" = "$before" ] || fail "no image, and left $(entries)"
done
