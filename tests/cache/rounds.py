#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Many processes ensure, spawn, delete, purge, verify, repair and clean at
once, at no age at all. Some are killed at any moment; some meet a call that
fails, or a disk that is full from some moment on (tests/crash/shim.c). After
each round:

* who met nothing of that did what he was asked to do; who failed says so in
  one line, and nobody hangs;
* every base is whole and is its source, and so is every extended copy; every
  disk has its base, is noted in disk.info and reads as its image;
* no base that a disk stood on all the time went, even for a moment;
* bases came and went as the journals tell: one conversion for each need;
* rot is found nowhere, and one clean later nothing is left of the dead.

The same on what a client of NFS lacks. All that is drawn follows from the seed
(BYRE_SEED) and the round's number; SERIES rounds share a directory. What a
kill hits is left to the machine: a series that failed is repeated, perhaps
more than once, by --mode, --seed, --first and --procs as it is told.
"""

import argparse
import collections
import ctypes
import hashlib
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from rounds_look import MIB, Fault, bases, look, needed  # noqa: E402

SERIES = 10
HANG = 300      # seconds; a machine that is busy takes a while
LONG = bool(os.environ.get("BYRE_CHECK_LONG"))
TOP = os.path.abspath(os.environ.get("top_builddir", "."))
SHIM = os.path.join(TOP, "tests/crash/.libs/shim.so")
PR_SET_CHILD_SUBREAPER = 36


def find(program):
    for p in (os.path.join(TOP, ".libs", program), os.path.join(TOP, program)):
        if os.access(p, os.X_OK):
            return p
    return None


BYRE, FETCH = find("byre"), find("byre-fetch")


def with_shim():
    """Sanitizers' runtimes have to come first, and LD_PRELOAD to work."""
    if not os.path.exists(SHIM):
        return False
    with open(os.path.join(TOP, "tests/crash/probe"), "rb") as f:
        if b"__asan_init" in f.read():
            return False
    return subprocess.run(["true"], env=dict(os.environ, LD_PRELOAD=SHIM),
                          stderr=subprocess.DEVNULL,
                          check=False).returncode == 0


class Image:
    """A source, raw and qcow2. One is kept as a qcow2."""

    def __init__(self, n, folder, run):
        self.id, self.kept = f"img{n}", n == 3
        self.name = hashlib.sha1(self.id.encode()).hexdigest()
        self.raw = os.path.join(folder, self.id + ".raw")
        self.qcow2 = os.path.join(folder, self.id + ".qcow2")
        text = f"image {n}\n".encode() * 150000
        with open(self.raw, "wb") as f:
            f.write(text[:1200000] + bytes(2000000) + text[:700000])
            f.truncate(5 * MIB)
        run(["convert", "-O", "qcow2", "-c", self.raw, self.qcow2])
        self.digest = run(["digest", self.raw]).split()[0]
        with open(self.raw, "rb") as f:
            self.content = f.read()
        with open(self.qcow2, "rb") as f:
            self.packed = f.read()
        self.sha256 = hashlib.sha256(self.packed).hexdigest()


class Task:
    """One process, and what befalls it."""

    def __init__(self, what, args, image=None, instance=None, target=None):
        self.what, self.args, self.image = what, args, image
        self.instance, self.target = instance, target
        self.rule, self.delay = "", None
        self.proc = self.err = self.calls = self.kill_at = None
        self.events, self.lines, self.code = [], [], None

    @property
    def undisturbed(self):
        return not self.rule and self.delay is None

    @property
    def mute(self):
        """It may have done more than it told."""
        return self.code < 0 or "malloc" in self.rule

    def __str__(self):
        return (f"{self.what}: {' '.join(self.args)}"
                f"{' under ' + self.rule if self.rule else ''}"
                f"{f' killed after {self.delay:.3f} s' if self.delay else ''}"
                f": exit {self.code}")


# a call, how it may fail, how many of them there are at most
CALLS = (("write", ("EIO", "ENOSPC", "short"), 40),
         ("sync", ("EIO", "ENOSPC"), 12), ("open", ("EIO", "ENOSPC"), 120),
         ("read", ("EIO", "short"), 120), ("ringread", ("EIO", "short"), 8),
         ("ringwrite", ("EIO", "ENOSPC", "short"), 8),
         ("link", ("EIO", "ENOSPC", "lost"), 2), ("rename", ("EIO",), 4),
         ("unlink", ("EIO",), 6), ("ftruncate", ("EIO", "ENOSPC"), 3),
         ("fallocate", ("EIO", "ENOSPC"), 4), ("clone", ("EIO", "ENOSPC"), 3),
         ("copy", ("EIO", "ENOSPC"), 4), ("lseek", ("EIO",), 20),
         ("malloc", ("ENOMEM",), 2000), ("any", ("kill", "term"), 400))


def draw_rule(rng, mode):
    if rng.random() < 0.25:  # the disk gets full, and stays so
        n = int(math.exp(rng.uniform(0, math.log(20))))
        return ",".join(f"{c}:{n if c == 'write' else 1}+:ENOSPC" for c in
                        rng.sample(("ringwrite", "link", "fallocate", "copy",
                                    "clone"), 2) + ["write"])
    call, whats, most = rng.choice(CALLS)
    n = int(math.exp(rng.uniform(0, math.log(most + 1))))
    what = rng.choice(whats)
    if what == "lost" and mode != "nfs":
        what = "EIO"
    return f"{call}:{n}:{what}"


class Rounds:
    def __init__(self, mode, seed, procs):
        self.mode, self.seed, self.procs = mode, seed, procs
        self.root = os.path.realpath(tempfile.mkdtemp(prefix="byre-rounds-"))
        self.work = os.path.join(self.root, "w")
        self.inst = os.path.join(self.work, "instances")
        self.base = os.path.join(self.inst, "_base")
        self.logs = os.path.join(self.root, "logs")
        self.shim = with_shim()
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith("BYRE_")}
        self.env.update(LC_ALL="C",
                        LD_LIBRARY_PATH=os.path.join(TOP, ".libs"))
        self.deny = "nfs" if mode == "nfs" else ""
        os.mkdir(self.work)
        self.images = [Image(n, self.work, self.run) for n in range(4)]
        self.by_name = {i.name: i for i in self.images}
        self.slots = max(4, procs // 4)
        self.sum = collections.Counter()
        self.failures = collections.Counter()
        self.number, self.tasks = 0, []

    # ---- running

    def run(self, args, ok=(0,)):
        """Without faults; its output."""
        p = subprocess.run([BYRE, *args], env=self.env, check=False,
                           stdin=subprocess.DEVNULL, capture_output=True,
                           timeout=HANG, text=True)
        if p.returncode not in ok:
            raise Fault(f"{' '.join(args)}: exit {p.returncode}: {p.stderr}")
        return p.stdout + p.stderr

    def cache(self, command, *args):
        env = dict(self.env)
        if self.deny and self.shim:
            env.update(LD_PRELOAD=SHIM, BYRE_SHIM_DIR=self.work,
                       BYRE_SHIM_DENY=self.deny)
        saved, self.env = self.env, env
        try:
            return self.run(["cache", command, "--instances", self.inst,
                             *args])
        finally:
            self.env = saved

    def fresh(self):
        for d in ("instances", "held", "trash"):
            shutil.rmtree(os.path.join(self.work, d), ignore_errors=True)
            os.mkdir(os.path.join(self.work, d))
        os.mkdir(os.path.join(self.inst, "locks"))
        os.mkdir(self.base)

    def draw(self, rng):
        image = rng.choice(self.images)
        instance = f"i{image.id[3:]}-{rng.randrange(self.slots)}"
        source = ["--from", rng.choice((image.raw, image.qcow2))]
        if image.kept:
            source = ["--from", image.qcow2, "--keep-qcow2"]
        if source[1] == image.qcow2 and FETCH and rng.random() < 0.3:
            source += ["--expect", "sha256:" + image.sha256]
        what = rng.choices(
            ("clean", "delete", "ensure", "verify", "repair", "purge",
             "overlay", "sized", "flat"), (4, 4, 3, 2, 1, 1, 6, 3, 2))[0]
        log = ["--log", "json"]
        if what == "clean":
            return Task("clean", ["clean", "-q", "--min-age", "0",
                                  "--min-age-resized", "0", *log])
        if what == "delete":  # one, or all of an image
            gone = [instance] if rng.random() < 0.5 else [
                f"i{image.id[3:]}-{i}" for i in range(self.slots)]
            return Task("delete", gone)
        if what == "ensure":
            return Task("ensure", ["ensure", image.id, "-q", *source, *log],
                        image)
        if what == "verify":
            more = ["--cached"] if rng.random() < 0.3 else []
            return Task("verify", ["verify", "-q", *more, *log])
        if what == "repair":
            return Task("repair", ["verify", image.id, "-q", "--repair",
                                   "--from", image.qcow2, *log], image)
        if what == "purge":
            return Task("purge", ["purge", image.id, "-q", *log], image)
        disk, how = {
            "overlay": ("disk", ["--size", "16M"]),
            "sized": ("disk.local", ["--sized-base", "--size", "1G"]),
            "flat": ("disk.flat", ["--flat", "--size", "16M"]),
        }[what]
        target = os.path.join(self.inst, instance, disk)
        if rng.random() < 0.2:
            source = []
        return Task("spawn", ["spawn", image.id, target, *how, *source, *log],
                    image, instance, target)

    def plan(self):
        rng = random.Random(f"{self.seed} {self.mode} {self.number}")
        tasks = []
        for _ in range(self.procs):
            t = self.draw(rng)
            fate, delay = rng.random(), rng.random()
            rule = draw_rule(rng, self.mode)
            if t.what != "delete" and fate < 0.3:
                t.rule = rule if self.shim else ""
            elif t.what != "delete" and fate < 0.55:
                t.delay = 0.002 + delay * delay * 0.15
            tasks.append(t)
        return tasks

    def start(self, t, n):
        if t.what == "delete":
            # away at once: else a disk could appear in what is half removed
            for i in t.args:
                try:
                    os.rename(os.path.join(self.inst, i), os.path.join(
                        self.work, "trash", f"{i}-{self.number}-{n}"))
                except FileNotFoundError:
                    pass
            return
        t.err = os.path.join(self.logs, f"{n}.err")
        t.calls = os.path.join(self.logs, f"{n}.calls")
        env = dict(self.env)
        if self.shim:
            env.update(LD_PRELOAD=SHIM, BYRE_SHIM_DIR=self.work,
                       BYRE_SHIM_DENY=self.deny, BYRE_SHIM_FAIL=t.rule,
                       BYRE_SHIM_LOG=t.calls)
        with open(t.err, "wb") as err:
            t.proc = subprocess.Popen(
                [BYRE, "cache", *t.args, "--instances", self.inst], env=env,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=err, close_fds=False)
        if t.delay is not None:
            t.kill_at = time.monotonic() + t.delay

    def kill_due(self, tasks):
        for t in tasks:
            if t.kill_at and t.kill_at <= time.monotonic():
                t.kill_at = None
                t.proc.kill()

    def play(self):
        shutil.rmtree(self.logs, ignore_errors=True)
        os.mkdir(self.logs)
        begun = []
        for n, t in enumerate(self.tasks):
            self.start(t, n)
            if t.proc:
                begun.append(t)
            self.kill_due(begun)
        end = time.monotonic() + HANG
        while any(t.kill_at for t in begun):
            time.sleep(0.001)
            self.kill_due(begun)
        for t in begun:
            try:
                t.code = t.proc.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                t.code = 0
                for u in begun:
                    u.proc.kill()
                raise Fault(f"hangs: {t}") from None
        # byre-fetch of one that was killed
        while True:
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    if time.monotonic() > end:
                        raise Fault("a child's child hangs")
                    time.sleep(0.005)
            except ChildProcessError:
                break
        for t in begun:
            self.read(t)
        return begun

    @staticmethod
    def read(t):
        with open(t.err, encoding="utf-8", errors="replace") as f:
            for line in f:
                if not line.startswith("{"):
                    t.lines.append(line.rstrip("\n"))
                elif line.endswith("}\n"):
                    t.events.append(json.loads(line))

    def round(self, number):
        self.number = number
        if number % SERIES == 0 or not os.path.exists(self.inst):
            self.fresh()
        self.tasks = self.plan()
        before, held = bases(self), needed(self)
        look(self, before, held, self.play())
        self.sum["rounds"] += 1

    def explain(self):
        for t in self.tasks:
            print(f"    {t}")
            for line in t.lines:
                print(f"        {line}")
            for e in t.events:
                print(f"        {e['event']} {e.get('name')} "
                      f"{e.get('why', '')}")


def play(mode, seed, rounds, procs, keep):
    r = Rounds(mode, seed, procs)
    try:
        if mode == "nfs" and not r.shim:
            print("nfs: the shim cannot be used here: left out")
            return 0
        if not r.shim:
            print("the shim cannot be used here: no faults but kills")
        for n in rounds:
            try:
                r.round(n)
            except (Fault, OSError, subprocess.TimeoutExpired) as e:
                print(f"FAIL: {mode}, round {n}: {e}\n"
                      f"  --mode {mode} --seed {seed} --first "
                      f"{n - n % SERIES} --rounds {n % SERIES + 1} "
                      f"--procs {procs}")
                r.explain()
                return 1
            if LONG and n % 20 == 19:
                print(f"{mode}: round {n} has passed", flush=True)
    finally:
        if not keep:
            shutil.rmtree(r.root, ignore_errors=True)
    print(f"{mode}, seed {seed}: " +
          ", ".join(f"{n} {k}" for k, n in sorted(r.sum.items())))
    for why, n in r.failures.most_common():
        print(f"  {n:4} {why}")
    return 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mode", choices=("local", "nfs"))
    p.add_argument("--seed", type=int)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--rounds", type=int)
    p.add_argument("--procs", type=int, default=32 if LONG else 10)
    p.add_argument("--keep", action="store_true",
                   help="leave the directory behind")
    a = p.parse_args()
    if not BYRE:
        print(f"no byre in {TOP}: nothing to test")
        return 77
    # byre-fetch of a byre that was killed becomes our child
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    seed = a.seed
    if seed is None:
        seed = int(os.environ.get("BYRE_SEED") or
                   int.from_bytes(os.urandom(4), "big"))
    print(f"seed {seed}", flush=True)
    for mode in ("local", "nfs"):
        if a.mode in (None, mode):
            n = a.rounds or {"local": 300 if LONG else 3,
                             "nfs": 60 if LONG else 2}[mode]
            if play(mode, seed, range(a.first, a.first + n), a.procs, a.keep):
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
