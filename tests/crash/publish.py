#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a loss of power leaves of `byre cache ensure`.

One run is recorded where the kernel is entered. Its calls are cut at every
point; whatever was not flushed by then is there or is not, in any
combination: names in a directory, and a file's data. In every such
state the base must be absent or whole, a record must be absent or whole and
have its leaves, and what was said to be done must be done. Then each flush is
left out of the record in turn, and that must be noticed.
"""

import hashlib
import itertools
import os
import random
import shutil
import subprocess
import sys
import tempfile

build = os.path.abspath(os.environ.get("top_builddir", "."))
shim = os.path.join(build, "tests/crash/.libs/shim.so")
byre = os.path.join(build, ".libs/byre")
if not os.path.exists(byre):
    byre = os.path.join(build, "byre")
LONG = bool(os.environ.get("BYRE_CHECK_LONG"))
MOST = 4096 if LONG else 256    # states of one cut; more are drawn at random
NAME = hashlib.sha1(b"x").hexdigest()
random.seed(7)


class Lost(Exception):
    """A state that must not be."""


def record(work, args):
    """Runs ensure; returns its events and the files it left, by final name."""
    log = os.path.join(os.path.dirname(work), "log")
    if os.path.exists(log):
        os.unlink(log)
    env = dict(os.environ, BYRE_SHIM_DIR=work, BYRE_SHIM_LOG=log,
               LD_PRELOAD=shim,
               LD_LIBRARY_PATH=os.path.join(build, ".libs"))
    subprocess.run([byre, "cache", "ensure", "--instances", "i", "x", "-q",
                    *args], cwd=work, env=env, check=True)
    left = {}
    for where, names in (("_base", (NAME,)),
                         ("records", (NAME + ".json", NAME + ".leaves"))):
        d = "i/_base" + ("" if where == "_base" else "/.byre/records")
        for name in names:
            with open(os.path.join(work, d, name), "rb") as f:
                left[where, name] = f.read()
    with open(log) as f:
        return events(line.split() for line in f), left


def events(lines):
    """(kind, ...) in order: mkdir, write, sync, syncdir, name, drop."""
    dirs = {"_base": "i", "locks": "i", ".byre": "_base", "staging": ".byre",
            "records": ".byre", "quarantine": ".byre"}
    missing, stage, ev = set(), None, []
    for call, name, a, b, result in lines:
        last = os.path.basename(name)
        if call == "open":
            if int(result) < 0:
                missing.add(last)
            elif last in missing and last in dirs:
                missing.discard(last)
                ev.append(("mkdir", dirs[last], last))
            elif last.startswith(NAME) and "-" in last:
                stage = last
        elif int(result) < 0:
            if call in ("write", "sync", "link", "rename", "ftruncate"):
                raise SystemExit(f"a call failed: {call} {name}")
        elif call == "write":
            ev.append(("write", last, int(a), int(result)))
        elif call in ("ftruncate", "clone", "copy", "fallocate"):
            # the length; blocks that are shared count as written
            if call in ("clone", "copy"):
                ev.append(("write", last, int(a), int(b)))
        elif call == "sync":
            if "staging/" in name:
                ev.append(("sync", last))
            else:
                ev.append(("syncdir", last))
        elif call in ("link", "rename"):
            where = "_base" if call == "link" else "records"
            ev.append(("name", where, last, stage))
        elif call == "unlink" and "-" not in last:
            ev.append(("drop", "records", last))
    return ev


def subsets(n):
    """All subsets of n things, or a fair share of them."""
    if 2 ** n <= MOST:
        yield from itertools.product((False, True), repeat=n)
        return
    yield (False,) * n
    yield (True,) * n
    for i in range(n):  # all but one, and one alone
        yield tuple(k != i for k in range(n))
        yield tuple(k == i for k in range(n))
    for _ in range(MOST - 2 * n - 2):
        yield tuple(random.random() < 0.5 for _ in range(n))


def check(ev, left, done):
    """One cut: every state that it allows."""
    sure, maybe = [], []    # namespace events; writes are by file
    torn = {}               # stage: writes that are not flushed
    named = {}              # final name: stage
    for e in ev:
        if e[0] == "write":
            torn.setdefault(e[1], []).append(e)
        elif e[0] == "sync":
            torn[e[1]] = []
        elif e[0] == "syncdir":
            sure += [m for m in maybe if m[1] == e[1]]
            maybe = [m for m in maybe if m[1] != e[1]]
        else:
            maybe.append(e)
            if e[0] == "name":
                named[e[1], e[2]] = e[3]
    for pick in subsets(len(maybe)):
        there = set()
        made = set()
        for e in sure + [m for m, p in zip(maybe, pick) if p]:
            if e[0] == "mkdir":
                made.add(e[2])
            elif e[0] == "name":
                there.add((e[1], e[2]))
        # what is in a directory that is lost is lost
        if "fresh" in left:
            if ".byre" not in made or "records" not in made:
                there = {t for t in there if t[0] != "records"}
            if "_base" not in made:
                there = set()
        judge(there, torn, named, done)


def judge(there, torn, named, done):
    base = ("_base", NAME)
    rec = ("records", NAME + ".json")
    leaves = ("records", NAME + ".leaves")
    for t in there:
        if torn.get(named[t]):
            raise Lost(f"{t[1]} is there, and its data is not")
    if rec in there and leaves not in there:
        raise Lost("a record without its leaves")
    if rec in there and base not in there:
        raise Lost("a record of nothing")
    if done and not {base, rec, leaves} <= there:
        raise Lost("what was done is not")


def all_cuts(ev, left):
    for n in range(len(ev) + 1):
        check(ev[:n], left, n == len(ev))


def prove(title, ev, left):
    try:
        all_cuts(ev, left)
    except Lost as why:
        raise SystemExit(f"FAIL: {title}: {why}\n" +
                         "\n".join(map(str, ev)))
    flushes = [i for i, e in enumerate(ev) if e[0] in ("sync", "syncdir")]
    for i in flushes:
        try:
            all_cuts(ev[:i] + ev[i + 1:], left)
        except Lost:
            continue
        raise SystemExit(f"FAIL: {title}: without {ev[i]} (number {i}) "
                         "nothing is lost\n" + "\n".join(map(str, ev)))
    print(f"{title}: {len(ev)} calls, {len(flushes)} flushes")


def main():
    if not os.path.exists(shim):
        print("SKIP: the shim was not built")
        return 77
    with open(os.path.join(build, "tests/crash/probe"), "rb") as f:
        if b"__asan_init" in f.read():
            print("SKIP: a sanitizer's runtime has to come first")
            return 77
    top = os.path.realpath(tempfile.mkdtemp(prefix="byre-crash-"))
    try:
        work = os.path.join(top, "w")
        os.mkdir(work)
        with open(os.path.join(work, "src.raw"), "wb") as f:
            f.write(random.randbytes(3 << 20))
            f.truncate(8 << 20)
            f.seek(6 << 20)
            f.write(random.randbytes(100000))
            f.truncate(8 << 20)
        subprocess.run([byre, "convert", "-O", "qcow2", "-c", "src.raw",
                        "src.qcow2"], cwd=work, check=True)
        for title, args in (("raw", ["--from", "src.raw"]),
                            ("qcow2", ["--from", "src.qcow2"]),
                            ("kept", ["--from", "src.qcow2",
                                      "--keep-qcow2"])):
            shutil.rmtree(os.path.join(work, "i"), ignore_errors=True)
            os.mkdir(os.path.join(work, "i"))
            ev, left = record(work, args)
            left["fresh"] = True
            prove(title + ", new cache", ev, left)
            os.unlink(os.path.join(work, "i/_base", NAME))
            ev, left = record(work, args)
            # the old record is dropped before; it was durable
            prove(title, [e for e in ev if e[0] != "drop"], left)
    finally:
        shutil.rmtree(top)
    return 0


if __name__ == "__main__":
    sys.exit(main())
