#!/bin/sh
# SPDX-License-Identifier: MIT
# What hurts in Nova's image cache does not happen here. The table PAINS names
# a test for every point; here are the cases that no other test has, each a
# function of its own, run in the table's order. A row that names a test or a
# case that is not there is a failure.
. "${top_srcdir:-.}/tests/cache/lib.sh"
tests=$top_srcdir/tests
own=cache/pains.sh

# rows TABLE: its rows as POINT|TEST|CASE
rows() {
	sed -e '/^#/d' -e '/^$/d' -e 's/ *| */|/g' "$1"
}

# has_case FILE CASE: is it there, and is anything checked by it?
has_case() {
	case $1 in
	*.c)
		grep -qxF "START_TEST($2)" "$1" &&
			grep -qF "tcase_add_test(t, $2);" "$1"
		;;
	*.img) grep -qxF "image $2" "$1" ;;
	*.py)
		# a key of the table of cases, where one lies beside it; else
		# a function that is called
		if [ -e "${1%.py}_cases.py" ]; then
			grep -q "^    \"$2\": " "${1%.py}_cases.py" &&
				grep -qw CASES.items "$1"
		else
			grep -q "^def $2(" "$1" &&
				grep -q "^[[:space:]].*\<$2(" "$1"
		fi
		;;
	*)
		# a function that is called, or a comment: up to the next one
		# at the margin there is a check
		{ grep -qxF "$2() {" "$1" &&
			{ [ "$1" = "$tests/$own" ] ||
				grep -qx "[[:space:]]*$2" "$1"; }; } ||
			awk -v want="# $2" '
			{ line = $0; sub(/^\t*/, "", line) }
			line == want { on = 1; next }
			on && /^# / && seen { on = 0 }
			on && line !~ /^#/ && /(^|[^a-z_])(expect|fail|same|absent|refused|rot|gone|here|stays) / {
				found = 1
			}
			on && line !~ /^#/ { seen = 1 }
			END { exit !found }' "$1"
		;;
	esac
}

# is_run FILE: one of those that make check runs
is_run() {
	case $1 in
	*/golden/*.img)
		grep -qF 'tests/golden/run.sh' "$tests/golden/sources.am"
		;;
	*)
		f=tests/${1#"$tests/"}
		grep -v '^EXTRA_DIST' "$top_srcdir/${f%/*}/sources.am" |
			grep -qE "(^|[[:space:]])$f([[:space:]]|\$)"
		;;
	esac
}

# judge_row POINT TEST CASE: says what is wrong with it
judge_row() {
	if [ -z "$1" ] || [ -z "$2" ] || [ -z "$3" ]; then
		echo "a row without three columns: $1"
	elif [ "$2" = - ]; then
		[ "$(echo "$3" | wc -w)" -ge 5 ] || echo "no reason: $1"
	elif [ ! -f "$tests/$2" ]; then
		echo "no such test: $2"
	elif ! is_run "$tests/$2"; then
		echo "a test that is never run: $2"
	elif ! has_case "$tests/$2" "$3"; then
		echo "$2 has no case '$3'"
	fi
}

check_table() {
	rows "$1" | while IFS='|' read -r point test_file test_case; do
		judge_row "$point" "$test_file" "$test_case"
	done
}

# the check of the table can fail
for planted in 'x' 'x | cache/clean.sh' 'x | - | so' \
	'x | cache/nosuch.sh | here' 'x | cache/clean.sh | no such case' \
	'x | cache/lib.sh | name' 'x | cache/clean.sh | the command' \
	'x | cache/unit_store.c | no_such_test' \
	'x | golden/good.img | good-nosuch' \
	'x | crash/publish.py | nosuch' "x | $own | no_such_function"; do
	checks=$((checks + 1))
	echo "$planted" >planted
	[ -n "$(check_table planted)" ] || fail "not noticed: $planted"
done

checks=$((checks + 1))
table=$tests/cache/PAINS
wrong=$(check_table "$table")
[ -z "$wrong" ] || fail "$wrong"
[ "$(rows "$table" | wc -l)" -ge 50 ] || fail "rows are lost"

# ---- the cases ----

# leave WHY: a case that cannot be tried here
leave() {
	echo "$pain is left out: $*"
}

fresh() {
	rm -rf "$inst"
	mkdir "$inst"
}

unless_asan() {
	! nm "$byre" 2>/dev/null | grep -q __asan_init
}

# genuine: the real qemu-img, where there is one
genuine() {
	command -v qemu-img >/dev/null &&
		! qemu-img --version | grep -q byre
}

# Wherever the end is lost, what comes of it is the image or nothing. The last
# cluster's end is lost only if no table says so, and no digest either.
truncated_sources() {
	"$byre" convert -O qcow2 data.raw ours.qcow2 || exit 99
	kinds=ours
	! genuine || {
		qemu-img convert -f raw -O qcow2 data.raw theirs.qcow2
		qemu-img convert -f raw -O qcow2 -o cluster_size=512 data.raw \
			small.qcow2
		kinds="ours theirs small"
	}
	for kind in $kinds; do
		size=$(stat -c %s $kind.qcow2)
		for cut in 1 512 4096 30000 65000 65536 1000000 $((size / 2)); do
			head -c $((size - cut)) $kind.qcow2 >cut.qcow2
			for how in "" --keep-qcow2; do
				truncated $kind-$cut$how
			done
		done
		# the last one of them does harm, and QEMU says nothing
		! genuine || qemu-img convert -f qcow2 -O raw cut.qcow2 q.raw \
			2>/dev/null || fail "qemu-img refuses it, too"
	done
	[ -x "$top_builddir/byre-fetch" ] || return
	cache ensure cut --from - <cut.qcow2 2>err && fail "taken from a pipe"
	absent "$base/$(name cut)"
	staged "cut, from a pipe"
	# whose provider has it like that
	printf 'all of it' >short.raw
	truncate -s 64k short.raw
	"$byre" convert -O qcow2 short.raw full.qcow2 || exit 99
	at=$("$byre" map --output json full.qcow2 |
		sed -n 's/.*"data": true.*"offset": \([0-9]*\).*/\1/p' |
		head -n 1)
	head -c $((at + 512)) full.qcow2 >short.qcow2
	expect 1 cache ensure short --from short.qcow2
	one_line '*is cut off by the end of the file*'
	expect 0 cache ensure short --from short.qcow2 \
		--expect "md5:$(md5sum <short.qcow2 | cut -d ' ' -f 1)"
	same "$base/$(name short)" short.raw "a short one"
}

# truncated ID: cut.qcow2 is refused, or lacks nothing that a guest reads
truncated() {
	checks=$((checks + 1))
	run cache ensure "$1" --from cut.qcow2 $how
	case $status in
	0) "$byre" compare -q --trusted "$base/$(name "$1")" data.raw ||
		fail "taken, with another content: $1" ;;
	1)
		one_line 'byre: cache ensure: cut.qcow2: *'
		absent "$base/$(name "$1")" \
			"$base/.byre/records/$(name "$1").json"
		;;
	*) fail "$1: exit $status" ;;
	esac
	[ "$cut" -lt 65000 ] || [ "$status" -eq 1 ] || fail "taken: $1"
	staged "$1"
}

formats_are_noted() {
	cache ensure img --from data.raw -q || exit 99
	i=$inst/uuid
	expect 0 cache spawn img "$i/disk" --flat --size 16M
	# the guest writes a header that names a file of the host
	"$byre" create -q -f qcow2 -u -b /etc/passwd -F raw evil 16M || exit 99
	dd if=evil of="$i/disk" conv=notrunc 2>/dev/null
	grep -qxF "{\"$i/disk\": \"raw\"}" "$i/disk.info" ||
		fail "not noted: $(cat "$i/disk.info")"
	expect 0 cache clean --json
	[ "$(grep -c '"path"' out)" -eq 0 ] || fail "believed: $(cat out)"
	# the same path again, and of another format: the note follows
	rm "$i/disk"
	expect 0 cache spawn img "$i/disk" --size 16M
	grep -qxF "{\"$i/disk\": \"qcow2\"}" "$i/disk.info" ||
		fail "an old note stays: $(cat "$i/disk.info")"
	# and a base says by its record what it is, not by its first bytes
	expect 1 cache ensure evil --from evil
	expect 1 cache ensure evil --from evil -f raw
	absent "$base/$(name evil)"
}

# each of two hosts has its own program and one storage
scrubs_are_shared() {
	for id in a b c; do
		cache ensure $id --from data.raw -q || exit 99
	done
	expect 0 cache verify a b
	sleep 1 # times are told in seconds
	expect 0 cache verify
	[ "$(head -n 1 out)" = "good    $(name c)" ] ||
		fail "begins with what was just read: $(cat out)"
}

reserved_room_is_enough() {
	cache ensure img --from data.raw -q || exit 99
	expect 0 cache spawn img "$inst/i/disk" --preallocate --size 64M
	if [ -s err ]; then
		leave "this file system reserves nothing"
		return
	fi
	before=$(stat -c %b "$inst/i/disk")
	[ "$before" -gt 131072 ] ||
		fail "$before sectors for 64 MiB and their tables"
	yes 'a guest that fills its disk' | head -c 67108864 >full.raw
	"$byre" convert --trusted -n -f raw -O qcow2 full.raw \
		"$inst/i/disk" || fail "cannot be filled"
	"$byre" compare -q --trusted "$inst/i/disk" full.raw ||
		fail "is not filled"
	[ "$(stat -c %b "$inst/i/disk")" -le "$before" ] ||
		fail "grew from $before to $(stat -c %b "$inst/i/disk")"
}

kernels_go() {
	cp data.qcow2 kernel
	cache ensure vmlinuz --from kernel --kernel -q || exit 99
	cache ensure initrd --from data.raw --kernel -q || exit 99
	touch -d '25 hours ago' "$base/$(name vmlinuz)" "$base/$(name initrd)"
	expect 0 cache clean --in-use initrd
	absent "$base/$(name vmlinuz)" \
		"$base/.byre/records/$(name vmlinuz).json"
	same "$base/$(name initrd)" data.raw "a ramdisk that is in use"
	touch -d '25 hours ago' "$base/$(name initrd)"
	expect 0 cache clean
	absent "$base/$(name initrd)"
}

a_dark_disk_ends_no_pass() {
	for id in used spare dark; do
		cache ensure $id --from data.raw -q || exit 99
		touch -d '3 days ago' "$base/$(name $id)"
	done
	mkdir "$inst/i1" "$inst/i2"
	"$byre" create -q -f qcow2 -u -b "$base/$(name used)" -F raw \
		"$inst/i2/disk" 16M || exit 99
	touch -d '3 days ago' "$base/$(name used)"
	cp data.raw "$base/$(name left).part"
	touch -d '3 days ago' "$base/$(name left).part"
	: >"$base/.byre/staging/nobody-0"
	for how in header rights; do
		rm -f "$inst/i1/disk"
		printf 'QFI\373\0\0\0\3' >"$inst/i1/disk"
		[ $how = header ] || chmod 0 "$inst/i1/disk"
		expect 0 cache clean --unused spare
		grep -q 'warning: .*i1/disk: ' err || fail "not told: $(cat err)"
		# what it cannot name goes, what it may name stays, also if
		# no other host uses it
		absent "$base/$(name left).part"
		staged "a dark disk"
		[ -e "$base/$(name dark)" ] && [ -e "$base/$(name spare)" ] ||
			fail "what it may use is gone"
		[ "$(stat -c %Y "$base/$(name used)")" -gt \
			$(($(date +%s) - 3600)) ] || fail "not touched"
	done
	expect 0 cache clean --ignore-disk i1/disk
	absent "$base/$(name dark)" "$base/$(name spare)"
	[ -e "$base/$(name used)" ] || fail "what is used is gone"
}

# A copy that takes its time: its source's lock is held by whoever copies, be
# it byre or Nova's cp under its own lock.
no_removal_under_a_copy() {
	cache ensure img --from data.raw -q || exit 99
	b=$base/$(name img)
	touch -d '3 days ago' "$b"
	# open and unlocked, as cp -r has it when its caller takes no lock
	mkfifo slow
	{ cat; cat slow >/dev/null; } <"$b" >copy &
	pid=$!
	exec 4>slow
	expect 0 cache clean --min-age 0
	[ -e "$b" ] || fail "removed under a copy"
	expect 1 cache purge img
	[ -e "$b" ] || fail "purged under a copy"
	exec 4>&-
	wait $pid
	rm slow
	same "$b" copy
	# many spawns that copy, and cleaning without any age, all the time
	n=0
	while [ $n -lt 8 ]; do
		n=$((n + 1))
		cache spawn img "$inst/i$n/disk" --flat -q \
			--from data.raw 2>"err.$n" || echo >"failed.$n" &
		cache clean -q --min-age 0 2>/dev/null &
	done
	wait
	n=0
	while [ $n -lt 8 ]; do
		n=$((n + 1))
		[ ! -e "failed.$n" ] || fail "no disk: $(cat "err.$n")"
		same "$inst/i$n/disk" data.raw "disk $n"
	done
}

# What NFS does to root: neither owner nor allowed to set times.
utime_is_refused() {
	if [ "$(id -u)" -ne 0 ] || ! command -v setpriv >/dev/null; then
		leave "needs root, and setpriv"
		return
	fi
	cache ensure img --from data.raw -q || exit 99
	b=$base/$(name img)
	touch -d '3 days ago' "$b"
	before=$(stat -c %Y "$b")
	chmod 755 "$dir"
	chmod -R a+rwX "$inst/locks" "$base/.byre" "$inst"
	chmod 755 "$base"
	chmod 644 "$b"
	nobody="setpriv --reuid 65534 --regid 65534 --clear-groups"
	if ! $nobody "$byre" --version >/dev/null 2>&1; then
		leave "the program is out of others' reach"
		return
	fi
	expect 0 $nobody "$byre" cache ensure --instances "$inst" img \
		--from nothing
	one_line 'byre: cache ensure: warning: *'
	expect 0 $nobody "$byre" cache spawn --instances "$inst" img \
		"$inst/uuid/disk" --size 16M
	one_line 'byre: cache spawn: warning: *'
	"$byre" compare -q --trusted "$inst/uuid/disk" data.raw ||
		fail "another content"
	[ "$(stat -c %Y "$b")" = "$before" ] || fail "it was allowed"
	# and a pass that may not touch what is used goes on, and keeps it
	expect 0 $nobody "$byre" cache clean --instances "$inst"
	[ -e "$b" ] || fail "what cannot be touched is removed"
}

# cache_image of Nova: .part and .converted of the same image, without a lock
precaching_beside_us() {
	mkdir -p "$base"
	n=$base/$(name img)
	echo 'half of it' >"$n.part"
	echo 'half of it' >"$n.converted"
	exec 5>>"$n.part" 6>>"$n.converted"
	expect 0 cache ensure img --from data.qcow2
	same "$n" data.raw
	[ "$(cat "$n.part" "$n.converted" | grep -c '^half of it$')" -eq 2 ] ||
		fail "its temporaries were touched"
	staged "beside Nova"
	# it goes on, and is done: the same content under another inode
	cp data.raw "$n.converted"
	mv "$n.converted" "$n"
	rm "$n.part"
	exec 5>&- 6>&-
	expect 0 cache spawn img "$inst/uuid/disk"
	silent
	"$byre" compare -q --trusted "$inst/uuid/disk" data.raw ||
		fail "another content"
	# and it is done first, while our source is on its way
	[ -x "$top_builddir/byre-fetch" ] || return
	mkfifo pipe
	"$byre" cache ensure --instances "$inst" late --from - --json <pipe \
		>late.out 2>err &
	pid=$!
	exec 4>pipe
	head -c 2000000 data.raw >&4
	while ! ls "$base/.byre/staging" 2>/dev/null |
		grep -q "^$(name late)"; do
		sleep 0.05
	done
	cp data.raw "$base/$(name late).part"
	inode=$(stat -c %i "$base/$(name late).part")
	mv "$base/$(name late).part" "$base/$(name late)"
	tail -c +2000001 data.raw >&4
	exec 4>&-
	wait $pid || fail "the late one: $(cat err)"
	rm pipe
	[ "$(field added late.out)" = false ] || fail "$(cat late.out)"
	[ "$(stat -c %i "$base/$(name late)")" = "$inode" ] ||
		fail "Nova's base was replaced"
	staged "late"
}

# not seen for days, and its instances run all the same
a_silent_host() {
	for id in far spare; do
		cache ensure $id --from data.raw -q || exit 99
	done
	mkdir "$inst/of-another-host"
	"$byre" create -q -f qcow2 -u -b "$base/$(name far)" -F raw \
		"$inst/of-another-host/disk" 16M || exit 99
	printf '{"another": %s}' $(($(date +%s) - 300000)) \
		>"$inst/compute_nodes"
	touch -d '3 days ago' "$base/$(name far)" "$base/$(name spare)"
	expect 0 cache clean --min-age 0
	[ -e "$base/$(name far)" ] || fail "a base of another host's disk"
	absent "$base/$(name spare)"
}

fragmented_under_limits() {
	unless_asan || { leave "a sanitizer does not fit"; return; }
	# hundreds of tables, tens of thousands of clusters
	"$byre" convert -O qcow2 -o cluster_size=512 data.raw many.qcow2 ||
		exit 99
	for how in "" --keep-qcow2; do
		checks=$((checks + 1))
		(ulimit -v 262144 && ulimit -t 10 && exec "$byre" cache \
			ensure --instances "$inst" "many$how" $how \
			--from many.qcow2 -m 2) >out 2>err ||
			fail "under limits: $(cat err)"
		checks=$((checks + 1))
		(ulimit -v 262144 && ulimit -t 10 && exec "$byre" cache \
			spawn --instances "$inst" "many$how" \
			"$inst/i$how/disk" --verify) >out 2>err ||
			fail "spawn under limits: $(cat err)"
	done
	same "$base/$(name many)" data.raw many
	# what does not fit ends with a word, and not by a signal
	for kib in 12000 16000 24000 40000; do
		rm -f "$base/$(name many)"
		run sh -c 'ulimit -v '$kib' && exec "$@"' sh "$byre" cache \
			ensure --instances "$inst" many --from many.qcow2 -m 1
		case $status in
		0) same "$base/$(name many)" data.raw "in $kib KiB" ;;
		1 | 127) [ -s err ] || fail "in $kib KiB: no word" ;;
		*) fail "in $kib KiB: exit $status" ;;
		esac
	done
}

scrubs_leave_the_page_cache() {
	command -v fincore >/dev/null || { leave "needs fincore"; return; }
	cache ensure img --from data.raw -q || exit 99
	b=$base/$(name img)
	sync "$b"
	dd if="$b" iflag=nocache count=0 2>/dev/null
	if [ "$(fincore -n -b -o res "$b" | tr -d ' ')" -ne 0 ]; then
		leave "this file system keeps its pages"
		return
	fi
	expect 0 cache verify
	[ "$(fincore -n -b -o res "$b" | tr -d ' ')" -lt 1000000 ] ||
		fail "the scrub filled the page cache"
	expect 0 cache verify --cached
	[ "$(fincore -n -b -o res "$b" | tr -d ' ')" -ge 3000000 ] ||
		fail "--cached does not read through it"
}

# taken FILE ARGS...: it becomes a base that holds what data.raw or FILE does
taken() {
	f=$1 holds=$2
	shift 2
	expect 0 cache ensure "$f" --from "$f" -q "$@"
	silent
	same "$base/$(name "$f")" "$holds" "$f $*"
}

valid_images_are_taken() {
	# a superfloppy: FAT's boot sector, two FATs, media F8, the signature
	{
		printf '\353\074\220mkfs.fat\0\002\004\004\0\002\0\002\0\0'
		printf '\370\020\0'
		head -c 486 /dev/zero
		printf '\125\252'
	} >boot
	[ "$(stat -c %s boot)" -eq 512 ] || fail "no boot sector"
	cp data.raw fat.raw
	dd if=boot of=fat.raw conv=notrunc 2>/dev/null
	taken fat.raw fat.raw
	taken fat.raw fat.raw -f raw
	# a signature, and no partition
	cp data.raw mbr.raw
	{ head -c 510 /dev/zero; printf '\125\252'; } >boot
	dd if=boot of=mbr.raw conv=notrunc 2>/dev/null
	taken mbr.raw mbr.raw
	"$byre" convert -O qcow2 mbr.raw mbr.qcow2 || exit 99
	taken mbr.qcow2 mbr.raw
	# ext: the magic at 1080
	cp data.raw ami.raw
	printf '\123\357' | dd of=ami.raw bs=1 seek=1080 conv=notrunc 2>/dev/null
	taken ami.raw ami.raw
	rm -f "$base/$(name ami.raw)"
	taken ami.raw ami.raw -f raw
	"$byre" convert -O qcow2 -o extended_l2=on,cluster_size=128k data.raw \
		extl2.qcow2 || exit 99
	taken extl2.qcow2 data.raw
	# in version 2 the extensions begin at 72
	"$byre" convert -O qcow2 -o compat=0.10 data.raw v2.qcow2 || exit 99
	printf '\022\064\126\170\0\0\0\004abcd\0\0\0\0' |
		dd of=v2.qcow2 bs=1 seek=72 conv=notrunc 2>/dev/null
	! genuine || qemu-img info -f qcow2 v2.qcow2 >/dev/null ||
		fail "qemu-img does not read it"
	taken v2.qcow2 data.raw
	taken v2.qcow2 data.raw -f qcow2
}

make_raw data.raw
"$byre" convert -O qcow2 -c data.raw data.qcow2 || exit 99
ran=
for pain in $(rows "$table" | sed -n "s#.*|$own|##p"); do
	case " $ran " in *" $pain "*) continue ;; esac
	ran="$ran $pain"
	was=$failures
	fresh
	$pain
	[ "$failures" -eq "$was" ] || echo "(of $pain)" >&2
done
[ "$(echo "$ran" | wc -w)" -ge 12 ] || fail "cases are lost: $ran"
finish
