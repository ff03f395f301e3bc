#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Power may fail at any moment of a change of snapshots (plans.py): the guest
must see the old disk or the new one, and every snapshot that stays what it
was."""

import json
import os
import random
import sys
import tempfile

sys.dont_write_bytecode = True
from plans import Judge, have_tools, power, run, unneeded  # noqa: E402

# name, create options, size, set-up, action, snapshots that stay
CASES = [
    ("create", "cluster_size=512", "300k", ["write -P 1 0 100k"],
     ("create", "s"), []),
    ("create-second", "cluster_size=512,compat=0.10", "300k",
     ["write -P 1 0 60k", "-c a", "write -P 2 20k 30k"], ("create", "s"),
     ["a"]),
    ("create-packed", "cluster_size=4k,refcount_bits=8", "1M",
     ["write -c -P 1 0 64k", "write -P 2 512k 64k"], ("create", "s"), []),
    ("create-extl2", "cluster_size=16k,extended_l2=on", "2M",
     ["write -P 1 3k 70k", "write -z 1M 20k"], ("create", "s"), []),
    ("create-wide", "cluster_size=512,refcount_bits=64", "300k",
     ["write -P 1 0 80k"], ("create", "s"), []),
    ("create-empty", "", "1M", [], ("create", "s"), []),
    ("delete", "cluster_size=512", "300k",
     ["write -P 1 0 100k", "-c a", "write -P 2 20k 30k"], ("delete", "a"),
     []),
    ("delete-one", "cluster_size=1k", "300k",
     ["write -P 1 0 100k", "-c a", "write -P 2 20k 30k", "-c b",
      "write -P 3 0 10k"], ("delete", "a"), ["b"]),
    ("apply", "cluster_size=512", "300k",
     ["write -P 1 0 100k", "-c a", "write -P 2 20k 130k"], ("apply", "a"),
     ["a"]),
    ("apply-smaller", "cluster_size=512", "60k",
     ["write -P 1 0 50k", "-c a", "resize 300k", "write -P 2 20k 200k"],
     ("apply", "a"), ["a"]),
    ("apply-larger", "cluster_size=512", "300k",
     ["write -P 1 0 200k", "-c a", "resize 30k", "-c b",
      "write -P 2 0 10k"], ("apply", "a"), ["a", "b"]),
]


def make(case, path):
    run("qemu-img", "create", "-q", "-f", "qcow2",
        *(["-o", case[1]] if case[1] else []), path, case[2])
    for step in case[3]:
        word = step.split()
        if word[0] == "-c":
            run("qemu-img", "snapshot", *word, path)
        elif word[0] == "resize":
            run("qemu-img", "resize", "-q", "--shrink", path, word[1])
        else:
            run("qemu-io", "-f", "qcow2", "-c", step, path)


def one(case, tool, tmp, rng, needed):
    path = os.path.join(tmp, "image")
    log = os.path.join(tmp, "log")
    make(case, path)
    with open(path, "rb") as f:
        before = f.read()
    run(tool, log, path, "snapshot", *case[4])
    with open(path, "rb") as f:
        after = f.read()
    run("qemu-img", "check", "-f", "qcow2", path)
    views = [()] + [("-l", s) for s in case[5]]
    judge = Judge(tmp, before, after, views)
    print(f"{case[0]}: ", end="")
    return power(log, judge, before, after, rng, needed)


def main():
    if not have_tools():
        print("SKIP: no genuine qemu-img and qemu-io")
        return 77
    top = os.environ.get("top_builddir", ".")
    tool = os.path.abspath(os.path.join(top, "tests/crash/meta_log"))
    seed = int(os.environ.get("BYRE_SEED", "1"))
    rng = random.Random(seed)
    needed = {"done": True}
    failed = 0
    only = sys.argv[1:]
    for case in CASES:
        if only and case[0] not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="byre-snapshot-") as tmp:
            why = one(case, tool, tmp, rng, needed)
        if why:
            print(f"FAIL: {case[0]} (seed {seed}): {why}")
            failed = 1
    if not only:
        failed |= unneeded(needed)
    print(json.dumps(needed, sort_keys=True))
    return failed


if __name__ == "__main__":
    sys.exit(main())
