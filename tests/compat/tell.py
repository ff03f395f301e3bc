#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""map, measure and compare beside genuine qemu-img: the same command lines
over random images and chains must give the same status and the same text.

usage: tell.py [SEED...]
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
CASES = 400 if LONG else 25
if os.environ.get("BYRE_SANITIZED") == "1" and not LONG:
    CASES = 10
K, M = 1 << 10, 1 << 20


def run(*args, cwd=None):
    return subprocess.run(args, capture_output=True, text=True, check=False,
                          cwd=cwd, stdin=subprocess.DEVNULL)


class Case:
    """A directory of images that have to do with each other."""

    def __init__(self, seed, tmp):
        self.rng = random.Random(seed)
        self.tmp = tmp
        self.images = []  # name, format
        self.top = self.rng.choice([1 * M, 4 * M, 12 * M, 40 * M])
        self.story = []

    def do(self, *args):
        p = run(*args, cwd=self.tmp)
        self.story.append(" ".join(args) + f" = {p.returncode}")
        return p.returncode == 0

    def size(self):
        r = self.rng
        n = r.randrange(1, self.top // 512) * 512
        if r.random() < 0.4:
            n = max(n >> 16, 1) << 16
        return n

    def raw(self, name):
        r, size = self.rng, self.size()
        if r.random() < 0.3:
            size += r.randrange(512)
        with open(os.path.join(self.tmp, name), "wb") as f:
            for _ in range(r.randrange(6)):
                f.seek(r.randrange(0, size) // 4096 * 4096)
                n = min(r.choice([100, 4096, 70000, M]), size - f.tell())
                f.write(bytes([r.choice([0, 1, 2, 3])]) * n)
            f.truncate(size)
        self.images.append((name, "raw"))

    def options(self):
        r = self.rng
        bits = r.choice([9, 12, 14, 16, 16, 16, 21])
        v2 = r.random() < 0.2
        o = [f"cluster_size={1 << bits}",
             "compat=" + ("0.10" if v2 else "1.1")]
        if not v2 and bits >= 14 and r.random() < 0.4:
            o.append("extended_l2=on")
        if not v2:
            o.append(f"refcount_bits={r.choice([1, 8, 16, 16, 64])}")
            if r.random() < 0.3:
                o.append("compression_type=zstd")
        return o, v2

    def qcow2(self, name):
        r = self.rng
        o, v2 = self.options()
        cmd = ["qemu-img", "create", "-q", "-f", "qcow2"]
        extl2 = "extended_l2=on" in o
        data = False
        if self.images and r.random() < 0.5:
            base, fmt = r.choice(self.images)
            cmd += ["-b", base, "-F", fmt]
        elif not v2 and r.random() < 0.2:
            data = True
            o.append(f"data_file={name}.data")
            if r.random() < 0.5:
                o.append("data_file_raw=on")
        if r.random() < 0.25 and ("-b" not in cmd or extl2):
            o.append("preallocation=" + r.choice(["metadata", "falloc",
                                                  "full"]))
        cmd += ["-o", ",".join(o), name, str(self.size())]
        if not self.do(*cmd):
            return
        self.images.append((name, "qcow2"))
        if not v2 and not data and r.random() < 0.3:
            for b in range(r.randrange(1, 4)):
                self.do("qemu-img", "bitmap", "--add", "-g",
                        r.choice(["512", "4k", "64k", "1M"]), name,
                        "b" * r.randrange(1, 30) + str(b))
        self.write(name, r.randrange(8))
        if not data and r.random() < 0.3:
            self.do("qemu-img", "snapshot", "-c", "snap", name)
            self.write(name, 3)

    def write(self, name, n):
        r = self.rng
        size = int(run("qemu-img", "info", "-U", name, cwd=self.tmp).stdout
                   .split("virtual size:")[1].split("(")[1].split()[0])
        for i in range(n):
            if size < 512:
                break
            at = r.randrange(0, size // 512) * 512
            length = min(r.choice([512, 4 * K, 64 * K, 200 * K, M, 5 * M]),
                         size - at)
            kind = r.choice(["write -P 1", "write -P 2", "write -P 0",
                             "write -c -P 3", "write -z", "write -z -u",
                             "discard"])
            if "-c" in kind:
                at -= at % (64 * K)
                length = min(max(length >> 16, 1) << 16, size - at)
            self.do("qemu-io", "-f", "qcow2", "-c", f"{kind} {at} {length}",
                    name)

    def copy(self):
        """A near copy: the same content, or with one byte another."""
        r = self.rng
        src, fmt = r.choice(self.images)
        name = f"c{len(self.images)}"
        to = r.choice(["raw", "qcow2", "qcow2 -c"])
        o = []
        if to == "qcow2" and r.random() < 0.5:
            o = ["-o", "cluster_size=" + r.choice(["4k", "16k", "2M"])]
        if not self.do("qemu-img", "convert", "-f", fmt, "-O", *to.split(),
                       *o, src, name):
            return
        to = to.split()[0]
        self.images.append((name, to))
        if r.random() < 0.5:
            size = os.path.getsize(os.path.join(self.tmp, name)) \
                if to == "raw" else self.top // 2
            at = r.randrange(0, max(size // 512, 1)) * 512
            self.do("qemu-io", "-f", to, "-c", f"write -P 9 {at} 512", name)
        if r.random() < 0.3:
            self.do("qemu-img", "resize", "-q", "-f", to, name,
                    f"+{r.choice([512, 65536, 1000448])}")

    def make(self):
        r = self.rng
        for i in range(r.randrange(2, 5)):
            if r.random() < 0.35:
                self.raw(f"r{i}")
            else:
                self.qcow2(f"q{i}")
        if not self.images:
            self.raw("r")
        for _ in range(r.randrange(3)):
            self.copy()
        # delayed allocation must not change holes between two looks
        for name in os.listdir(self.tmp):
            with open(os.path.join(self.tmp, name), "rb") as f:
                os.fsync(f.fileno())

    def measures(self, name, fmt):
        r = self.rng
        out = r.choice(["raw", "qcow2", "qcow2"])
        line = ["measure", "-O", out]
        if r.random() < 0.5:
            line.append("--output=json")
        if out == "qcow2":
            o, _ = self.options()
            if r.random() < 0.2:
                o.append("preallocation=" + r.choice(["off", "metadata",
                                                      "falloc", "full"]))
            if r.random() < 0.15:
                o.append("backing_file=x")
            line += ["-o", ",".join(o)]
        if r.random() < 0.3:
            yield [*line, "--size", str(r.choice([
                0, 1, 511, 512, 65537, M, 1 << 30, 1 << 40, 1 << 55,
                self.size()]))]
        if r.random() < 0.2:
            line += ["-l", r.choice(["snap", "1", "nosuch"])]
        yield [*line, "-f", fmt, name]

    def lines(self):
        r = self.rng
        for name, fmt in self.images:
            yield ["map", "--output=json", name]
            yield ["map", "-f", fmt, name]
            yield ["map", "-f", fmt, "--output=json", "-s",
                   str(r.randrange(self.top)), "-l",
                   str(r.randrange(self.top)), name]
            yield from self.measures(name, fmt)
            if fmt == "raw" and has_direct(os.path.join(self.tmp, name)):
                yield ["map", "--output=json", "--image-opts",
                       f"driver=raw,file.filename={name},cache.direct=on"]
            for other, fmt2 in r.sample(self.images,
                                        min(2, len(self.images))):
                yield ["compare", "-f", fmt, "-F", fmt2, name, other]
                yield ["compare", "-s", name, other]


def has_direct(path):
    """Not every file system has O_DIRECT."""
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
    except OSError:
        return False
    return True


def same(a, b):
    return (a.returncode, a.stdout, a.stderr) == \
        (b.returncode, b.stdout, b.stderr)


def fault(case, byre, tmp):
    for line in case.lines():
        a = run("qemu-img", *line, cwd=tmp)
        b = run(byre, "qemu-img", *line, cwd=tmp)
        if same(a, b):
            continue
        # the kernel calls blocks that were reserved but not written data once
        # pages of them are in the cache, so an answer may change for good
        a = run("qemu-img", *line, cwd=tmp)
        if not same(a, b):
            yield (f"{' '.join(line)}\n"
                   f"  theirs {a.returncode}: {a.stdout[-600:]}{a.stderr}\n"
                   f"  ours   {b.returncode}: {b.stdout[-600:]}{b.stderr}")


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io") or \
            "version 7.2" not in run("qemu-img", "--version").stdout:
        print("SKIP: no genuine qemu-img 7.2 and qemu-io")
        return 77
    top = os.environ.get("top_builddir", ".")
    byre = os.path.abspath(os.path.join(top, "byre"))
    first = int(os.environ.get("BYRE_SEED", "1"))
    seeds = range(first, first + CASES)
    if len(sys.argv) > 1:
        seeds = [int(x) for x in sys.argv[1:]]
    for name in ("BYRE_CONF", "BYRE_LENIENT", "BYRE_UNTRUSTED",
                 "BYRE_QEMU_COMPAT"):
        os.environ.pop(name, None)
    failed = 0
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="byre-tell-") as tmp:
            case = Case(seed, tmp)
            case.make()
            faults = list(fault(case, byre, tmp))
        if faults:
            failed += 1
            print(f"FAIL: seed {seed}:")
            print("\n".join("  " + s for s in case.story))
            print("\n".join(faults))
    print(f"{len(seeds)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
