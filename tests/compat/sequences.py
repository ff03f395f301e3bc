#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Sequences of operations, by our front on one copy of an image and by
genuine qemu-img on another.

A sequence follows from its seed: an image by genuine qemu-img and qemu-io,
two copies, and then 20 or more operations with guest writes (by genuine
qemu-io, in both) between them. What changes the image is done by each program
to its copy; what only looks is done by both to the same copy. After each step
exit status, output, guest content, `check`, `info` and `map` must agree, and
now and then the content of every snapshot. The layout within the file is
free.

With --require-pairs each operation must have succeeded on images of each
feature, but for the pairs in IMPOSSIBLE.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from sequence import image, ops  # noqa: E402

OURS = os.environ.get("BYRE_QEMU_IMG", "byre qemu-img")
STEPS = 20
MORE = 40  # sequences for each pair that stayed empty

# operation, feature, why they never go together
IMPOSSIBLE = [
    (r"snapshot-[cad]|snapshot-l", r"data=(file|raw)",
     "no snapshots with a data file"),
    (r"snapshot-[cad]|snapshot-l", r"rb=1", "a shared cluster has refcount 2"),
    (r"rebase.*|commit.*", r"data=raw", "a raw data file has no backing file"),
    (r"commit.*", r"depth=0", "nothing below"),
    (r"rebase-none", r"depth=0", "nothing below"),
    (r"commit-b", r"depth=1", "one file below is what commit takes anyway"),
    (r"amend-rb", r"rb=(1|8)", "genuine qemu-img never ends"),
    (r"amend-compat", r"(rb=(1|8|32|64)|el2=on|data=(file|raw)|ctype=zstd)",
     "version 2 has no place for it"),
    (r"repair-.*", r"rb=1", "a refcount of one bit"),
    (r"repair-all", r"data=(file|raw)", "clusters there have no refcounts"),
]


class Fault(Exception):
    """What differed."""


class GenuineHangs(Exception):
    """Genuine qemu-img does not end (7.2 may, in amend -o refcount_bits)."""


class Pair:
    """The two copies: a is ours, b is theirs."""

    def __init__(self, seed, root, want):
        self.rng = random.Random(f"sequence {seed}")
        self.want = want  # operation and "dimension=value", or None
        self.log, self.step_name = [], ""
        self.dirs = [os.path.join(root, d) for d in ("a", "b")]
        self.bin = os.path.join(root, "bin")
        os.mkdir(self.bin)
        self.front = os.path.join(self.bin, "qemu-img")
        os.symlink(os.path.abspath(shutil.which(shlex.split(OURS)[0])),
                   self.front)
        self.env = {k: v for k, v in os.environ.items()
                    if not k.startswith("BYRE_")}
        self.env.update(LC_ALL="C", TZ="UTC")
        self.features = image.draw(self.rng, want[1] if want else None)
        self.made = os.path.join(root, "made")
        os.mkdir(self.made)
        self.info = {}
        self.refusals = collections.Counter()
        self.steps = self.idle = 0
        self.same_bytes = 0

    def run(self, program, args, folder, note=True):
        argv = [program] + [str(a) for a in args]
        if note:
            who = "ours" if program == self.front else program
            self.log.append(f"{os.path.basename(folder)}: {who} " +
                            shlex.join(argv[1:]))
        hangs = program == "qemu-img" and args[0] == "amend"
        try:
            p = subprocess.run(argv, cwd=folder, env=self.env,
                               stdin=subprocess.DEVNULL,
                               timeout=20 if hangs else 120,
                               capture_output=True, check=False)
        except subprocess.TimeoutExpired:
            if hangs:
                raise GenuineHangs from None
            raise Fault(f"hangs: {shlex.join(argv)}") from None
        return p

    def must(self, args, folder, program="qemu-img"):
        p = self.run(program, args, folder)
        if p.returncode:
            raise RuntimeError(f"{args}: {p.stderr.decode()}")
        return p

    def make(self):
        image.make(self)
        for d in self.dirs:
            # the holes of both are found alike
            subprocess.run(["cp", "-a", "--sparse=always", self.made, d],
                           check=True)
        self.look(True)

    # ---- the two kinds of steps

    def both(self, args):
        """Each program changes its copy. True if they could."""
        a = self.run(self.front, args, self.dirs[0])
        if self.refused(a):
            return None
        b = self.run("qemu-img", args, self.dirs[1])
        self.agree(a, b, free_layout=True)
        return b.returncode == 0

    def refused(self, p):
        """What byre refuses by name is no difference, but counted."""
        m = re.search(r"([^:]*) (?:is|are) not supported",
                      p.stderr.decode("utf-8", "replace"))
        if p.returncode == 1 and m:
            self.refusals[m[0].strip()] += 1
            return True
        return False

    def each(self, args, program="qemu-io"):
        """A genuine program changes both copies."""
        a, b = (self.run(program, args, d) for d in self.dirs)
        if a.returncode != b.returncode:
            raise Fault(f"{program} differs: {a.stderr!r} {b.stderr!r}")
        return a.returncode == 0

    def watch(self, args, out=None):
        """Both programs look at our copy, and write `out` if it is named."""
        d = self.dirs[0]
        a = self.run(self.front, args, d)
        if self.refused(a):
            return None
        if out and os.path.exists(os.path.join(d, out)):
            os.replace(os.path.join(d, out), os.path.join(d, "ours"))
        b = self.run("qemu-img", args, d)
        self.agree(a, b, free_layout=False)
        if out and b.returncode == 0:
            c = self.run("qemu-img", ["compare", "-q", "ours", out], d)
            if c.returncode:
                raise Fault(f"{out} has other content")
            infos = [self.info_of(d, n) for n in ("ours", out)]
            if infos[0] != infos[1]:
                raise Fault(f"{out} is another: {infos}")
        for name in (out, "ours"):
            if name and os.path.exists(os.path.join(d, name)):
                os.unlink(os.path.join(d, name))
        return b.returncode == 0

    def agree(self, a, b, free_layout):
        texts = []
        for p in (a, b):
            t = (p.stdout + b"\n--\n" + p.stderr).decode("utf-8", "replace")
            # QEMU's own name of a node, in which digits are random
            t = re.sub(r"#block\d+", "#blockN", t)
            if free_layout:
                t = re.sub(r"(Image end offset: |image-end-offset\": )\d+",
                           r"\1N", t)
                t = re.sub(r"\d+(/\d+ = )[0-9.]+(% allocated), "
                           r"[0-9.]+(% fragmented)", r"A\1A\2, F\3", t)
                t = re.sub(r"(\"allocated-clusters\": )\d+", r"\1A", t)
                t = re.sub(r"(\"fragmented-clusters\": \d+,\s*)", "", t)
                if self.free_map:  # not said of an image without any
                    t = re.sub(r"(?m)^A/\d+ = A% allocated.*\n", "", t)
                    t = re.sub(r"\"(allocated|total|compressed)-clusters\": "
                               r"\w+,?\s*", "", t)
                # what is found depends on where things lie, and on what
                # qemu-img leaked before
                t = re.sub(r"(?m)^(Leaked|Repairing|ERROR|Rebuilding) .*\n",
                           "", t)
                t = re.sub(r"(?s)The following incons.*fixed image now...\n",
                           "", t)
            texts.append((p.returncode, t))
        if texts[0] != texts[1]:
            raise Fault(f"ours {texts[0]}\ntheirs {texts[1]}")

    # ---- what must hold after each

    def info_of(self, folder, name):
        p = self.run("qemu-img", ["info", "--output=json", name], folder,
                     False)
        if p.returncode:
            raise Fault(f"info: {p.stderr.decode()}")
        found = json.loads(p.stdout)
        for key in ("actual-size", "filename", "full-backing-filename"):
            found.pop(key, None)
        for s in found.get("snapshots", []):
            for key in ("date-sec", "date-nsec"):
                s.pop(key)
        return found

    def map_of(self, folder):
        p = self.run("qemu-img", ["map", "--output=json", image.TOP], folder,
                     False)
        if p.returncode:
            return p.stderr.decode()
        out = []
        for e in json.loads(p.stdout):
            e.pop("offset", None)
            # holes in the file below are the kernel's, and lost in a copy
            e["zero"] &= not e["data"]
            start, length = e.pop("start"), e.pop("length")
            if out and out[-1][2] == e:
                out[-1][1] += length
            else:
                out.append([start, length, e])
        return out

    def check_of(self, folder, name):
        p = self.run("qemu-img", ["check", "-f", "qcow2", "--output=json",
                                  name], folder, False)
        found = {}
        if p.stdout:
            found = {k: v for k, v in json.loads(p.stdout).items()
                     if k in ("leaks", "corruptions", "check-errors")}
        return p.returncode, found, (p.stdout + p.stderr).decode()[-800:]

    def content(self, folder, snapshot=()):
        """What the guest sees, read in the folder: QEMU looks for a data file
        in its working directory."""
        out = os.path.join(folder, "guest.out")
        p = self.run("qemu-img", ["convert", "-f", "qcow2", "-O", "raw",
                                  *snapshot, image.TOP, out], folder, False)
        if p.returncode:
            return p.stderr
        with open(out, "rb") as f:
            data = f.read()
        os.unlink(out)
        return data

    def same_guest(self):
        if self.features["data"] != "none":
            data = [self.content(d) for d in self.dirs]
            if data[0] != data[1]:
                raise Fault("the guest sees other content")
            return
        p = self.run("qemu-img", ["compare", "-f", "qcow2", "-F", "qcow2"] +
                     [os.path.join(d, image.TOP) for d in self.dirs],
                     self.dirs[0], False)
        if p.returncode or b"ismatch" in p.stdout:
            raise Fault("content: " + (p.stdout + p.stderr).decode())

    def look(self, snapshots, free_map=False):
        a, b = self.dirs
        self.same_guest()
        names = [image.TOP] + [n for n in image.BELOW
                               if os.path.exists(os.path.join(a, n))]
        for name in names:
            ca = self.check_of(a, name) if not name.endswith(".raw") else None
            if ca and ca[0]:
                cb = self.check_of(b, name)
                if ca[:2] != cb[:2]:
                    raise Fault(f"check {name}: ours {ca}, theirs {cb}")
            if name != image.TOP and snapshots:
                p = self.run("qemu-img", ["compare", "-q",
                                          os.path.join(a, name),
                                          os.path.join(b, name)], a, False)
                if p.returncode:
                    raise Fault(f"content of {name}")
        infos = [self.info_of(d, image.TOP) for d in (a, b)]
        if infos[0] != infos[1]:
            raise Fault(f"info: ours {infos[0]}\ntheirs {infos[1]}")
        self.info = infos[1]
        maps = [self.map_of(d) for d in (a, b)]
        if maps[0] != maps[1] and not free_map:
            raise Fault(f"map: ours {maps[0]}\ntheirs {maps[1]}")
        if snapshots:
            self.look_at_snapshots()

    def look_at_snapshots(self):
        for s in self.info.get("snapshots", []):
            data = [self.content(d, ["-l", f"snapshot.id={s['id']}"])
                    for d in self.dirs]
            if data[0] != data[1]:
                raise Fault(f"content of snapshot {s['name']}")

    def equal_bytes(self):
        data = []
        for d in self.dirs:
            with open(os.path.join(d, image.TOP), "rb") as f:
                data.append(f.read())
        return data[0] == data[1]


def absent_commands():
    """Those that the front does not have."""
    found = set()
    for name in sorted(ops.COMMANDS):
        p = subprocess.run(["qemu-img", name, "x"], executable=shutil.which(
            shlex.split(OURS)[0]), capture_output=True, text=True,
                           check=False)
        if "not supported by byre" in p.stderr and f"'{name}'" in p.stderr:
            found.add(name)
    return found


def run_seed(seed, steps, keep, absent, only, want=None):
    """(seed, fault or None, Counter of (operation, feature), statistics). With
    `want` the seed is one more number to the pair's name."""
    root = os.path.realpath(tempfile.mkdtemp(prefix="byre-sequence-"))
    counts, tried, fault = collections.Counter(), collections.Counter(), None
    pair = Pair(f"{seed} {' '.join(want)}" if want else seed, root, want)
    try:
        pair.make()
        while pair.steps < steps:
            name = ops.choose(pair, absent, only)
            pair.step_name = name
            pair.log.append(f"# {pair.steps}: {name}")
            done = ops.OPS[name][1](pair)
            if done is None:
                pair.log.append("# makes no sense now, or is refused")
                pair.idle += 1
                if pair.idle > 200:
                    break
                continue
            if name != "io":
                pair.steps += 1
            tried[name] += 1
            pair.look(pair.steps % 4 == 0 or pair.steps >= steps,
                      name == "convert-n" or pair.free_map)
            if done:
                for f in pair.features.items():
                    counts[name, f"{f[0]}={f[1]}"] += 1
            pair.same_bytes += pair.equal_bytes()
    except GenuineHangs:
        pair.refusals["genuine qemu-img does not end"] += 1
    except Fault as e:
        fault = f"after {pair.step_name}: {e}"
    except Exception:  # pylint: disable=broad-except
        fault = "BROKEN: " + traceback.format_exc()
    if fault:
        shown = " ".join(f"{k}={v}" for k, v in pair.features.items())
        fault = f"{shown}\n  {fault}\n  " + "\n  ".join(pair.log)
    if not fault or not keep:
        shutil.rmtree(root, ignore_errors=True)
    else:
        fault += f"\n  kept in {root}"
    return seed, fault, counts, tried, pair.refusals, pair.same_bytes


def valid_pairs(absent):
    for op in ops.OPS:
        if ops.OPS[op][0] in absent:
            continue
        for dim, values in image.DIMS.items():
            for v in values:
                f = f"{dim}={v}"
                if not any(re.fullmatch(o, op) and re.fullmatch(x, f)
                           for o, x, _ in IMPOSSIBLE):
                    yield op, f


def print_table(counts, absent):
    features = [f"{d}={v}" for d, vs in image.DIMS.items() for v in vs]
    valid = set(valid_pairs(absent))
    print("successes, operation by feature (-: impossible):")
    for i in range(max(map(len, features))):
        print(" " * 16 + "".join((f + " " * 20)[i].rjust(5)
                                 for f in features))
    for op in ops.OPS:
        if ops.OPS[op][0] not in absent:
            print(op.ljust(16) + "".join(
                (str(counts[op, f]) if (op, f) in valid else "-").rjust(5)
                for f in features))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--sequences", type=int, default=12)
    p.add_argument("--first", type=int,
                   default=int(os.environ.get("BYRE_SEED", "1")))
    p.add_argument("--seed", type=int, action="append",
                   help="run this one (again)")
    p.add_argument("--want", help="with --seed: a sequence for OPERATION,"
                   "DIMENSION=VALUE (again)")
    p.add_argument("--steps", type=int, default=STEPS)
    p.add_argument("--jobs", type=int, default=os.cpu_count())
    p.add_argument("--keep", action="store_true")
    p.add_argument("--only", default="", help="operations, by commas")
    p.add_argument("--stop", type=int, default=10)
    p.add_argument("--require-pairs", action="store_true")
    args = p.parse_args()
    absent = absent_commands()
    if absent:
        print("not in the front: " + " ".join(sorted(absent)))
    only = set(args.only.split(",")) - {""}
    if args.want:
        print(run_seed(args.seed[0], args.steps, args.keep, absent, only,
                       tuple(args.want.split(",")))[1])
        return
    seeds = args.seed or range(args.first, args.first + args.sequences)
    counts, tried = collections.Counter(), collections.Counter()
    refusals = collections.Counter()
    failed = done = same = 0
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        todo = [(s, None) for s in seeds]
        for more in range(1, MORE + 2):
            jobs = {pool.submit(run_seed, s, args.steps, args.keep, absent,
                                only, w): w for s, w in todo}
            for job in concurrent.futures.as_completed(jobs):
                if job.cancelled():
                    continue
                seed, fault, c, t, r, n = job.result()
                refusals.update(r)
                done += 1
                counts.update(c)
                tried.update(t)
                same += n
                if fault:
                    failed += 1
                    wanted = " --want " + ",".join(jobs[job]) \
                        if jobs[job] else ""
                    print(f"FAIL: seed {seed}{wanted}: {fault}\n", flush=True)
                    if failed == args.stop:
                        for other in jobs:
                            other.cancel()
            empty = [x for x in valid_pairs(absent) if not counts[x]]
            if not args.require_pairs or failed >= args.stop or not empty:
                break
            # rare ones get sequences of their own
            todo = [(more, x) for x in empty]
    for why, n in refusals.most_common():
        print(f"refused {n} times: {why}")
    if args.require_pairs:
        print_table(counts, absent)
        for op, f in empty:
            print(f"empty: {op} x {f}")
    print(f"{done} sequences, {sum(tried.values())} steps, {failed} failed; "
          f"{same} times the files were equal to the byte; "
          f"{len(empty)} pairs empty")
    sys.exit(1 if failed or (args.require_pairs and empty) else 0)


if __name__ == "__main__":
    main()
