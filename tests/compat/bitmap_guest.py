#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Guest data into images with bitmaps, against genuine qemu-img: after commit,
convert -n and rebase the bitmaps of both say the same, no more and no less,
and so do check, info and the guest."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from bitmap import CASES, K, OURS, THEIRS, bits, must, run  # noqa: E402


class Case:
    """t has the bitmaps; o lies on it; n is another source."""

    def __init__(self, seed, tmp):
        self.rng = r = random.Random(f"guest {seed}")
        self.dirs = [os.path.join(tmp, n) for n in ("a", "b")]
        self.made = os.path.join(tmp, "a")
        os.mkdir(self.made)
        size = r.randrange(1, 200) * 4 * K * r.choice([1, 1, 20])
        self.cs = r.choice([512, 4 * K, 64 * K])
        self.create("t", size, self.cs, [])
        for n in range(r.randint(1, 4)):
            must("qemu-img", "bitmap", "--add", "-g",
                 r.choice(["512", "4k", "64k", "1M"]),
                 *r.choice([[], [], ["--disable"]]), self.at("t"), f"b{n}")
            self.write("t", size)
        if r.random() < 0.15:
            # what an aborted program leaves behind
            run("qemu-io", "-f", "qcow2", "-c", "write 0 512", "-c", "abort",
                self.at("t"))
            must("qemu-img", "bitmap", "--add", self.at("t"), "late")
        more = r.choice([0, 0, 0, 100 * K])
        self.create("o", size + more, r.choice([512, 64 * K, self.cs]),
                    ["-b", "t", "-F", "qcow2"])
        self.create("n", size, 64 * K, [])
        for name in ("o", "n"):
            self.write(name, size)
        self.create("p", size, 64 * K, [])
        self.write("p", size)
        shutil.copytree(self.made, self.dirs[1])

    def at(self, name):
        return os.path.join(self.made, name)

    def create(self, name, size, cs, more):
        must("qemu-img", "create", "-q", "-f", "qcow2", "-o",
             f"cluster_size={cs}", *more, self.at(name), str(size))

    def write(self, name, size):
        r, cmd = self.rng, []
        for _ in range(r.randrange(1, 6)):
            at = r.randrange(0, size // 512) * 512
            n = min(r.choice([512, 9 * K, 100 * K, size]), size - at)
            what = r.choice(["write -P 7", "write -P 8", "write -z",
                             "discard"])
            cmd += ["-c", f"{what} {at} {n}"]
        must("qemu-io", "-f", "qcow2", *cmd, self.at(name))

    def step(self):
        """The command, and the image whose bitmaps matter."""
        return self.rng.choice([
            (["commit", "-q", "-f", "qcow2", "o"], "t"),
            (["commit", "-q", "-d", "-f", "qcow2", "o"], "t"),
            (["convert", "-n", "-f", "qcow2", "-O", "qcow2", "n", "t"], "t"),
            (["convert", "-n", "--target-is-zero", "-f", "qcow2", "-O",
              "qcow2", "n", "t"], "t"),
            (["convert", "-n", "--bitmaps", "-f", "qcow2", "-O", "qcow2",
              "t", "n"], "n"),
            (["rebase", "-f", "qcow2", "-b", "p", "-F", "qcow2", "t"], "t"),
            (["rebase", "-u", "-f", "qcow2", "-b", "p", "-F", "qcow2", "t"],
             "t")])

    def fault(self):
        args, name = self.step()
        p, q = [subprocess.run(prog + args, capture_output=True, text=True,
                               check=False, cwd=d)
                for prog, d in zip((THEIRS, OURS), self.dirs)]
        why = self.compare(p, q, name, args[0] == "rebase")
        return f"{' '.join(args)}: {why}" if why else None

    def compare(self, p, q, name, wider):
        if (p.returncode, p.stdout, p.stderr) != \
                (q.returncode, q.stdout, q.stderr):
            return f"{p.returncode} {p.stderr} / {q.returncode} {q.stderr}"
        a, b = (os.path.join(d, name) for d in self.dirs)
        c = run("qemu-img", "check", "-f", "qcow2", b)
        if c.returncode:
            return f"check {c.returncode}: {(c.stdout + c.stderr)[:300]}"
        x, y = bits(a), bits(b)
        if wider:
            # more may be said to have changed, where nothing has
            y = {n: (*v[:2], x[n][2]) if n in x and
                 set(x[n][2]) <= set(v[2]) else v for n, v in y.items()}
        if x != y:
            return f"bits differ: {str(x)[:900]} / {str(y)[:900]}"
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
    seeds = [int(x) for x in sys.argv[1:]] or \
        range(first, first + 2 * CASES)
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
