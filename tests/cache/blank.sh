#!/bin/sh
# SPDX-License-Identifier: MIT
# Bases with nothing in them: swap areas and empty file systems.
. "${top_srcdir:-.}/tests/cache/lib.sh"
PATH=$PATH:/sbin:/usr/sbin

if command -v mkswap >/dev/null; then
	expect 0 cache blank swap --size 64M
	[ "$(cat out)" = "$base/swap_64" ] || fail "says $(cat out)"
	[ "$(stat -c %s "$base/swap_64")" = 67108864 ] || fail "size"
	[ "$(stat -c %b "$base/swap_64")" -lt 1000 ] || fail "not sparse"
	[ "$(dd if="$base/swap_64" bs=1 skip=4086 count=10 2>/dev/null)" = \
		SWAPSPACE2 ] || fail "no swap area"
	[ "$(field kind "$base/.byre/records/swap_64.json")" = blank ] ||
		fail "no record"
	inode=$(stat -c %i "$base/swap_64")
	touch -d '3 days ago' "$base/swap_64"
	expect 0 cache blank swap --size 64M
	[ "$(stat -c %i "$base/swap_64")" = "$inode" ] || fail "made again"
	[ "$(stat -c %Y "$base/swap_64")" -gt $(($(date +%s) - 3600)) ] ||
		fail "not touched"
	truncate -s 1M "$base/swap_64"
	expect 1 cache blank swap --size 64M
	one_line '*swap_64: is 1048576 bytes long, not 67108864'
	# many at once make it once
	for i in 1 2 3 4 5 6 7 8; do
		cache blank swap --size 32M --log text >out.$i 2>err.$i &
	done
	wait
	[ "$(cat err.? | grep -c 'added swap_32')" = 1 ] ||
		fail "added $(cat err.?)"
	# a service's $PATH may know nothing of sbin
	expect 0 env PATH=/usr/bin:/bin "$byre" cache blank swap --size 16M \
		--instances "$inst"
	[ -s "$base/swap_16" ] || fail "without sbin in PATH: $(cat err)"
	# what was found rotten is nothing to be built on
	expect 0 cache verify swap_16
	printf x | dd of="$base/swap_16" bs=1 seek=4090 conv=notrunc 2>/dev/null
	expect 3 cache verify swap_16
	expect 1 cache blank swap --size 16M
	one_line '*swap_16: is rotten, the last verification says'
	# unused, it goes
	touch -d '2 days ago' "$base/swap_64"
	expect 0 cache clean
	absent "$base/swap_64" "$base/.byre/records/swap_64.json"
	[ -e "$base/swap_32" ] || fail "a young one went"
else
	echo "no mkswap"
fi

if command -v mkfs.ext4 >/dev/null; then
	e=ephemeral_1_$(printf ext4 | md5sum | cut -c 1-7)
	expect 0 cache blank ephemeral --size 1G
	[ "$(cat out)" = "$base/$e" ] || fail "says $(cat out)"
	[ "$(stat -c %s "$base/$e")" = 1073741824 ] || fail "size"
	e2fsck -fn "$base/$e" >log 2>&1 || fail "$(cat log)"
	dumpe2fs -h "$base/$e" 2>/dev/null |
		grep -q '^Filesystem volume name: *ephemeral0$' || fail "label"
	expect 0 cache blank ephemeral --size 1G --fs ext3 --label data
	e=ephemeral_1_$(printf ext3 | md5sum | cut -c 1-7)
	dumpe2fs -h "$base/$e" 2>/dev/null |
		grep -q '^Filesystem volume name: *data$' || fail "label data"
else
	echo "no mkfs.ext4"
fi
expect 1 cache blank ephemeral --size 1G --fs nosuchfs
e=ephemeral_1_$(printf nosuchfs | md5sum | cut -c 1-7)
absent "$base/$e"
staged

expect 2 cache blank
expect 2 cache blank swap
expect 2 cache blank disk --size 1G
expect 2 cache blank swap --size 1000
expect 2 cache blank swap --size 0
expect 2 cache blank swap --size 1M --fs ext4
expect 2 cache blank ephemeral --size 1M
expect 2 cache blank ephemeral --size 1G --fs '../x'
finish
