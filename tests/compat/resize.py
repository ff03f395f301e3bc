#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Resize against genuine qemu-img: the same image, resized by both.

The guest must see the same bytes and size, the image must have no errors and
no leaks, and what qemu-img refuses is refused. Where QEMU's bytes are to be
had, in growing, a share of the files must equal them.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
CASES = 400 if LONG else 45
K, M = 1 << 10, 1 << 20


def run(*args):
    return subprocess.run(args, capture_output=True, text=True, check=False)


def must(*args):
    p = run(*args)
    if p.returncode:
        raise RuntimeError(f"{' '.join(args)}: {p.stderr}")
    return p


class Case:
    def __init__(self, seed, tmp):
        self.rng = r = random.Random(seed)
        self.tmp = tmp
        self.v2 = r.random() < 0.15
        self.bits = r.choice([9, 9, 10, 12, 14, 16, 16, 16, 18, 21])
        self.extl2 = not self.v2 and self.bits >= 14 and r.random() < 0.3
        self.width = 16 if self.v2 else r.choice([1, 2, 8, 16, 16, 16, 32, 64])
        self.data = not self.v2 and r.random() < 0.15
        self.data_raw = self.data and r.random() < 0.5
        self.backing = not self.data and r.random() < 0.35
        self.snapshot = not self.data and not self.data_raw and \
            self.width > 1 and r.random() < 0.2
        self.bitmap = not self.v2 and r.random() < 0.12
        top = {9: 2, 10: 4, 12: 8, 14: 16}.get(self.bits, 48) * M
        self.top = top
        self.size = self.pick()

    def pick(self):
        r = self.rng
        n = r.randrange(1, self.top // 512) * 512
        if r.random() < 0.4:
            n = max(n >> self.bits, 1) << self.bits
        return n

    def text(self):
        words = [f"{1 << self.bits}", f"w{self.width}", f"size {self.size}"]
        words += [n for n in ("v2", "extl2", "data", "data_raw", "backing",
                              "snapshot", "bitmap") if getattr(self, n)]
        return " ".join(words)

    def make(self, name):
        """Makes name; external files get names of their own."""
        opts = [f"cluster_size={1 << self.bits}",
                "compat=" + ("0.10" if self.v2 else "1.1"),
                f"refcount_bits={self.width}"]
        if self.extl2:
            opts.append("extended_l2=on")
        if self.data:
            opts.append(f"data_file={name}.data")
            if self.data_raw:
                opts.append("data_file_raw=on")
        cmd = ["qemu-img", "create", "-q", "-f", "qcow2", "-o",
               ",".join(opts)]
        r = self.rng
        if self.backing:
            base = name + ".base"
            size = r.choice([self.pick(), self.size])
            must("qemu-img", "create", "-q", "-f", "qcow2", base, str(size))
            must("qemu-io", "-f", "qcow2", "-c", f"write -P 77 0 {size}",
                 base)
            cmd += ["-b", base, "-F", "qcow2"]
        must(*cmd, name, str(self.size))
        if self.bitmap:
            must("qemu-img", "bitmap", "--add", "-g",
                 r.choice(["4k", "64k"]), name, "b0")
        self.write(name, 4)
        if self.snapshot:
            # narrow refcounts may not have room for it
            run("qemu-img", "snapshot", "-c", "s", name)
            self.write(name, 2)
        # a request that qemu-io gave up on may have left a leak
        run("qemu-img", "check", "-q", "-r", "leaks", name)
        self.snapshot = " s " in run("qemu-img", "snapshot", "-l",
                                     name).stdout

    def write(self, name, n):
        r = self.rng
        cmd = ["qemu-io", "-f", "qcow2"]
        for i in range(n):
            at = r.randrange(0, self.size // 512) * 512
            size = min(r.choice([512, 64 * K, M, self.size]), self.size - at)
            kind = r.choice(["write", "write", "write", "write -c", "write -z",
                             "discard"])
            cluster = 1 << self.bits
            if kind == "write -c":
                at -= at % cluster
                size = min(max(size >> self.bits, 1) << self.bits,
                           self.size - at)
                kind = "write" if self.data else f"write -c -P {i + 1}"
            elif kind == "write":
                kind = f"write -P {i + 1}"
            cmd += ["-c", f"{kind} {at} {size}"]
        # what genuine qemu-io cannot do (zeros in v2) is left out
        run(*cmd, name)

    def step(self):
        """Size, mode, shrink."""
        r = self.rng
        new = self.pick()
        if new < self.size:
            return new, "off", True
        return new, r.choice(["off", "off", "metadata", "falloc", "full"]), \
            False


def clone(src, dst, case):
    shutil.copy(src, dst)
    if case.data:
        shutil.copy(src + ".data", dst + ".data")
        must("qemu-img", "amend", "-f", "qcow2", "-o",
             f"data_file={dst}.data", dst)


def guest(x):
    must("qemu-img", "convert", "-f", "qcow2", "-O", "raw", x, x + ".raw")
    with open(x + ".raw", "rb") as f:
        return f.read()


def their_fault(ours, theirs, mode, before):
    """QEMU preallocates metadata over whatever the clusters held before, and
    the guest sees that; with subclusters it loses a compressed last cluster.
    Ours must show zeros, and what it showed before."""
    a, b, old = guest(ours), guest(theirs), len(before)
    lost = b[:old] != before
    return (mode == "metadata" or lost) and len(a) == len(b) and \
        a[:old] == before and not any(a[old:])


def fault(case, tool, ours, theirs):
    """Resizes both; what differs, or None; and whether the bytes match."""
    for _ in range(case.rng.choice([1, 1, 2, 3])):
        new, mode, shrink = case.step()
        what = f"{case.size} -> {new} {mode}"
        before = guest(ours) if mode != "off" else None
        a = run("qemu-img", "resize", "-q", "-f", "qcow2",
                f"--preallocation={mode}", *(["--shrink"] * shrink), theirs,
                str(new))
        b = run(tool, "-p", mode, *(["-s"] * shrink), ours, str(new))
        if a.returncode:
            if not b.returncode:
                return f"{what}: they refuse ({a.stderr.strip()})", False
            return None, False
        if b.returncode:
            return f"{what}: we refuse: {b.stderr.strip()}", False
        case.size = new
        c = run("qemu-img", "check", "-f", "qcow2", ours)
        if c.returncode:
            return f"{what}: check exit {c.returncode}: " + \
                (c.stdout + c.stderr)[:300], False
        c = run("qemu-img", "compare", "-f", "qcow2", "-F", "qcow2", ours,
                theirs)
        if c.returncode or "size mismatch" in c.stdout:
            if before and their_fault(ours, theirs, mode, before):
                return None, False
            return f"{what}: {c.stdout.strip()} {c.stderr.strip()}", False
        if case.data and os.path.getsize(ours + ".data") != \
                os.path.getsize(theirs + ".data"):
            return f"{what}: the data files' lengths differ", False
        if case.bitmap and "b0" not in run("qemu-img", "info",
                                           ours).stdout:
            return f"{what}: the bitmap is gone", False
        if case.snapshot:
            for x in (ours, theirs):
                must("qemu-img", "convert", "-f", "qcow2", "-O", "raw", "-l",
                     "s", x, x + ".snap")
            if run("cmp", "-s", ours + ".snap", theirs + ".snap").returncode:
                return f"{what}: the snapshot changed", False
    return None, run("cmp", "-s", ours, theirs).returncode == 0


def raw_cases(tool, tmp, rng):
    """Raw files: content and length as qemu-img leaves them."""
    for _ in range(8):
        a, b = os.path.join(tmp, "ra"), os.path.join(tmp, "rb")
        old, new = rng.randrange(1, 300000), rng.randrange(1, 300000)
        for x in (a, b):
            with open(x, "wb") as f:
                f.write(b"\x55" * old)
        shrink = new < (old + 511) // 512 * 512
        mode = "off" if shrink else rng.choice(["off", "falloc", "full"])
        if new == (old + 511) // 512 * 512:
            mode = "off"
        must("qemu-img", "resize", "-q", "-f", "raw",
             f"--preallocation={mode}", *(["--shrink"] * shrink), a, str(new))
        p = run(tool, "-f", "raw", "-p", mode, *(["-s"] * shrink), b,
                str(new))
        if p.returncode or run("cmp", a, b).returncode:
            return f"raw {old} -> {new} {mode}: {p.stderr}"
    return None


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no genuine qemu-img and qemu-io")
        return 77
    top = os.environ.get("top_builddir", ".")
    tool = os.path.abspath(os.path.join(top, "tests/crash/resize_log"))
    first = int(os.environ.get("BYRE_SEED", "1"))
    seeds = range(first, first + CASES)
    if len(sys.argv) > 1:
        seeds = [int(x) for x in sys.argv[1:]]
    failed = same = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="byre-resize-") as tmp:
            case = Case(seed, tmp)
            text = case.text()
            ours, theirs = os.path.join(tmp, "ours"), \
                os.path.join(tmp, "theirs")
            case.make(ours)
            clone(ours, theirs, case)
            why, equal = fault(case, tool, ours, theirs)
        same += equal
        if why:
            print(f"FAIL: seed {seed}: {text}: {why}")
            failed += 1
    with tempfile.TemporaryDirectory(prefix="byre-resize-") as tmp:
        why = raw_cases(tool, tmp, random.Random(first))
        if why:
            print(f"FAIL: {why}")
            failed += 1
    if len(seeds) == CASES and same < CASES // 4:
        print("FAIL: too few files equal QEMU's")
        failed += 1
    print(f"{len(seeds)} cases, {failed} failed, {same} equal to the byte")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
