# SPDX-License-Identifier: MIT
# The command lines of argv.sh for map, measure, compare and dd; and those
# that name a data file.

# --- map
for i in plain img.qcow2 odd nothing _base/b1 i1/disk i1/abs 'with space' \
	'a,b=c' snap.qcow2 ./i1/disk; do
	q map "$i"
	q map --output=json "$i"
	q map --output=human -U "$i"
	q map --output json --force-share "$i"
	q map -f raw --output=json "$i"
	q map -s 4096 -l 1M --output=json "$i"
	q map --start-offset=100 --max-length=5000 "$i"
done
q map --output=json packed.qcow2
f map packed.qcow2
q map -s 1G --output=json plain
q map -s 1G plain
q map -l 0 --output=json plain
q map -s 64k -l 64k --output=json img.qcow2
q map --format=qcow2 --output=json img.qcow2
q map --image-opts --output=json driver=qcow2,file.filename=img.qcow2
q map file:plain
q map 'json:{"driver":"qcow2","file.filename":"img.qcow2"}'
q map --start=0x200 --max=1.5k --output=json plain
f map
f map plain plain
f map -z plain
f map --bogus plain
f map -s
f map -s x plain
f map -s -1 plain
f map -s 8E plain
f map -l x plain
f map -l 9999999999999999999999 plain
f map --output=xml plain
f map --output
f map -f nosuch plain
f map -f qcow2 plain
f map missing
f map dir
f map ''
f map orphan
f map dataf
f map --image-opts plain
f map --image-opts -f qcow2 file.filename=img.qcow2
m "*only files are opened*" map remote
r "qemu-img: --object secret,*" map --object secret,id=s,data=x plain
r "qemu-img: Could not open 'img.vmdk': vmdk: not supported*" map img.vmdk

# --- measure
for i in plain img.qcow2 packed.qcow2 odd nothing i1/disk snap.qcow2; do
	q measure "$i"
	q measure --output=json -U "$i"
	q measure -O qcow2 "$i"
	q measure -O qcow2 --output=json "$i"
	q measure -O qcow2 -o cluster_size=4k,compat=0.10 "$i"
	q measure -O qcow2 -o extended_l2=on -o cluster_size=128k "$i"
	q measure -O qcow2 -o preallocation=full "$i"
	q measure -O qcow2 -o backing_file=x,backing_fmt=raw "$i"
	q measure -O qcow2 -f raw "$i"
done
for s in 0 1 511 1M 1G 1T 100T 2P 8191P; do
	q measure --size $s
	q measure --size=$s -O qcow2
	q measure --size $s -O qcow2 -o cluster_size=2M --output=json
	q measure --size $s -O qcow2 -o preallocation=metadata
	q measure --size $s -O qcow2 -o preallocation=falloc,refcount_bits=64
done
q measure -O qcow2 -o size=1G --size 1M
q measure -O qcow2 -o size=1G plain
q measure -O raw -o size=1G plain
q measure -O qcow2 -o lazy_refcounts=on,compat=0.10 plain
q measure -O qcow2 -o compat=0.10,extended_l2=on plain
q measure -O qcow2 -o compression_type=nosuch plain
q measure -O raw -o preallocation=nosuch plain
q measure -l abc -O qcow2 snap.qcow2
q measure -l 1 snap.qcow2
q measure -l snapshot.name=abc snap.qcow2
q measure --image-opts -O qcow2 driver=qcow2,file.filename=img.qcow2
f measure
f measure plain plain
f measure --size 1M plain
f measure -f raw --size 1M
f measure -l abc --size 1M
f measure --image-opts --size 1M
f measure --size x
f measure --size -1
f measure --size 9999999999999999999999
f measure --output=xml plain
f measure -O nosuch plain
f measure -O nosuch missing
f measure -O nosuch --size 1M
f measure -O qcow2 -o nosuch=1 plain
f measure -O qcow2 -o nosuch=1 missing
f measure -O raw -o cluster_size=4k plain
f measure -O qcow2 -o cluster_size=3 plain
f measure -O qcow2 -o cluster_size=x plain
f measure -O qcow2 -o cluster_size=4M plain
f measure -O qcow2 -o compat=v3 plain
f measure -O qcow2 -o compat=9 missing
f measure -O qcow2 -o refcount_bits=3 plain
f measure -O qcow2 -o refcount_bits=1,compat=0.10 plain
f measure -O qcow2 -o preallocation=nosuch plain
f measure -O qcow2 -o extended_l2=on,cluster_size=4k plain
f measure -O qcow2 -o cluster_size=512 --size 1T
f measure -o , plain
f measure -o help plain
f measure -l nosuch snap.qcow2
f measure -l abc plain
f measure -l snapshot.foo=1 snap.qcow2
f measure -f nosuch plain
f measure -f qcow2 plain
f measure missing
f measure dir
f measure --image-opts -f raw file.filename=plain
# getopt speaks by itself here, and the answer is help
for o in -z --bogus --size -f; do
	again
	(cd world && "$qemu_img" measure $o >../g.out 2>../g.err)
	g=$?
	(cd world && "$ours" measure $o >../b.out 2>../b.err)
	checks=$((checks + 1))
	[ $? -eq $g ] || fail "measure $o: status, not $g"
	cmp -s g.err b.err || differ measure $o
	grep -q '^Supported formats: ' b.out || fail "measure $o: no help"
done

# --- compare
q compare plain img.qcow2
q compare plain packed.qcow2
# how far it is, is told in other steps
again
(cd world && run "$ours" compare -p plain packed.qcow2; exit $status) ||
	fail "compare -p"
tr '\r' '\n' <out >b.out
grep -qx '    (0.00/100%)' b.out && grep -qx '    (100.00/100%)' b.out &&
	grep -qx 'Images are identical.' b.out || fail "compare -p: $(cat b.out)"
q compare -q plain packed.qcow2
q compare -s plain plain
q compare img.qcow2 img.qcow2
q compare -U img.qcow2 packed.qcow2
q compare -f raw plain img.qcow2
q compare -f raw -F qcow2 plain img.qcow2
q compare -T none plain img.qcow2
q compare -T directsync img.qcow2 plain
q compare nothing nothing
q compare nothing img.raw
q compare img.raw small
q compare -q img.raw small
q compare i1/disk _base/b1
q compare i1/abs _base/b1
q compare --image-opts file.filename=plain driver=qcow2,file.filename=img.qcow2

# x: as f, where the status is another one
x() {
	both "$@"
	[ $g -eq $b ] || fail "status $g is $b: qemu-img $*"
	[ $b -ne 0 ] || fail "status 0: qemu-img $*"
	cmp -s g.out b.out && cmp -s g.err b.err || differ "$@"
}
x compare -s plain img.qcow2
x compare -s plain packed.qcow2
x compare -s img.qcow2 packed.qcow2
x compare -s plain small
x compare -q -s plain small
x compare plain odd
x compare -q plain odd
x compare odd plain
x compare plain img.raw
x compare img.raw plain
x compare i1/disk img.raw
x compare
x compare plain
x compare plain plain plain
x compare -z plain plain
x compare --bogus plain plain
x compare -f
x compare -T nosuch plain plain
x compare -f nosuch plain plain
x compare -F nosuch plain plain
x compare -f qcow2 plain plain
x compare -F qcow2 plain plain
x compare missing plain
x compare plain missing
x compare missing nosuch
x compare dir plain
x compare plain dir
x compare orphan plain
x compare plain orphan
x compare --image-opts plain plain
x compare --image-opts -f raw file.filename=plain file.filename=plain
x compare --image-opts -F raw file.filename=plain file.filename=plain

# --- dd
for i in plain img.qcow2 packed.qcow2 odd nothing i1/disk; do
	q dd if=$i of=new.img
	q dd -O qcow2 if=$i of=new.img
	q dd -O qcow2 bs=1M if=$i of=new.img
	q dd -O qcow2 bs=100000 if=$i of=new.img
	q dd bs=1000 count=3 if=$i of=new.img
	q dd bs=1000 count=30 skip=1 if=$i of=new.img
	q dd -O qcow2 bs=1000 count=300 skip=7 if=$i of=new.img
	q dd -O qcow2 bs=4k skip=20 if=$i of=new.img
	q dd -O raw -f raw bs=70000 if=$i of=new.img
done
q dd of=new.img if=plain bs=64k count=0
q dd if=plain of=new.img count=1000000
q dd if=plain of=new.img count=8E
q dd if=plain of=new.img skip=2048
q dd if=plain of=new.img skip=2049
q dd if=plain of=new.img skip=8191P bs=1M
q dd -O qcow2 if=plain of=new.img skip=2049
q dd if=plain of=new.img bs=1.5k count=0x10
q dd if=plain of=img.raw bs=1M
q dd -O qcow2 if=plain of=img.qcow2 bs=1M
q dd -U if=plain of=new.img
q dd --image-opts if=driver=qcow2,file.filename=img.qcow2 of=new.img
q dd if=file:plain of=file:new.img bs=1M
q dd if=plain if=img.raw of=new.img bs=1M
q dd -f qcow2 if=img.qcow2 of=new.img bs=1M
q dd if='with space' of=new.img bs=1M
f dd
f dd if=plain
f dd of=new.img
f dd plain new.img
f dd if=plain of=new.img nosuch=1
f dd if=plain of=new.img bs=0
f dd if=plain of=new.img bs=2G
f dd if=plain of=new.img bs=x
f dd if=plain of=new.img count=x
f dd if=plain of=new.img count=-1
f dd if=plain of=new.img skip=x
f dd if=plain of=new.img skip=9E
f dd if=plain of=new.img bs
f dd bs=x nosuch
f dd -f nosuch if=plain of=new.img
f dd -f qcow2 if=plain of=new.img
f dd -O nosuch if=plain of=new.img
f dd -O nosuch if=missing of=new.img
f dd if=missing of=new.img
f dd if=dir of=new.img
f dd if=plain of=dir
f dd if=plain of=
f dd if= of=new.img
f dd if=plain of=nodir/new.img
f dd if=img.qcow2 of=img.qcow2
f dd -O qcow2 if=img.qcow2 of=img.qcow2
f dd if=orphan of=new.img
f dd if=plain of=nosuch:foo
f dd -z if=plain of=new.img
f dd --bogus
f dd -O
f dd --image-opts if=plain of=new.img
f dd --image-opts -f raw if=file.filename=plain of=new.img
r "qemu-img: vmdk: not supported by byre" dd -O vmdk if=plain of=new.img
# these empty the source in qemu-img
r "qemu-img: plain: *is a source and the target*" dd if=plain of=plain
r "qemu-img: plain: *is a source and the target*" dd -U if=plain of=plain

# --- a data file named by the caller, not the one that the image names
moved=driver=qcow2,file.filename=moved,data-file.filename=fresh
q map --output=json --image-opts $moved
q check --image-opts $moved
q check -r all --image-opts $moved
q resize --image-opts $moved 2M
q commit -d --image-opts $moved
q rebase -b '' --image-opts $moved
q amend -o lazy_refcounts=on --image-opts $moved
q bitmap --add --image-opts $moved b0

# --- bitmaps that are not believed: told of once, with -q too
q info oldmap
q info --output=json oldmap
q info --backing-chain overmap
q map overmap
q compare -q oldmap oldmap
q snapshot -l oldmap
q commit -q -d overmap
q commit -d overmap
q measure -O raw oldmap
