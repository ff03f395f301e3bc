#!/bin/sh
# SPDX-License-Identifier: MIT
# The front beside the genuine qemu-img on images that a QEMU has open: for
# writing, and for reading.
. "${top_srcdir:-.}/tests/lib.sh"
need_qemu_img
command -v python3 >/dev/null || { echo "no python3"; exit 77; }
ln -s "$byre" qemu-img
truncate -s 1M z.raw r.raw
"$qemu_img" create -q -f qcow2 z.qcow2 1M
"$qemu_img" create -q -f qcow2 -b z.raw -F raw over
cat >held.py <<'END'
# held.py GENUINE OURS: prints what differs
import fcntl, os, struct, subprocess, sys
F_OFD_SETLK = 37
LINES = """info {0}
info -f raw {0}
info --output=json {0}
info -U {0}
convert {0} new
convert -U {0} new
convert r.raw {0}
convert -n r.raw z.raw
map {0}
map -U {0}
map --output=json over
measure {0}
measure -O qcow2 over
compare {0} {0}
compare -U {0} r.raw
compare r.raw over
dd if={0} of=new
dd -U if={0} of=new
dd if=r.raw of={0}
resize -f raw z.raw 8M
resize -f qcow2 z.qcow2 8M
create -f raw {0} 1M
create -f qcow2 {0} 1M
create -f qcow2 -b z.raw -F raw new
create -f qcow2 -b z.qcow2 -F qcow2 new"""
held = [os.open(f, os.O_RDWR) for f in ("z.raw", "z.qcow2")]
for fd in held:
    for byte in (100, 101, 103, 201, 203):
        fcntl.fcntl(fd, F_OFD_SETLK,
                    struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, byte, 1, 0))
for name in ("z.raw", "z.qcow2"):
    for line in LINES.format(name).splitlines():
        answers = []
        for q in sys.argv[1:3]:
            if os.path.exists("new"):
                os.unlink("new")
            p = subprocess.run([q] + line.split(), capture_output=True,
                               text=True)
            answers.append((p.returncode, p.stdout, p.stderr))
        if answers[0] != answers[1]:
            print(line, *answers, sep="\n  ")
END
checks=1
python3 held.py "$qemu_img" ./qemu-img >out 2>&1
[ ! -s out ] || fail "$(cat out)"
finish
