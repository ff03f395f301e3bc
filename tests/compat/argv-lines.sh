# SPDX-License-Identifier: MIT
# The command lines of argv.sh, by command. new.img is what is made.

# --- the program itself
q
q nosuchcommand
q -x
q --bad
q -T
q -T nosuch info plain
q --trace -nosuch info plain
q -Tnosuch '--trace=nosuch*' info plain
q -T nosuch=x info plain
again
for o in --version -V; do
	run "$ours" $o
	checks=$((checks + 1))
	silent
	case $(cat out) in
	"qemu-img version 7.2."*byre*) ;;
	*) fail "$o: $(cat out)" ;;
	esac
done
for o in --help -h "info --help" "convert -h" "create --help x" \
	"info img.raw --help" "resize img.raw --help 1M"; do
	run "$ours" $o
	checks=$((checks + 1))
	silent
	[ "$status" -eq 0 ] || fail "$o: status $status"
	grep -q '^qemu-img version 7\.2\.' out || fail "$o: no version"
	grep -q '^Supported formats: qcow2 raw$' out || fail "$o: no formats"
done
for name in bench; do
	run "$ours" $name img.raw
	checks=$((checks + 1))
	[ "$status" -eq 1 ] || fail "$name: status $status"
	grep -qx "qemu-img: '$name' is not supported by byre" err ||
		grep -q "^qemu-img: " err || fail "$name: $(cat err)"
done

# --- info
for i in plain img.qcow2 packed.qcow2 odd nothing _base/b1 i1/disk i1/abs \
	'with space' 'a,b=c' orphan dataf snap.qcow2 ./i1/disk; do
	q info "$i"
	q info "$i" --force-share --output=json
	q info --output=json "$i"
	q info "$i" --output json -U
	q info -f raw --output=json "$i"
done
for i in img.qcow2 packed.qcow2 i1/disk orphan dataf snap.qcow2; do
	q info "$i" --force-share --output=json -f qcow2
	q info -f qcow2 "$i"
	q info -f qcow2 --output=json --force-share "$i"
	q info "$i" --output json -U -f qcow2
	q info -Ufqcow2 "$i"
	q info --force --out=json "$i"
done
q info --backing-chain i1/disk
q info --backing-chain --output=json i1/disk
q info --backing-chain --output=json i1/abs
q info --backing-chain img.raw
f info --backing-chain orphan
q info --backing-chain i1/json
q info --backing-chain --output=json i1/json
q info -f qcow2 -f raw img.qcow2
q info -- img.qcow2
q info file:img.qcow2
q info "file://$dir/world/img.qcow2"
q info 'json:{"driver":"qcow2","file":{"driver":"file","filename":"img.qcow2"}}'
q info "json:{'driver':'qcow2','file':{'driver':'file','filename':'i1/disk'}}"
q info --image-opts data-file.filename=ext,file.filename=dataf
q info --image-opts driver=qcow2,l2-cache-entry-size=4096,file.filename=img.qcow2
q info 'json:{"driver":"qcow2","file.filename":"img.qcow2"}' --output=json
q info --image-opts driver=qcow2,file.filename=img.qcow2
q info --image-opts file.filename=img.qcow2
q info --image-opts driver=qcow2,file.driver=file,file.filename=img.qcow2,file.locking=off
f info
f info a b
f info -z img.raw
f info --bogus img.raw
f info -f
f info --output
f info --output=xml img.raw
f info -f nosuch img.raw
f info -f qcow2 plain
f info -f qcow2 odd
f info missing
f info missing --force-share --output=json
f info -f qcow2 missing
f info file:missing
f info "file://$dir/world/missing"
f info dir
f info plain/x
f info ''
f info a:b
f info ./a:b
f info --o=json img.raw
f info -6 img.raw
f info --image-opts img.raw
f info --image-opts -f qcow2 file.filename=img.qcow2
f info --image-opts filename=img.qcow2
f info --image-opts driver=qcow2,filename=img.qcow2
f info --image-opts driver=qcow2,filename=plain,file.filename=img.qcow2
f info --image-opts driver=qcow2
f info --image-opts driver=raw,filename=img.qcow2
f map --image-opts driver=qcow2,file.filename=img.qcow2,data-file.filename=plain
f map --image-opts driver=qcow2,file.filename=moved,data-file.filename=missing
f info --image-opts driver=qcow2,file.filename=img.qcow2,file.locking=maybe
f info --image-opts driver=qcow2,file.filename=img.qcow2,read-only=maybe
f info --image-opts driver=qcow2,file.filename=img.qcow2,cache.direct=maybe
f info --image-opts driver=nosuch,file.filename=img.qcow2
f info --image-opts driver=qcow2,nosuch=1,file.filename=img.qcow2
f info 'json:{"driver":"qcow2","file.filename":"img.qcow2","nosuch":1}'
m '*JSON*' info json:
m '*JSON*' info 'json:{"filename":"img.raw"'
m "qemu-img: Could not open 'img.raw': luks: not supported" \
	info -f luks --output=json img.raw
r "qemu-img: Could not open 'img.vmdk': vmdk: not supported*" info img.vmdk
r "qemu-img: Could not open 'img.vmdk': vmdk: not supported*" \
	info -f vmdk --output=json img.vmdk
r "qemu-img: Could not open 'img.vdi': vdi: not supported*" info img.vdi
r "qemu-img: Could not open 'img.vhdx': vhdx: not supported*" \
	info img.vhdx --force-share --output=json
m "qemu-img: Could not open 'luks': luks: not supported*" info luks
r "qemu-img: --object secret,*" info --object secret,id=s,data=x img.raw
r "*Unknown protocol 'fat'*" info fat:dir

# --- convert: what nova, cinder, glance and ironic run
for t in none writeback; do
	q convert -t $t -O raw -f qcow2 img.qcow2 new.img
	q convert -t $t -O raw -f raw img.raw new.img
	q convert -t $t -O raw -f raw plain new.img
	q convert -t $t -O qcow2 -f qcow2 i1/disk new.img
	q convert -t $t -O qcow2 -f qcow2 img.qcow2 new.img
	q convert -t $t -O qcow2 -f raw plain new.img
	q convert -t $t -O raw img.qcow2 new.img
	q convert -t $t -O raw -f qcow2 i1/disk new.img
done
q convert -t none -O raw -f qcow2 _base/b1.qcow2 _base/b1.converted
c convert -t none -O qcow2 -f qcow2 -c i1/disk new.img
c convert -t none -O qcow2 -f raw -c plain new.img
c convert -f qcow2 -O qcow2 -c img.qcow2 new.img
c convert -O qcow2 -c -f raw plain new.img
c convert -O qcow2 -c -o compression_type=zstd -f raw plain new.img
q convert -t none -O qcow2 -f raw img.raw new.img
q convert -t writethrough -O raw plain new.img
q convert -t directsync -O raw plain new.img
f convert -t directsync -S 0 -O host_device -W img.qcow2 new.img
f convert -t directsync -S 0 -O host_device -W img.qcow2 img.raw
f convert -n -O host_device img.qcow2 img.raw
f convert -n -O host_device img.qcow2 new.img
f convert -c -O host_device img.qcow2 img.raw
q convert -t unsafe -T none -O raw packed.qcow2 new.img
q convert -f qcow2 -O raw -l abc snap.qcow2 new.img
q convert -f qcow2 -O raw -l snapshot.name=abc snap.qcow2 new.img
q convert -f qcow2 -O raw -l snapshot.id=1 snap.qcow2 new.img
q convert -f qcow2 -O raw -t directsync -S 0 -W img.qcow2 new.img
q convert -O raw -S 0 -f qcow2 img.qcow2 new.img
q convert -O raw -f qcow2 -S 64k img.qcow2 new.img
q convert img.qcow2 new.img -O raw -f qcow2
q convert -fqcow2 -Oraw img.qcow2 new.img
q convert -O qcow2 -f raw plain new.img
q convert plain new.img
q convert odd new.img
q convert odd -O qcow2 new.img
q convert -S 0 -O qcow2 odd new.img
q convert nothing new.img
q convert -f raw img.qcow2 new.img
q convert -f raw -O qcow2 img.qcow2 new.img
q convert "file://$dir/world/img.qcow2" -f qcow2 -O raw new.img
q convert file:plain file:new.img
q convert plain img.raw new.img
q convert -O qcow2 plain img.qcow2 new.img
q convert -p -q plain new.img
q convert -q plain new.img
q convert -m 1 -W plain new.img
q convert -m 16 -O qcow2 plain new.img
q convert -C plain new.img
q convert -U plain new.img
q convert --force-share plain new.img
q convert -r 100M plain new.img
q convert -r 0 plain new.img
q convert --salvage plain new.img
q convert -n plain img.raw plain
q convert -n img.raw plain
q convert -n --target-is-zero img.raw plain
q convert -O qcow2 -o compat=0.10 plain new.img
q convert -O qcow2 -o compat=v2,cluster_size=4k plain new.img
q convert -O qcow2 -o cluster_size=2M plain new.img
q convert -O qcow2 -o cluster_size=4096 -o refcount_bits=1 plain new.img
q convert -O qcow2 -o extended_l2=on plain new.img
q convert -O qcow2 -o lazy_refcounts=on plain new.img
q convert -O qcow2 -o preallocation=off plain new.img
q convert -O raw -o size=8M plain new.img
q convert -O raw -o preallocation=off plain new.img
q convert -O qcow2 -B _base/b1 -F raw i1/disk new.img
q convert -O raw i1/json new.img
q convert -O qcow2 -o backing_file=_base/b1,backing_fmt=raw i1/disk new.img
q convert --bitmaps -O qcow2 img.qcow2 new.img
q convert --image-opts driver=qcow2,file.filename=img.qcow2 new.img
q convert --image-opts file.filename=plain -O qcow2 new.img
q convert -n --target-image-opts img.raw driver=raw,file.filename=plain
q convert 'json:{"driver":"raw","file":{"driver":"file","filename":"plain"}}' new.img
q convert 'with space' 'a,b=c' new.img
q convert plain -- new.img
q convert -O raw plain img.qcow2
q convert -O qcow2 plain img.raw

f convert
f convert plain
f convert missing new.img
f convert -f qcow2 -O raw missing new.img
f convert dir new.img
f convert plain dir
f convert '' new.img
f convert plain ''
f convert -f qcow2 plain new.img
f convert -t none -O raw -f nosuchfmt img.raw new.img
f convert -t none -O nosuchfmt -f raw img.raw new.img
f convert -O '' plain new.img
f convert plain nodir/new.img
f convert -O qcow2 plain nodir/new.img
f convert plain plain/x
f convert orphan new.img
f convert -O qcow2 orphan new.img
f convert plain plain
f convert -O qcow2 -o nosuch=1 plain new.img
f convert -O raw -o cluster_size=4k plain new.img
f convert -O qcow2 -o cluster_size=3 plain new.img
f convert -O qcow2 -o cluster_size=abc plain new.img
f convert -O qcow2 -o compat=9 plain new.img
f convert -O qcow2 -o preallocation=nosuch plain new.img
f convert -O raw -o preallocation=metadata plain new.img
f convert -O raw -o preallocation=nosuch plain new.img
f convert -O qcow2 -o compression_type=lz4 plain new.img
f convert -O qcow2 -o refcount_bits=3 plain new.img
f convert -O qcow2 -o compat=v2,extended_l2=on plain new.img
f convert -o , plain new.img
f convert -o '' plain new.img
f convert -m 0 plain new.img
f convert -m 17 plain new.img
f convert -m x plain new.img
f convert -S 100 plain new.img
f convert -S x plain new.img
f convert -S 32M plain new.img
f convert -t nosuch plain new.img
f convert -T nosuch plain new.img
f convert -r x plain new.img
f convert -C -c -O qcow2 plain new.img
f convert -C -S 4k plain new.img
f convert -C --salvage plain new.img
f convert --target-image-opts plain driver=raw,file.filename=new.img
f convert -n -o size=1M plain small
f convert --target-is-zero plain new.img
f convert -n plain small
f convert -n plain missing
f convert -O qcow2 -B _base/b1 i1/disk new.img
f convert -O qcow2 -o backing_file=_base/b1 i1/disk new.img
f convert -O qcow2 -B missing -F raw plain new.img
f convert -O qcow2 -B _base/b1 -F raw plain plain new.img
f convert -B _base/b1 plain new.img
f convert -O qcow2 -F raw plain new.img
f convert -c plain new.img
f convert -c -O qcow2 -o preallocation=metadata plain new.img
f convert --skip-broken-bitmaps -O qcow2 img.qcow2 new.img
f convert --bitmaps -O raw img.qcow2 new.img
f convert --bitmaps -O qcow2 plain new.img
f convert -l abc snap.qcow2 plain new.img
f convert -l nosuch snap.qcow2 new.img
f convert -l snapshot.id=9 snap.qcow2 new.img
f convert -l snapshot.foo=1 snap.qcow2 new.img
f convert -l abc plain new.img
f convert -s abc plain new.img
f convert -e plain new.img
f convert -6 plain new.img
f convert nosuch:foo new.img
f convert plain nosuch:foo
f convert --image-opts -f raw file.filename=plain new.img
f convert --image-opts plain new.img
f convert -- plain new.img -f raw
m "*only files are opened*" convert remote new.img
r "qemu-img: Could not open 'img.vmdk': vmdk: not supported*" \
	convert -t none -O raw -f vmdk img.vmdk new.img
r "qemu-img: Could not open 'img.vdi': vdi: not supported*" \
	convert -t none -O raw -f vdi img.vdi new.img
r "qemu-img: Could not open 'img.vhdx': vhdx: not supported*" \
	convert -t none -O raw -f vhdx img.vhdx new.img
r "qemu-img: Could not open 'img.vmdk': vmdk: not supported*" \
	convert -O raw img.vmdk new.img
r "qemu-img: vmdk: not supported*" \
	convert -t none -O vmdk -f qcow2 img.qcow2 new.img
r "qemu-img: vdi: not supported*" convert -O vdi plain new.img
r "qemu-img: --object secret,*" convert --object secret,id=sec0,data=x \
	-O qcow2 plain new.img
r "qemu-img: encryption is not supported: 'encrypt.format'" \
	convert -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s plain new.img
q convert -O qcow2 -o help
q convert -O qcow2 -o '?'
q convert -O raw -o help x y
q convert -o help
q convert -O qcow2 -o cluster_size=4k,help plain new.img
f convert -O bochs -o help
f convert -f raw -O bochs plain new.img
f convert -f raw -n --target-image-opts -O raw plain driver=raw,file.filename=img.raw
q convert -f raw -S 0x1k -O qcow2 -o cluster_size=0x1k plain new.img

# --- create
q create -f raw new.img 16M
q create -f raw new.img 1G
q create -f raw new.img 1T
q create -f raw new.img 100K
q create -f raw new.img 512
q create -f raw new.img 100
q create -f raw new.img 0
q create -f raw new.img 1.5K
q create -f raw new.img 0x400
q create -f raw new.img +1M
q create new.img 8M
q create new.img 8M -f qcow2
q create -fqcow2 new.img 1048576
q create -f qcow2 new.img 1G
q create -f qcow2 new.img 0
q create -f qcow2 new.img 100
q create -f qcow2 new.img 10737418240
q create -q -f qcow2 new.img 1M
q create -f qcow2 -o size=1M new.img
q create -f qcow2 -o size=0x200 new.img
q create -f qcow2 -o backing_file=_base/b1,backing_fmt=raw new.img 4194304
q create -f qcow2 -o backing_file=_base/b1,backing_fmt=raw new.img
q create -f qcow2 -o backing_file="$dir/world/_base/b1",backing_fmt=raw \
	i1/disk.rescue 4194304
q create -f qcow2 -o "backing_file=$dir/world/_base/b1,backing_fmt=raw" i1/new
q create -f qcow2 -o \
	backing_file=_base/b1.qcow2,backing_fmt=qcow2,cluster_size=65536 \
	new.img 4M
q create -f qcow2 -o \
	backing_file=_base/b1.qcow2,backing_fmt=qcow2,cluster_size=4096 \
	new.img 4M
q create -f qcow2 -o backing_file=_base/b1,backing_fmt=raw,size=4194304 new.img
q create -f qcow2 -o backing_file=plain,backing_fmt=raw new.img 1G
q create -f qcow2 -o backing_file=i1/disk,backing_fmt=qcow2 new.img 10G
q create -fqcow2 -F raw -b plain new.img
q create -f qcow2 -b plain -F raw new.img 512K
q create -u -f qcow2 -b missing -F raw new.img 1M
q create -f qcow2 -o backing_file=missing -b plain -F raw new.img
q create -f qcow2 -o preallocation=metadata new.img 4194304
q create -f qcow2 -o preallocation=off new.img 4M
q create -f qcow2 -o preallocation=full new.img 1M
q create -f qcow2 -o preallocation=falloc new.img 1M
q create -f raw -o preallocation=full new.img 1M
q create -f raw -o preallocation=falloc new.img 1M
q create -f raw -o nocow=off,extent_size_hint=64k,size=1M new.img
q create -f qcow2 -o compat=v2 new.img 1M
q create -f qcow2 -o compat=0.10,cluster_size=512 new.img 1M
q create -f qcow2 -o compat=1.1,lazy_refcounts=on new.img 1M
q create -f qcow2 -o lazy_refcounts=yes -o refcount_bits=64 new.img 1M
q create -f qcow2 -o lazy_refcounts new.img 1M
q create -f qcow2 -o nolazy_refcounts new.img 1M
q create -f qcow2 -o cluster_size=2M,extended_l2=on new.img 1M
q create -f qcow2 -o compression_type=zstd new.img 1M
q create -f qcow2 -o encryption=off new.img 1M
q create -f qcow2 -o data_file=ext,data_file_raw=on new.img 1M
q create -f qcow2 -o data_file=ext new.img 1M
q create -f qcow2 file:new.img 1M
q create -f raw plain 1M
q create -f qcow2 plain 1M
q create -f qcow2 "it's" 1M
f create
f create new.img
f create -f qcow2 new.img
f create -f raw new.img
f create -f nosuch new.img 1G
f create -f qcow2 new.img 1X
f create -f qcow2 new.img -1
f create -f qcow2 new.img 1e3
f create -f qcow2 new.img ''
f create -f qcow2 new.img 1.5
f create -f qcow2 new.img 8E
f create new.img 1G extra
f create -f qcow2 new.img 7E
f create -f raw new.img 7E
f create -f qcow2 nodir/new.img 1G
f create -f raw nodir/new.img 1G
f create -f qcow2 plain/x 1G
f create -f qcow2 dir 1G
f create -f raw dir 1G
f create -f qcow2 -o nosuch=1 new.img 1G
f create -f raw -o cluster_size=65536 new.img 1G
f create -f qcow2 -o cluster_size=3 new.img 1G
f create -f qcow2 -o cluster_size=4M new.img 1G
f create -f qcow2 -o cluster_size=abc new.img 1G
f create -f qcow2 -o cluster_size new.img 1G
f create -f qcow2 -o cluster_size= new.img 1G
f create -f qcow2 -o cluster_size=-1 new.img 1G
f create -f qcow2 -o cluster_size=99E new.img 1G
f create -f qcow2 -o preallocation=x new.img 1G
f create -f raw -o preallocation=metadata new.img 1G
f create -f raw -o preallocation=x new.img 1G
f create -f qcow2 -o lazy_refcounts=x new.img 1G
f create -f qcow2 -o compat=9 new.img 1G
f create -f qcow2 -o compression_type=lz4 new.img 1G
f create -f qcow2 -o refcount_bits=3 new.img 1G
f create -f qcow2 -o refcount_bits=128 new.img 1G
f create -f qcow2 -o refcount_bits=z new.img 1G
f create -f qcow2 -o compat=v2,extended_l2=on new.img 1G
f create -f qcow2 -o compat=v2,refcount_bits=8 new.img 1G
f create -f qcow2 -o compat=v2,lazy_refcounts=on new.img 1G
f create -f qcow2 -o compat=v2,compression_type=zstd new.img 1G
f create -f qcow2 -o extended_l2=on,cluster_size=4k new.img 1G
f create -f qcow2 -o data_file_raw=on new.img 1M
f create -f qcow2 -o data_file=ext,data_file_raw=on -b plain -F raw new.img
f create -f qcow2 -o preallocation=metadata -b plain -F raw new.img
f create -f qcow2 -o size=abc new.img
f create -f qcow2 -o size=1M new.img 2M
f create -f qcow2 -o '' new.img 1M
f create -f qcow2 -o ,a new.img 1M
f create -f qcow2 -o a, new.img 1M
f create -f qcow2 -o ,, new.img 1M
f create -f qcow2 -o a,, new.img 1M
f create -f qcow2 -o help=1 new.img 1M
f create -f nosuch -o help
f create -f qcow2 -o backing_file=plain new.img
f create -f qcow2 -o backing_file=plain,backing_fmt=raw,nosuch=1 new.img
f create -f qcow2 -o backing_file=,backing_fmt=raw new.img 1M
f create -f qcow2 -o backing_file=a,,b,backing_fmt=raw new.img 1M
f create -f qcow2 -b missing -F raw new.img 1G
f create -f qcow2 -b missing -F raw new.img
f create -f qcow2 -b missing new.img
f create -f qcow2 -b plain new.img
f create -f qcow2 -b img.qcow2 new.img 4M
f create -f qcow2 -u -b plain new.img 1M
q create -f qcow2 -b 'json:{"driver":"raw","file.filename":"plain"}' -F raw \
	new.img
f create -f qcow2 -b 'json:{"driver":"raw","file.filename":"plain"}' new.img
f create -f qcow2 -u -b plain -F raw new.img
f create -f qcow2 -b '' new.img
f create -f qcow2 -b plain -F nosuch new.img
f create -f qcow2 -b plain -F qcow2 new.img
f create -f qcow2 -b dir -F raw new.img
f create -f qcow2 -b orphan -F qcow2 new.img
f create -f qcow2 -b new.img -F raw new.img
f create -f qcow2 -F raw new.img 1M
f create -f raw -b plain -F raw new.img
f create nosuch:x 1M
r "qemu-img: new.img: vmdk: not supported by byre" create -f vmdk new.img 1M
r "qemu-img: --object secret,*" create -f qcow2 --object secret,id=sec,file=T \
	-o encrypt.key-secret=sec -o encrypt.format=luks \
	-o encrypt.cipher-alg=aes-256 -o encrypt.cipher-mode=xts \
	-o encrypt.hash-alg=sha256 -o encrypt.iter-time=2000 \
	-o encrypt.ivgen-alg=plain64 -o encrypt.ivgen-hash-alg=sha256 new.img 1M
r "qemu-img: new.img: encryption is not supported: 'encrypt.format'" \
	create -f qcow2 -o encrypt.format=luks new.img 1M
q create -f qcow2 -o help
q create -f qcow2 -o '?' new.img
q create -o help
q create -o help new.img
q create -f qcow2 -o size=1M,help new.img
f create -f bochs -o help
f create -f bochs new.img 1M
q create -f raw new.img 0x10k
q create -f raw -o size=0x10k new.img
q create -f qcow2 -o cluster_size=0x1k new.img 0x10k

# --- resize
q resize -f qcow2 img.qcow2 4194304
q resize -f qcow2 img.qcow2 2G
q resize -f qcow2 img.qcow2 +1G
q resize -f qcow2 img.qcow2 1M
q resize -f qcow2 i1/disk 4194304
s resize -f qcow2 --shrink i1/abs 512K
q resize -f qcow2 --shrink img.qcow2 512K
q resize -f raw plain 4194304
q resize -f raw plain 0x1000k
q resize -f raw plain +0x10k
q resize -f raw plain +1G
q resize -f raw plain 1T
q resize -f raw plain 2097153
q resize -f raw plain +0
q resize -f raw --shrink plain 512K
q resize -f raw --shrink plain -512K
q resize -f raw --shrink plain 1000
q resize -q -f raw plain 4M
q resize plain -f raw 4M
q resize img.qcow2 4194304
q resize plain 4194304
q resize --shrink plain 512K
q resize --preallocation=off -f raw plain 4M
q resize --preallocation=full -f raw plain 4M
q resize --preallocation=falloc -f raw plain 4M
q resize --preallocation=metadata -f qcow2 img.qcow2 4M
q resize --image-opts driver=raw,file.filename=plain 4M
f resize
f resize --help
f resize plain
f resize plain abc
f resize plain 1X
f resize plain ''
f resize plain 1M extra
f resize -f raw plain 7M -q
f resize --bogus plain 1M
f resize -p plain 1M
f resize -f nosuch plain 1M
f resize missing 1M
f resize -f raw missing 1M
f resize dir 1M
f resize -f qcow2 plain 4M
f resize -f raw plain 512K
f resize -f raw plain -512K
f resize plain 512K
f resize plain -512K
f resize -f raw plain 0
f resize --shrink -f raw plain 0
f resize -f raw plain -1G
f resize --shrink -f raw plain -1G
f resize -f raw plain 9E
f resize -f qcow2 img.qcow2 512K
f resize -f qcow2 img.qcow2 1000
f resize -f qcow2 img.qcow2 2097153
f resize --preallocation=nosuch plain 4M
f resize --preallocation=metadata -f raw plain 4M
f resize --preallocation=full -f raw --shrink plain 512K
f resize --preallocation=full -f qcow2 --shrink img.qcow2 512K
f resize -f qcow2 orphan 2M
f resize orphan --shrink 512K
f resize --image-opts -f raw file.filename=plain 1M
r "qemu-img: Could not open 'img.vmdk': vmdk: not supported*" \
	resize img.vmdk 4M
r "qemu-img: --object secret,*" resize --object secret,id=a,data=b plain 4M
