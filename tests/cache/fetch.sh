#!/bin/sh
# SPDX-License-Identifier: MIT
# byre-fetch by itself, and ensure with what only byre-fetch can do.
. "${top_srcdir:-.}/tests/cache/lib.sh"
fetch=$top_builddir/byre-fetch
[ -x "$fetch" ] || { echo "built without byre-fetch"; exit 77; }

make_raw data.raw
"$byre" convert -O qcow2 -c data.raw data.qcow2 || exit 99
sha512=$(sha512sum <data.raw | cut -d ' ' -f 1)
sha256=$(sha256sum <data.raw | cut -d ' ' -f 1)
md5=$(md5sum <data.raw | cut -d ' ' -f 1)

# got ARGS...: the last line, and the target in file got
got() {
	rm -f got
	checks=$((checks + 1))
	"$fetch" "$@" 3>got >lines || fail "byre-fetch $*: $(cat lines)"
	tail -n 1 lines
}

# holes and zeros are holes, from a file, a pipe, and a file that was begun
[ "$(got data.raw)" = "done 12582912" ] || fail "says $(cat lines)"
same got data.raw file
[ "$(stat -c %b got)" -lt 9000 ] || fail "holes were written"
[ "$(cat data.raw | got -)" = "done 12582912" ] || fail "says $(cat lines)"
same got data.raw pipe
[ "$(stat -c %b got)" -lt 9000 ] || fail "zeros were written"
[ "$(got - <data.raw)" = "done 12582912" ] || fail "says $(cat lines)"
same got data.raw stdin
(dd bs=1000 count=3 >/dev/null 2>&1; got -) <data.raw >/dev/null
tail -c +3001 data.raw | cmp -s - got || fail "a file that was begun"
: >empty
[ "$(got --md5 empty)" = "done 0 md5=d41d8cd98f00b204e9800998ecf8427e" ] ||
	fail "empty: $(cat lines)"
truncate -s 5000001 hole
[ "$(got --sha256 hole)" = \
	"done 5000001 sha256=$(sha256sum <hole | cut -d ' ' -f 1)" ] ||
	fail "a hole: $(cat lines)"
same got hole hole

# digests are of every byte, holes included
[ "$(got --sha512 --md5 --sha256 data.raw)" = \
	"done 12582912 md5=$md5 sha256=$sha256 sha512=$sha512" ] ||
	fail "digests: $(cat lines)"
[ "$(cat data.raw | got --sha256 -)" = "done 12582912 sha256=$sha256" ] ||
	fail "digest of a pipe: $(cat lines)"

# refused PATTERN ARGS...
refused() {
	pattern=$1
	shift
	rm -f got
	checks=$((checks + 1))
	"$fetch" "$@" 3>got >lines 2>err </dev/null &&
		fail "byre-fetch $* succeeds"
	case $(tail -n 1 lines) in
	$pattern) ;;
	*) fail "byre-fetch $*: $(cat lines)" ;;
	esac
}

refused 'error cannot open: No such file*' nothing
refused 'error is a directory' .
refused 'error is a character device' /dev/null
refused 'error one source is needed'
refused 'error one source is needed' a b
refused 'error unknown option' --sha1 data.raw
refused 'error the source is longer than 12582911 bytes' --limit 12582911 \
	data.raw
refused 'error --limit: *' --limit 0 data.raw
[ "$(got --limit 12582912 data.raw)" = "done 12582912" ] || fail "--limit"
refused 'error * bytes are left on the file system, and * have to stay free' \
	--reserve 4000000000000000000 data.raw
refused 'error --reserve: *' --reserve 0 data.raw
[ "$(got --reserve 1 data.raw)" = "done 12582912" ] || fail "--reserve"
"$fetch" data.raw >lines 3>&- && fail "no target succeeds"
"$fetch" data.raw >lines 3<got && fail "a target to be read succeeds"
echo x >got
"$fetch" data.raw >lines 3>>got && fail "a target with content succeeds"

# ensure: the digest is that of the bytes that are converted
for f in data.raw data.qcow2; do
	sum=$(sha512sum <$f | cut -d ' ' -f 1)
	expect 0 cache ensure "sum-$f" --from $f --expect "sha512:$sum" \
		--expect "md5:$(md5sum <$f | cut -d ' ' -f 1 |
			tr a-f A-F)"
	silent
	same "$base/$(name "sum-$f")" data.raw "$f"
	[ "$(stat -c %b "$base/$(name "sum-$f")")" -lt 9000 ] ||
		fail "holes of $f"
	staged $f
	r=$base/.byre/records/$(name "sum-$f").json
	[ "$(field sha512 "$r")" = "$sum" ] || fail "sha512 of $f"
	[ "$(field content-digest "$r")" = \
		"$("$byre" digest data.raw | cut -d ' ' -f 1)" ] ||
		fail "content digest of $f"
	expect 1 cache ensure "wrong-$f" --from $f --expect "md5:$md5" \
		--expect "sha256:$(echo $f | sha256sum | cut -d ' ' -f 1)"
	one_line "byre: cache ensure: $f: its * is *, expected was *"
	absent "$base/$(name "wrong-$f")"
	staged "wrong $f"
done

# of a base that is there the record tells which source it had
expect 0 cache ensure sum-data.raw --from nothing --expect "sha512:$sha512"
expect 0 cache ensure sum-data.raw --from nothing --expect "sha256:$sha256"
expect 1 cache ensure sum-data.qcow2 --from nothing --expect "md5:$md5"
one_line 'byre: cache ensure: *: the md5 of its source was *, expected is *'
expect 1 cache spawn sum-data.qcow2 "$inst/i/disk" --from nothing \
	--expect "sha512:$sha512"
absent "$inst/i"

# standard input, of either kind, in all the ways
for how in "" --keep-qcow2 --kernel; do
	kept=data.raw
	[ -z "$how" ] || kept=data.qcow2
	expect 0 cache ensure "file$how" --from data.qcow2 $how -q
	same "$base/$(name "file$how")" $kept "$how"
	for f in "pipe" "stdin"; do
		checks=$((checks + 1))
		if [ $f = pipe ]; then
			cat data.qcow2 | cache ensure "$f$how" --from - $how \
				>out 2>err || fail "$f $how: $(cat err)"
		else
			cache ensure "$f$how" --from - $how <data.qcow2 \
				>out 2>err || fail "$f $how: $(cat err)"
		fi
		same "$base/$(name "$f$how")" $kept "$f $how"
		staged "$f $how"
	done
done
cat data.raw | cache ensure raw --from - -q || fail "a raw pipe"
same "$base/$(name raw)" data.raw "a raw pipe"
head -c 1000 data.raw | cache ensure odd --from - -q -f raw || fail "odd"
[ "$(stat -c %s "$base/$(name odd)")" -eq 1024 ] || fail "size of odd"

# what breaks off, or never ends
printf '' | cache ensure nothing --from - -q 2>err && fail "nothing succeeds"
one_line 'byre: cache ensure: standard input: the source is empty'
yes | cache ensure endless --from - -q --max-size 1M 2>err &&
	fail "endless succeeds"
one_line 'byre: cache ensure: standard input: the source is longer than *'
staged endless
absent "$base/$(name nothing)" "$base/$(name endless)"

# a small file system keeps some room: 1/32 of it
# zeros need none, and what does not tell how large it is has nothing to keep
mkdir small
if unshare -rm mount -t tmpfs -o size=16M none "$dir/small" 2>/dev/null; then
	checks=$((checks + 1))
	head -c 16400000 /dev/zero | tr '\0' x >large
	head -c 15000000 large >fits
	for n in large fits; do
		"$byre" convert -O qcow2 $n $n.qcow2 || exit 99
	done
	# shellcheck disable=SC2016
	unshare -rm sh -c 'mount -t tmpfs -o size=16M none "$1" &&
		yes | "$2" cache ensure --instances "$1" x --from - -q
		echo $? >status; ls -A "$1/_base/.byre/staging" >left
		head -c 9M /dev/zero | tr "\0" x |
			"$2" cache ensure --instances "$1" x --from - -q
		echo $? >>status
		rm "$1/_base"/[0-9a-f]*
		for how in "" --keep-qcow2; do
			for n in large fits; do
				"$2" cache ensure --instances "$1" $n$how -q \
					--from $n.qcow2 $how
				echo $? >>status
				rm -f "$1/_base"/[0-9a-f]*
			done
		done
		head -c 15M /dev/zero | tr "\0" x >"$1/guest"
		truncate -s 2M "$1/in"
		for n in "$1/in" -; do
			"$2" cache ensure --instances "$1" zeros$n -q \
				--from "$n" <"$1/in"
			echo $? >>status
		done
		cat "$1/in" | "$2" cache ensure --instances "$1" zeros -q --from -
		echo $? >>status
		ls -A "$1/_base/.byre/staging" >>left
		mount -t tmpfs -o size=0 none "$1"
		for how in "" --keep-qcow2; do
			"$2" cache ensure --instances "$1" any$how -q \
				--from fits.qcow2 $how
			echo $? >>status
		done' sh "$dir/small" "$byre" 2>err
	grep -cx "byre: cache ensure: large.qcow2: more than [0-9]* bytes of \
data, the room that the file system has to spare" err >large
	[ "$(cat large)" = 2 ] || fail "large: $(cat err)"
	grep -v large.qcow2 err >rest
	mv rest err
	one_line "byre: cache ensure: standard input: * bytes are left on the \
file system, and 524288 have to stay free"
	[ "$(sed 's/.*input: \([0-9]*\) .*/\1/' err)" -ge 524288 ] ||
		fail "too few: $(cat err)"
	[ ! -s left ] || fail "staging holds $(cat left)"
	[ "$(tr "\n" " " <status)" = "1 0 1 0 1 0 0 0 0 0 0 " ] ||
		fail "exits $(cat status)"
else
	echo "no file system can be mounted: its reserve is not tried"
fi

# interrupted while a source is silent
mkfifo pipe
"$byre" cache ensure --instances "$inst" silent --from - -q <pipe 2>/dev/null &
pid=$!
exec 4>pipe
printf x >&4
while ! ls "$base/.byre/staging" | grep -q "^$(name silent)"; do
	sleep 0.05
done
kill -TERM $pid
wait $pid
[ $? -eq 143 ] || fail "not ended by the signal"
exec 4>&-
staged silent

# killed while a source is silent: byre-fetch does not live on with the stage
"$byre" cache ensure --instances "$inst" dead --from - -q <pipe 2>/dev/null &
pid=$!
exec 4>pipe
printf x >&4
while ! ls "$base/.byre/staging" | grep -q "^$(name dead)"; do
	sleep 0.05
done
kill -9 $pid
wait $pid 2>/dev/null
n=0
while [ -n "$(ls "$base/.byre/staging")" ] && [ $n -lt 100 ]; do
	n=$((n + 1))
	cache clean -q
	sleep 0.05
done
staged dead
exec 4>&-

# a source that becomes shorter is not filled up with zeros: the pipe is full,
# so that byre-fetch waits behind its first piece
mkfifo slow
exec 4<>slow
dd if=/dev/zero bs=4096 count=16 of=slow 2>/dev/null
cp data.raw short
rm -f got
"$fetch" short 3>got >slow &
pid=$!
while [ ! -s got ]; do
	sleep 0.05
done
truncate -s 3M short
cat slow >lines 4>&- &
exec 4>&-
wait $pid && fail "a source that was cut succeeds"
wait
[ "$(tail -n 1 lines)" = "error the source became shorter" ] ||
	fail "cut: $(tail -n 1 lines)"

# a byre-fetch that dies is no success, and neither is one that is not there
mkdir bin
cp "$byre" bin/byre
printf '#!/bin/sh\nprintf abc >&3\necho done 3\nexit 1\n' >bin/byre-fetch
chmod +x bin/byre-fetch
expect 1 bin/byre cache ensure --instances "$inst" x --from data.raw \
	--expect "md5:$md5"
one_line 'byre: cache ensure: data.raw: byre-fetch did not come to its end'
printf '#!/bin/sh\necho done 3 md5=%s\nkill -9 $$\n' $md5 >bin/byre-fetch
expect 1 bin/byre cache ensure --instances "$inst" x --from data.raw \
	--expect "md5:$md5"
one_line 'byre: cache ensure: data.raw: byre-fetch ended by signal 9'
printf '#!/bin/sh\nhead -c 512 /dev/zero >&3\necho done 512\n' >bin/byre-fetch
expect 1 bin/byre cache ensure --instances "$inst" x --from data.raw \
	--expect "md5:$md5"
one_line 'byre: cache ensure: data.raw: its md5 is , expected was *'
printf '#!/bin/sh\nhead -c 512 /dev/zero >&3\necho done 513 md5=%s\n' \
	$md5 >bin/byre-fetch
expect 1 bin/byre cache ensure --instances "$inst" x --from data.raw \
	--expect "md5:$md5"
one_line 'byre: cache ensure: data.raw: byre-fetch says 513 bytes, 512 are there'
printf '#!/bin/sh\nprintf "error \\033[2J\\n"\nexit 1\n' >bin/byre-fetch
expect 1 bin/byre cache ensure --instances "$inst" x --from data.raw \
	--expect "md5:$md5"
one_line 'byre: cache ensure: data.raw: ?\[2J'
# nor is one that does not end, and it does not outlive a signal
cat >bin/byre-fetch <<'EOF'
#!/bin/sh
trap '' TERM
echo $$ >fetch.pid
exec sleep 30 >&-
EOF
bin/byre cache ensure --instances "$inst" x --from data.raw \
	--expect "md5:$md5" 2>/dev/null &
pid=$!
while [ ! -s fetch.pid ]; do
	sleep 0.05
done
kill -TERM $pid
wait $pid
[ $? -eq 143 ] || fail "not ended by the signal"
kill -0 "$(cat fetch.pid)" 2>/dev/null && fail "byre-fetch lives on"
absent "$base/$(name x)"
staged x

# what is expected must be a digest
for bad in md5 md5: "md5:$sha256" "sha1:$md5" "md5:${md5%?}g" \
	"sha256:$md5" "$md5"; do
	expect 2 cache ensure x --from data.raw --expect "$bad"
done
expect 2 cache ensure x --from data.raw --expect "md5:$md5" \
	--expect "md5:00000000000000000000000000000000"
finish
