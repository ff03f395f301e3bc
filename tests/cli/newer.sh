#!/bin/sh
# SPDX-License-Identifier: MIT
# BYRE_QEMU_COMPAT=10: the forms of qemu-img 10, in the front alone.
. "${top_srcdir:-.}/tests/lib.sh"

front() {
	expect 0 "$byre" qemu-img "$@"
	silent
}

head -c 65536 /dev/zero | tr '\0' x >data
truncate -s 1M data
"$byre" convert -q -c -O qcow2 data a.qcow2 || fail "no image"
front map --output=json a.qcow2
grep -q compressed out && fail "7.2 knows of compressed runs"
front info a.qcow2
grep -q 'Child node' out && fail "7.2 knows of child nodes"
front --version
grep -q '^qemu-img version 7\.2\.' out || fail "$(cat out)"

for v in 10 10.2; do
	BYRE_QEMU_COMPAT=$v
	export BYRE_QEMU_COMPAT
	front --version
	grep -q '^qemu-img version 10\.' out || fail "$(cat out)"
	front map --output=json a.qcow2
	cat >want <<'END'
[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},
{ "start": 65536, "length": 983040, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]
END
	same out want
	front map --output=json -f raw -s 512k data
	grep -q '"data": false, "compressed": false, "offset": 524288}' out ||
		fail "$(cat out)"
	front info a.qcow2
	size=$(stat -c %s a.qcow2)
	size=$(((size + 511) / 512 * 512))
	grep -A 4 "^Child node '/file':\$" out >got
	{
		echo "Child node '/file':"
		echo "    filename: a.qcow2"
		echo "    protocol type: file"
		sed -n 's/^    file length: /&/p' out
		sed -n 's/^disk size: /    &/p' out
	} >want
	same got want
	grep -q "^    file length: .* ($size bytes)\$" out || fail "$(cat out)"
	front info --output=json a.qcow2
	head -n 5 out >got
	printf '{\n    "children": [\n        {\n            "name": "file",\n' >want
	printf '            "info": {\n' >>want
	same got want
done
# a native command has no environment
expect 0 "$byre" map --output=json a.qcow2
grep -q compressed out && fail "a native command looks at the environment"
for v in 7.2 1 100 ''; do
	BYRE_QEMU_COMPAT=$v
	front --version
	grep -q '^qemu-img version 7\.2\.' out || fail "'$v': $(cat out)"
done
finish
