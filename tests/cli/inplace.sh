#!/bin/sh
# SPDX-License-Identifier: MIT
# Changes in place: refused before the first changed byte, bounded on hostile
# images, with the locks that the caller asks for.
. "${top_srcdir:-.}/tests/lib.sh"
mkimage=$top_builddir/mkimage
[ -x "$mkimage" ] || { echo "no mkimage in this build"; exit 77; }
sanitized=
nm "$byre" 2>/dev/null | grep -q __asan_init && sanitized=yes

# A table that 4095 others share, they say, gives up one cluster 8192 times, or
# two in turns.
cat >recipes <<'END'
image many
qcow2 size=512m
zeroalloc 0 rand:1
l2 1-8191 @entry:0
refcount 4 4095
refcount 5 65535
image turns
qcow2 size=512m
zeroalloc 0-1 rand:1
l2 2-8190 @entry:0
l2 8191 @entry:1
refcount 4 4095
refcount 5 65535
refcount 6 65535
image zstd
qcow2 size=1m zstd refcount_bits=32
packed 0 zstd words:1
zeroalloc 1 rand:1
zero 2
END
# it leaves its memory to its end
ASAN_OPTIONS=detect_leaks=0 "$mkimage" . recipes || exit 99
if [ -z "$sanitized" ]; then
	for name in many turns; do
		cp $name/img t
		checks=$((checks + 1))
		(ulimit -v 65536 && exec "$byre" qemu-img amend \
			-o compat=0.10 t) >out 2>err
		[ $? -eq 1 ] || fail "amend of $name under a limit"
		one_line "qemu-img: *is referred to * times and has refcount*"
		same $name/img t
	done
fi

# what the last step would refuse
for more in "" ,refcount_bits=16 ,refcount_bits=16,size=2M; do
	cp zstd/img t
	expect 1 "$byre" qemu-img amend -o compat=0.10$more t
	one_line "qemu-img: *"
	same zstd/img t "compat=0.10$more"
done
one_line "*zstd compression type and existing compressed clusters"

# a refcount block that the table names twice
rm -f t
"$byre" create -f qcow2 t 1M
printf '\2' | dd of=t bs=1 seek=$((0x1000d)) conv=notrunc 2>/dev/null
cp t was
expect 1 "$byre" qemu-img amend -o refcount_bits=32 t
one_line "qemu-img: *the refcount block at 131072 is there twice*"
same t was

# a count has no room for a snapshot's reference: as in QEMU the cluster of its
# L1 is all that changes
yes content | head -c 1048576 >data.raw
for bits in 1 2; do
	rm -f t
	"$byre" create -f qcow2 -o refcount_bits=$bits t 1M
	"$byre" qemu-img convert -n -O qcow2 data.raw t
	for s in a b; do
		[ $bits -eq 1 ] || expect 0 "$byre" qemu-img snapshot -c $s t
	done
	expect 1 "$byre" qemu-img snapshot -c c t
	one_line "*Could not create snapshot 'c': -22 (Invalid argument)"
	expect 3 "$byre" qemu-img check t
	[ "$(grep -c '^Leaked' err)" -eq 1 ] || fail "$bits: $(cat err)"
	expect 0 "$byre" qemu-img compare -q t data.raw
done

# A target is looked at before it is written into: the count of its first data
# cluster is lost here.
rm -f t
"$byre" create -f qcow2 t 1M
"$byre" qemu-img convert -n -O qcow2 data.raw t
printf '\0\0' | dd of=t bs=1 seek=$((0x2000a)) conv=notrunc 2>/dev/null
cp t was
run "$byre" convert -n -O qcow2 data.raw t
checks=$((checks + 1))
[ "$status" -ne 0 ] || fail "convert -n into a broken image"
one_line "*refused by the safe policy: a check finds * errors*"
same t was

# What went down with a commit is gone from the overlay's data file.
"$byre" create -f qcow2 base 1M
"$byre" qemu-img create -q -f qcow2 -b base -F qcow2 -o data_file=over.data \
	over
expect 0 "$byre" qemu-img convert -n -O qcow2 data.raw over
same over.data data.raw
expect 0 "$byre" qemu-img commit -q over
[ "$(tr -d '\0' <over.data | wc -c)" -eq 0 ] || fail "commit leaves data"
expect 0 "$byre" qemu-img compare over data.raw
expect 0 "$byre" qemu-img check -q over

# More counts than the cache holds: some are in the file when the last cluster,
# which has a place already, cannot be packed. Nothing refers to them.
truncate -s 4095488 end.raw
yes | head -c 512 >>end.raw
head -c 4095488 /dev/urandom >full.raw
yes | head -c 512 >>full.raw
for front in "" qemu-img; do
	rm -f t
	"$byre" create -f qcow2 -o cluster_size=512,refcount_bits=64 t 4096000
	expect 0 "$byre" convert -n -f raw -O qcow2 end.raw t
	[ -z "$front" ] || expect 0 "$byre" qemu-img bitmap --add t b
	expect 1 "$byre" $front convert -n -c -f raw -O qcow2 full.raw t
	expect 0 "$byre" qemu-img check -q t
	expect 0 "$byre" qemu-img compare -q -f raw -F qcow2 end.raw t
done
rm t end.raw full.raw

command -v python3 >/dev/null || { echo "no python3: no locks"; finish; }
cat >hold.py <<'END'
# hold.py FILE COMMAND...: while another has it open for writing
import fcntl, os, struct, subprocess, sys
fd = os.open(sys.argv[1], os.O_RDWR)
for byte in (100, 101, 103, 201, 203):
    fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, byte, 1, 0))
sys.exit(subprocess.call(sys.argv[2:]))
END
# held FILE COMMAND [-OPTION...] WORD...: FILE among the words is the image
held() {
	file=$1
	shift
	list=driver=qcow2,file.driver=file,file.filename=$file
	for more in "" ,file.locking=off ,file.force-share=on; do
		code=1
		[ "$more" = ,file.locking=off ] && code=0
		expect $code python3 hold.py $file "$byre" qemu-img \
			$(echo "$* " | sed "s/ FILE / $list$more /")
	done
	one_line "*force-share=on can only be used with read-only images*"
}
rm -f t
"$byre" create -f qcow2 t 1M
"$byre" create -f qcow2 low 1M
"$byre" qemu-img create -q -f qcow2 -b low -F qcow2 top
held t amend --image-opts -o lazy_refcounts=on FILE
held t bitmap --image-opts --add FILE b
held t bitmap --image-opts --remove FILE b
held t check --image-opts -r all FILE
held t resize --image-opts FILE 2M
held t snapshot --image-opts -c s FILE
held top commit --image-opts -q FILE
held top rebase --image-opts -u -b low -F qcow2 FILE
for more in "" ,file.locking=off ,file.force-share=on; do
	code=1
	[ "$more" = ,file.locking=off ] && code=0
	for front in "" qemu-img; do
		expect $code python3 hold.py t "$byre" $front convert -n \
			--target-image-opts data.raw \
			driver=qcow2,file.filename=t$more
	done
done
one_line "*force-share=on can only be used with read-only images*"
cp t was
for format in raw qcow2; do
	for front in "" qemu-img; do
		expect 1 "$byre" $front convert -n --target-image-opts data.raw \
			driver=$format,file.filename=t,file.force-share=on
		one_line "*force-share=on can only be used with read-only*"
	done
done
same t was
rm was
name='json:{"driver":"qcow2","file":{"filename":"t","locking":"off"}}'
expect 0 python3 hold.py t "$byre" resize "$name" 3M
finish
