# SPDX-License-Identifier: MIT
"""What must hold after both programs did the same."""

import json
import os

from .tools import (QEMU_IMG, Mismatch, allocated, must, run, same_bytes,
                    unholy_zeros)

SLACK = 65536


def must_pass(prog, args, cwd, log):
    done = run(prog, args, cwd, log)
    if done.rc != 0:
        raise Mismatch(str(done))
    return done


def equal_files(a, b, what, padded=False):
    """padded: O_DIRECT may have left the end aligned."""
    off = same_bytes(a, b)
    if off is None:
        return
    if padded and off >= min(os.path.getsize(a), os.path.getsize(b)):
        return
    raise Mismatch(f"{what} differ at {off} (sizes {os.path.getsize(a)} "
                   f"and {os.path.getsize(b)})")


def same_guest(fmt, name, dirs, log):
    """Both images of that name, as genuine qemu-img reads them, each from its
    own folder (a data file is searched in the working directory)."""
    for d in dirs:
        must_pass(QEMU_IMG, ["convert", "-f", fmt, "-O", "raw", name,
                             "guest.raw"], d, log)
    equal_files(*(os.path.join(d, "guest.raw") for d in dirs),
                "guest contents")
    a, b = (os.path.join(d, name) for d in dirs)
    done = run(QEMU_IMG, ["compare", "-f", fmt, "-F", fmt, a, b],
               dirs[1], log)
    if done.rc != 0:
        raise Mismatch(f"not identical: {done}")


def described(folder, name, fmt, log):
    """Genuine info of an image, without what may differ."""
    done = must(QEMU_IMG, ["info", "-f", fmt, "--output=json", name], folder,
                log)
    text = json.loads(done.out)
    text.pop("actual-size")
    return text


def fresh_raw(case, a, b):
    """The rules for a raw file that did not exist before."""
    if case["S"] == "default" and case["rawpre"] == "off" \
            and case["C"] == "no":
        off = unholy_zeros(b)
        if off is not None:
            raise Mismatch(f"the zeros at {off} are no hole")
    sparse = case["S"] != "0" and case["rawpre"] == "off"
    # a larger -S asks for fewer and longer runs of data
    fine = case["S"] in ("default", "512", "4k") and sparse \
        and case["C"] == "no"
    if fine and allocated(b) > allocated(a) + SLACK:
        raise Mismatch(f"{allocated(b)} bytes allocated, "
                       f"qemu-img: {allocated(a)}")
    if not sparse and allocated(b) + SLACK < os.path.getsize(b) \
            and allocated(a) >= os.path.getsize(a):
        raise Mismatch(f"only {allocated(b)} bytes allocated")


def raw_output(case, plan, dirs, log):
    del log
    a, b = (os.path.join(d, plan.out) for d in dirs)
    if case.get("to") in ("n", "n-zero") and case["t"] in ("none",
                                                           "directsync"):
        # qemu-img's O_DIRECT leaves an existing target longer than it was
        equal_files(a, b, "raw outputs", True)
        return
    if os.path.getsize(a) != os.path.getsize(b):
        raise Mismatch(f"{os.path.getsize(b)} bytes, qemu-img: "
                       f"{os.path.getsize(a)}")
    equal_files(a, b, "raw outputs")
    if case["op"] == "raw" and case["to"] in ("fresh", "over"):
        fresh_raw(case, a, b)


def qcow2_output(case, plan, dirs, log):
    a, b = (os.path.join(d, plan.out) for d in dirs)
    must_pass(QEMU_IMG, ["check", "-f", "qcow2", plan.out], dirs[1], log)
    one, two = (described(d, plan.out, "qcow2", log) for d in dirs)
    if one != two:
        raise Mismatch(f"info of the outputs:\n    {one}\n    {two}")
    same_guest("qcow2", plan.out, dirs, log)
    direct = case["t"] in ("none", "directsync")
    if deterministic(case):
        equal_files(a, b, "qcow2 outputs", direct)
        for name in plan.extra:
            equal_files(*(os.path.join(d, name) for d in dirs), name)
    if case["c"] == "yes" and case["qback"] == "none" \
            and os.path.getsize(b) > os.path.getsize(a) * 1.02 + SLACK:
        raise Mismatch(f"{os.path.getsize(b)} bytes compressed, qemu-img: "
                       f"{os.path.getsize(a)}")


def grown_guest(plan, ours, src, log):
    """The old guest, cut or followed by zeros. (qemu-img's own preallocation
    may show what lay in freed clusters, so it is no oracle here.)"""
    guest, want = (os.path.join(ours, n) for n in ("guest.raw", "want.raw"))
    must_pass(QEMU_IMG, ["convert", "-f", "qcow2", "-O", "raw", plan.out,
                         guest], ours, log)
    must(QEMU_IMG, ["convert", "-f", "qcow2", "-O", "raw", src.name, want],
         src.folder, log)
    os.truncate(want, os.path.getsize(guest))
    equal_files(want, guest, "guest contents before and after")


def resized(case, plan, dirs, src, log):
    if src.fmt == "raw":
        raw_output(case, plan, dirs, log)
        return
    results = [run(QEMU_IMG, ["check", "-f", "qcow2", plan.out], d, log)
               for d in dirs]
    if results[1].rc not in (0, results[0].rc):
        raise Mismatch(f"the image is not clean: {results[1]}")
    one, two = (described(d, plan.out, "qcow2", log) for d in dirs)
    if one != two:
        raise Mismatch(f"info after resize:\n    {one}\n    {two}")
    grown_guest(plan, dirs[1], src, log)
    if src.snapshot:
        for d in dirs:
            must(QEMU_IMG, ["convert", "-O", "raw", "-l", src.snapshot,
                            plan.out, "snap.raw"], d, log)
        equal_files(*(os.path.join(d, "snap.raw") for d in dirs),
                    "snapshots after resize")


REFUSED = "refused by us, by name"

# What is not offered: the features of the case, and what must be said.
NOT_OFFERED = [
]


def refused_by_name(case, ours):
    return any(all(case[d] == v for d, v in when.items())
               and text in ours.err for when, text in NOT_OFFERED)


def qemu_falters(case, theirs):
    """Preallocation at the end of some images asks qemu-img's own file layer
    for a shorter file, which it refuses."""
    return case["op"] == "resize" and "preallocation for shrinking files" \
        in theirs.err


def deterministic(case):
    """Does qemu-img's layout follow from the content alone, and ours be the
    same? Over a backing file, what is written and what is left to it depends
    on the sizes of requests, and so do zeros that -S makes data of; in targets
    with 512-byte clusters it shows where the reads begin, which differs with
    several sources and with -S 0; an empty image is not preallocated by us."""
    if case["op"] == "create":
        return True
    return not (case["c"] == "yes" or case["W"] == "yes" or case["C"] == "yes"
                or case["qback"] != "none" or case["S"] in ("64k", "1M")
                or (case["qcs"] == "512"
                    and (case["nsrc"] != "1" or case["S"] == "0"))
                or (case["size"] == "empty" and case["qpre"] != "off"))


def judge(case, plan, dirs, src, results, log):
    """results: what both programs said; raises Mismatch. REFUSED, or None
    when all is well."""
    theirs, ours = results
    if theirs.rc == 0 and ours.rc == 1 and refused_by_name(case, ours):
        return REFUSED
    if ours.rc == 0 and qemu_falters(case, theirs):
        return theirs.err.strip()
    if theirs.rc != ours.rc:
        raise Mismatch(f"exit codes: {theirs}\n  {ours}")
    if theirs.rc != 0:
        if not ours.err.strip():
            raise Mismatch(f"fails without a word: {ours}")
        return None
    if ours.out != theirs.out and case.get("say") != "-p":
        raise Mismatch(f"standard outputs: {theirs}\n  {ours}")
    if ours.err and not theirs.err:
        raise Mismatch(f"speaks on success: {ours}")
    if case["op"] == "resize":
        resized(case, plan, dirs, src, log)
    elif plan.out and plan.fmt == "raw":
        raw_output(case, plan, dirs, log)
    elif plan.out:
        qcow2_output(case, plan, dirs, log)
    return None


def native(byre, rng, case, plan, dirs, src, log):
    """Answers that only the native program gives: the digest of one content
    in several forms, and bytes that do not depend on workers or engine."""
    if case["op"] not in ("raw", "qcow2") or case["nsrc"] != "1" \
            or case["snapl"] == "yes":
        return
    top = "../src/" + src.name
    forms = [(src.fmt, top)]
    if not plan.backed and case["to"] in ("fresh", "over"):
        forms.append((plan.fmt, plan.out))
    sums = set()
    for fmt, name in forms:
        done = must_pass(byre, ["digest", "--trusted", "-f", fmt, name],
                         dirs[1], log)
        sums.add(done.out.split()[0])
    if len(sums) != 1:
        raise Mismatch(f"digests of {forms}: {sums}")
    kinds = [["-m", "1", "--engine=threads"], ["-m", "8", "--engine=threads"],
             ["-m", "2", "--engine=uring"]]
    fmt = ["raw"] if case["op"] == "raw" else ["qcow2"]
    if case["op"] == "qcow2" and rng.random() < 0.5:
        fmt.append("-c")
    first = None
    for i, how in enumerate(kinds):
        name = f"native{i}.img"
        done = run(byre, ["convert", "--trusted", "-f", src.fmt, "-O", *fmt,
                          *how, top, name], dirs[1], log)
        if done.rc != 0 and "uring" in how[-1] and "uring" in done.err:
            continue
        if done.rc != 0:
            raise Mismatch(f"native convert: {done}")
        path = os.path.join(dirs[1], name)
        if first:
            equal_files(first, path, f"native outputs ({' '.join(how)})")
        first = first or path
