#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Power may fail at any moment of what a cache does.

Each command of CASES is recorded where the kernel is entered: names, bytes and
flushes. The record is cut at every point, and what no flush had made durable
by then is there or is not, in any combination (publish_tree.py). In each such
tree a base is absent or whole, a record is absent or one that was written, and
of a base that is there; a disk is absent, or whole, with its format noted and
its base there; and what a command has said to be done is done. Some trees (in
the long run all) are built, and the program itself has to say the same: it
lists them, reads digests, compares disks, is run once more, verifies, builds
on what is there, and cleans up so that nothing is left over.

Then each flush is left out of the record in turn, and some loss must now do
harm, or the flush is not needed.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from publish_cases import BASE, CASES, RECORD, X  # noqa: E402
from publish_tree import (BLOCK, DIR, Disk, Record, key, passing,  # noqa: E402
                          walk)

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
MOST = 2048 if LONG else 48   # combinations of names at one cut
TRIED = 4096 if LONG else 3   # trees of a case that are built
TOP = os.path.abspath(os.environ.get("top_builddir", "."))
SHIM = os.path.join(TOP, "tests/crash/.libs/shim.so")
RECORDS = "i/_base/.byre/records/"


def program():
    path = os.path.join(TOP, ".libs", "byre")
    return path if os.path.exists(path) else os.path.join(TOP, "byre")


def sources(work):
    """A disk of 2 MiB with holes, the same as a qcow2, and a small one."""
    rng = random.Random(3)
    with open(os.path.join(work, "src.raw"), "wb") as f:
        for at, n in ((0, 20), (70, 5), (300, 9)):
            f.seek(at * BLOCK)
            f.write(rng.randbytes(n * BLOCK - 512))
        f.truncate(2 << 20)
    with open(os.path.join(work, "small.raw"), "wb") as f:
        f.write(rng.randbytes(2 * BLOCK))
    with open(os.path.join(work, "src.raw"), "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


class Run:
    """One case: its record, and what becomes of it."""

    def __init__(self, name, root, seed):
        self.name, self.case = name, CASES[name]
        self.rng = random.Random(f"{name} {seed}")
        self.w = os.path.join(root, "w")
        self.log = os.path.join(root, "log")
        self.kept = os.path.join(root, "kept")
        os.makedirs(os.path.join(self.w, "i"))
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith("BYRE_")}
        self.env.update(LC_ALL="C", TZ="UTC", B=program(),
                        LD_LIBRARY_PATH=os.path.join(TOP, ".libs"))
        self.env["SUM"] = sources(self.w)
        self.seen = set()
        self.built = 0
        self.told = {}

    def byre(self, words, **env):
        args = [program()] + [w.replace("$SUM", self.env["SUM"])
                              for w in shlex.split(words)]
        return subprocess.run(args, cwd=self.w, env={**self.env, **env},
                              capture_output=True, check=False)

    def record(self):
        first = ["$B convert -O qcow2 -c src.raw src.qcow2"]
        for line in first + list(self.case.setup):
            p = subprocess.run(line, cwd=self.w, env=self.env, shell=True,
                               capture_output=True, check=False)
            if p.returncode:
                raise RuntimeError(f"{line}: {p.stderr.decode()}")
        start = walk(self.w)
        p = self.byre(self.case.args, LD_PRELOAD=SHIM, BYRE_SHIM_DIR=self.w,
                      BYRE_SHIM_TREE=self.log, BYRE_SHIM_DENY=",".join(
                          ["copy,ficlone,io_uring", self.case.deny]))
        if p.returncode != self.case.rc:
            raise RuntimeError(f"exit {p.returncode}: {p.stderr.decode()}")
        with open(self.log, "rb") as f:
            self.rec = Record(f.read(), start)
        wrong = self.rec.gives(self.w)
        if wrong:
            raise RuntimeError(f"the record is not what happened: {wrong}")
        self.end = self.rec.end()
        # what no state changes comes from here
        os.rename(self.w, self.kept)

    # ---- what must not be ----

    def inode_of(self, f):
        """Of which inode a record is."""
        if f not in self.told:
            self.told[f] = int(json.loads(f.whole.read())["base"]["ino"])
        return self.told[f]

    def fault(self, tree, done):
        late = {self.rec.start[p] for p in self.case.late}
        for p, v in tree.items():
            if v is DIR or passing(p) or v[0] in late:
                continue
            if v[1] != v[0].whole:
                return f"{p} is torn"
        return self.record_fault(tree) or self.disk_fault(tree) or \
            self.repair_fault(tree) or (self.undone(tree) if done else None)

    def whole(self, tree, path):
        v = tree.get(path)
        return v is DIR or (v is not None and v[1] == v[0].whole)

    def record_fault(self, tree):
        start, case = self.rec.start, self.case
        for p in [p for p in tree if p.startswith(RECORDS)
                  and p.endswith(".json")]:
            base = "i/_base/" + p[len(RECORDS):-len(".json")]
            f, b = tree[p][0], tree.get(base)
            if b is None:
                if not case.removes and (start.get(p) is not f or (
                        base in start and base not in case.late)):
                    return f"{p} is of no base"
                continue
            if self.inode_of(f) == b[0].ino:
                if not self.whole(tree, base):
                    return f"{base} has a record and is torn"
            elif not self.stale(p, f, base, b[0]):
                return f"{p} is of another file"
        for p, f in start.items():
            record = RECORDS + p[len("i/_base/"):] + ".json"
            if p in tree and f is not DIR and tree[p][0] is f and \
                    record in start and record not in tree:
                return f"{p} has lost its record"
        return None

    def stale(self, record, f, base, b):
        """Whether a record may tell of another file than is there: as it was,
        or because what was rotten has been replaced."""
        start = self.rec.start
        if self.case.repairs:
            return base in start and self.inode_of(f) == start[base].ino
        return start.get(record) is f and start.get(base) is b

    def disk_fault(self, tree):
        for disk, below in self.case.disks.items():
            if disk not in tree:
                continue
            # what a qcow2 is its head tells, and no guest writes that
            if not below and not self.noted(tree, disk):
                return f"{disk} is there, and no note of its format"
            if below and not self.whole(tree, below):
                return f"{disk} is there, and its base is not"
        return None

    def noted(self, tree, disk):
        info = tree.get(os.path.join(os.path.dirname(disk), "disk.info"))
        return info is not None and os.path.join(self.w, disk) in \
            json.loads(info[0].whole.read())

    def repair_fault(self, tree):
        old = self.rec.start.get(BASE)
        if self.case.repairs and (BASE not in tree or tree[BASE][0] is not old) \
                and not any(v is not DIR and v[0] is old
                            for v in tree.values()):
            return "what was rotten is nowhere"
        return None

    def undone(self, tree):
        for p, f in self.end.items():
            if f is not DIR and not passing(p) and \
                    (not self.whole(tree, p) or tree[p][0] is not f):
                return f"{p} was done, and is not"
        return None

    # ---- the program's own word ----

    def build(self, tree):
        shutil.rmtree(self.w, ignore_errors=True)
        os.mkdir(self.w)
        for name in os.listdir(self.kept):
            if name != "i":
                os.link(os.path.join(self.kept, name),
                        os.path.join(self.w, name))
        made = {}
        for p in sorted(tree):
            path, v = os.path.join(self.w, p), tree[p]
            if not p.startswith("i"):
                continue
            if v is DIR:
                os.mkdir(path)
            elif v[0] in made:
                os.link(made[v[0]], path)
            else:
                v[1].save(path)
                made[v[0]] = path
        for p in tree:
            if p.startswith(RECORDS) and p.endswith(".json"):
                self.name_inode(tree, p)
        for path in made.values():
            os.utime(path, (os.stat(path).st_mtime - 3 * 86400,) * 2)

    def name_inode(self, tree, p):
        """The record of a base knows its inode, and here it has another."""
        base = "i/_base/" + p[len(RECORDS):-len(".json")]
        ino = 1
        if base in tree and self.inode_of(tree[p][0]) == tree[base][0].ino:
            ino = os.stat(os.path.join(self.w, base)).st_ino
        text = tree[p][1].read().decode()
        text = re.sub(r'"ino": "\d+"', f'"ino": "{ino}"', text)
        text = re.sub(r'"born-nsec": \d+', '"born-nsec": 0', text)
        with open(os.path.join(self.w, p), "w", encoding="utf-8") as f:
            f.write(text)

    def must(self, words, ok=(0,), quiet=False):
        p = self.byre(words)
        said = p.stderr.decode("utf-8", "replace")
        if p.returncode not in ok or (quiet and said):
            raise Lost(f"{words}: exit {p.returncode}: {said.strip()}")
        return p.stdout.decode()

    def tried(self, tree):
        """What the program finds wrong with a tree, or None."""
        self.built += 1
        self.build(tree)
        try:
            self.look(tree)
            self.go_on(tree)
        except Lost as why:
            return str(why)
        return None

    def look(self, tree):
        if "i/_base" not in tree:
            return
        said = self.must("cache list --instances i --json", quiet=True)
        self.must("cache status --instances i", quiet=True)
        for e in json.loads(said):
            if "content-digest" in e and e["state"] != "rotten":
                path = "i/_base/" + e["name"]
                is_ = self.must(f"digest -f {e['format']} {path}")
                if e["content-digest"] not in is_ and 3 not in self.case.rotten:
                    raise Lost(f"{path}: {is_}, not {e['content-digest']}")
        for disk in self.case.disks:
            if disk in tree:
                self.same(disk)

    def same(self, disk):
        form = "raw" if "--flat" in self.case.args else "qcow2"
        self.must(f"compare --trusted -f {form} -F raw {disk} src.raw")

    def go_on(self, tree):
        case = self.case
        again = self.byre(case.args)
        said = again.stderr.decode("utf-8", "replace")
        there = any(d in tree for d in case.disks)
        if again.returncode not in case.again or \
                (case.disks and (again.returncode == 1) != there):
            raise Lost(f"once more: exit {again.returncode}: {said}")
        for disk in case.disks:
            self.same(disk)
        self.must("cache verify --instances i --cached -q", case.rotten)
        if case.built and "--kernel" in case.args:
            # no disk is made of one: what stands on it is somebody else's
            os.mkdir(os.path.join(self.w, "i/z"))
            self.must(f"create -f qcow2 -b ../../{BASE} -F raw i/z/disk")
        elif case.built:
            self.must("cache spawn --instances i x i/z/disk -q")
        if case.built:
            self.must("compare --trusted -f qcow2 -F raw i/z/disk src.raw")
        if case.args.startswith("cache pin"):
            with open(os.path.join(self.w, RECORD), encoding="utf-8") as f:
                if not json.load(f)["pinned"]:
                    raise Lost("not pinned")
        self.must("cache clean --instances i -q --min-age 0 "
                  "--min-age-resized 0")
        self.leftovers()

    def leftovers(self):
        now = walk(self.w)
        for p in now:
            if passing(p) and "locks" not in p and not p.endswith("/clock"):
                raise Lost(f"{p} is left over")
            if p.startswith(RECORDS):
                base = "i/_base/" + os.path.splitext(p[len(RECORDS):])[0]
                if base not in now:
                    raise Lost(f"{p} is left over")
        for disk, below in self.case.disks.items():
            if below and below not in now:
                raise Lost(f"{disk} has lost its base")
        if self.case.built and BASE not in now:
            raise Lost("a base in use was removed")

    # ---- cuts ----

    def trees(self, events, since):
        """(tree, whether all is done) that are new, at each cut from since."""
        disk = Disk(self.rec.start, self.case.late)
        for n in range(len(events) + 1):
            last = n == len(events)
            quiet = n and events[n - 1][0] == "data" and \
                not disk.shows(events[n - 1][1])
            if n >= since and (last or not quiet):
                for tree in disk.trees(self.rng, MOST, LONG):
                    k = key(tree), last
                    if k not in self.seen:
                        self.seen.add(k)
                        yield tree, last
            if not last:
                disk.step(events[n])

    def prove(self):
        self.record()
        events = self.rec.events
        found = []
        for tree, done in self.trees(events, 0):
            why = self.fault(tree, done)
            if why:
                return why
            found.append(tree)
        # what nobody has flushed, and is not there, is no concern of ours
        found = [t for t in found
                 if all(self.whole(t, p) for p in self.case.late)]
        n = len(found)
        some = range(n) if n <= TRIED else \
            sorted({0, n - 1, *self.rng.sample(range(n), TRIED)})
        for i in some:
            why = self.tried(found[i])
            if why:
                return f"{why}\n" + "\n".join(sorted(found[i]))
        flushes = [i for i, e in enumerate(events)
                   if e[0] in ("sync", "syncdir")]
        before = set(self.seen)
        for k, i in enumerate(flushes):
            self.seen = set(before)
            if not self.missed(events[:i] + events[i + 1:], i) and \
                    k not in self.case.spare:
                return f"without flush {k} ({describe(events[i], self.end)}" \
                    ") nothing is lost"
        print(f"{self.name}: {len(events)} calls, {len(flushes)} flushes, "
              f"{n} trees, {self.built} built", flush=True)
        return None

    def missed(self, events, since):
        later = []
        for tree, done in self.trees(events, since):
            if self.fault(tree, done):
                return True
            if all(self.whole(tree, p) for p in self.case.late):
                later.append(tree)
        return any(self.tried(t) for t in later[-TRIED:])


class Lost(Exception):
    """A state that must not be."""


def describe(e, end):
    if e[0] == "syncdir":
        return e[1]
    return next((p for p, f in end.items() if f is e[1]), "a file")


def one(name, seed):
    # where nothing is flushed in earnest, if there is such a place
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    root = os.path.realpath(tempfile.mkdtemp(prefix="byre-crash-", dir=where))
    try:
        return name, Run(name, root, seed).prove()
    except RuntimeError as e:
        return name, f"BROKEN: {e}"
    finally:
        shutil.rmtree(root, ignore_errors=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("names", nargs="*")
    p.add_argument("--seed", default=os.environ.get("BYRE_SEED", "1"))
    args = p.parse_args()
    if not os.path.exists(SHIM):
        print("SKIP: the shim was not built")
        return 77
    with open(os.path.join(TOP, "tests/crash/probe"), "rb") as f:
        if b"__asan_init" in f.read():
            print("SKIP: a sanitizer's runtime has to come first")
            return 77
    names = args.names or [n for n, c in CASES.items() if LONG or not c.long]
    failed = 0
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(one, n, args.seed) for n in names]
        for job in concurrent.futures.as_completed(jobs):
            name, why = job.result()
            if why:
                print(f"FAIL: {name} (seed {args.seed}): {why}", flush=True)
                failed += 1
    print(f"{len(names)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
