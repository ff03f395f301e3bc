#!/bin/sh
# SPDX-License-Identifier: MIT
# Power is lost between any two barriers of a command that writes guest data
# into an image: it stays an image, and each sector that the guest reads is the
# old one or the new one. Genuine qemu-img judges.
set -u
. "${top_srcdir:-.}/tests/crash/lib.sh"
[ -n "$byre" ] || skip "byre was not built"
have qemu-img && have qemu-io || skip "qemu-utils are not installed"
have python3 || skip "python3 is not installed"
mkdir "$dir/front"
ln -s "$byre" "$dir/front/qemu-img"
front=$dir/front/qemu-img

# guest FILE OUT: what a guest reads, with the backing files in w.
guest() {
	(cd "$w" && qemu-img convert -U -f qcow2 -O raw "$1" "$2") \
		2>"$dir/err" || fail "cannot read $1"
}

# old_or_new RULE FILE: a sound image with the one or the other in it.
old_or_new() {
	qemu-img check -q -f qcow2 "$w/$2" >"$dir/check" 2>&1
	s=$?
	[ $s -eq 0 ] || [ $s -eq 3 ] || {
		sed 's/^/  check: /' "$dir/check"
		fail "$1: qemu-img check: $s"
	}
	guest "$2" "$dir/now"
	python3 - "$dir/was" "$dir/is" "$dir/now" <<-'END' || fail "$1: content"
		import sys
		was, new, now = (open(n, "rb").read() for n in sys.argv[1:])
		size = max(len(was), len(new))
		was, new = (x.ljust(size, b"\0") for x in (was, new))
		for i in range(0, len(now), 512):
		    s = now[i:i + 512]
		    if s != was[i:i + 512] and s != new[i:i + 512]:
		        sys.exit(f"neither old nor new at {i}")
	END
}

# make NAME OPTIONS SIZE QEMU-IO-COMMAND...
make() {
	m_name=$1
	m_opts=$2
	m_size=$3
	shift 3
	(
		cd "$w" || exit 1
		rm -f "$m_name"
		# shellcheck disable=SC2086
		qemu-img create -q -f qcow2 $m_opts "$m_name" "$m_size" ||
			exit 1
		for m_do; do
			case $m_do in
			snapshot) qemu-img snapshot -c s "$m_name" ;;
			*) qemu-io -f qcow2 -c "$m_do" "$m_name" ;;
			esac >/dev/null || exit 1
		done
	) || fail "cannot make $m_name"
}

# lose TRACED before|after COMMAND: what power may leave of the file that is
# traced; the other files are as they were before or after.
lose() {
	l_file=$1
	l_others=$2
	shift 2
	guest "$l_file" "$dir/was"
	rm -rf "$dir/keep"
	cp -r "$w" "$dir/keep"
	rm -f "$dir/trace"
	shim TRACE="$dir/trace" TRACED="$l_file" -- "$@"
	[ $rc -eq 0 ] || fail "traced: exit $rc: $*"
	qemu-img check -q -f qcow2 "$w/$l_file" || fail "check after $*"
	guest "$l_file" "$dir/is"
	cp "$dir/keep/$l_file" "$dir/first"
	[ "$l_others" = after ] || cp "$dir/keep"/* "$w"
	barriers=$(grep -c "^sync $l_file " "$dir/log")
	[ "$barriers" -gt 0 ] || fail "no barriers: $*"
	seeds=3
	[ -n "$long" ] && seeds=100
	for k in $(seq 0 "$barriers"); do
		for seed in $(seq 1 $seeds); do
			cp "$dir/first" "$w/left"
			"$replay" "$dir/trace" "$w/left" "$k" "$seed"
			case $? in
			0) old_or_new "lost after barrier $k, seed $seed: $*" \
				left ;;
			3) break ;;
			*) fail "replay" ;;
			esac
		done
	done
	rm -rf "$w"
	mv "$dir/keep" "$w"
	echo "$barriers barriers: $*"
}

make_src() {
	(
		cd "$w" || exit 1
		qemu-img create -q -f raw src 1M
		qemu-io -f raw -c 'write -P 11 3k 100k' \
			-c 'write -P 12 400k 300k' -c 'write -P 13 1000k 5k' \
			src >/dev/null
	) || fail "cannot make src"
}

make_src
for opts in "-o cluster_size=512" "-o cluster_size=4k,refcount_bits=64" \
	"-o cluster_size=16k,extended_l2=on"; do
	make t "$opts" 1M 'write -P 1 0 500k' snapshot 'write -P 2 20k 30k' \
		'write -P 3 950k 64k' 'write -z 300k 32k'
	lose t before "$front" convert -n -t writeback -f raw -O qcow2 src t
done

# the base gets what the overlay has, and then the overlay is emptied
for opts in "-o cluster_size=512" "-o cluster_size=16k,extended_l2=on"; do
	last="write -P 9 40k 512"
	[ "$opts" = "-o cluster_size=512" ] || last=snapshot
	make b "$opts" 700k 'write -P 1 0 500k' snapshot 'write -P 2 20k 30k'
	make t "-b b -F qcow2 $opts" 1M 'write -P 5 10k 100k' \
		'write -z 300k 32k' 'write -P 6 690k 200k' "$last"
	lose b before "$front" commit t
	lose t after "$front" commit t
done

# the guest sees the same all the time; only the name leads elsewhere
for opts in "-o cluster_size=512" "-o cluster_size=16k,extended_l2=on"; do
	make b "$opts" 700k 'write -P 1 0 500k'
	make c "$opts" 900k 'write -P 1 0 100k' 'write -P 2 400k 400k'
	make t "-b b -F qcow2 $opts" 1M 'write -P 5 10k 100k' snapshot \
		'write -z 300k 32k' 'write -P 6 690k 20k'
	lose t before "$front" rebase -b c -F qcow2 t
done
