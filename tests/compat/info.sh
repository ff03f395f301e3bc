#!/bin/sh
# SPDX-License-Identifier: MIT
# The text of `byre qemu-img info` is that of a genuine qemu-img 7.2, byte for
# byte, in both forms, for every kind of image and for names that make JSON
# hard. INFO overrides the command under test, QEMU_IMG the genuine one.
set -u
qemu=${QEMU_IMG:-qemu-img}
info=${INFO:-"${top_builddir:-.}/byre qemu-img info"}
LC_ALL=C TZ=UTC
export LC_ALL TZ

case $($qemu --version 2>/dev/null | head -n 1) in
*byre*) echo "$qemu is byre, not a genuine qemu-img"; exit 77 ;;
'qemu-img version 7.2.'*) ;;
*) echo "no qemu-img 7.2 to compare with"; exit 77 ;;
esac
case $info in
/*) ;;
*) info="$PWD/$info" ;;
esac
[ -x "${info%% *}" ] || { echo "no byre in this build"; exit 77; }

dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 99
failures=0 compared=0

make() { # create's arguments, quietly; unsafe backing names
	$qemu create -q -u "$@" || { echo "cannot make: $*"; exit 99; }
}

poke() { # FILE OFFSET OCTAL-ESCAPES
	printf "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

# same FILE [OPTION...]: both forms; exit codes and texts agree.
same() {
	file=$1
	shift
	for form in human json; do
		$qemu info --output=$form "$@" "$file" >want 2>want.err
		want=$?
		$info --output=$form "$@" "$file" >got 2>got.err
		got=$?
		compared=$((compared + 1))
		if [ $want -ne $got ] || ! cmp -s want got; then
			failures=$((failures + 1))
			echo "FAIL: info --output=$form $* $file" \
				"(exit $got, qemu-img $want)"
			diff want got | head -n 20
			cat want.err got.err
		fi
	done
}

# Raw: sizes that are no multiple of 512, empty, holes.
for n in 0 1 511 512 513 1000 1048577; do
	head -c $n /dev/zero | tr '\0' 'x' >raw.$n
	same raw.$n
done
truncate -s 5T sparse.raw
same sparse.raw
same sparse.raw -f raw

# qcow2: each feature by itself.
make -f qcow2 plain.q 1G
same plain.q
same file:plain.q
same "$dir/plain.q"
same plain.q -f qcow2
same plain.q -f raw
same plain.q -U
same plain.q --backing-chain
make -f qcow2 zero.q 0
make -f qcow2 -o compat=0.10 v2.q 1M
make -f qcow2 -o cluster_size=512 small.q 1M
make -f qcow2 -o cluster_size=2M large.q 100G
make -f qcow2 -o compression_type=zstd zstd.q 1M
make -f qcow2 -o extended_l2=on ext.q 1M
make -f qcow2 -o lazy_refcounts=on lazy.q 1M
for n in 1 2 4 8 32 64; do
	make -f qcow2 -o refcount_bits=$n rc$n.q 1M
	same rc$n.q
done
make -f qcow2 -o preallocation=metadata meta.q 10M
make -f qcow2 -o data_file=d1 df.q 1M
make -f qcow2 -o data_file=d2,data_file_raw=on dfraw.q 1M
cp dfraw.q dfnobit.q && poke dfnobit.q 79 '\000'
cp plain.q dirty.q && poke dirty.q 79 '\001'
cp plain.q corrupt.q && poke corrupt.q 79 '\003'
cp plain.q odd.q && poke odd.q 24 '\000\000\000\000\000\020\002\001'
for f in zero v2 small large zstd ext lazy meta df dfraw dfnobit dirty \
	corrupt odd; do
	same $f.q
done

# Bitmaps: flags, granularities, one in use.
make -f qcow2 bm.q 10M
$qemu bitmap --add bm.q first
$qemu bitmap --add --disable -g 128k bm.q second
same bm.q
cp bm.q inuse.q
at=$(od -An -v -t u1 -w8 bm.q | awk '
	$1 == 35 && $2 == 133 && $3 == 40 && $4 == 117 { n = NR; exit }
	END { print (n - 1) * 8 + 8 + 16 }')
dir_at=$(od -An -t u1 -j "$at" -N 8 bm.q |
	awk '{ for (i = 1; i <= 8; i++) v = v * 256 + $i; print v }')
poke inuse.q $((dir_at + 15)) '\003'
same inuse.q

# Encryption: the headers are shown without a secret.
secret='--object secret,id=s,data=x -o encrypt.key-secret=s,encrypt'
make -f qcow2 $secret.format=aes aes.q 1M && same aes.q
make -f qcow2 $secret.format=aes,data_file=d3 aesd.q 1M && same aesd.q
make -f qcow2 $secret.format=aes -b plain.q -F qcow2 aesb.q 1M && same aesb.q
luks=$secret.format=luks,encrypt.iter-time=10
# it times its hash at first, and now and then the clock is too coarse
for args in '' ,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=plain \
	,encrypt.cipher-alg=aes-128,encrypt.cipher-mode=cbc,encrypt.ivgen-alg=essiv,encrypt.ivgen-hash-alg=sha256
do
	if $qemu create -q -f qcow2 $luks$args luks.q 1M 2>/dev/null; then
		same luks.q
	fi
done

# Snapshots.
make -f qcow2 snap.q 10M
$qemu snapshot -c one snap.q
$qemu snapshot -c "t\"w\\o
$(printf '\303\251\377')" snap.q
same snap.q
same snap.q --backing-chain

# Backing names: plain, relative, absolute, protocols, and bytes that must be
# escaped; both as a backing file and as the image's own name.
mkdir sub 'odd "dir'
make -f qcow2 -b ../plain.q -F qcow2 sub/up.q 1M
make -f qcow2 -b leaf.q -F qcow2 sub/side.q 1M
for f in sub/up.q ./sub/up.q "$dir/sub/up.q" sub//up.q sub/side.q \
	sub/../sub/up.q file:sub/up.q; do
	same "$f"
done
n=0
printf '%s\n' /no/such/file 'nbd://host/export' 'http://host/x.img' \
	'json:{"driver":"raw","file":{"driver":"file","filename":"x"}}' \
	file:rel a:b './a:b' 'with space' 'quote"s\and/slash' \
	"$(printf 'ctl\001\033[2J\177\t\b\f\r')" \
	"$(printf 'utf\303\251\342\202\254\360\237\220\204')" \
	"$(printf 'bad\377\200x')" "$(printf 'cut\342\202x')" \
	"$(printf 'end\342\202')" "$(printf 'over\300\257x')" \
	"$(printf 'nul\300\200x')" "$(printf 'sur\355\240\200x')" \
	"$(printf 'non\357\277\276x')" "$(printf 'five\370\210\200\200\200x')" \
	"$(printf 'six\374\204\200\200\200\200x')" "$(printf 'fe\376x')" \
	"$(printf 'big\364\220\200\200x')" \
	"$(head -c 1000 /dev/zero | tr '\0' 'n')" >names
while IFS= read -r name; do
	n=$((n + 1))
	make -f qcow2 -b "$name" -F raw b$n.q 1M
	make -f qcow2 -b "$name" -F raw sub/b$n.q 1M
	same b$n.q
	same sub/b$n.q
	case $name in
	*/* | *:*) continue ;;
	esac
	[ ${#name} -lt 200 ] || continue
	cp b$n.q "$name"
	same "$name"
	cp b$n.q "odd \"dir/$name"
	same "odd \"dir/$name"
done <names

# Chains: through directories, a raw end, a loop, a missing file.
make -f qcow2 -b sub/c2.q -F qcow2 c1.q 2M
make -f qcow2 -b ../c3.q -F qcow2 sub/c2.q 2M
make -f qcow2 -b raw.1000 -F raw c3.q 1M
same c1.q --backing-chain
same "$dir/c1.q" --backing-chain
make -f qcow2 -b l2.q -F qcow2 l1.q 1M
make -f qcow2 -b l1.q -F qcow2 l2.q 1M
same l1.q --backing-chain
$info --backing-chain l1.q 2>&1 | grep -q "creates an infinite loop" || {
	echo "FAIL: the loop is not named"; failures=$((failures + 1)); }
make -f qcow2 -b gone.q -F qcow2 c4.q 1M
same c4.q --backing-chain
same c4.q

# What is no image, and what is cut short.
same nothing.q
same sub
head -c 100 plain.q >cut.q
same cut.q
same raw.512 -f qcow2

echo "$compared texts compared, $failures differ"
[ $failures -eq 0 ]
