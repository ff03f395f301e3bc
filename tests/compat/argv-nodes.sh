# SPDX-License-Identifier: MIT
# Options of block nodes, for argv.sh: what only tunes QEMU is accepted where
# it is good, and refused in its words where it is not.

# sizes on disk are compared, too
again
sync -f world
for o in aio=threads aio=native aio=io_uring aio=uring aio= \
	aio=native,file.cache.direct=on cache.direct=on,file.aio=native \
	aio-max-batch=0 aio-max-batch=1 aio-max-batch=x aio-max-batch= \
	locking=auto locking=on locking=off locking=maybe drop-cache=on \
	drop-cache=off drop-cache=x x-check-cache-dropped=on \
	x-check-cache-dropped=2 pr-manager=p node-name=below node-name=1 \
	node-name=a_b-c.d node-name=a:b node-name= \
	node-name=a12345678901234567890123456789012 \
	discard=unmap discard=on discard=off discard=ignore discard=x \
	detect-zeroes=off detect-zeroes=on detect-zeroes=unmap \
	detect-zeroes=x detect-zeroes=unmap,file.discard=off \
	cache.direct=off cache.direct=x cache.no-flush=on cache.no-flush=x \
	read-only=on read-only=x auto-read-only=on auto-read-only=x \
	force-share=on force-share=x nosuch=1 l2-cache-size=1M; do
	q info --image-opts driver=qcow2,file.filename=img.qcow2,file.$o
done
for o in node-name=above node-name=1 node-name=same,file.node-name=same \
	discard=unmap discard=on discard=off discard=x detect-zeroes=on \
	detect-zeroes=off detect-zeroes=x detect-zeroes=unmap \
	detect-zeroes=unmap,discard=unmap detect-zeroes=unmap,discard=on \
	cache.direct=on cache.direct=x cache.no-flush=on cache.no-flush=x \
	read-only=on read-only=x auto-read-only=on auto-read-only=x \
	force-share=on force-share=off force-share=x aio=threads locking=off \
	cache-size=1M cache-size=x cache-size=-1 cache-size=1E \
	cache-size=99999999999999999999 l2-cache-size=1M l2-cache-size=0 \
	l2-cache-size=x refcount-cache-size=1M refcount-cache-size=x \
	refcount-cache-size=4E cache-size=1M,l2-cache-size=512k \
	cache-size=1M,l2-cache-size=2M cache-size=1M,refcount-cache-size=2M \
	cache-size=1M,l2-cache-size=512k,refcount-cache-size=512k \
	l2-cache-entry-size=512 l2-cache-entry-size=4k \
	l2-cache-entry-size=64k l2-cache-entry-size=128k \
	l2-cache-entry-size=256 l2-cache-entry-size=3k \
	l2-cache-entry-size=x l2-cache-entry-size=0 cache-clean-interval=0 \
	cache-clean-interval=1 cache-clean-interval=x \
	cache-clean-interval=4294967295 cache-clean-interval=4294967296 \
	lazy-refcounts=on lazy-refcounts=off lazy-refcounts=x \
	overlap-check=none overlap-check=constant overlap-check=cached \
	overlap-check=all overlap-check=x overlap-check.template=all \
	overlap-check.template=x overlap-check=all,overlap-check.template=all \
	overlap-check=all,overlap-check.template=none \
	overlap-check.main-header=on overlap-check.main-header=x \
	overlap-check.inactive-l2=off overlap-check.nosuch=on \
	overlap-check.bitmap-directory=off pass-discard-request=on \
	pass-discard-request=x pass-discard-snapshot=off \
	pass-discard-snapshot=x pass-discard-other=on pass-discard-other=x \
	read-only=on,read-only=x read-only=x,read-only=on; do
	q info --image-opts driver=qcow2,file.filename=img.qcow2,$o
done
for o in l2-cache-size=1M overlap-check=none lazy-refcounts=on aio=threads \
	discard=x read-only=on detect-zeroes=unmap node-name=above; do
	q info --image-opts driver=raw,file.filename=plain,$o
	q info --image-opts file.filename=plain,$o
	[ $o = aio=threads ] ||
		q info --image-opts file.filename=img.qcow2,$o
done
for o in l2-cache-size=1M discard=x detect-zeroes=unmap aio=x; do
	q info --image-opts driver=file,filename=plain,$o
done
for o in '"l2-cache-size":1048576' '"l2-cache-size":"1M"' \
	'"l2-cache-size":"x"' '"lazy-refcounts":true' \
	'"lazy-refcounts":"maybe"' '"overlap-check":{"template":"all"}' \
	'"overlap-check":{"template":"x"}' '"overlap-check":"x"' \
	'"discard":"x"' '"cache":{"direct":true}' '"cache":{"direct":"x"}' \
	'"read-only":"x"' '"detect-zeroes":"x"' '"node-name":"1"'; do
	q info "json:{\"driver\":\"qcow2\",\"file.filename\":\"img.qcow2\",$o}"
done
q info --image-opts driver=qcow2,file.filename=img.qcow2,file.aio=x,discard=x
q convert -O raw --image-opts \
	driver=qcow2,file.filename=img.qcow2,discard=x new.img
q convert -O raw --image-opts driver=qcow2,file.filename=img.qcow2,\
l2-cache-size=1M,overlap-check=none,discard=unmap,detect-zeroes=on new.img
q map --image-opts driver=qcow2,file.filename=img.qcow2,cache-size=x
q check --image-opts driver=qcow2,file.filename=img.qcow2,overlap-check=x
q compare --image-opts driver=qcow2,file.filename=img.qcow2,aio=x \
	file.filename=plain
q resize --image-opts driver=qcow2,file.filename=img.qcow2,discard=x 2M
q convert -n --target-image-opts img.raw \
	driver=raw,file.filename=plain,discard=x
q convert -n --target-image-opts img.raw \
	driver=raw,file.filename=plain,force-share=on
# switches that are words alone
q convert -O qcow2 -o extended_l2,nolazy_refcounts plain new.img
q info --image-opts driver=qcow2,file.filename=img.qcow2,force-share
q info --image-opts driver=qcow2,file.filename=img.qcow2,nono
q info --image-opts img.qcow2,force-share
q info --image-opts img.qcow2,driver=qcow2
q info --image-opts ''
q compare --image-opts driver=qcow2,file.filename=img.qcow2,noread-only \
	file.filename=plain,file.nodrop-cache
q convert -n --target-image-opts img.raw \
	driver=raw,file.filename=plain,noforce-share
q convert -O raw -l snapshot.id,snapshot.name=x snap.qcow2 new.img
q -T enable,nosuch info img.qcow2
for j in '[]' '1' '"x"' 'true' 'null' '[1]'; do
	q info "json:$j"
done

# --- what the caller calls read-only is not changed
ro=driver=qcow2,file.filename=img.qcow2
for i in $ro,read-only=on $ro,file.read-only=on $ro,read-only=on,force-share=on; do
	q resize --image-opts "$i" 2M
	q amend -o lazy_refcounts=on --image-opts "$i"
	q bitmap --add --image-opts "$i" b
	q snapshot -c s --image-opts "$i"
	q snapshot -l --image-opts "$i"
	q commit --image-opts "$i"
	q rebase -u -b '' --image-opts "$i"
	q check -r all --image-opts "$i"
	q check --image-opts "$i"
	q convert -n -f raw --target-image-opts plain "$i"
done
q resize 'json:{"driver":"qcow2","read-only":true,"file.filename":"img.qcow2"}' 2M
q resize --image-opts driver=qcow2,file.filename=nowhere,read-only=on 2M
q resize --image-opts driver=qcow2,file.filename=plain,read-only=on 2M
q resize --image-opts driver=raw,file.filename=img.raw,read-only=on 2M
q resize --image-opts $ro,read-only=on,read-only=off 2M
q resize --image-opts $ro,force-share=on,file.force-share=off 2M
