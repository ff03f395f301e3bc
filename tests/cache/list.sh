#!/bin/sh
# SPDX-License-Identifier: MIT
# list, status, pin and unpin.
. "${top_srcdir:-.}/tests/cache/lib.sh"

make_raw data.raw
expect 1 cache list
one_line 'byre: cache list: *_base: cannot open the directory of the bases: *'
cache ensure 'one
two' --from data.raw -q || exit 99
cache ensure kernel --from data.raw --kernel -q || exit 99
cp data.raw "$base/$(name nova)"
cp data.raw "$base/$(name one)_20"
truncate -s 512M "$base/swap_512"
: >"$base/$(name x).part"
ln -s "$dir/data.raw" "$base/$(name planted)"
: >"$base/$(printf 'new\nline')"
: >"$base/$(name nova).info"

expect 0 cache list
silent
[ "$(wc -l <out)" -eq 10 ] || fail "lines: $(cat out)"
line() {
	grep -q "^$1 *$2 " out || fail "no '$1 $2': $(cat out)"
}
line "$(name 'one
two')" image
line "$(name kernel)" kernel
line "$(name nova)" image
line "$(name one)_20" sized
line swap_512 swap
line "$(name x).part" part
line "$(name nova).info" old-info
line 'new\\x0aline' foreign
grep -q 'one\\x0atwo$' out || fail "no id"
grep -q "^$(name nova) .* no-record " out || fail "nova has a record"
grep -q "^$(name planted) .* no-file " out || fail "a link is a file"

expect 0 cache list --json
command -v python3 >/dev/null && { python3 -c '
import json, sys
l = json.load(open("out"))
assert len(l) == 9, l
one = [x for x in l if x.get("image-id") == "one\ntwo"]
assert len(one) == 1 and one[0]["state"] == "digest", one
assert one[0]["virtual-size"] == 12582912 and not one[0]["pinned"], one
assert [x for x in l if x["name"] == "new\nline"]' || fail "JSON"; }

# two disks on one base, one of them by way of the other
mkdir "$inst/uuid"
"$byre" create -f qcow2 -u -b "$base/$(name nova)" -F raw \
	"$inst/uuid/disk" 12M -q || exit 99
"$byre" create -f qcow2 -u -b "$inst/uuid/disk" -F qcow2 \
	"$inst/uuid/disk.local" 12M -q || exit 99
expect 0 cache list --json
silent
case $(field used-by out) in
*uuid/disk | *uuid/disk.local) ;;
*) fail "used by: $(cat out)" ;;
esac
expect 0 cache status --json
[ "$(field used out)" -eq 1 ] || fail "status: $(cat out)"
printf 'QFI\373' >"$inst/uuid/disk.config"
expect 0 cache status -q
silent

expect 0 cache status
grep -q '^bases *5 ' out || fail "status: $(cat out)"
grep -q '^other files *4 ' out || fail "status: $(cat out)"
expect 0 cache status --json
[ "$(field without-record out)" -eq 3 ] || fail "status: $(cat out)"
[ "$(field pinned out)" -eq 0 ] || fail "status: $(cat out)"

expect 0 cache pin 'one
two' --log text
one_line "byre: cache: pinned $(name 'one
two') (one\\\\x0atwo)"
expect 0 cache pin 'one
two'
silent
expect 0 cache status --json
[ "$(field pinned out)" -eq 1 ] || fail "not pinned: $(cat out)"
# the rest of the record stays
[ "$(field created "$base/.byre/records/$(name 'one
two').json")" -gt 0 ] || fail "the record is cut"
expect 0 cache unpin 'one
two'
expect 0 cache status --json
[ "$(field pinned out)" -eq 0 ] || fail "still pinned"
expect 1 cache pin nova
one_line 'byre: cache pin: *: no record describes the base*'
expect 1 cache pin nothing
one_line 'byre: cache pin: *: there is no base of that image: *'
expect 2 cache pin
finish
