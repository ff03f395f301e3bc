#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands that write guest data into images, beside genuine qemu-img.

Both run the same command on copies of the same random files. Afterwards the
guests must see the same bytes (also in snapshots), qemu-img check must find
nothing, and output and exit status must be the same.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
FEW = os.environ.get("BYRE_SANITIZED") == "1"
CASES = 600 if LONG else 20 if FEW else 60
K, M = 1 << 10, 1 << 20
TOP = {9: 2, 10: 4, 12: 8, 14: 16}  # MiB, else 24


def run(args, cwd):
    return subprocess.run(args, cwd=cwd, capture_output=True, text=True,
                          check=False)


def must(args, cwd):
    p = run(args, cwd)
    if p.returncode:
        raise RuntimeError(f"{' '.join(args)}: {p.stderr}")
    return p


class Image:
    """One random qcow2 or raw file."""

    def __init__(self, rng, name, backing=None, fmt=None):
        self.rng, self.name, self.backing = rng, name, backing
        r = rng
        self.fmt = fmt or r.choice(["qcow2"] * 4 + ["raw"])
        self.bits = r.choice([9, 12, 14, 16, 16, 16, 18, 21])
        self.v2 = r.random() < 0.2
        self.extl2 = not self.v2 and self.bits >= 14 and r.random() < 0.3
        self.width = 16 if self.v2 else r.choice([1, 4, 16, 16, 16, 64])
        self.data = self.fmt == "qcow2" and not self.v2 and \
            r.random() < 0.08
        top = TOP.get(self.bits, 24) * M
        self.size = r.randrange(1, top // 512) * 512
        if r.random() < 0.5:
            self.size = max(self.size >> 20, 1) << 20
        if backing and r.random() < 0.5:
            self.size = backing.size
        self.snapshot = None

    def text(self):
        words = [self.name, self.fmt, str(self.size)]
        if self.fmt == "qcow2":
            words += [f"{1 << self.bits}", f"w{self.width}"]
            words += [n for n in ("v2", "extl2", "data", "snapshot")
                      if getattr(self, n)]
        return " ".join(words)

    def make(self, cwd):
        cmd = ["qemu-img", "create", "-q", "-f", self.fmt]
        if self.fmt == "qcow2":
            opts = [f"cluster_size={1 << self.bits}",
                    "compat=" + ("0.10" if self.v2 else "1.1"),
                    f"refcount_bits={self.width}"]
            if self.extl2:
                opts.append("extended_l2=on")
            if self.data:
                opts.append(f"data_file={self.name}.data")
            cmd += ["-o", ",".join(opts)]
            if self.backing:
                cmd += ["-b", self.backing.name, "-F", self.backing.fmt]
        must(cmd + [self.name, str(self.size)], cwd)
        self.write(cwd, self.rng.randrange(0, 6))
        if self.fmt == "qcow2" and not self.data and self.width > 1 and \
                self.rng.random() < 0.25:
            must(["qemu-img", "snapshot", "-c", "s", self.name], cwd)
            self.snapshot = "s"
            self.write(cwd, 2)
        if self.fmt == "qcow2":
            run(["qemu-img", "check", "-q", "-r", "leaks", self.name], cwd)

    def write(self, cwd, n):
        r = self.rng
        cmd = ["qemu-io", "-f", self.fmt]
        for i in range(n):
            at = r.randrange(0, self.size // 512) * 512
            size = min(r.choice([512, 4 * K, 64 * K, 300 * K, M, self.size]),
                       self.size - at)
            kind = r.choice(["write", "write", "write", "write -c",
                             "write -z", "write -z -u", "discard"])
            if kind == "write -c":
                at -= at % (1 << self.bits)
                size = min(max(size >> self.bits, 1) << self.bits,
                           self.size - at)
                if self.fmt == "raw" or self.data:
                    kind = "write"
            if kind.startswith("write") and "-z" not in kind:
                kind += f" -P {r.choice([0, i + 1, i + 1])}"
            cmd += ["-c", f"{kind} {at} {size}"]
        # what genuine qemu-io cannot do (zeros in v2) is left out
        run(cmd, cwd)


class Case:
    def __init__(self, seed):
        self.rng = r = random.Random(seed)
        self.images = []
        self.kind = r.choice(KINDS)
        self.kind(self)

    def add(self, name, backing=None, fmt=None):
        im = Image(self.rng, name, backing, fmt)
        self.images.append(im)
        return im

    def text(self):
        return "; ".join(i.text() for i in self.images) + ": " + \
            " ".join(self.argv)

    def make(self, cwd):
        for im in self.images:
            im.make(cwd)


def convert_n(case):
    r = case.rng
    base = case.add("base") if r.random() < 0.5 else None
    dst = case.add("dst", base, "qcow2")
    src = case.add("src")
    src.size = min(src.size, dst.size)
    case.argv = ["convert", "-n", "-f", src.fmt, "-O", "qcow2"]
    case.argv += r.choice([[], [], ["-S", "0"], ["-S", "64k"], ["-W"],
                           ["-t", "writeback"]])
    case.argv += ["src", "dst"]
    case.look = ["dst"]


def commit(case):
    r = case.rng
    below = case.add("below", fmt="qcow2") if r.random() < 0.3 else None
    base = case.add("base", below, "qcow2" if below else None)
    mid = case.add("mid", base, "qcow2") if r.random() < 0.4 else None
    top = case.add("top", mid or base, "qcow2")
    case.argv = ["commit"] + r.choice([[], [], ["-d"], ["-t", "unsafe"]])
    case.look = ["top", "base", "mid"]
    if mid and r.random() < 0.6:
        case.argv += ["-b", "base"]
        # what is between reads anything
        case.look.remove("mid")
    elif mid and not base.snapshot and not mid.snapshot:
        case.look += ["below"]
    case.argv += ["top"]
    if top.snapshot and (mid or base).size != top.size:
        top.snapshot = None  # reads its backing file, which grew


def rebase(case):
    r = case.rng
    root = case.add("root") if r.random() < 0.4 else None
    old = case.add("old", root, "qcow2" if root else None) \
        if r.random() < 0.85 else None
    # another overlay of the same root, a stranger, the root itself, nothing
    new = r.choice([root, None, "new", "new", "new"])
    top = case.add("top", old, "qcow2")
    if new == "new":
        new = case.add("new", r.choice([root, None]))
        if new.fmt == "raw":
            new.backing = None
    case.argv = ["rebase"] + r.choice([[], [], ["-t", "none"]])
    case.argv += ["-b", new.name, "-F", new.fmt] if new else ["-b", ""]
    case.argv += ["top"]
    case.look = ["top"]
    top.snapshot = None  # reads the new backing file, from now on


KINDS = [convert_n, commit, commit, rebase, rebase]


def guest(name, fmt, cwd, snapshot=None):
    opts = ["-l", snapshot] if snapshot else []
    must(["qemu-img", "convert", "-U", "-f", fmt, *opts, "-O", "raw", name,
          name + ".guest"], cwd)
    with open(os.path.join(cwd, name + ".guest"), "rb") as f:
        data = f.read()
    os.unlink(os.path.join(cwd, name + ".guest"))
    return data


def status(im, cwd):
    """What the image itself has, but for the places in the file."""
    text = must(["qemu-img", "map", "-f", im.fmt, "--output=json", im.name],
                cwd).stdout
    out = []
    for run_ in json.loads(text):
        what = run_["depth"] == 0 and \
            [run_[k] for k in ("present", "zero", "data")]
        if out and out[-1][2] == what:
            out[-1][1] += run_["length"]
        else:
            out.append([run_["start"], run_["length"], what])
    return out


def judge(case, dirs, results):
    theirs, ours = results
    if (theirs.returncode, theirs.stdout, theirs.stderr) != \
            (ours.returncode, ours.stdout, ours.stderr):
        return f"{theirs}\n{ours}"
    for im in case.images:
        if theirs.returncode == 0 and im.name not in case.look:
            continue
        for snap in {None, im.snapshot}:
            a, b = (guest(im.name, im.fmt, d, snap) for d in dirs)
            if a != b:
                at = next((i for i in range(min(len(a), len(b)))
                           if a[i] != b[i]), -1)
                return f"{im.name} {snap}: {len(a)} and {len(b)} bytes, " \
                    f"differ at {at}"
        # qemu-img commits in pieces of its own, larger than small clusters
        if case.kind is rebase and im.name == "top":
            a, b = (status(im, d) for d in dirs)
            if a != b:
                return f"map of {im.name}:\n{a}\n{b}"
        if im.fmt == "qcow2":
            p = run(["qemu-img", "check", "-q", im.name], dirs[1])
            if p.returncode:
                return f"check of {im.name}: {p.stdout}{p.stderr}"
    return None


def one(seed, tmp, byre):
    case = Case(seed)
    dirs = [os.path.join(tmp, n) for n in ("theirs", "ours")]
    os.mkdir(dirs[0])
    case.make(dirs[0])
    shutil.copytree(dirs[0], dirs[1])
    results = [run([prog, *case.argv], d)
               for prog, d in zip(("qemu-img", byre), dirs)]
    bad = judge(case, dirs, results)
    if bad:
        print(f"FAIL seed {seed}: {case.text()}\n  {bad}")
        if os.environ.get("BYRE_KEEP"):
            print(tmp)
            sys.exit(1)
    for d in dirs:
        shutil.rmtree(d)
    return not bad


def main():
    for tool in ("qemu-img", "qemu-io"):
        if not shutil.which(tool):
            print(f"SKIP: {tool} is not installed")
            return 77
    build = os.path.abspath(os.environ.get("top_builddir", "."))
    with tempfile.TemporaryDirectory(prefix="byre-chains-") as tmp:
        byre = os.path.join(tmp, "front", "qemu-img")
        os.mkdir(os.path.dirname(byre))
        real = os.path.join(build, ".libs", "byre")
        if not os.path.exists(real):
            real = os.path.join(build, "byre")
        os.symlink(real, byre)
        os.environ["LD_LIBRARY_PATH"] = os.path.join(build, ".libs")
        seeds = [int(a) for a in sys.argv[1:]] or range(CASES)
        bad = sum(not one(seed, tmp, byre) for seed in seeds)
    print(f"{len(seeds)} cases, {bad} bad")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
