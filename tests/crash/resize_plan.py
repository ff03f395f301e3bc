#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Power may fail at any moment of a resize (plans.py): the guest must see the
old image or the new one, in full."""

import json
import os
import random
import sys
import tempfile

sys.dont_write_bytecode = True
from plans import Judge, M, have_tools, power, run, unneeded  # noqa: E402

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


class ResizeJudge(Judge):
    def __init__(self, case, *args):
        self.case = case
        super().__init__(*args)

    def judge(self, img):
        if self.case[6].get("autoclear") and img[95] & 0x80:
            return None if img == self.before else "autoclear bit kept"
        return super().judge(img)


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
    judge = ResizeJudge(case, tmp, before, after)
    if judge.new[0][0] != case[4]:
        return f"size {judge.new[0][0]}"
    print(f"{case[0]}: ", end="")
    return power(log, judge, before, after, rng, needed)


def main():
    if not have_tools():
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
    failed |= unneeded(needed)
    print(json.dumps(needed, sort_keys=True))
    return failed


if __name__ == "__main__":
    sys.exit(main())
