# SPDX-License-Identifier: MIT
"""Power may fail at any moment of a change in place.

A change is a plan: writes and barriers (plan_log.h). It is recorded, and then
cut off after every barrier: of what was written since, any subset of 512-byte
sectors (and of changes of length) may be there. Each such state is judged, by
genuine tools. Then each barrier is taken out in turn: some loss must now do
harm, or the barrier is not needed.
"""

import os
import random
import shutil
import subprocess
import sys

SECTOR = 512
LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
STATES = 60 if LONG else 7
M = 1 << 20


def run(*args, ok=(0,)):
    p = subprocess.run(args, capture_output=True, text=True, check=False)
    if p.returncode not in ok:
        sys.exit(f"{' '.join(args)}: exit {p.returncode}\n{p.stderr}")
    return p


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
    """Says what is wrong with a state of the image. guests() names what may
    be seen: a list of what convert options give, in the old and new image."""

    def __init__(self, tmp, before, after, views=((),)):
        self.path = os.path.join(tmp, "state")
        self.out = os.path.join(tmp, "guest")
        self.before = before
        self.old = [self.guest(before, v) for v in views]
        self.new = [self.guest(after, v) for v in views]
        self.views = views
        self.seen = {}
        self.runs = 0

    def guest(self, img, view=()):
        with open(self.path, "wb") as f:
            f.write(img)
        p = run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", *view,
                self.path, self.out, ok=(0, 1))
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
        self.runs += 1
        r = self.seen[img] = self.judge(img)
        return r

    def judge(self, img):
        with open(self.path, "wb") as f:
            f.write(img)
        p = run("qemu-img", "check", "-f", "qcow2", "--output=json",
                self.path, ok=(0, 1, 2, 3))
        if p.returncode not in (0, 3):
            return f"check exit {p.returncode}: {p.stderr[:200]}"
        g = [self.guest(img, v) for v in self.views]
        if g[0] is None:
            return "cannot be read"
        if g not in (self.old, self.new):
            return f"the guest sees neither ({g[0][0]} bytes)"
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


def power(log, judge, before, after, rng, needed):
    """Loses power everywhere; the first fault found, or None. needed: names
    of barriers, true when one was seen to be needed."""
    grps = groups(parse(log))
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
    print(f"{len(grps)} barriers, {judge.runs} states")
    return None


def unneeded(needed):
    """Complains of barriers that nobody missed; 0 or 1."""
    failed = 0
    for name, is_needed in sorted(needed.items()):
        if not is_needed:
            print(f"FAIL: nothing goes wrong without barrier '{name}'")
            failed = 1
    return failed


def have_tools():
    return shutil.which("qemu-img") and shutil.which("qemu-io")
