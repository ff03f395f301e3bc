#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Power may fail at any moment of a resize.

A resize is a plan: writes and barriers. For each case the plan is recorded,
and then cut off after every barrier: of what was written since, any subset of
512-byte sectors (and of changes of length) may be there. Genuine qemu-img must
then find the image clean or with leaks only, and the guest must see the old
image or the new one, in full.

Then each barrier is taken out in turn: some loss must now do harm, or the
barrier is not needed.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

SECTOR = 512
LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
STATES = 60 if LONG else 7
M = 1 << 20

# name, create options, old size, qemu-io commands, new size, mode, more
CASES = [
    ("l1", "cluster_size=512", 40960, ["write -P 1 0 40k"], 3 * M, "off", {}),
    ("size-only", "", M, ["write -P 2 512k 64k"], 2 * M, "off", {}),
    ("metadata", "cluster_size=512", 32768, ["write -P 3 0 20k"],
     600 * 1024, "metadata", {}),
    ("table", "cluster_size=512,refcount_bits=64", 32768,
     ["write -P 4 0 20k"], 5 * M, "metadata", {}),
    ("falloc", "cluster_size=4k", 256 * 1024, ["write -P 5 0 200k"], M,
     "falloc", {}),
    ("full-extl2", "cluster_size=16k,extended_l2=on", 100 * 1024,
     ["write -P 6 3k 70k"], 2 * M, "full", {}),
    ("backing", "cluster_size=512", 40448, ["write -P 7 0 10k"], 200 * 1024,
     "off", {"backing": M}),
    ("backing-metadata", "cluster_size=4k", 39424, ["write -P 8 0 10k"],
     300 * 1024, "metadata", {"backing": M}),
    ("backing-extl2", "cluster_size=16k,extended_l2=on", 50 * 1024,
     ["write -P 8 0 10k"], 300 * 1024, "off", {"backing": M}),
    ("backing-shared", "cluster_size=512", 40448, ["write -P 7 0 40448"],
     200 * 1024, "off", {"backing": M, "snapshot": True}),
    ("shrink", "cluster_size=512", M,
     ["write -P 9 0 300k", "write -P 10 600k 300k"], 200 * 1024, "off", {}),
    ("shrink-v2", "cluster_size=512,compat=0.10", M, ["write -P 9 0 900k"],
     100 * 1024, "off", {}),
    ("shrink-shared", "cluster_size=512", 256 * 1024,
     ["write -P 11 0 250k"], 40 * 1024, "off", {"snapshot": True}),
    ("shrink-packed", "cluster_size=4k", M,
     ["write -c -P 12 0 256k", "write -c -P 13 512k 256k"], 300 * 1024, "off",
     {}),
    ("autoclear", "", M, ["write -P 14 0 64k"], 700 * M, "off",
     {"autoclear": True}),
]


def run(*args, ok=(0,)):
    p = subprocess.run(args, capture_output=True, text=True, check=False)
    if p.returncode not in ok:
        sys.exit(f"{' '.join(args)}: exit {p.returncode}\n{p.stderr}")
    return p


def make(case, path):
    _, opts, size, writes, _, _, more = case
    cmd = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if opts:
        cmd += ["-o", opts]
    if "backing" in more:
        base = path + ".base"
        with open(base, "wb") as f:
            f.write(b"\x42" * more["backing"])
        cmd += ["-b", base, "-F", "raw"]
    run(*cmd, path, str(size))
    io = ["qemu-io", "-f", "qcow2"]
    for w in writes:
        io += ["-c", w]
    run(*io, path)
    if more.get("snapshot"):
        run("qemu-img", "snapshot", "-c", "s", path)
    if more.get("autoclear"):
        with open(path, "r+b") as f:
            f.seek(88 + 7)
            f.write(b"\x80")


def parse(log):
    ops = []
    with open(log, encoding="ascii") as f:
        for line in f:
            kind, rest = line.rstrip("\n").split(" ", 1)
            if kind == "barrier":
                ops.append((kind, rest))
                continue
            w = rest.split(" ")
            assert w[0] == "0"
            if kind == "write":
                ops.append((kind, int(w[1]), bytes.fromhex(w[2])))
            elif kind == "truncate":
                ops.append((kind, int(w[1])))
            else:
                ops.append((kind, int(w[1]), int(w[2])))
    return ops


def groups(ops):
    out, cur = [], []
    for op in ops:
        if op[0] == "barrier":
            out.append((cur, op[1]))
            cur = []
        else:
            cur.append(op)
    assert not cur, "the plan does not end with a barrier"
    return out


def put(img, off, data):
    if len(img) < off + len(data):
        img.extend(bytes(off + len(data) - len(img)))
    img[off:off + len(data)] = data


def apply(img, op, keep):
    """keep() says whether a sector, or a change of length, came through."""
    if op[0] == "truncate":
        if keep():
            if op[1] <= len(img):
                del img[op[1]:]
            else:
                img.extend(bytes(op[1] - len(img)))
        return
    data = op[2] if op[0] == "write" else None
    size = len(data) if data is not None else op[2]
    if op[0] == "allocate":
        if keep() and len(img) < op[1] + size:
            img.extend(bytes(op[1] + size - len(img)))
        return
    if data is None and size > 64 * SECTOR:
        if keep():
            put(img, op[1], bytes(size))
        return
    at = 0
    while at < size:
        n = min(SECTOR - (op[1] + at) % SECTOR, size - at)
        if keep():
            put(img, op[1] + at,
                data[at:at + n] if data is not None else bytes(n))
        at += n


class Judge:
    def __init__(self, case, before, after, tmp):
        self.case = case
        self.before = before
        self.path = os.path.join(tmp, "state")
        self.out = os.path.join(tmp, "guest")
        self.old = self.guest(before)
        self.new = self.guest(after)
        self.seen = {}
        self.runs = 0

    def guest(self, img):
        with open(self.path, "wb") as f:
            f.write(img)
        p = run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.path,
                self.out, ok=(0, 1))
        if p.returncode:
            return None
        with open(self.out, "rb") as f:
            # a long hole is not read byte by byte
            size = os.fstat(f.fileno()).st_size
            return size, f.read(min(size, 8 * M))

    def fault(self, img):
        """What is wrong with this state, or None."""
        img = bytes(img)
        if img in self.seen:
            return self.seen[img]
        r = self.seen[img] = self.judge(img)
        return r

    def judge(self, img):
        self.runs += 1
        if self.case[6].get("autoclear") and img[95] & 0x80:
            return None if img == self.before else "autoclear bit kept"
        with open(self.path, "wb") as f:
            f.write(img)
        p = run("qemu-img", "check", "-f", "qcow2", "--output=json",
                self.path, ok=(0, 1, 2, 3))
        if p.returncode not in (0, 3):
            return f"check exit {p.returncode}: {p.stderr[:200]}"
        g = self.guest(img)
        if g is None:
            return "cannot be read"
        if g not in (self.old, self.new):
            return f"the guest sees neither ({g[0]} bytes)"
        return None


def states(grp, rng, n):
    """keep functions for one group, the telling ones first."""
    yield "none", lambda i: (lambda: False)
    yield "all", lambda i: (lambda: True)
    if len(grp) > 1:
        for k in rng.sample(range(len(grp)), min(len(grp), n // 3 + 1)):
            yield f"only {k}", lambda i, k=k: (lambda: i == k)
            yield f"not {k}", lambda i, k=k: (lambda: i != k)
    for s in range(n):
        r = random.Random(rng.random())
        p = (0.5, 0.1, 0.9)[s % 3]
        yield f"random {s}", lambda i, r=r, p=p: (lambda: r.random() < p)


def lose(judge, start, grp, rng, n):
    """The first state of a crash inside grp that does harm, or None."""
    for name, keeps in states(grp, rng, n):
        img = bytearray(start)
        for i, op in enumerate(grp):
            apply(img, op, keeps(i))
        why = judge.fault(img)
        if why:
            return f"{name}: {why}"
    return None


def one(case, tool, tmp, rng, needed):
    path = os.path.join(tmp, "image")
    log = os.path.join(tmp, "log")
    make(case, path)
    with open(path, "rb") as f:
        before = f.read()
    args = [tool, "-o", log, "-p", case[5]]
    if case[4] < case[2]:
        args.append("-s")
    run(*args, path, str(case[4]))
    with open(path, "rb") as f:
        after = f.read()
    run("qemu-img", "check", "-f", "qcow2", path)
    grps = groups(parse(log))
    judge = Judge(case, before, after, tmp)
    if judge.new[0] != case[4]:
        return f"size {judge.new[0]}"

    starts, img = [], bytearray(before)
    for grp, _ in grps:
        starts.append(bytes(img))
        for op in grp:
            apply(img, op, lambda: True)
    if bytes(img) != after:
        return "the plan does not give the file"
    for (grp, name), start in zip(grps, starts):
        why = lose(judge, start, grp, rng, STATES)
        if why:
            return f"before barrier '{name}': {why}"
    for k in range(len(grps) - 1):
        name = grps[k][1]
        if needed.get(name):
            continue
        a, b = grps[k][0], grps[k + 1][0]
        # the likeliest harm: the later came through, the earlier did not
        img = bytearray(starts[k])
        for op in b:
            apply(img, op, lambda: True)
        needed[name] = judge.fault(img) is not None or \
            lose(judge, starts[k], a + b, rng, STATES * 3) is not None
    print(f"{case[0]}: {len(grps)} barriers, {judge.runs} states")
    return None


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no genuine qemu-img and qemu-io")
        return 77
    top = os.environ.get("top_builddir", ".")
    tool = os.path.abspath(os.path.join(top, "tests/crash/resize_log"))
    seed = int(os.environ.get("BYRE_SEED", "1"))
    rng = random.Random(seed)
    needed = {"done": True}
    failed = 0
    only = sys.argv[1:]
    for case in CASES:
        if only and case[0] not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="byre-resize-") as tmp:
            why = one(case, tool, tmp, rng, needed)
        if why:
            print(f"FAIL: {case[0]} (seed {seed}): {why}")
            failed = 1
    for name, is_needed in sorted(needed.items()):
        if not is_needed:
            print(f"FAIL: nothing goes wrong without barrier '{name}'")
            failed = 1
    print(json.dumps(needed, sort_keys=True))
    return failed


if __name__ == "__main__":
    sys.exit(main())
