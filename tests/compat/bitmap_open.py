#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Broken bitmaps, opened by our front and by genuine qemu-img: the same
commands refuse the same images, with the same words."""

import os
import shutil
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from bitmap import OURS, THEIRS, must, run  # noqa: E402
from damage import Image, be  # noqa: E402

COMMANDS = [
    "info x", "info --output=json x", "map x", "map --output=json x",
    "measure -O qcow2 x", "check x", "check -r all x", "compare x x",
    "convert -O raw x y", "convert -O qcow2 --bitmaps x y", "snapshot -l x",
    "bitmap --add x new", "bitmap --clear x b0", "resize x 2M",
    "rebase -u -b '' x", "amend -o lazy_refcounts=on x", "commit over",
    "dd if=x of=y bs=64k",
]


def extension(img):
    at = be("I", img.data, 100)
    while be("I", img.data, at) != 0x23852875:
        at += 8 + (be("I", img.data, at + 4) + 7) // 8 * 8
    return at + 8


def entry(fmt, offset, value, index=0):
    def damage(img):
        struct.pack_into(">" + fmt, img.data, img.bitmaps()[index] + offset,
                         value)
    return damage


def ext(fmt, offset, value):
    def damage(img):
        struct.pack_into(">" + fmt, img.data, extension(img) + offset, value)
    return damage


def table(value):
    def damage(img):
        img.set64(img.u64(img.bitmaps()[0]), value)
    return damage


def same_names(img):
    p = img.bitmaps()[1]
    img.data[p + 24:p + 26] = b"b0"


def no_disk(img):
    img.set64(24, 0)


def larger_disk(img):
    img.set64(24, 1 << 20)


DAMAGES = {
    "none": lambda img: None,
    "directory of no bytes": ext("Q", 8, 0),
    "directory too short": ext("Q", 8, 32),
    "directory cut": ext("Q", 8, 60),
    "directory too long": ext("Q", 8, 96),
    "directory one entry longer": ext("Q", 8, 1024),
    "directory as large as can be": ext("Q", 8, 1024 * 65535),
    "directory too large": ext("Q", 8, 1024 * 65535 + 1),
    "directory of exabytes": ext("Q", 8, 1 << 62),
    "directory unaligned": ext("Q", 16, 0x50200),
    "directory behind the end": ext("Q", 16, 1 << 40),
    "directory negative": ext("Q", 16, 3 << 62),
    "directory in the header": ext("Q", 16, 0),
    "one bitmap": ext("I", 0, 1),
    "three bitmaps": ext("I", 0, 3),
    "no bitmaps": ext("I", 0, 0),
    "65535 bitmaps": ext("I", 0, 65535),
    "65536 bitmaps": ext("I", 0, 65536),
    "reserved field": ext("I", 4, 1),
    "extension too short": ext("I", -4, 23),
    "extension too long": ext("I", -4, 25),
    "table nowhere": entry("Q", 0, 0),
    "table unaligned": entry("Q", 0, 0x50200),
    "table negative": entry("Q", 0, 3 << 62),
    "table of nothing": entry("I", 8, 0),
    "table too long": entry("I", 8, 2),
    "table of a gigabyte": entry("I", 8, 0x8000000),
    "table longer": entry("I", 8, 0x8000001),
    "reserved flag": entry("I", 12, 4),
    "in use": entry("I", 12, 3),
    "type": entry("B", 16, 2),
    "granularity 8": entry("B", 17, 8),
    "granularity 32": entry("B", 17, 32),
    "granularity 31": entry("B", 17, 31),
    "granularity 9": entry("B", 17, 9),
    "name too long": entry("H", 18, 1024),
    "name of no bytes": entry("H", 18, 0),
    "name behind the end": entry("H", 18, 65535),
    "extra data": entry("I", 20, 8),
    "second: type": entry("B", 16, 2, 1),
    "second: table of nothing": entry("I", 8, 0, 1),
    "entry reserved": table(2),
    "entry reserved above": table(1 << 60),
    "entry unaligned": table(0x50200),
    "entry of ones with a place": table(0x50001),
    "entry of ones": table(1),
    "same names": same_names,
    "no disk": no_disk,
    "larger disk": larger_disk,
}


def make(folder):
    """Clusters of 64 KiB: one table entry for 32 MiB in 512-byte bits."""
    x = os.path.join(folder, "x")
    must("qemu-img", "create", "-q", "-f", "qcow2", x, "512k")
    for n in ("b0", "b1"):
        must("qemu-img", "bitmap", "--add", "-g", "512", x, n)
        must("qemu-io", "-f", "qcow2", "-c", "write -P 1 64k 4k", x)
    must("qemu-img", "create", "-q", "-f", "qcow2", "-u", "-b", "x", "-F",
         "qcow2", os.path.join(folder, "over"), "512k")
    with open(x, "rb") as f:
        return f.read()


def said(p):
    """Without the numbers that QEMU gives its nodes."""
    err = b" ".join(w if not w.startswith(b"'#block") else b"NODE"
                    for w in p.stderr.split(b" "))
    return p.returncode, p.stdout, err


# one in so many pairs, each damage and each command among them
SHARE = 1 if os.environ.get("BYRE_CHECK_LONG") else \
    6 if os.environ.get("BYRE_SANITIZED") == "1" else 2


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no genuine qemu-img and qemu-io")
        return 77
    failed = n = 0
    with tempfile.TemporaryDirectory(prefix="byre-bitmap-") as tmp:
        dirs = [os.path.join(tmp, x) for x in ("a", "b")]
        os.mkdir(dirs[0])
        sound = make(dirs[0])
        shutil.copytree(dirs[0], dirs[1])
        for i, (what, damage) in enumerate(DAMAGES.items()):
            if sys.argv[1:] and what not in sys.argv[1:]:
                continue
            img = Image(sound)
            damage(img)
            for j, line in enumerate(COMMANDS):
                if (i + j) % SHARE and not sys.argv[1:]:
                    continue
                for d in dirs:
                    with open(os.path.join(d, "x"), "wb") as f:
                        f.write(img.data)
                p, q = (subprocess.run(
                    prog + ["" if w == "''" else w for w in line.split()],
                    capture_output=True, check=False, cwd=d, timeout=60)
                    for prog, d in zip((THEIRS, OURS), dirs))
                n += 1
                if said(p) != said(q):
                    failed += 1
                    print(f"FAIL: {what}: {line}:\n  {said(p)}\n  {said(q)}")
                elif q.returncode == 0 and run(
                        "qemu-img", "check", "-q", os.path.join(
                            dirs[1], "x")).returncode not in (0, 3):
                    failed += 1
                    print(f"FAIL: {what}: {line}: check finds errors")
    print(f"{n} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
