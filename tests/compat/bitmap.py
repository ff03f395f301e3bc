#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bitmaps against genuine qemu-img: the same steps with both.

After each step genuine check finds nothing, info says the same, and the bits
are the same, as the tables on disk say. As long as there were bitmap commands
only, the files are the same in all that is in use.
"""

import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
CASES = 300 if LONG else 14
OURS = [os.path.abspath(os.path.join(os.environ.get("top_builddir", "."),
                                     "byre")), "qemu-img"]
K = 1024
THEIRS = ["qemu-img"]


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, check=False)


def must(*args):
    p = run(*args)
    if p.returncode:
        raise RuntimeError(f"{' '.join(args)}: {p.stderr}")
    return p


def bits(path):
    """{name: (granularity, flags, set bits)} of a qcow2, read by hand."""
    with open(path, "rb") as f:
        d = f.read()
    if not d[95] & 1:
        return {}
    cs = 1 << struct.unpack(">I", d[20:24])[0]
    size, = struct.unpack(">Q", d[24:32])
    at, = struct.unpack(">I", d[100:104])
    out = {}
    while True:
        kind, n = struct.unpack(">II", d[at:at + 8])
        if kind == 0:
            return out
        if kind == 0x23852875:
            break
        at += 8 + (n + 7) // 8 * 8
    count, _, _, p = struct.unpack(">IIQQ", d[at + 8:at + 32])
    for _ in range(count):
        hoff, n, flags, _, g, name, _ = struct.unpack(">QIIBBHI", d[p:p + 24])
        text = d[p + 24:p + 24 + name].decode()
        p += (24 + name + 7) // 8 * 8
        raw = b""
        for i in range(n):
            e, = struct.unpack(">Q", d[hoff + i * 8:hoff + i * 8 + 8])
            raw += d[e:e + cs].ljust(cs, b"\0") if e & ~1 else \
                bytes([e & 1 and 255]) * cs
        want = (size + (1 << g) - 1) >> g
        out[text] = (g, flags, [i for i in range(want)
                                if raw[i // 8] >> i % 8 & 1])
    return out


def contents(path):
    """{cluster: bytes} of all that have a refcount, of 16 bits."""
    with open(path, "rb") as f:
        d = f.read()
    n = 1 << struct.unpack(">I", d[20:24])[0]
    clusters = [d[i:i + n].ljust(n, b"\0") for i in range(0, len(d), n)]
    table, size = struct.unpack(">QI", d[48:60])
    out = {}
    for i in range(size * n // 8):
        block, = struct.unpack_from(">Q", d, table + i * 8)
        counts = struct.unpack(f">{n // 2}H", clusters[block // n]) \
            if block else ()
        out.update((i * n // 2 + k, clusters[i * n // 2 + k])
                   for k, c in enumerate(counts) if c)
    return out


class Case:
    def __init__(self, seed, tmp):
        self.rng = r = random.Random(seed)
        self.tmp = tmp
        self.placed = True  # all that changed the file is placed alike
        self.cs = r.choice([512, 512, 4 * K, 64 * K])
        self.size = r.randrange(1, 200) * 4 * K * r.choice([1, 1, 20])
        for n in ("a", "b"):
            os.mkdir(os.path.join(tmp, n))
        must("qemu-img", "create", "-q", "-f", "qcow2", "-o",
             f"cluster_size={self.cs}", self.at("a", "t"), str(self.size))
        must("qemu-img", "create", "-q", "-f", "qcow2", "-o",
             f"cluster_size={r.choice([512, 64 * K])}", self.at("a", "o"),
             str(self.size))
        for n in ("s1", "s2"):
            must("qemu-img", "bitmap", "--add", "-g",
                 r.choice(["512", "4k", "128k"]), self.at("a", "o"), n)
        self.write("a", "o")
        for f in ("t", "o"):
            shutil.copy(self.at("a", f), self.at("b", f))

    def at(self, folder, name):
        return os.path.join(self.tmp, folder, name)

    def write(self, folder, name):
        r, cmd = random.Random(self.rng.random()), []
        for _ in range(r.randrange(1, 6)):
            at = r.randrange(0, self.size // 512) * 512
            n = min(r.choice([512, 9 * K, 100 * K, self.size]),
                    self.size - at)
            cmd += ["-c", f"write -P 7 {at} {n}"]
        must("qemu-io", "-f", "qcow2", *cmd, self.at(folder, name))

    def step(self):
        r = self.rng
        name = r.choice(["x", "y", "z"])
        args = ["bitmap"]
        for _ in range(r.choice([1, 1, 2, 3])):
            what = r.choice(["add", "add", "add", "remove", "clear", "enable",
                             "disable", "merge", "merge", "merge"])
            if what == "merge":
                args.append("--merge=" + r.choice(["x", "y", "z"]))
            else:
                args.append("--" + what)
        if r.random() < 0.4 and any("merge" in x for x in args):
            args = [x.replace("=x", "=s1").replace("=y", "=s2")
                    for x in args] + ["-b", "o"]
        if "--add" in args and r.random() < 0.6:
            args += ["-g", r.choice(["512", "1k", "4k", "64k", "2M"])]
        return args + ["-f", "qcow2", "t", name]

    def fault(self):
        for _ in range(6):
            if self.rng.random() < 0.4:
                state = self.rng.getstate()
                self.write("a", "t")
                self.rng.setstate(state)
                self.write("b", "t")
            args = self.step()
            if self.rng.random() < 0.15:
                args = ["resize", "-q", "-f", "qcow2", "--shrink", "t",
                        str(self.rng.randrange(1, 200) * 4 * K)]
                self.placed = False
                self.size = int(args[-1])
            elif self.rng.random() < 0.2:
                # a copy goes on from here
                args = ["convert", "--bitmaps", "-f", "qcow2", "-O", "qcow2",
                        "-o", f"cluster_size={self.cs}", "t", "u"]
                self.placed = False
            p, q = [subprocess.run(
                prog + args, capture_output=True, text=True, check=False,
                cwd=os.path.join(self.tmp, n))
                for prog, n in ((THEIRS, "a"), (OURS, "b"))]
            why = self.compare(p, q, "u" if args[0] == "convert" else "t")
            if why:
                return f"{' '.join(args)}: {why}"
        return None

    def compare(self, p, q, name):
        if (p.returncode, p.stdout, p.stderr) != \
                (q.returncode, q.stdout, q.stderr):
            return f"{p.returncode} {p.stderr} / {q.returncode} {q.stderr}"
        a, b = self.at("a", name), self.at("b", name)
        if name == "u" and p.returncode == 0:
            for x in ("a", "b"):
                os.replace(self.at(x, "u"), self.at(x, "t"))
            a, b = self.at("a", "t"), self.at("b", "t")
        c = run("qemu-img", "check", "-f", "qcow2", b)
        if c.returncode:
            return f"check {c.returncode}: {(c.stdout + c.stderr)[:300]}"
        x, y = bits(a), bits(b)
        if x != y:
            return f"bits differ: {str(x)[:500]} / {str(y)[:500]}"
        if self.placed and contents(a) != contents(b):
            return "the files differ"
        if run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", a,
               b).returncode:
            return "the guest differs"
        x, y = [json.loads(must("qemu-img", "info", "--output=json",
                                z).stdout)["format-specific"]
                for z in (a, b)]
        return None if x == y else f"info: {x} / {y}"


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no genuine qemu-img and qemu-io")
        return 77
    first = int(os.environ.get("BYRE_SEED", "1"))
    seeds = [int(x) for x in sys.argv[1:]] or range(first, first + CASES)
    failed = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="byre-bitmap-") as tmp:
            case = Case(seed, tmp)
            why = case.fault()
        if why:
            print(f"FAIL: seed {seed}: cluster {case.cs}: {why}")
            failed += 1
    print(f"{len(seeds)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
