# SPDX-License-Identifier: MIT
"""The image that a sequence begins with: its features, how genuine qemu-img
and qemu-io make it, and random guest writes."""

import os
import struct

TOP = "t.qcow2"
# what may be below it
BELOW = ["base.qcow2", "base.raw", "mid.qcow2", "other.qcow2", "other.raw"]
K, M = 1 << 10, 1 << 20

DIMS = {
    "cs": {"512": 1, "4k": 1, "16k": 1, "64k": 3, "2M": 1},
    "compat": {"1.1": 4, "0.10": 1},
    "rb": {"16": 6, "1": 1, "8": 1, "32": 1, "64": 1},
    "el2": {"off": 3, "on": 1},
    "lazy": {"off": 3, "on": 1},
    "data": {"none": 6, "file": 1, "raw": 1},
    "ctype": {"zlib": 3, "zstd": 1},
    "packed": {"no": 1, "yes": 1},
    "depth": {"0": 1, "1": 2, "2": 1},
    "bfmt": {"qcow2": 1, "raw": 1},
    "blen": {"equal": 1, "shorter": 1, "longer": 1},
    "size": {"whole": 1, "partial": 1},
    "snap": {"no": 1, "yes": 1},
    "bitmap": {"no": 2, "yes": 1},
}


def number(text):
    units = {"k": K, "M": M}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units \
        else int(text)


def draw(rng, want=None):
    """With "dimension=value" among them, if one is wanted."""
    while True:
        f = fitting(rng)
        if not want or want in [f"{d}={v}" for d, v in f.items()]:
            return f


def fitting(rng):
    """Features that fit each other: later ones give way."""
    f = {d: rng.choices(list(v), list(v.values()))[0]
         for d, v in DIMS.items()}
    if f["compat"] == "0.10":
        f.update(rb="16", el2="off", lazy="off", data="none", ctype="zlib",
                 bitmap="no")
    if f["cs"] in ("512", "4k"):
        f["el2"] = "off"
    if f["data"] != "none":
        f.update(packed="no", snap="no")
    if f["data"] == "raw":
        f["depth"] = "0"
    if f["rb"] == "1":
        f["snap"] = "no"
    if f["depth"] == "0":
        f.pop("bfmt")
        f.pop("blen")
    return f


def disk_size(rng, f):
    cs = number(f["cs"])
    most = 256 * K if cs == 512 else 4 * M if cs == 2 * M else M
    size = max(rng.randrange(most // 4, most) // cs, 1) * cs
    if f["size"] == "partial":
        size -= rng.randrange(512, min(cs, 64 * K), 512) if cs > 512 else 0
    return max(size, 512)


def span(rng, size, unit):
    units = max(size // unit, 1)
    first = rng.randrange(units)
    n = rng.randint(1, min(units - first, max(1, 256 * K // unit)))
    return first * unit, min(n * unit, size - first * unit)


def writes(rng, f, size, count):
    """Lines for qemu-io."""
    cs = number(f["cs"])
    out = []
    for _ in range(count):
        kinds = ["data"] * 4 + ["zero", "unmap", "discard"]
        if f["packed"] == "yes":
            kinds += ["packed"] * 2
        kind = rng.choice(kinds)
        pattern = rng.randrange(1, 255)
        if kind == "packed":
            off, length = span(rng, size, cs)
            length = min(length, cs * 4)
            # one write each: a packed write covers one cluster
            for at in range(off, off + length, cs):
                out.append(f"write -c -P {pattern} {at} "
                           f"{min(cs, size - at)}")
            continue
        off, length = span(rng, size, min(rng.choice([512, 4096, cs]), size))
        out.append({"data": f"write -P {pattern}", "zero": "write -z",
                    "unmap": "write -z -u", "discard": "discard"}[kind] +
                   f" {off} {length}")
    return out


def io(pair, folder, name, fmt, lines):
    args = ["-f", fmt]
    for line in lines:
        args += ["-c", line]
    pair.run("qemu-io", args + [name], folder)


def plain(pair, name, size, below=None):
    """An image of its own, with a little content."""
    rng, d = pair.rng, pair.made
    if name.endswith(".raw"):
        with open(os.path.join(d, name), "wb") as f:
            f.truncate(size)
        io(pair, d, name, "raw", [
            f"write -P {rng.randrange(1, 255)} {o} {n}" for o, n in
            (span(rng, size, min(4096, size)) for _ in range(3))])
        return
    cs = rng.choice(["512", "4k", "64k", "64k"])
    pair.must(["create", "-q", "-f", "qcow2", "-o", f"cluster_size={cs}",
               *(["-b", below, "-F", below.split(".")[-1]] if below else []),
               name, size], d)
    f = {"cs": cs, "packed": rng.choice(["no", "yes"])}
    io(pair, d, name, "qcow2", writes(rng, f, size, 5))


def make(pair):
    rng, f, d = pair.rng, pair.features, pair.made
    size = disk_size(rng, f)
    below = None
    # the holes in a data file are the kernel's
    pair.free_map = f["data"] != "none"
    if f["depth"] != "0":
        unit = rng.choice([512, 4096, 65536])
        bsize = {"equal": size,
                 "shorter": max(size // 2 // unit * unit, 512),
                 "longer": size + 5 * unit}[f["blen"]]
        below = "base." + f["bfmt"]
        plain(pair, below, bsize)
        if f["depth"] == "2":
            plain(pair, "mid.qcow2", rng.choice([bsize, size]), below)
            below = "mid.qcow2"
    if f["data"] != "raw":
        other = rng.choice(["other.qcow2", "other.raw"])
        plain(pair, other, rng.choice([size, max(size // 3 // 512 * 512, 512),
                                       size + 3 * 65536]))
    o = [f"cluster_size={f['cs']}", f"compat={f['compat']}"]
    if f["compat"] == "1.1":
        o += [f"refcount_bits={f['rb']}", f"extended_l2={f['el2']}",
              f"lazy_refcounts={f['lazy']}",
              f"compression_type={f['ctype']}"]
    if f["data"] != "none":
        o.append("data_file=t.data")
    if f["data"] == "raw":
        o.append("data_file_raw=on")
    back = ["-b", below, "-F", below.split(".")[-1]] if below else []
    pair.must(["create", "-q", "-f", "qcow2", "-o", ",".join(o), *back, TOP,
               size], d)
    io(pair, d, TOP, "qcow2", writes(rng, f, size, 6))
    if f["snap"] == "yes":
        pair.must(["snapshot", "-c", "s0", TOP], d)
        io(pair, d, TOP, "qcow2", writes(rng, f, size, 3))
    if f["bitmap"] == "yes":
        pair.must(["bitmap", "--add", "-g", rng.choice(["512", "4k", "64k"]),
                   TOP, "b0"], d)
        io(pair, d, TOP, "qcow2", writes(rng, f, size, 2))
    # what qemu-io gave up on may have left a leak
    pair.run("qemu-img", ["check", "-q", "-r", "all", TOP], d)


# ---- damage, the same to both copies whatever their layout

def header(data):
    v = struct.unpack_from(">I", data, 4)[0]
    h = {"bits": struct.unpack_from(">I", data, 20)[0],
         "l1": struct.unpack_from(">Q", data, 40)[0],
         "l1n": struct.unpack_from(">I", data, 36)[0],
         "rt": struct.unpack_from(">Q", data, 48)[0],
         "order": 4 if v < 3 else struct.unpack_from(">I", data, 96)[0]}
    return h


def refcount_at(data, h, cluster):
    """Where the refcount of a cluster is, in bytes; None: no block."""
    width = 1 << h["order"]
    if width < 8:
        return None
    per = (1 << h["bits"]) * 8 // width
    at = h["rt"] + cluster // per * 8
    block = struct.unpack_from(">Q", data, at)[0]
    if not block:
        return None
    return block + cluster % per * width // 8, width // 8


def set_refcount(path, pick, value, longer=False):
    """pick(data, header) names the cluster. False: it cannot be done. longer:
    the file gets another cluster first."""
    with open(path, "r+b") as f:
        data = f.read()
        h = header(data)
        if longer:
            size = ((len(data) >> h["bits"]) + 2) << h["bits"]
            data += bytes(size - len(data))
            f.truncate(size)
        cluster = pick(data, h)
        where = refcount_at(data, h, cluster) if cluster is not None else None
        if not where:
            return False
        f.seek(where[0])
        f.write(value.to_bytes(where[1], "big"))
    return True


def a_new_last(data, h):
    """The last cluster of a file that set_refcount made longer."""
    return (len(data) >> h["bits"]) - 1


def first_l2(data, h):
    """The first L2 table that no snapshot shares."""
    for i in range(h["l1n"]):
        entry = struct.unpack_from(">Q", data, h["l1"] + i * 8)[0]
        if entry >> 63:
            return (entry & 0x00fffffffffffe00) >> h["bits"]
    return None
