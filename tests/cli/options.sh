#!/bin/sh
# SPDX-License-Identifier: MIT
# The native command line: help, usage errors (status 2, one line), options
# before, between and behind the names, and what is refused by name.
. "${top_srcdir:-.}/tests/lib.sh"

usage() {
	pattern=$1
	shift
	expect 2 "$byre" "$@"
	one_line "$pattern"
	[ ! -s out ] || fail "usage error speaks on stdout: $*"
}

expect 0 "$byre" --version; silent
grep -qx 'byre [0-9.]*' out || fail "--version: $(cat out)"
expect 0 "$byre" --help; silent
for c in $("$byre" help --commands); do
	grep -q "^  $c " out || fail "--help does not name $c"
done
for c in $("$byre" help --commands); do
	expect 0 "$byre" "$c" --help; silent
	grep -q "^usage: byre $c " out || fail "$c --help"
	cp out first
	expect 0 "$byre" "$c" -h nosuch; silent; same out first
	expect 0 "$byre" help "$c"; silent; same out first
	usage "byre: $c: unknown option '--nosuch'*" "$c" --nosuch
	usage "byre: $c: unknown option '-Z'*" "$c" -Z
	# its other options are its subcommands'
	[ "$c" = cache ] && continue
	usage "byre: $c: option '--help=1' takes no argument" "$c" --help=1
	usage "byre: $c: option '-f' needs an argument" "$c" -f
	case $c in
	check | info | inspect | digest | map | measure | commit | rebase) names=a ;;
	snapshot) names='-l a' ;;
	amend) names='-o compat=v3 a' ;;
	bitmap) names='--add a b' ;;
	dd) names='if=a of=b' ;;
	*) names='a 1' ;;
	esac
	usage "byre: $c: *Unknown driver 'nosuch'" "$c" -f nosuch $names
done
for c in ensure list status pin unpin purge spawn blank clean verify; do
	expect 0 "$byre" cache $c --help; silent
	grep -q "^usage: byre cache $c " out || fail "cache $c --help"
	usage "byre: cache $c: unknown option '--nosuch'*" cache $c --nosuch
	usage "byre: cache $c: option '--help=1' takes*" cache $c --help=1
	usage "byre: cache $c: option '--instances' needs*" cache $c --instances
done
usage "byre: a command is needed*"
usage "byre: unknown command 'nosuch'*" nosuch
usage "byre: unknown option '--nosuch'*" --nosuch
usage "byre: unknown command 'a?x0ab'*" "$(printf 'a\nb')"

truncate -s 1M a.raw
for f in "--output=xml a.raw" "--output xml a.raw"; do
	usage "byre: info: --output: unknown value 'xml'" info $f
done
usage "byre: info: one image is needed, 0 are given" info
usage "byre: info: one image is needed, 2 are given" info a.raw a.raw
usage "byre: inspect: one image is needed, 0 are given" inspect
usage "byre: check: one image is needed, 0 are given" check
usage "byre: check: --repair: unknown value 'some'" check -r some a.raw
usage "byre: check: --cache: unknown value 'x'" check -T x a.raw
usage "byre: digest: an image is needed" digest
usage "byre: create: FILE and SIZE are needed*" create
usage "byre: create: x: a size is needed" create x
usage "byre: create: *1X*" create x 1X
usage "byre: create: x: *size*twice" create -o size=1M x 1M
usage "byre: create: -o: Invalid parameter 'nosuch'" create -o nosuch=1 x 1M
usage "byre: create: *format*" create -f qcow2 -b a.raw x
usage "byre: resize: FILE and SIZE are needed*" resize a.raw
usage "byre: resize: *'x' is not a size*" resize a.raw x
usage "byre: resize: --preallocation: unknown value 'x'" \
	resize --preallocation=x a.raw 2M
usage "byre: snapshot: one FILE is needed*" snapshot -l
usage "byre: snapshot: one of --list*" snapshot a.raw
usage "byre: snapshot: *exclude each other" snapshot -c a -d b q.qcow2
usage "byre: snapshot: *exclude each other" snapshot -l -l q.qcow2
usage "byre: snapshot: *-U is for*" snapshot -U -f qcow2 -c a q.qcow2
usage "byre: convert: SRC and DST are needed*" convert a.raw
usage "byre: convert: -t: unknown value 'unsafe'" convert -t unsafe a.raw x
usage "byre: convert: -T: unknown value 'x'" convert -T x a.raw x
usage "byre: convert: -S: 100 is not*" convert -S 100 a.raw x
usage "byre: convert: -S: 33554432 is not*" convert -S 32M a.raw x
usage "byre: convert: -r: *" convert -r x a.raw x
usage "byre: convert: --workers: *" convert -m 0 a.raw x
usage "byre: convert: --workers: *" convert --workers=9999 a.raw x
usage "byre: convert: --engine: unknown value 'x'" convert --engine=x a.raw x
usage "byre: convert: --level: *" convert --level=99 a.raw x
usage "byre: convert: --deflate-window: *" convert --deflate-window=8k a.raw x
usage "byre: convert: --progress-fd: 77 is not*" convert --progress-fd=77 a.raw x
usage "byre: convert: --max-size: *" convert --max-size=x a.raw x
usage "byre: convert: -C and -c exclude*" convert -C -c -O qcow2 a.raw x
usage "byre: convert: -C and -S exclude*" convert -C -S 4k a.raw x
usage "byre: convert: -C and --salvage*" convert -C --salvage a.raw x
usage "byre: convert: --target-image-opts needs -n" \
	convert --target-image-opts a.raw driver=raw,file.filename=x
usage "byre: convert: -o has no effect*" convert -n -o size=1M a.raw x
usage "byre: convert: --target-is-zero needs -n" convert --target-is-zero a.raw x
usage "byre: convert: --skip-broken*" convert --skip-broken-bitmaps a.raw x
usage "byre: convert: -l is for one*" convert -l a a.raw a.raw x
usage "byre: convert: -B is for one*" \
	convert -O qcow2 -B a.raw -F raw a.raw a.raw x
usage "byre: convert: --trusted and*" \
	convert --trusted --allow-backing=. a.raw x
usage "byre: convert: *Compression*" convert -c a.raw x
usage "byre: digest: --image-opts and -f*" \
	digest --image-opts -f raw file.filename=a.raw

# known by name only: refused, which is no usage error
for f in vmdk vdi vhdx vpc luks qed qcow; do
	expect 1 "$byre" info -f $f a.raw
	one_line "byre: info: *$f: not supported"
	expect 1 "$byre" convert -O $f a.raw x
	one_line "byre: convert: *$f: not supported"
	expect 1 "$byre" create -f $f x 1M
	one_line "byre: create: *$f: not supported"
done
expect 1 "$byre" create -f qcow2 -o encrypt.format=luks x 1M
one_line "byre: create: *encryption is not supported: 'encrypt.format'"
expect 1 "$byre" create -f qcow2 -o encryption=on x 1M
one_line "byre: create: *encryption is not supported: 'encryption'"
only a.raw first
finish
