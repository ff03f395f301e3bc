#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Power may fail at any moment of a change in place.

Each command of CASES is run with the front under the shim, which records what
enters the kernel: writes and barriers, of every file that may change. Then the
record is cut off at each barrier: of what was written to a file since its own
last barrier, any subset of 512-byte sectors, zeroings and changes of length
may be there. For each such state genuine qemu-img must find the images clean
or with leaks only, and the guest must see, in each sector, what was there
before or what is there afterwards; a snapshot that is there is what it was.

Then each barrier is left out of the record in turn: some loss must now do
harm, or the barrier is not needed. Bitmaps are what they were or what they
are afterwards, or in use, and say so where the guest sees something new. (A
barrier at the end of a case promises
that the change is there when the command has ended.)
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(1, os.path.join(HERE, "..", "compat"))

from bitmap import bits  # noqa: E402
from inplace_cases import CASES  # noqa: E402

SECTOR = 512
LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
# states of one cut; of a cut with at most ALL_BITS pieces all in the long run
STATES = 40 if LONG else 5
ALL_BITS = 7
TOP = os.path.abspath(os.environ.get("top_builddir", "."))
WRITE, ZERO, SIZE, BARRIER = 1, 2, 3, 4


def call(args, cwd, ok=(0,), env=None, shell=False):
    p = subprocess.run(args, cwd=cwd, env=env, capture_output=True,
                       check=False, shell=shell)
    if ok and p.returncode not in ok:
        raise RuntimeError(f"{args}: exit {p.returncode}: "
                           f"{p.stderr.decode('utf-8', 'replace')}")
    return p


class Piece:
    """What gets to the disk as a whole or not at all."""

    def __init__(self, kind, name, off, data):
        self.kind, self.name, self.off, self.data = kind, name, off, data

    def apply(self, files):
        f = files[self.name]
        if self.kind == SIZE:
            if self.data <= len(f):
                del f[self.data:]
            else:
                f.extend(bytes(self.data - len(f)))
            return
        end = self.off + len(self.data)
        if len(f) < end and self.kind == ZERO:
            end = len(f)  # a hole beyond the end changes nothing
        if len(f) < end:
            f.extend(bytes(end - len(f)))
        if end > self.off:
            f[self.off:end] = self.data[:end - self.off]


def parse(trace, names):
    """The record: pieces, and names for barriers."""
    out, at = [], 0
    while at < len(trace):
        kind, off, length = struct.unpack_from("<QQQ", trace, at)
        at += 24
        name, kind = names[kind >> 8], kind & 0xff
        if kind == BARRIER:
            out.append(name)
        elif kind == SIZE:
            out.append(Piece(SIZE, name, 0, length))
        elif kind == ZERO:
            out.append(Piece(ZERO, name, off, bytes(length)))
        else:
            data = trace[at:at + length]
            at += length
            while data:
                n = SECTOR - off % SECTOR
                out.append(Piece(WRITE, name, off, data[:n]))
                off += n
                data = data[n:]
    return out


class Judge:
    """Knows what was there before and afterwards."""

    def __init__(self, case, folder, before):
        self.case, self.folder = case, folder
        self.before = self.looks(before)
        self.bits = [self.all_bits(), None]
        self.errors_before = {n: self.errors(n) for n in case.images
                              if case.broken}
        self.after = None
        self.seen = {}
        self.runs = 0

    def put(self, files):
        for name, data in files.items():
            with open(os.path.join(self.folder, name), "wb") as f:
                f.write(data)

    def guest(self, name, snapshot=None):
        args = ["qemu-img", "convert", "-U", "-f", self.case.format_of(name),
                "-O", "raw"]
        if snapshot:
            args += ["-l", f"snapshot.name={snapshot}"]
        out = os.path.join(self.folder, "..", "guest")
        p = call(args + [name, out], self.folder, None)
        if p.returncode:
            return None
        with open(out, "rb") as f:
            # a long hole is not read byte by byte
            size = os.fstat(f.fileno()).st_size
            return size, f.read(min(size, 8 << 20))

    def snapshots(self, name):
        if self.case.format_of(name) == "raw":
            return []
        p = call(["qemu-img", "info", "-U", "-f", "qcow2", "--output=json",
                  name], self.folder, None)
        if p.returncode:
            return []
        return [s["name"] for s in json.loads(p.stdout).get("snapshots", [])]

    def looks(self, files):
        """{(file, snapshot or None): (size, bytes)}"""
        self.put(files)
        found = {}
        for name in self.case.guests:
            found[name, None] = self.guest(name)
            for s in self.snapshots(name):
                found[name, s] = self.guest(name, s)
        return found

    def all_bits(self):
        return {n: self.bits_of(n) for n in self.case.images}

    def bits_of(self, name):
        try:
            return bits(os.path.join(self.folder, name))
        except (struct.error, IndexError, UnicodeDecodeError):
            return None

    def bitmap_fault(self, name):
        now = self.bits_of(name)
        old, new = (x[name] or {} for x in self.bits)
        if now is None:
            return f"{name}: a broken bitmap directory"
        lost = [b for b in old if b in new and b not in now]
        if lost:
            return f"{name}: bitmap {lost[0]} is gone"
        for b, (granularity, flags, told) in now.items():
            if flags & 1:
                continue
            if all(x.get(b, (0, 0, None))[2] != told for x in (old, new)):
                return f"{name}: bitmap {b} is another"
            if b in old and old[b][1] & 2 and \
                    self.untold(name, granularity, set(told)):
                return f"{name}: bitmap {b} knows nothing of a change"
        return None

    def untold(self, name, granularity, told):
        was, now = self.before[name, None], self.guest(name)
        return any((at >> granularity) not in told
                   for at in range(0, len(was[1]), SECTOR)
                   if was[1][at:at + SECTOR] != now[1][at:at + SECTOR])

    def fault(self, files):
        """What is wrong with this state, or None."""
        key = tuple(hash(bytes(d)) for d in files.values())
        if key not in self.seen:
            self.seen[key] = self.judge(files)
        return self.seen[key]

    def judge(self, files):
        self.runs += 1
        self.put(files)
        for name in self.case.images:
            p = call(["qemu-img", "check", "-q", "-U", "-f", "qcow2", name],
                     self.folder, None)
            if self.case.broken:
                why = self.worse(name)
                if why:
                    return why
            elif p.returncode not in (0, 3):
                return f"{name}: check exit {p.returncode}: " + \
                    p.stderr.decode("utf-8", "replace")[:200]
        for name in self.case.guests:
            why = self.sectors(name, None)
            for s in self.snapshots(name) if not why else []:
                why = why or self.sectors(name, s)
            if why:
                return why
        for name in self.case.images:
            why = self.bitmap_fault(name)
            if why:
                return why
        return None

    def errors(self, name):
        """How many, and whether the image is marked dirty or corrupt."""
        p = call(["qemu-img", "check", "-U", "-f", "qcow2", "--output=json",
                  name], self.folder, None)
        try:
            said = json.loads(p.stdout)
        except ValueError:
            return None, True
        with open(os.path.join(self.folder, name), "rb") as f:
            head = f.read(80)
        marked = head[7] > 2 and head[79] & 3 != 0
        return said.get("corruptions", 0) + said["check-errors"], marked

    def worse(self, name):
        """A repair that is cut short leaves no more errors, and the mark of an
        image that has some."""
        n, marked = self.errors(name)
        old, was_marked = self.errors_before[name]
        if n is None or n > old:
            return f"{name}: {n} errors, {old} before"
        if n and was_marked and not marked:
            return f"{name}: {n} errors without a mark"
        return None

    def sectors(self, name, snapshot):
        what = f"{name} {snapshot or ''}".strip()
        now = self.guest(name, snapshot)
        if now is None:
            return f"{what}: cannot be read"
        olds = [x for x in (self.before.get((name, snapshot)),
                            self.after.get((name, snapshot))) if x]
        if now in olds:
            return None
        sizes = sorted(x[0] for x in olds)
        # a raw file grows write by write
        if now[0] not in sizes and (self.case.format_of(name) != "raw" or
                                    not sizes[0] < now[0] < sizes[-1]):
            return f"{what}: {now[0]} bytes"
        if snapshot:
            return f"{what}: another content"
        # what a change of size added are zeros until they are written
        olds[0] = (olds[0][0], olds[0][1].ljust(len(now[1]), b"\0"))
        for at in range(0, len(now[1]), SECTOR):
            s = now[1][at:at + SECTOR]
            if all(s != o[1][at:at + len(s)] for o in olds):
                return f"{what}: neither old nor new at {at}"
        return None


class Run:
    """One case: its record, and the states that a crash leaves."""

    def __init__(self, case, root, rng):
        self.case, self.root, self.rng = case, root, rng
        self.w = os.path.join(root, "w")
        os.mkdir(self.w)
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith("BYRE_")}
        self.env.update(LC_ALL="C", TZ="UTC")

    def read(self):
        found = {}
        for name in self.case.traced:
            with open(os.path.join(self.w, name), "rb") as f:
                found[name] = bytearray(f.read())
        return found

    def record(self):
        for line in self.case.setup:
            call(line, self.w, env=self.env, shell=True)
        before = self.read()
        program = os.path.join(TOP, ".libs", "byre")
        if not os.path.exists(program):
            program = os.path.join(TOP, "byre")
        front = os.path.join(self.root, "qemu-img")
        os.symlink(program, front)
        trace = os.path.join(self.root, "trace")
        env = {**self.env, "BYRE_SHIM_DIR": self.w,
               "BYRE_SHIM_TRACE": trace,
               "BYRE_SHIM_TRACED": ",".join(self.case.traced),
               "BYRE_SHIM_DENY": "copy,ficlone,io_uring",
               "LD_LIBRARY_PATH": os.path.join(TOP, ".libs"),
               "LD_PRELOAD": os.path.join(TOP, "tests/crash/.libs/shim.so")}
        p = subprocess.run([front] + self.case.args, cwd=self.w, env=env,
                           capture_output=True, check=False)
        if p.returncode:
            return before, None, p
        with open(trace, "rb") as f:
            return before, parse(f.read(), self.case.traced), p

    def cuts(self, record, start, end=None):
        """(index, what is on the disk, pieces on the way) at each barrier
        from the one at `start`."""
        disk, pending = dict(self.base), []
        disk = {n: bytearray(d) for n, d in disk.items()}
        for i, step in enumerate(record):
            if isinstance(step, Piece):
                pending.append(step)
                continue
            if i >= start:
                yield i, disk, pending
            if end is not None and i >= end:
                return
            for p in pending:
                if p.name == step:
                    p.apply(disk)
            pending = [p for p in pending if p.name != step]

    def states(self, pending, count):
        """Which pieces come through, the telling ones first."""
        n = len(pending)
        yield [False] * n
        yield [True] * n
        if LONG and n <= ALL_BITS:
            yield from ([bool(x) for x in bits] for bits in
                        itertools.product((0, 1), repeat=n))
            return
        for k in self.rng.sample(range(n), min(n, count // 3 + 1)):
            yield [i == k for i in range(n)]
            yield [i != k for i in range(n)]
        for s in range(count):
            p = (0.5, 0.1, 0.9)[s % 3]
            yield [self.rng.random() < p for _ in range(n)]

    def reordered(self, early):
        """The likeliest to do harm without a barrier: what came later is
        there, of the earlier nothing, or not all; or one alone of the
        later."""
        n = len(early)
        yield [not x for x in early]
        some = self.rng.sample(range(n), min(n, STATES * 8))
        yield from ([i != k for i in range(n)] for k in some if early[k])
        yield from ([i == k for i in range(n)] for k in some if not early[k])

    def harm(self, disk, pending, kept, names):
        """The fault of one state. Changes of length go in order."""
        files = {n: bytearray(d) for n, d in disk.items()}
        cut = set()
        for p, keep in zip(pending, kept):
            if p.kind == SIZE and (not keep or p.name in cut):
                cut.add(p.name)
            elif keep:
                p.apply(files)
        why = self.judge.fault(files)
        if why:
            return f"{names}: {why}"
        return None

    def prove(self):
        """A fault, or None; and which barriers nothing needs."""
        before, record, p = self.record()
        if record is None:
            if b"not supported by byre" in p.stderr:
                return None, None, 0
            return f"exit {p.returncode}: {p.stderr.decode()}", [], 0
        self.base = before
        judging = os.path.join(self.root, "j")
        shutil.copytree(self.w, judging)
        self.judge = Judge(self.case, judging, before)
        after = {n: bytearray(d) for n, d in before.items()}
        for step in record:
            if isinstance(step, Piece):
                step.apply(after)
        if after != self.read():
            return "the record does not give the files", [], 0
        self.judge.after = self.judge.looks(after)
        self.judge.bits[1] = self.judge.all_bits()
        why = self.judge.fault(after)
        if why:
            return f"afterwards: {why}", [], 0
        last = {}
        for step in record:
            last[step.name if isinstance(step, Piece) else step] = \
                isinstance(step, Piece)
        if any(last.values()):
            return "it ends, and not all is on the disk", [], 0
        for i, disk, pending in self.cuts(record, 0):
            for kept in self.states(pending, STATES):
                why = self.harm(disk, pending, kept, f"lost before step {i}")
                if why:
                    return why, [], self.judge.runs
        return None, self.spare(record), self.judge.runs

    def spare(self, record):
        """The barriers without which nothing goes wrong."""
        out = []
        where = [i for i, s in enumerate(record) if not isinstance(s, Piece)]
        for k, i in enumerate(where):
            later = [j for j in where[k + 1:] if record[j] == record[i]]
            if not later:
                continue  # the last one of this file
            without = record[:i] + record[i + 1:]
            early = {id(p) for p in record[:i] if isinstance(p, Piece)}
            found = None
            for _, disk, pending in self.cuts(without, i, later[0] - 1):
                for kept in itertools.chain(
                        self.reordered([id(p) in early for p in pending]),
                        self.states(pending, STATES * 4)):
                    found = found or self.harm(disk, pending, kept, "")
                if found:
                    break
            if not found:
                out.append(k)
        return out


def one(name, seed):
    case = CASES[name]
    root = tempfile.mkdtemp(prefix="byre-inplace-")
    try:
        run = Run(case, os.path.realpath(root),
                  random.Random(f"{name} {seed}"))
        fault, spare, runs = run.prove()
    except RuntimeError as e:
        fault, spare, runs = f"BROKEN: {e}", [], 0
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return name, fault, spare, runs


def skip(why):
    print("SKIP: " + why)
    sys.exit(77)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("names", nargs="*")
    p.add_argument("--seed", default=os.environ.get("BYRE_SEED", "1"))
    args = p.parse_args()
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        skip("no genuine qemu-img and qemu-io")
    shim = os.path.join(TOP, "tests/crash/.libs/shim.so")
    if not os.path.exists(shim):
        skip("the shim was not built")
    with open(os.path.join(TOP, "tests/crash/probe"), "rb") as f:
        if b"__asan_init" in f.read():
            skip("a sanitizer's runtime has to come first")
    names = args.names or [n for n, c in CASES.items() if LONG or not c.long]
    failed, absent = 0, []
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(one, n, args.seed) for n in names]
        for job in concurrent.futures.as_completed(jobs):
            name, fault, spare, runs = job.result()
            if spare is None:
                absent.append(name)
                continue
            if fault:
                print(f"FAIL: {name} (seed {args.seed}): {fault}", flush=True)
                failed += 1
                continue
            extra = [k for k in spare if k not in CASES[name].spare]
            for k in extra:
                print(f"FAIL: {name} (seed {args.seed}): nothing goes wrong "
                      f"without barrier {k}", flush=True)
            failed += bool(extra)
            print(f"{name}: {runs} states", flush=True)
    if absent:
        print("not in the front: " + " ".join(absent))
    print(f"{len(names)} cases, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
