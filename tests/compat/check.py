#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qemu-img check and byre's front look at the same damage.

Images of every kind are made with genuine qemu-img and qemu-io; then bytes of
their metadata are changed, each damage by its name. Both programs check a
copy, and mend one with -r leaks and -r all: output, messages, exit status, and
what genuine check says of the mended images must be the same, as must the
guest's bytes.

check.py [IMAGE [DAMAGE]] runs those alone. BYRE_CHECK_LONG=1: every damage on
every image, and many more random ones.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from damage import DAMAGES, Image, Inapplicable  # noqa: E402

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
SANITIZED = os.environ.get("BYRE_SANITIZED") == "1"
SEED = int(os.environ.get("BYRE_SEED", "1"))
PER_DAMAGE = 1  # images, unless LONG
RANDOM = 2000 if LONG else 4 if SANITIZED else 25

PLAIN = ["write -P 1 0 96k", "write -P 2 300k 20k", "write -z 200k 64k",
         "discard 16k 16k", "write -P 3 900k 4k"]
PACKED = ["write -c -P 4 512k 64k", "write -c -P 5 576k 64k"]

# name: (create options, size, qemu-io commands, extras)
IMAGES = {
    "plain": ("cluster_size=4k", "1M", PLAIN + PACKED, ""),
    "64k": ("", "3M", PLAIN + PACKED, ""),
    "512": ("cluster_size=512", "1M", PLAIN + ["write -c -P 4 512k 512"], ""),
    "2M": ("cluster_size=2M", "20M", PLAIN, ""),
    "v2": ("compat=0.10,cluster_size=4k", "1M", PLAIN[:2] + PACKED, ""),
    "lazy": ("lazy_refcounts=on,cluster_size=4k", "1M", PLAIN, "dirty"),
    "rc1": ("refcount_bits=1,cluster_size=4k", "1M", PLAIN, ""),
    "rc2": ("refcount_bits=2,cluster_size=1k", "1M", PLAIN, "snap"),
    "rc4": ("refcount_bits=4,cluster_size=4k", "1M", PLAIN +
            ["write -c -P 4 512k 4k"], "snap"),
    "rc8": ("refcount_bits=8,cluster_size=512", "1M", PLAIN, "snap"),
    "rc32": ("refcount_bits=32,cluster_size=4k", "1M", PLAIN, "snap"),
    "rc64": ("refcount_bits=64,cluster_size=512", "1M", PLAIN, ""),
    "extl2": ("extended_l2=on,cluster_size=16k", "1M", PLAIN +
              ["write -c -P 4 512k 16k"], ""),
    "extl2snap": ("extended_l2=on,cluster_size=16k", "1M", PLAIN, "snap"),
    "snaps": ("cluster_size=4k", "1M", PLAIN + PACKED, "snap2"),
    "v2snap": ("compat=0.10,cluster_size=4k", "1M", PLAIN[:2], "snap"),
    "zstd": ("compression_type=zstd,cluster_size=4k", "1M", PACKED, ""),
    "data": ("data_file=d.data,cluster_size=4k", "1M", PLAIN, "data"),
    "bitmap": ("cluster_size=4k", "1M", PLAIN, "bitmap"),
    "bitmapuse": ("cluster_size=4k", "1M", PLAIN, "bitmapuse"),
    "empty": ("", "0", [], ""),
    "falloc": ("preallocation=metadata,cluster_size=4k", "1M", PLAIN[:1], ""),
    "backed": ("cluster_size=4k", "1M", PLAIN, "backing"),
}


def run(*args, cwd=None, ok=None):
    p = subprocess.run(args, capture_output=True, cwd=cwd, check=False,
                       stdin=subprocess.DEVNULL)
    if ok is not None and p.returncode not in ok:
        sys.exit(f"{' '.join(args)}: exit {p.returncode}\n"
                 f"{p.stderr.decode(errors='replace')}")
    return p


def make(folder, kind):
    opts, size, io, extra = IMAGES[kind]
    path = "x.qcow2"
    cmd = ["qemu-img", "create", "-q", "-f", "qcow2"]
    if opts:
        cmd += ["-o", opts]
    if extra == "backing":
        with open(os.path.join(folder, "base"), "wb") as f:
            f.write(b"\x42" * 500000)
        cmd += ["-b", "base", "-F", "raw"]
    run(*cmd, path, size, cwd=folder, ok=(0,))

    def commands(lines):
        if lines:
            run("qemu-io", "-f", "qcow2",
                *(x for c in lines for x in ("-c", c)), path, cwd=folder,
                ok=(0, 1))
    commands(io)
    if extra.startswith("snap"):
        run("qemu-img", "snapshot", "-c", "one", path, cwd=folder, ok=(0,))
        commands(["write -P 6 40k 20k"])
    if extra == "snap2":
        run("qemu-img", "snapshot", "-c", "two", path, cwd=folder, ok=(0,))
        commands(["write -P 7 60k 20k"])
    if extra.startswith("bitmap"):
        run("qemu-img", "bitmap", "--add", "-g", "512", path, "b0",
            cwd=folder, ok=(0,))
        commands(["write -P 8 100k 8k"])
        run("qemu-img", "bitmap", "--add", path, "b1", cwd=folder, ok=(0,))
    if extra == "dirty":
        run("qemu-io", "-f", "qcow2", "-c", "write -P 9 700k 9k", "-c",
            "abort", path, cwd=folder)
    with open(os.path.join(folder, path), "rb") as f:
        return f.read()


class Pair:
    """Two folders, the same image in both."""

    def __init__(self, tmp, made, front):
        self.dirs = [os.path.join(tmp, n) for n in ("theirs", "ours")]
        self.tools = [["qemu-img"], front]
        for d in self.dirs:
            shutil.rmtree(d, ignore_errors=True)
            shutil.copytree(made, d)

    def put(self, data):
        for d in self.dirs:
            with open(os.path.join(d, "x.qcow2"), "wb") as f:
                f.write(data)

    def both(self, *args):
        """One line for what differs, or None; and their answer."""
        a, b = (run(*t, *args, "x.qcow2", cwd=d)
                for t, d in zip(self.tools, self.dirs))
        for what in ("returncode", "stdout", "stderr"):
            x, y = (told(p) if what == "stderr" else getattr(p, what)
                    for p in (a, b))
            if x != y:
                return f"{' '.join(args)}: {what}:\n{show(x)}\n--- ours:\n" \
                    f"{show(y)}", a
        return None, a

    def same_after(self, moved):
        """Genuine check of both mended images, and the guest's bytes."""
        a, b = (run("qemu-img", "check", "-f", "qcow2", "x.qcow2", cwd=d)
                for d in self.dirs)
        if b.returncode == 0 and a.returncode in (0, 2, 3) and moved:
            return None
        if (a.returncode, a.stderr) != (b.returncode, b.stderr):
            return f"genuine check afterwards: {a.returncode}\n" \
                f"{show(a.stderr)}\n--- ours: {b.returncode}\n{show(b.stderr)}"
        if a.returncode == 0 and a.stdout != b.stdout:
            return f"genuine check afterwards:\n{show(a.stdout)}\n--- ours:\n" \
                f"{show(b.stdout)}"
        a, b = (run("qemu-img", "convert", "-f", "qcow2", "-O", "raw",
                    "x.qcow2", "guest", cwd=d) for d in self.dirs)
        if b.returncode and not a.returncode:
            return "the guest's bytes cannot be read"
        if a.returncode == 0 and run("cmp", *(os.path.join(d, "guest")
                                              for d in self.dirs)).returncode:
            return "the guest sees other bytes"
        return None


def told(p):
    """What was said, but for what QEMU says of its own faults."""
    return b"".join(line for line in p.stderr.splitlines(True)
                    if b"qcow2_free_clusters failed" not in line)


def show(x):
    if isinstance(x, bytes):
        lines = x.decode(errors="replace").splitlines()
        if len(lines) > 24:
            lines = lines[:12] + [f"... {len(lines)} lines"] + lines[-11:]
        return "\n".join("    " + line for line in lines)
    return str(x)


def judge(pair, data, stores_bitmaps):
    pair.put(data)
    why, said = pair.both("check", "-f", "qcow2", "--output=json")
    if why:
        return why
    for how in ("leaks", "all"):
        pair.put(data)
        why, said = pair.both("check", "-f", "qcow2", "-r", how)
        # genuine qemu-img stores bitmaps anew when it closes an image, by
        # whatever refcounts there are
        # and drops what it did not write yet of an image that it finds to be
        # beyond help
        if not why and (not stores_bitmaps or said.returncode == 0) and \
                b"Marking image as corrupt" not in said.stderr:
            why = pair.same_after(stores_bitmaps)
        # a file of 2^31 clusters is not made
        if why and b"Lost persistent bitmaps" not in said.stderr and \
                b"Check failed: File too large" not in said.stderr:
            return f"-r {how}: {why}"
    if said.returncode == 0 or not LONG:
        return None
    pair.put(data)
    return pair.both("check")[0]


def shake(img, rng):
    """Random bytes of the metadata become random."""
    spots = img.metadata()
    data = bytearray(img.data)
    for _ in range(rng.choice([1, 1, 1, 2, 5, 20])):
        at, size = rng.choice(spots)
        pos = at + rng.randrange(size)
        if pos >= len(data):
            continue
        how = rng.random()
        if how < 0.5:
            data[pos] ^= 1 << rng.randrange(8)
        elif how < 0.7:
            data[pos] = rng.randrange(256)
        else:
            src, n = rng.choice(spots)
            src += rng.randrange(n)
            chunk = data[src & ~7:(src & ~7) + 8]
            data[pos & ~7:(pos & ~7) + len(chunk)] = chunk
    if rng.random() < 0.1:
        del data[rng.randrange(len(data) // 2, len(data)):]
    return bytes(data)


class Main:
    def __init__(self, tmp, front):
        self.tmp, self.front = tmp, front
        self.made, self.failed, self.count = {}, 0, 0

    def image(self, kind):
        if kind not in self.made:
            folder = os.path.join(self.tmp, "made-" + kind)
            os.mkdir(folder)
            self.made[kind] = folder, make(folder, kind)
        return self.made[kind]

    def one(self, kind, name, change):
        folder, data = self.image(kind)
        if kind.startswith("bitmap") and name.startswith("snapshots-"):
            return False  # qemu-img itself gives up the table then
        try:
            data = change(Image(data))
        except Inapplicable:
            return False
        why = judge(Pair(self.tmp, folder, self.front), bytes(data),
                    kind.startswith("bitmap"))
        self.count += 1
        if why:
            self.failed += 1
            print(f"FAIL: {kind} {name}: {why}", flush=True)
        return True

    def named(self, kinds, names):
        rng = random.Random(SEED)
        for name in names:
            done = 0
            order = list(kinds)
            if len(order) > 1 and not LONG:
                rng.shuffle(order)
            for kind in order:
                done += self.one(kind, name, DAMAGES[name])
                if done == PER_DAMAGE and not LONG and len(kinds) > 1:
                    break
            if not done:
                print(f"FAIL: no image can have {name}")
                self.failed += 1

    def shaken(self, kinds):
        for seed in range(SEED, SEED + RANDOM):
            rng = random.Random(seed)
            kind = rng.choice(kinds)
            self.one(kind, f"random {seed}", lambda i, r=rng: shake(i, r))


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        print("SKIP: no genuine qemu-img and qemu-io")
        return 77
    top = os.environ.get("top_builddir", ".")
    front = [os.path.abspath(os.path.join(top, "byre")), "qemu-img"]
    args = sys.argv[1:]
    kinds = [args[0]] if args and args[0] != "all" else list(IMAGES)
    names = args[1:] or list(DAMAGES)
    with tempfile.TemporaryDirectory(prefix="byre-check-") as tmp:
        m = Main(tmp, front)
        if names[0] == "random":
            for seed in names[1:]:
                rng = random.Random(int(seed))
                kind = rng.choice(list(IMAGES))
                m.one(kind, f"random {seed}", lambda i: shake(i, rng))
        else:
            m.named(kinds, names)
            if not args:
                m.shaken(kinds)
        print(f"{m.count} damages, {m.failed} failed")
    return 1 if m.failed else 0


if __name__ == "__main__":
    sys.exit(main())
