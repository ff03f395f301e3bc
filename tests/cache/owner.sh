#!/bin/sh
# SPDX-License-Identifier: MIT
# Whose the files are that byre makes, with which modes: Nova and the guests'
# user have to get at them, whoever called byre with whatever umask.
. "${top_srcdir:-.}/tests/cache/lib.sh"

make_raw data.raw
umask 077
expect 0 cache ensure img --from data.raw
for d in "$base" "$base/.byre" "$base/.byre/records" "$inst/locks"; do
	[ "$(stat -c %a "$d")" = 755 ] || fail "mode of $d: $(stat -c %a "$d")"
done
b=$base/$(name img)
[ "$(stat -c %a "$b")" = 644 ] || fail "mode of the base: $(stat -c %a "$b")"
umask 022

# what root makes is the owner's of the instances; what root found is not
rm -rf "$inst"
mkdir "$inst"
if ! chown 12345:12346 "$inst" 2>/dev/null; then
	echo "not root: only modes were looked at"
	finish
fi
expect 0 cache ensure img --from data.raw
expect 0 cache spawn img "$inst/uuid/disk" --size 1G
expect 0 cache spawn img "$inst/uuid/disk.local" --size 1G --sized-base
expect 0 cache spawn img "$inst/uuid/disk.flat" --flat
expect 0 cache clean
[ -e "$base/.byre/clock" ] || fail "no clock"
others=$(find "$inst" ! -uid 12345 -o ! -gid 12346)
[ -z "$others" ] || fail "not the owner's: $others"

# a hard link to a file of root's is not given away
echo secret >secret
chmod 600 secret
ln -f secret "$base/.byre/clock"
ln -f secret "$inst/locks/nova-$(name img)"
expect 0 cache clean
expect 0 cache ensure img --from nothing
[ "$(stat -c '%u %a' secret)" = "$(id -u) 600" ] ||
	fail "given away: $(stat -c '%u %a' secret)"
[ "$(cat secret)" = secret ] || fail "written: $(cat secret)"
finish
