#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every command that writes, on what a client of NFS lacks: no nameless files,
no rename that does not replace, no reflinks, no copies in the kernel, no
reservations and no punched holes, no map of the holes, no leases, no time of
birth (tests/crash/shim.c). It must leave the same files with the same bytes as
on a local file system, say the same, and leave nothing beside them.

And what a server may refuse besides: locks, and times of others' files.
"""

import concurrent.futures
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from inplace_cases import CASES  # noqa: E402

LONG = bool(os.environ.get("BYRE_CHECK_LONG"))
TOP = os.path.abspath(os.environ.get("top_builddir", "."))
SHIM = os.path.join(TOP, "tests/crash/.libs/shim.so")
BYRE = next((p for p in (os.path.join(TOP, ".libs/byre"),
                         os.path.join(TOP, "byre"))
             if os.access(p, os.X_OK)), None)

SOURCE = ["seq 1 60000 | head -c 300000 >src.raw", "truncate -s 3M src.raw",
          "seq 5 30000 | head -c 100000 >>src.raw",
          "truncate -s 4194816 src.raw",
          "qemu-img convert -c -f raw -O qcow2 src.raw src.qcow2"]
OLD = SOURCE + ["yes old | head -c 4194816 >old.raw",
                "qemu-img convert -f raw -O qcow2 old.raw old.qcow2"]
TALL = SOURCE + ["qemu-img create -q -f qcow2 -b src.qcow2 -F qcow2 top",
                 "qemu-io -f qcow2 -c 'write -P 5 1M 300k' "
                 "-c 'write -z 0 100k' top"]
BASE = SOURCE + ["mkdir i", "$BYRE cache ensure --instances i x "
                 "--from src.qcow2 -q"]
ROT = BASE + ["printf XX | dd of=$(ls -d i/_base/*) bs=1 seek=70000 "
              "conv=notrunc 2>/dev/null"]
IMG, IN = "qemu-img ", "--instances i"

# the command, what is there before, how many bytes may differ
NEW = [
    (IMG + "convert -f qcow2 -O raw src.qcow2 t", SOURCE),
    (IMG + "convert -f raw -O raw src.raw t", SOURCE),
    (IMG + "convert -f raw -O raw -S 0 src.raw t", SOURCE),
    (IMG + "convert -f raw -O qcow2 src.raw t", SOURCE),
    (IMG + "convert -c -f raw -O qcow2 src.raw t", SOURCE),
    (IMG + "convert -t none -T none -f qcow2 -O raw src.qcow2 t", SOURCE),
    (IMG + "convert -O qcow2 -o data_file=d,data_file_raw=on src.qcow2 t",
     SOURCE),
    *((IMG + f"convert -O {f} -o preallocation={p} src.qcow2 t", SOURCE)
      for f, p in (("raw", "falloc"), ("raw", "full"), ("qcow2", "metadata"),
                   ("qcow2", "falloc"), ("qcow2", "full"))),
    (IMG + "convert -O qcow2 top t", TALL),
    (IMG + "convert -f qcow2 -O raw src.qcow2 old.raw", OLD),
    (IMG + "convert -n -f qcow2 -O raw src.qcow2 old.raw", OLD),
    (IMG + "convert -n -f raw -O qcow2 src.raw old.qcow2", OLD),
    (IMG + "convert --target-is-zero -n -O raw src.qcow2 zero",
     SOURCE + ["truncate -s 4194816 zero"]),
    *((IMG + f"create -q -f {f} -o preallocation={p} t 3M", [])
      for f, p in (("raw", "off"), ("raw", "falloc"), ("raw", "full"),
                   ("qcow2", "off"), ("qcow2", "metadata"),
                   ("qcow2", "falloc"), ("qcow2", "full"))),
    (IMG + "create -q -f qcow2 -b src.qcow2 -F qcow2 t", SOURCE),
    (IMG + "dd -f raw -O raw bs=4k count=900 skip=3 if=src.raw of=t", SOURCE),
    (IMG + "dd -f qcow2 -O qcow2 bs=64k if=src.qcow2 of=t", SOURCE),
    *((IMG + f"resize -q -f raw --preallocation={p} src.raw 6M", SOURCE)
      for p in ("off", "falloc", "full")),
    (IMG + "resize -q -f raw --shrink src.raw 100k", SOURCE),
    *((IMG + f"resize -q -f qcow2 --preallocation={p} old.qcow2 6M", OLD)
      for p in ("off", "metadata", "falloc", "full")),
    (IMG + "rebase -b '' top", TALL),
    (IMG + "commit -q top", TALL),
    (IMG + "compare src.raw src.qcow2", SOURCE),
    (IMG + "check src.qcow2", SOURCE),
    ("digest src.raw", SOURCE),
    ("convert -O raw src.qcow2 t", SOURCE),
    ("create -f qcow2 -b src.qcow2 -F qcow2 t", SOURCE),
    ("resize -f qcow2 old.qcow2 9M", OLD),
    *((f"cache ensure {IN} y {how}", SOURCE + ["mkdir i"])
      for how in ("--from src.raw", "--from src.qcow2", "--kernel "
                  "--from src.raw", "--keep-qcow2 --from src.qcow2",
                  "--expect md5:$MD5 --from src.raw",
                  "--expect md5:$MD5 --from src.raw --kernel")),
    *((f"cache spawn {IN} x i/a/disk {how}", BASE)
      for how in ("", "--size 1G", "--flat --size 6M", "--flat --preallocate",
                  "--sized-base --size 1G",
                  "--from src.raw --flat --verify")),
    (f"cache spawn {IN} y i/a/disk --from src.qcow2 --keep-qcow2", BASE),
    (f"cache blank {IN} swap --size 2M", ["mkdir i"], 16),  # its UUID
    (f"cache verify {IN} x", BASE),
    (f"cache verify {IN} x --repair --from src.raw", ROT),
    (f"cache verify {IN} x --repair", ROT),
    (f"cache purge {IN} x", BASE),
    (f"cache clean -q {IN} --min-age 0", BASE),
    (f"cache clean -q {IN} --min-age 0",
     BASE + [f"$BYRE cache spawn {IN} x i/a/disk"]),
]


class Fault(Exception):
    """What differs."""


def sh(line, folder):
    env = dict(os.environ, BYRE=BYRE,
               LD_LIBRARY_PATH=os.path.join(TOP, ".libs"))
    p = subprocess.run(["sh", "-c", line], cwd=folder, env=env, check=False,
                       stdin=subprocess.DEVNULL, capture_output=True,
                       text=True)
    if p.returncode:
        raise Fault(f"cannot make it: {line}: {p.stderr}")


def byre(args, folder, deny):
    env = {k: v for k, v in os.environ.items() if not k.startswith("BYRE_")}
    env.update(LD_PRELOAD=SHIM, LD_LIBRARY_PATH=os.path.join(TOP, ".libs"),
               BYRE_SHIM_DIR=folder, BYRE_SHIM_DENY=deny, LC_ALL="C")
    p = subprocess.run([BYRE, *args], cwd=folder, env=env, check=False,
                       stdin=subprocess.DEVNULL, capture_output=True,
                       text=True, timeout=300)
    # what is in quarantine has a random name
    return p.returncode, re.sub(r"\.\d+\.[0-9a-f]{8}$", "", p.stdout,
                                flags=re.M), p.stderr


def tree(folder):
    """Path: mode and content. Records tell of inodes and times."""
    out = {}
    for path, _, files in os.walk(folder):
        if os.path.basename(path) == "records":
            continue
        for f in files:
            p = os.path.join(path, f)
            name = os.path.relpath(p, folder)
            if os.path.basename(path) == "quarantine":
                name = name.split(".byre")[0] + "quarantine"
            # what is compared is short; the rest of a long one is a hole
            with open(p, "rb") as g:
                out[name] = (os.stat(p).st_mode, os.stat(p).st_size,
                             g.read(16 << 20))
    return out


def differing(a, b):
    return sum(x != y for x, y in zip(a, b))


def compare(local, nfs, noise):
    if local[0] != nfs[0]:
        raise Fault(f"locally {local[0]}, with NFS {nfs[0]}")
    a, b = local[1], nfs[1]
    if a.keys() != b.keys():
        raise Fault(f"files: {sorted(a)}, with NFS: {sorted(b)}")
    for name in a:
        if a[name][:2] != b[name][:2]:
            raise Fault(f"{name}: {a[name][:2]}, with NFS {b[name][:2]}")
        if a[name][2] != b[name][2] and \
                differing(a[name][2], b[name][2]) > noise:
            raise Fault(f"{name}: other bytes with NFS")


def both(setup, args, noise):
    root = os.path.realpath(tempfile.mkdtemp(prefix="byre-nfs-"))
    try:
        w, start = os.path.join(root, "w"), os.path.join(root, "start")
        os.mkdir(w)
        for line in setup:
            sh(line, w)
        os.rename(w, start)
        results = []
        for deny in ("", "nfs"):
            # in the same place: names are absolute in disks and notes
            subprocess.run(["cp", "-a", "--sparse=always", start, w],
                           check=True)
            said = byre(args, w, deny)
            results.append((said, tree(w)))
            shutil.rmtree(w)
        compare(*results, noise)
        if results[0][0][0] not in (0, 4):
            raise Fault(f"fails everywhere: {results[0][0]}")
        return None
    except (Fault, OSError, subprocess.SubprocessError) as e:
        return str(e)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def jobs():
    for command, setup, *noise in NEW:
        if command.startswith("cache blank") and not shutil.which(
                "mkswap", path=os.environ["PATH"] + ":/sbin:/usr/sbin"):
            continue
        # with a digest to check, byre-fetch brings the source
        if "$MD5" in command:
            data = b"".join(b"%d\n" % i for i in range(1, 60001))[:300000]
            data = data.ljust(3 << 20, b"\0") + b"".join(
                b"%d\n" % i for i in range(5, 30001))[:100000]
            command = command.replace("$MD5", hashlib.md5(
                data.ljust(4194816, b"\0")).hexdigest())
        yield command, setup, shlex.split(command), sum(noise)
    names = [n for n, c in CASES.items()
             if not c.broken and (LONG or not c.long)]
    for name in names if LONG else names[::5]:
        # a snapshot has its time
        yield (name, CASES[name].setup, ["qemu-img"] + CASES[name].args,
               8 if "snapshot -c" in " ".join(CASES[name].args) else 0)


def refused():
    """What depends on the server."""
    root = os.path.realpath(tempfile.mkdtemp(prefix="byre-nfs-"))
    w = os.path.join(root, "w")
    try:
        os.mkdir(w)
        for line in SOURCE + ["mkdir i"]:
            sh(line, w)
        before = tree(w)
        for args in ("cache ensure --instances i x --from src.raw",
                     "cache spawn --instances i x i/a/disk --from src.raw"):
            code, _, err = byre(args.split(), w, "nfs,locks")
            if code != 1 or err.count("\n") != 1 or "cannot lock" not in err:
                return f"without locks: {args}: {code}: {err}"
            left = {n for n in tree(w) if n not in before
                    and "locks/" not in n}
            if left or "a" in os.listdir(os.path.join(w, "i")):
                return f"without locks: {args}: left {left}"
        # an image is used as QEMU uses it there
        code, _, err = byre("convert -O raw src.qcow2 t".split(), w,
                            "nfs,locks")
        if code or err:
            return f"convert without locks: {code}: {err}"
        sh("$BYRE cache ensure --instances i x --from src.raw -q", w)
        for args in ("cache ensure --instances i x --from src.raw",
                     "cache spawn --instances i x i/a/disk"):
            code, _, err = byre(args.split(), w, "nfs,touch")
            if code or "warning:" not in err or "cannot touch" not in err:
                return f"without touching: {args}: {code}: {err}"
        sh("rm -r i/a", w)
        code, _, err = byre("cache clean --instances i --min-age 0".split(),
                            w, "nfs,touch")
        if code != 1 or "cannot touch" not in err or err.count("\n") != 1:
            return f"clean without a clock: {code}: {err}"
        if sum(len(n) == len("i/_base/") + 40 for n in tree(w)) != 1:
            return "clean without a clock has removed a base"
        return None
    finally:
        shutil.rmtree(root, ignore_errors=True)


def skip(why):
    print("SKIP: " + why)
    sys.exit(77)


def main():
    if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
        skip("no genuine qemu-img and qemu-io")
    if not BYRE or not os.path.exists(SHIM):
        skip("byre or the shim was not built")
    with open(os.path.join(TOP, "tests/crash/probe"), "rb") as f:
        if b"__asan_init" in f.read():
            skip("a sanitizer's runtime has to come first")
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        todo = [(title, pool.submit(both, setup, args, noise))
                for title, setup, args, noise in jobs()]
        todo.append(("what a server refuses", pool.submit(refused)))
        for title, job in todo:
            if job.result():
                print(f"FAIL: {title}: {job.result()}")
                failed += 1
    print(f"{len(todo)} commands, {failed} differ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
