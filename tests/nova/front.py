#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Nova's image back end with byre as the qemu-img on its PATH.

The same work, once with genuine qemu-img and once with byre's front: images
are fetched and converted, disks made of them (Qcow2 and Flat), cached ahead,
and looked at by the cache manager. What is on the disk afterwards must be the
same to the byte (but for times), and so must be what Nova read.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beside  # noqa: E402

BYRE = os.path.join(os.environ.get("top_builddir", os.getcwd()), "byre")
M, G = 1 << 20, 1 << 30
IDS = [str(uuid.UUID(int=0xb17e0000 + n)) for n in range(5)]
# for each image: disks, flat or not, and their sizes
JOBS = [[(False, 64 * M)], [], [(True, 40 * M), (False, 1 * M)],
        [(False, 64 * M)]]
if os.environ.get("BYRE_CHECK_LONG") == "1":
    JOBS = [[(flat, size) for flat in (False, True)
             for size in (64 * M, 40 * M if flat else 20 * G, 0, 1 * M)]] * 4


def make_images(tmp):
    """id: (path, format, what Nova makes of it)"""
    raw = os.path.join(tmp, "raw")
    with open(raw, "wb") as f:
        f.write(b"what a guest has\n" * 150000)
        f.seek(9 * M)
        f.write(b"its end\n" * 1000)
        f.truncate(12 * M)
    found = {IDS[0]: (raw, "raw")}
    for image_id, opts in ((IDS[1], []), (IDS[2], ["-c"]), (IDS[4], [])):
        path = os.path.join(tmp, image_id)
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", *opts, raw,
                        path], check=True)
        found[image_id] = (path, "qcow2")
    # one that Nova refuses
    path = os.path.join(tmp, IDS[3])
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", raw, "-F",
                    "raw", path], check=True)
    found[IDS[3]] = (path, "qcow2")
    return found


def work(tmp, found):
    """Nova's part, in a process of its own; what it saw goes to a file."""
    inst = os.path.join(tmp, "instances")
    os.makedirs(os.path.join(inst, "locks"))
    compute = beside.Compute(inst, os.path.join(tmp, "state"), 600)
    compute.glance.images.update(found)
    images, seen = compute.nova.images, []
    for n, image_id in enumerate(IDS[:4]):
        for flat, size in JOBS[n]:
            u = str(uuid.UUID(int=n << 48 | flat << 36 | size))
            try:
                path = compute.spawn(u, image_id, size, flat=flat)
                info = images.qemu_img_info(path)
                seen.append((u, info.file_format, info.virtual_size,
                             info.backing_file))
                compute.records.add(u, image_id)
            except Exception as e:
                seen.append((u, type(e).__name__))
    # one that is there, one that nobody uses, which the manager removes
    for image_id in (IDS[1], IDS[4]):
        seen.append(compute.cache_ahead(image_id))
    os.utime(os.path.join(
        inst, "_base", compute.nova.imagecache.get_cache_fname(IDS[4])), (0, 0))
    compute.manage()
    with open(os.path.join(tmp, "seen"), "w", encoding="utf-8") as f:
        f.write("\n".join(map(str, seen)) + "\n")


def listing(top):
    """name: (kind, size, digest)"""
    found = {}
    for path, dirs, files in os.walk(top):
        for name in dirs:
            found[os.path.relpath(os.path.join(path, name), top)] = "directory"
        for name in files:
            full = os.path.join(path, name)
            digest = hashlib.sha256()
            with open(full, "rb") as f:
                for chunk in iter(lambda: f.read(M), b""):
                    digest.update(chunk)
            found[os.path.relpath(full, top)] = (os.path.getsize(full),
                                                 digest.hexdigest())
    return found


def wrap(folder, program):
    """A qemu-img that notes how it is called."""
    os.mkdir(folder)
    path = os.path.join(folder, "qemu-img")
    with open(path, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/sh\necho "$*" >>{folder}/calls\n'
                f'exec {program} "$@"\n')
    os.chmod(path, 0o755)


def run(tmp, found, folder):
    pid = os.fork()
    if pid == 0:
        os.environ["PATH"] = folder + ":" + os.environ["PATH"]
        status = 1
        try:
            work(tmp, found)
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("Nova's part failed")
    with open(os.path.join(tmp, "seen"), encoding="utf-8") as f:
        seen = f.read()
    with open(os.path.join(folder, "calls"), encoding="utf-8") as f:
        calls = f.read()
    return seen, calls, listing(os.path.join(tmp, "instances"))


def main():
    genuine = shutil.which("qemu-img")
    if genuine is None or not os.access(BYRE, os.X_OK):
        print("no genuine qemu-img, or no byre")
        return 77
    if os.environ.get("BYRE_SANITIZED") == "1":
        print("Nova limits the address space, which the sanitizers need")
        return 77
    try:
        beside.find_nova()
    except beside.Missing as e:
        print(e)
        return 77
    with tempfile.TemporaryDirectory(prefix="byre-nova.") as tmp:
        os.mkdir(os.path.join(tmp, "front"))
        front = os.path.join(tmp, "front", "qemu-img")
        os.symlink(BYRE, front)
        found = make_images(tmp)
        answers = []
        for name, program in (("genuine", genuine), ("byre", front)):
            folder = os.path.join(tmp, name)
            wrap(folder, program)
            place = os.path.join(tmp, "work")
            answers.append(run(place, found, folder))
            shutil.rmtree(place)
    bad = 0
    for what, a, b in zip(("what Nova saw", "Nova's calls"), *answers):
        if a != b:
            bad += 1
            print(f"{what}, genuine:\n{a}\nwith byre:\n{b}", file=sys.stderr)
    want, got = answers[0][2], answers[1][2]
    for name in sorted({*want, *got}):
        if want.get(name) != got.get(name):
            bad += 1
            print(f"{name}: genuine {want.get(name)}, byre {got.get(name)}",
                  file=sys.stderr)
    print(f"{len(answers[0][1].splitlines())} calls of qemu-img, "
          f"{len(want)} files")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
