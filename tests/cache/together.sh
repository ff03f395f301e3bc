#!/bin/sh
# SPDX-License-Identifier: MIT
# Many at once, and some that die: one conversion, whole bases or none.
. "${top_srcdir:-.}/tests/cache/lib.sh"
rounds=3
crowd=12
[ -z "${BYRE_CHECK_LONG:-}" ] || { rounds=100; crowd=32; }

make_raw data.raw
"$byre" convert -O qcow2 -c data.raw data.qcow2 || exit 99

# all of them come at once; one does the work
i=0
while [ $i -lt $rounds ]; do
	i=$((i + 1))
	n=0
	while [ $n -lt $crowd ]; do
		n=$((n + 1))
		cache ensure "crowd-$i" --from data.qcow2 --log json \
			>"out.$n" 2>"err.$n" &
	done
	wait
	checks=$((checks + 1))
	added=$(cat err.* | grep -c '"event": "added"')
	[ "$added" -eq 1 ] || fail "$added conversions"
	present=$(cat err.* | grep -c '"event": "present"')
	[ "$present" -eq $((crowd - 1)) ] || fail "$present found it"
	[ "$(sort -u out.* | wc -l)" -eq 1 ] || fail "they say: $(cat out.*)"
	same "$base/$(name "crowd-$i")" data.raw "crowd $i"
	staged "crowd $i"
	rm -f out.* err.*
done

# killed at any time: the name is whole or absent, and the next one does it
i=0
while [ $i -lt $((rounds * 4)) ]; do
	i=$((i + 1))
	"$byre" cache ensure --instances "$inst" "killed-$i" \
		--from data.qcow2 -q 2>/dev/null &
	pid=$!
	sleep "0.0$((i * 7 % 60 / 10))$((i * 7 % 10))"
	kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
	checks=$((checks + 1))
	b=$base/$(name "killed-$i")
	[ ! -e "$b" ] || same "$b" data.raw "killed $i"
	expect 0 cache ensure "killed-$i" --from data.qcow2 -q
	silent
	same "$b" data.raw "killed $i, again"
done

# interrupted: nothing is left at all
"$byre" cache ensure --instances "$inst" stopped --from data.qcow2 -q \
	2>/dev/null &
pid=$!
kill -TERM $pid
wait $pid
[ -e "$base/$(name stopped)" ] || [ -z "$(ls "$base/.byre/staging" |
	grep "^$(name stopped)")" ] || fail "a stage is left"

# who waits is told how far the other one is: a source that comes slowly
if [ -x "$top_builddir/byre-fetch" ]; then
	checks=$((checks + 1))
	mkfifo pipe
	cache ensure slow --from - -q <pipe &
	exec 4>pipe
	head -c 2000000 data.raw >&4
	while ! ls "$base/.byre/staging" | grep -q "^$(name slow)"; do
		sleep 0.05
	done
	# not by the function: its shell would keep the pipe open
	"$byre" cache ensure --instances "$inst" slow --from nothing \
		--progress-fd 5 5>progress 2>err 4>&- &
	pid=$!
	while [ ! -s progress ]; do
		sleep 0.1
	done
	tail -c +2000001 data.raw >&4
	exec 4>&-
	wait $pid || fail "the waiting one: $(cat err)"
	one_line "byre: cache ensure: warning: waits for another process"
	wait
	same "$base/$(name slow)" data.raw slow
fi

# who may not wait is told
if command -v python3 >/dev/null; then
	cache ensure held --from data.raw -q || exit 99
	python3 -c '
import fcntl, subprocess, sys
f = open(sys.argv[1], "a")
fcntl.lockf(f, fcntl.LOCK_EX)
sys.exit(subprocess.call(sys.argv[2:]))' "$inst/locks/nova-$(name held)" \
		"$byre" cache ensure --instances "$inst" held \
		--from data.raw --no-wait >out 2>err
	[ $? -eq 1 ] || fail "Nova's lock is not respected"
	one_line "byre: cache ensure: nova-*: another process holds the lock"
fi
finish
