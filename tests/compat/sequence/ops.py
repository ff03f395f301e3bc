# SPDX-License-Identifier: MIT
"""The operations of a sequence. Each takes the pair, draws its arguments, and
returns True where both programs could, False where both refused, None where it
makes no sense now."""

import os
import pathlib

from . import image
from .image import TOP


def size_of(p):
    return p.info["virtual-size"]


def snapshots(p):
    return [s["name"] for s in p.info.get("snapshots", [])]


def data_of(p):
    return p.info["format-specific"]["data"]


def bitmaps(p):
    return [b["name"] for b in data_of(p).get("bitmaps", [])]


def below(p):
    return p.info.get("backing-filename")


def io(p):
    if not size_of(p):
        return None
    # a packed write fails over a cluster that is there: not where the two
    # copies may differ in that
    f = {**p.features, "packed": "no"} if p.free_map else p.features
    lines = image.writes(p.rng, f, size_of(p), p.rng.randint(1, 4))
    args = ["-f", "qcow2"]
    for line in lines:
        args += ["-c", line]
    p.each(args + [TOP])
    return True


def resize(p):
    """Without preallocation: resize.py knows the faults of QEMU's."""
    r = p.rng
    new = max(image.disk_size(r, p.features), 512)
    if r.random() < 0.05:
        new += 100
    args = ["resize", "-f", "qcow2"]
    if new < size_of(p) and r.random() < 0.9:
        args.append("--shrink")
    elif (new > size_of(p) and not below(p) and p.free_map and
          data_of(p)["compat"] == "0.10"):
        return None  # a last cluster of theirs that went may be there in ours
    elif new > size_of(p) and below(p) and p.features["el2"] == "on":
        # of the cluster that held the end, ours may become data as a whole
        p.free_map = True
    if r.random() < 0.3:
        args.append("-q")
    return p.both(args + [TOP, new])


def snapshot_c(p):
    if len(snapshots(p)) > 3:
        return None
    name = p.rng.choice(["s1", "s2", "with space", "7"])
    return p.both(["snapshot", "-c", name, TOP])


def one_snapshot(p, option):
    names = snapshots(p)
    if not names and p.rng.random() < 0.8:
        return None
    name = p.rng.choice(names) if names and p.rng.random() < 0.95 \
        else "nosuch"
    return p.both(["snapshot", option, name, TOP])


def snapshot_a(p):
    return one_snapshot(p, "-a")


def snapshot_d(p):
    return one_snapshot(p, "-d")


def bases(p):
    """What the image can be put on; what is below a base stays there."""
    return [n for n in image.BELOW
            if os.path.exists(os.path.join(p.dirs[1], n))]


def rebase(p):
    if not bases(p):
        return None
    if not below(p) and data_of(p)["compat"] == "0.10":
        return None  # genuine qemu-img forgets the zeros of the guest
    p.free_map = True
    name = p.rng.choice(bases(p))
    args = ["rebase", "-b", name, "-F", name.split(".")[-1]]
    if p.rng.random() < 0.2:
        args += ["-f", "qcow2"]
    return p.both(args + [TOP])


def rebase_u(p):
    if not bases(p):
        return None
    if p.free_map and data_of(p)["compat"] == "0.10":
        return None  # what is a hole and what zeros differs, and shows now
    name = p.rng.choice(bases(p))
    return p.both(["rebase", "-u", "-b", name, "-F", name.split(".")[-1],
                   TOP])


def rebase_none(p):
    if not below(p):
        return None
    p.free_map = True
    return p.both(["rebase", "-b", "", TOP])


def commit(p):
    """How sparse what it writes is, is up to each."""
    if not below(p):
        return None
    p.free_map = True
    args = ["commit"] + p.rng.choice([[], [], ["-q"], ["-f", "qcow2"]])
    return p.both(args + [TOP])


def commit_d(p):
    if not below(p):
        return None
    p.free_map = True
    return p.both(["commit", "-d", TOP])


def commit_b(p):
    if below(p) != "mid.qcow2":
        return None
    p.free_map = True
    return p.both(["commit", "-b", "base." + p.features["bfmt"], TOP])


def amend_compat(p):
    now = data_of(p)["compat"]
    if now != "0.10" and (snapshots(p) or bitmaps(p)):
        return None  # genuine qemu-img damages the one, warns of the other
    if now != "0.10":
        p.free_map = True  # zeros with a place in the file: ours give it up
    return p.both(["amend", "-o", "compat=" + (
        "1.1" if now == "0.10" else "0.10"), TOP])


def amend_rb(p):
    if data_of(p)["refcount-bits"] < 16:
        return None  # genuine qemu-img would never end
    bits = p.rng.choice([16, 16, 32, 64, 64])  # nor with less, at times
    return p.both(["amend", "-o", f"refcount_bits={bits}", TOP])


def amend_lazy(p):
    value = p.rng.choice(["on", "off"])
    return p.both(["amend", "-o", f"lazy_refcounts={value}", TOP])


def bitmap_add(p):
    if len(bitmaps(p)) > 3:
        return None
    r = p.rng
    args = ["bitmap", "--add"]
    if r.random() < 0.6:
        args += ["-g", r.choice(["512", "4k", "32k", "1M"])]
    if r.random() < 0.3:
        args.append("--disable")
    return p.both(args + [TOP, r.choice(["b0", "b1", "b2", "b3"])])


def one_bitmap(p, option):
    names = bitmaps(p)
    if not names and p.rng.random() < 0.8:
        return None
    return p.both(["bitmap", option, TOP,
                   p.rng.choice(names) if names else "nosuch"])


def bitmap_remove(p):
    return one_bitmap(p, "--remove")


def bitmap_clear(p):
    return one_bitmap(p, "--clear")


def bitmap_able(p):
    return one_bitmap(p, p.rng.choice(["--enable", "--disable"]))


def bitmap_merge(p):
    names = bitmaps(p)
    if not names:
        return None
    return p.both(["bitmap", "--merge", p.rng.choice(names), TOP,
                   p.rng.choice(names)])


def check_r(p):
    if bitmaps(p):
        return None  # genuine qemu-img forgets them, and the snapshots
    return p.both(["check", "-r", p.rng.choice(["leaks", "all"]), TOP])


def damage(p, pick, value, longer=False):
    """Both copies, or neither: where one has no block for the count, the
    other's is put back."""
    paths = [os.path.join(d, TOP) for d in p.dirs]
    before = [pathlib.Path(path).read_bytes() for path in paths]
    if all([image.set_refcount(path, pick, value, longer) for path in paths]):
        return True
    for path, data in zip(paths, before):
        pathlib.Path(path).write_bytes(data)
    return False


def repair_leaks(p):
    if bitmaps(p) or not damage(p, image.a_new_last, 1, True):
        return None
    p.log.append("# in both: two clusters more, refcount 1 for the last")
    return p.both(["check", "-q", "-r", p.rng.choice(["leaks", "all"]), TOP])


def repair_all(p):
    if snapshots(p) or bitmaps(p):
        return None  # genuine qemu-img may lose them on the way
    if not damage(p, image.first_l2, 0):
        return None
    p.log.append("# in both: refcount 0 for the first own L2 table")
    return p.both(["check", "-q", "-r", "all", TOP])


def convert_n(p):
    """Onto what is there, of the same size."""
    size = size_of(p)
    if not size:
        return None
    for d in p.dirs:
        p.must(["create", "-q", "-f", "qcow2", "in.qcow2", size], d)
    args = []
    for line in image.writes(p.rng, {"cs": "64k", "packed": "yes"}, size, 4):
        args += ["-c", line]
    p.each(["-f", "qcow2"] + args + ["in.qcow2"])
    p.free_map = True
    return p.both(["convert", "-n", "-O", "qcow2", "in.qcow2", TOP])


# ---- what only looks

def info(p):
    return p.watch(["info", *p.rng.choice([[], ["--output=json"],
                                          ["--backing-chain"]]), TOP])


def map_(p):
    r = p.rng
    args = ["map"] + r.choice([[], ["--output=json"], ["--output=json"]])
    if r.random() < 0.3:
        args += ["-s", str(r.randrange(0, size_of(p) + 1)), "-l",
                 str(r.randrange(1, 400000))]
    return p.watch(args + [TOP])


def measure(p):
    r = p.rng
    args = ["measure", "-O", r.choice(["qcow2", "qcow2", "raw"])]
    args += r.choice([[], ["--output=json"]])
    if r.random() < 0.3 and args[2] == "qcow2":
        args += ["-o", "cluster_size=" + r.choice(["512", "4k", "2M"])]
    if snapshots(p) and r.random() < 0.4:
        args += ["-l", r.choice(snapshots(p))]
    return p.watch(args + [TOP])


def compare(p):
    others = bases(p) + [TOP]
    args = ["compare"] + p.rng.choice([[], ["-s"], ["-q"]])
    p.watch(args + [TOP, p.rng.choice(others)])
    return True


def check(p):
    return p.watch(["check", *p.rng.choice([[], ["--output=json"], ["-q"]]),
                    TOP])


def snapshot_l(p):
    return p.watch(["snapshot", "-l", TOP])


def convert(p):
    r = p.rng
    out = r.choice(["raw", "qcow2"])
    args = ["convert", "-O", out]
    if out == "qcow2" and r.random() < 0.5:
        args.append("-c")
    if out == "qcow2" and bitmaps(p) and r.random() < 0.7:
        args.append("--bitmaps")
    elif snapshots(p) and r.random() < 0.4:
        args += ["-l", "snapshot.name=" + r.choice(snapshots(p))]
    return p.watch(args + [TOP, "out." + out], "out." + out)


def dd(p):
    r = p.rng
    args = ["dd", "-O", r.choice(["raw", "qcow2"]),
            f"bs={r.choice([512, 1000, 4096, 65536])}"]
    if r.random() < 0.5:
        args.append(f"count={r.randrange(1, 100)}")
    if r.random() < 0.3:
        args.append(f"skip={r.randrange(0, 30)}")
    return p.watch(args + ["if=" + TOP, "of=out.img"], "out.img")


OPS = {
    "io": ("", io), "resize": ("resize", resize),
    "snapshot-c": ("snapshot", snapshot_c),
    "snapshot-a": ("snapshot", snapshot_a),
    "snapshot-d": ("snapshot", snapshot_d),
    "rebase": ("rebase", rebase), "rebase-u": ("rebase", rebase_u),
    "rebase-none": ("rebase", rebase_none), "commit": ("commit", commit),
    "commit-d": ("commit", commit_d), "commit-b": ("commit", commit_b),
    "amend-compat": ("amend", amend_compat), "amend-rb": ("amend", amend_rb),
    "amend-lazy": ("amend", amend_lazy), "bitmap-add": ("bitmap", bitmap_add),
    "bitmap-remove": ("bitmap", bitmap_remove),
    "bitmap-clear": ("bitmap", bitmap_clear),
    "bitmap-able": ("bitmap", bitmap_able),
    "bitmap-merge": ("bitmap", bitmap_merge), "check-r": ("check", check_r),
    "repair-leaks": ("check", repair_leaks),
    "repair-all": ("check", repair_all), "convert-n": ("convert", convert_n),
    "info": ("info", info), "map": ("map", map_),
    "measure": ("measure", measure), "compare": ("compare", compare),
    "check": ("check", check), "snapshot-l": ("snapshot", snapshot_l),
    "convert": ("convert", convert), "dd": ("dd", dd),
}
COMMANDS = {c for c, _ in OPS.values() if c}


# what must have gone before
BEFORE = {
    "snapshot-a": ["snapshot-c"], "snapshot-d": ["snapshot-c"],
    "bitmap-remove": ["bitmap-add"], "bitmap-clear": ["bitmap-add"],
    "bitmap-able": ["bitmap-add"], "bitmap-merge": ["bitmap-add"],
}


def choose_wanted(p):
    op = p.want[0]
    names = [op] * 2 + BEFORE.get(op, [])
    if op.startswith("bitmap") and data_of(p)["compat"] == "0.10":
        names = ["amend-compat"]
    return p.rng.choice(names)


def choose(p, absent, only):
    """The next one; a guest write before every second step."""
    if p.want and p.rng.random() < 0.5:
        return choose_wanted(p)
    if p.step_name != "io" and p.rng.random() < 0.4:
        return "io"
    names = [n for n, (c, _) in OPS.items() if c and c not in absent and
             (not only or n in only)]
    return p.rng.choice(names)
