#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Snapshots against genuine qemu-img: the same steps with both.

After each step the files must be the same byte for byte, but for dates, and
for COPIED flags in tables of snapshots, which mean nothing and which QEMU
changes on its way. Genuine check finds nothing, disk and snapshots read alike.
"""

import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
CASES = 200 if LONG else 12
OURS = [os.path.abspath(os.path.join(os.environ.get("top_builddir", "."),
                                     "byre")), "qemu-img"]
K = 1024


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, check=False)


def must(*args):
    p = run(*args)
    if p.returncode:
        raise RuntimeError(f"{' '.join(args)}: {p.stderr}")
    return p


def plain(path):
    """The file without its snapshots' dates."""
    with open(path, "rb") as f:
        d = bytearray(f.read())
    n, at = struct.unpack(">IQ", d[60:72])
    for _ in range(n):
        at = (at + 7) // 8 * 8
        d[at + 16:at + 24] = bytes(8)
        lens = struct.unpack(">HH", d[at + 12:at + 16])
        extra, = struct.unpack(">I", d[at + 36:at + 40])
        at += 40 + extra + sum(lens)
    return bytes(d)


def bytes_differ(a, b):
    x, y = plain(a), plain(b)
    if len(x) != len(y):
        return f"lengths {len(x)} and {len(y)}"
    if x == y:
        return None
    for i, (p, q) in enumerate(zip(x, y)):
        if p != q and (p ^ q != 0x80 or i % 8):
            return f"byte {i}: {p} and {q}"
    return None


class Case:
    def __init__(self, seed, tmp):
        self.rng = r = random.Random(seed)
        self.a, self.b = (os.path.join(tmp, n) for n in "ab")
        cs = r.choice([512, 512, 1 * K, 4 * K, 64 * K, 64 * K, 2048 * K])
        self.cs = cs
        opts = [f"cluster_size={cs}"]
        if r.random() < 0.2:
            opts.append("compat=0.10")
        else:
            opts.append(f"refcount_bits={r.choice([1, 2, 8, 16, 16, 64])}")
            if cs >= 16 * K and r.random() < 0.3:
                opts.append("extended_l2=on")
        self.v2 = "compat=0.10" in opts
        self.size = r.randrange(1, 64) * 8 * K
        self.text = ",".join(opts)
        must("qemu-img", "create", "-q", "-f", "qcow2", "-o", self.text,
             self.a, str(self.size))
        self.write()
        # requests given up half way leave leaks, and ends of files
        must("qemu-img", "check", "-q", "-r", "leaks", self.a)
        shutil.copy(self.a, self.b)
        self.names = []

    def write(self, files=None):
        r, cmd = self.rng, []
        for i in range(r.randrange(1, 4)):
            at = r.randrange(0, self.size // 512) * 512
            n = min(r.choice([512, 8 * K, 100 * K, self.size]),
                    self.size - at)
            kind = r.choice(["write", "write", "write -c", "write -z",
                             "discard"])
            if kind == "write -c":
                at -= at % self.cs
                n = min(self.cs, self.size - at)
            if kind.startswith("write") and kind != "write -z":
                kind += f" -P {r.randrange(1, 255)}"
            cmd += ["-c", f"{kind} {at} {n}"]
        for f in files or [self.a]:
            run("qemu-io", "-f", "qcow2", *cmd, f)

    def step(self):
        r = self.rng
        what = r.choice("cccadw")
        if what == "w":
            self.write([self.a, self.b])
            return ["write"]
        if what == "a" and not self.v2 and r.random() < 0.3:
            size = r.randrange(1, 64) * 8 * K
            args = ["resize", "-q", "-f", "qcow2", "--shrink", self.a,
                    str(size)]
            must("qemu-img", *args)
            shutil.copy(self.a, self.b)
            self.size = size
            return args
        name = str(r.randrange(1, 6))
        return ["snapshot", "-" + what, name]

    def fault(self):
        for _ in range(6):
            args = self.step()
            if args[0] == "snapshot":
                p = run("qemu-img", *args, self.a)
                q = run(*OURS, *args, self.b)
                why = self.compare(p, q)
                if why:
                    return f"{' '.join(args)}: {why}"
                if p.returncode:
                    # what QEMU leaves of a failure, a leak at least
                    shutil.copy(self.b, self.a)
        return None

    def compare(self, p, q):
        if (p.returncode, p.stdout, p.stderr) != \
                (q.returncode, q.stdout, q.stderr):
            return f"{p.returncode} {p.stderr} / {q.returncode} {q.stderr}"
        c = run("qemu-img", "check", "-f", "qcow2", self.b)
        if p.returncode and c.returncode == 3 and \
                run("qemu-img", "check", "-f", "qcow2", self.a).returncode \
                == 3:
            # a count had no room: both leak the copy of the L1
            must("qemu-img", "check", "-q", "-f", "qcow2", "-r", "leaks",
                 self.b)
        elif c.returncode:
            return f"check {c.returncode}: {(c.stdout + c.stderr)[:300]}"
        if p.returncode:
            return None
        info = run("qemu-img", "info", self.b).stdout
        size = [x for x in info.split("\n") if "virtual size" in x][0]
        self.size = int(size.split("(")[1].split()[0])
        names = [x.split()[0] for x in must(
            "qemu-img", "snapshot", "-l", self.b).stdout.split("\n")[2:] if x]
        for view in [[]] + [["-l", f"snapshot.id={n}"] for n in names]:
            for x in (self.a, self.b):
                must("qemu-img", "convert", "-f", "qcow2", "-O", "raw", *view,
                     x, x + ".raw")
            if run("cmp", self.a + ".raw", self.b + ".raw").returncode:
                return f"guest differs {view}"
        if "-a" in q.args and os.path.getsize(self.a) != \
                os.path.getsize(self.b):
            # QEMU resizes first, and cuts the file then
            shutil.copy(self.b, self.a)
            return None
        return bytes_differ(self.a, self.b)


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no genuine qemu-img and qemu-io")
        return 77
    os.environ["TZ"] = "UTC"
    first = int(os.environ.get("BYRE_SEED", "1"))
    seeds = [int(x) for x in sys.argv[1:]] or range(first, first + CASES)
    failed = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="byre-snapshot-") as tmp:
            case = Case(seed, tmp)
            why = case.fault()
        if why:
            print(f"FAIL: seed {seed}: {case.text}: {why}")
            failed += 1
    print(f"{len(seeds)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
