#!/bin/sh
# SPDX-License-Identifier: MIT
# Many processes ensure, spawn, delete, verify and clean at once, at no age at
# all, and some are killed at any moment. After each round: every disk has its base and
# reads as its image, every base is whole, and nothing is left of the dead.
. "${top_srcdir:-.}/tests/cache/lib.sh"

rounds=3
procs=10
[ -z "${BYRE_CHECK_LONG:-}" ] || { rounds=300 procs=32; }

for n in 0 1 2; do
	{
		yes "image $n" | head -c 1500000
		head -c 2000000 /dev/zero
		yes "end of $n" | head -c 700000
	} >"img$n.raw"
	truncate -s 5M "img$n.raw"
	"$byre" convert -O qcow2 -c "img$n.raw" "img$n.qcow2" || exit 99
	"$byre" digest "img$n.raw" | cut -d ' ' -f 1 >"img$n.digest"
done

# random N: below N
random() {
	echo $(($(od -An -N2 -tu2 /dev/urandom) % $1))
}

# one process's work: exec, so that what is killed is byre itself
work() {
	n=$(random 3)
	case $(random 9) in
	0 | 1) exec "$byre" cache clean --instances "$inst" -q --min-age 0 \
		--min-age-resized 0 ;;
	2) # away at once: else a disk could appear in what is half removed
		mv "$inst/i$n-$(random "$procs")" "trash-$1" 2>/dev/null
		exec rm -rf "trash-$1"
		;;
	3) exec "$byre" cache spawn "img$n" --instances "$inst" \
		"$inst/i$n-$1/disk.local" --sized-base --size 1G ;;
	4) exec "$byre" cache spawn "img$n" --instances "$inst" \
		"$inst/i$n-$1/disk.flat" --flat --size 16M ;;
	5) exec "$byre" cache ensure "img$n" --instances "$inst" -q \
		--from "img$n.qcow2" ;;
	6) exec "$byre" cache verify --instances "$inst" -q ;;
	*)
		"$byre" cache ensure "img$n" --instances "$inst" -q \
			--from "img$n.qcow2"
		exec "$byre" cache spawn "img$n" --instances "$inst" \
			"$inst/i$n-$1/disk" --size 16M
		;;
	esac
}

# which image a path is of
image_of() {
	n=${1#"$inst/i"}
	echo "img${n%%-*}"
}

check_round() {
	for d in "$inst"/i*/disk*; do
		case $d in
		*.info | *'*'*) continue ;;
		esac
		got=$("$byre" digest --trusted "$d" 2>&1 | cut -d ' ' -f 1)
		[ "$got" = "$(cat "$(image_of "$d").digest")" ] ||
			fail "round $r: $d: $got"
		grep -q "\"$d\": " "$(dirname "$d")/disk.info" ||
			fail "round $r: $d is not in disk.info"
		checks=$((checks + 1))
	done
	for n in 0 1 2; do
		b=$base/$(name "img$n")
		[ ! -e "$b" ] || same "img$n.raw" "$b" "round $r"
		[ ! -e "${b}_1" ] || {
			cmp -s -n 5242880 "img$n.raw" "${b}_1" &&
			[ "$(stat -c %s "${b}_1")" = 1073741824 ] ||
				fail "round $r: ${b}_1"
		}
	done
	expect 0 cache verify -q
	silent
	# the next clean finds nobody alive
	expect 0 cache clean -q
	staged "round $r"
	found=$(cd "$inst" && find . -name '.*.byre*' -not -path './_base/*')
	[ -z "$found" ] || fail "round $r: left $found"
	for f in "$base"/.byre/records/*; do
		f=${f##*/}
		[ "$f" = '*' ] || [ -e "$base/${f%.*}" ] ||
			fail "round $r: a record of nothing: $f"
	done
}

mkdir "$inst/locks" "$base" || exit 99
r=0
while [ $r -lt $rounds ]; do
	pids=
	p=0
	while [ $p -lt $procs ]; do
		work $p >>log 2>&1 </dev/null &
		pids="$pids $!"
		p=$((p + 1))
	done
	for pid in $pids; do
		[ "$(random 3)" -ne 0 ] || {
			sleep "0.0$(random 60)"
			kill -9 "$pid" 2>/dev/null
		}
	done
	wait
	check_round
	r=$((r + 1))
done
! grep '^rotten' log || fail "rot where there is none"
# and what is in use is still so
n=$(find "$inst" -path '*/i*' -name 'disk*' ! -name '*.info' | wc -l)
echo "$n disks after $rounds rounds"
finish
