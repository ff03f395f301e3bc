# SPDX-License-Identifier: MIT
"""Sources, made by genuine qemu-img and qemu-io, never by us.

All of a case's randomness comes from the generator that is passed in. Data are
pattern files, so that a cluster in the wrong place is seen; qemu-io repeats one
over a write.
"""

import os
import struct

from .tools import QEMU_IMG, QEMU_IO, Broken, must, run

UNITS = {"k": 1024, "M": 1 << 20}
WORDS = b"the cow in the byre chews what the calf left over ".split(b" ")


def number(text):
    return int(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS \
        else int(text)


class Source:
    def __init__(self, folder):
        self.folder = folder
        self.name = "top.img"
        self.fmt = "qcow2"
        self.size = 0
        self.cs = 65536
        self.backing = None  # (name relative to folder, format)
        self.snapshot = None
        self.bitmaps = []
        self.serial = 0

    @property
    def path(self):
        return os.path.join(self.folder, self.name)


def content(rng, length):
    """Bytes of several kinds, with runs of zeros of awkward lengths."""
    parts, have = [], 0
    while have < length:
        kind = rng.randrange(4)
        n = rng.choice([100, 512, 777, 4096, 5000, 12288, 40000])
        if kind == 0:
            part = rng.randbytes(n)
        elif kind == 1:
            part = b" ".join(rng.choices(WORDS, k=n // 5 + 1))
        elif kind == 2:
            part = bytes([rng.randrange(1, 256)]) * n
        else:
            part = bytes(rng.choice([512, 1024, 3584, 4096, 4608, 8192,
                                     20480]))
        parts.append(part)
        have += len(part)
    return b"".join(parts)[:length]


def disk_size(rng, case, cs):
    """A virtual size of the wanted kind."""
    if case["size"] == "empty":
        return 0
    most = {True: 2 << 20, False: 8 << 20}[cs <= 2048]
    most = max(most, 8 * cs)
    size = rng.randrange(min(most // 2, max(cs, 65536)), most)
    size -= size % cs
    size = max(size, cs)
    if case["size"] == "partial":
        size -= rng.randrange(512, cs, 512)
    elif case["size"] == "bytes":
        size += rng.choice([1, 100, 511, 513, 4097]) - cs // 2
        size += size % 512 == 0
    return max(size, 512)


def span(rng, size, unit):
    """A random [off, len) inside size, aligned to unit."""
    units = size // unit
    if units == 0:
        return 0, size
    first = rng.randrange(units)
    most = min(units - first, max(1, (1 << 19) // unit))
    n = rng.randint(1, most) if rng.random() < 0.7 else 1
    return first * unit, n * unit


class Script:
    """qemu-io commands for one image."""

    def __init__(self, rng, case, src, scratch, size, cs):
        self.rng, self.case, self.src = rng, case, src
        self.scratch, self.size, self.cs = scratch, size, cs
        self.lines = []

    def pattern(self):
        self.src.serial += 1
        name = os.path.join(self.scratch, f"p{self.src.serial}")
        length = self.rng.choice([3001, 20011, 65537, 131072, 262147])
        with open(name, "wb") as f:
            f.write(content(self.rng, length))
        return name

    def write(self, flags, off, length):
        if length:
            self.lines.append(
                f"write {flags} -s {self.pattern()} {off} {length}")

    def packed(self):
        whole = self.size // self.cs
        if whole == 0:
            self.write("-c", 0, self.size)
            return
        first = self.rng.randrange(whole)
        n = min(whole - first, self.rng.choice([1, 2, 3, 5, 8]),
                max(1, (1 << 20) // self.cs))
        for i in range(first, first + n):
            self.write("-c", i * self.cs, self.cs)
        if self.size % self.cs and self.rng.random() < 0.5:
            self.write("-c", whole * self.cs, self.size % self.cs)

    def step(self):
        rng, case = self.rng, self.case
        kinds = ["data", "data"]
        if case["odd"] == "yes":
            kinds += ["odd", "odd"]
        if case["zeroes"] == "yes":
            kinds += ["zero"]
        if case["unmap"] == "yes":
            kinds += ["unmap"]
        if case["discard"] == "yes":
            kinds += ["discard"]
        kind = rng.choice(kinds)
        self.act(kind)

    def act(self, kind):
        rng = self.rng
        unit = rng.choice([512, 4096, self.cs])
        off, length = span(rng, self.size, min(unit, self.size))
        if kind == "odd":
            off = rng.randrange(self.size)
            length = min(self.size - off, rng.choice(
                [1, 3, 511, 513, 4095, 4097, 10001, 65535, 200001]))
        if kind in ("data", "odd"):
            self.write("", off, length)
        elif kind == "zero":
            self.lines.append(f"write -z {off} {length}")
        elif kind == "unmap":
            self.lines.append(f"write -z -u {off} {length}")
        elif kind == "discard":
            self.lines.append(f"discard {off} {length}")

    def fragment(self):
        """More extents than any reader takes at once, with gaps."""
        whole = self.size // self.cs
        step = max(2, whole // 700)
        for i in range(self.rng.randrange(2), whole, step):
            self.lines.append(f"write -P {i % 251 + 1} {i * self.cs} 512")

    def fill(self, first):
        """Random writes; the first round holds one of each wanted kind."""
        if self.size == 0:
            return self.lines
        rng, case = self.rng, self.case
        if first and case.get("frag") == "yes":
            self.fragment()
        if first and case["packed"] == "yes":
            for _ in range(rng.randint(1, 3)):
                self.packed()
        for _ in range(rng.randint(1, 5)):
            self.step()
        if first:
            for dim, kind in (("odd", "odd"), ("zeroes", "zero"),
                              ("unmap", "unmap"), ("discard", "discard")):
                if case.get(dim) == "yes":
                    self.act(kind)
            if case.get("data", "none") != "none":
                # guest and host offset 0 are told from "not allocated"
                self.write("", 0, min(700, self.size))
            self.write("", (self.size - 1) // 512 * 512,
                       min(512, self.size - (self.size - 1) // 512 * 512))
        return self.lines


def perform(path, fmt, lines, log):
    """A failing line (a packed write over an allocated cluster) is fine."""
    args = ["-f", fmt]
    for line in lines:
        args += ["-c", line]
    if not lines:
        return
    # in its folder, because of the data file's name
    done = run(QEMU_IO, args + [path], os.path.dirname(path), log)
    if "open" in done.err:
        raise Broken(f"no image was written: {done}")


def create_options(case):
    o = [f"cluster_size={case['cs']}", f"compat={case['compat']}"]
    if case["rb"] != "16":
        o.append(f"refcount_bits={case['rb']}")
    if case["ctype"] == "zstd":
        o.append("compression_type=zstd")
    if case["el2"] == "on":
        o.append("extended_l2=on")
    if case["lazy"] == "on":
        o.append("lazy_refcounts=on")
    if case["prealloc"] != "off":
        o.append("preallocation=" + case["prealloc"])
    if case["data"] != "none":
        # QEMU takes the name relative to its working directory; this one
        # is right in every folder of the case.
        o.append("data_file=../src/top.data")
    if case["data"] == "raw":
        o.append("data_file_raw=on")
    return o


def make_raw(rng, case, path, size):
    """A raw file: data runs over a hole, or data throughout."""
    with open(path, "wb") as f:
        if case["holes"] == "no":
            f.write(content(rng, size))
        f.truncate(size)
        for _ in range(rng.randint(1, 8)):
            if size == 0:
                break
            if case["odd"] == "yes":
                off = rng.randrange(size)
            else:
                off = rng.randrange(0, size, 512)
            length = min(size - off, rng.choice([1, 512, 4096, 70000]))
            f.seek(off)
            f.write(content(rng, length) if case["zeroes"] != "yes"
                    or rng.random() < 0.7 else bytes(length))


def backing_size(rng, case, size, level):
    kind = case["blen"] if level == 1 else rng.choice(
        ["shorter", "equal", "longer"])
    unit = rng.choice([512, 4096, 65536])
    if kind == "shorter" and size > 1024:
        return max(512, rng.randrange(512, size) // unit * unit)
    if kind == "longer":
        return size + rng.randrange(1, 40) * unit
    return max(size, 512)


def make_backing(rng, case, src, scratch, log):
    """Builds the chain from the bottom; returns the top's -b arguments."""
    depth = int(case["depth"])
    if depth == 0:
        return []
    os.mkdir(os.path.join(src.folder, "base"))
    sizes, size = [], src.size
    for level in range(1, depth + 1):
        size = backing_size(rng, case, size, level)
        sizes.append(size)
    below = None
    for level in range(depth, 0, -1):
        fmt = case["bfmt"] if level == depth else "qcow2"
        name = f"b{level}.{fmt}"
        path = os.path.join(src.folder, "base", name)
        size = sizes[level - 1]
        plain = {**case, "odd": rng.choice(["yes", "no"]),
                 "zeroes": rng.choice(["yes", "no"]), "holes": "yes",
                 "unmap": "yes", "discard": "no",
                 "packed": rng.choice(["yes", "no"])}
        if fmt == "raw":
            odd = rng.choice([0, 0, 1, 300]) if size > 4096 else 0
            make_raw(rng, plain, path, size - odd)
        else:
            cs = rng.choice(["4k", "64k", "64k", "512", "256k"])
            args = ["create", "-q", "-f", "qcow2", "-o",
                    "cluster_size=" + cs]
            if below:
                args += ["-b", below[0], "-F", below[1]]
            must(QEMU_IMG, args + [path, size],
                 os.path.join(src.folder, "base"), log)
            script = Script(rng, plain, src, scratch, size, number(cs))
            perform(path, fmt, script.fill(True), log)
        below = (name, fmt)
    src.backing = ("base/" + below[0], below[1])
    return ["-b", src.backing[0], "-F", src.backing[1]]


def add_bitmaps(rng, case, src, log):
    for i in range(rng.randint(1, 3)):
        name = f"map{i}"
        args = ["bitmap", "--add", "-f", "qcow2"]
        if rng.random() < 0.5:
            args += ["-g", rng.choice(["512", "4k", "64k", "1M"])]
        must(QEMU_IMG, args + [src.path, name], src.folder, log)
        if rng.random() < 0.3:
            must(QEMU_IMG, ["bitmap", "--disable", "-f", "qcow2", src.path,
                            name], src.folder, log)
        src.bitmaps.append(name)


def make_dirty(rng, src, log):
    """A writer that dies with the dirty bit set."""
    lines = ["open -o driver=qcow2,lazy-refcounts=on,file.filename="
             + src.path, f"discard 0 {min(src.cs, src.size)}", "write -P 77 0 512",
             f"write -P {rng.randrange(1, 255)} "
             f"{rng.randrange(0, src.size, 512)} 512", "sigraise 9"]
    run(QEMU_IO, [a for line in lines for a in ("-c", line)], src.folder,
        log)


def header(path):
    with open(path, "rb") as f:
        b = f.read(112)
    version, = struct.unpack_from(">I", b, 4)
    return {"version": version, "bits": struct.unpack_from(">I", b, 20)[0],
            "incompat": struct.unpack_from(">Q", b, 72)[0]
            if version > 2 else 0}


def make(rng, case, folder, scratch, log):
    """The source that the case describes, in folder."""
    src = Source(folder)
    src.fmt = case["fmt"]
    if src.fmt == "raw":
        src.size = disk_size(rng, case, 65536)
        make_raw(rng, case, src.path, src.size)
        return src
    src.cs = number(case["cs"])
    src.size = disk_size(rng, case, src.cs)
    back = make_backing(rng, case, src, scratch, log)
    must(QEMU_IMG, ["create", "-q", "-f", "qcow2", "-o",
                    ",".join(create_options(case)), *back, src.name,
                    src.size], folder, log)
    script = Script(rng, case, src, scratch, src.size, src.cs)
    perform(src.path, "qcow2", script.fill(True), log)
    if case["snap"] == "yes":
        src.snapshot = rng.choice(["one", "with space", "17"])
        must(QEMU_IMG, ["snapshot", "-c", src.snapshot, src.name], folder,
             log)
        again = Script(rng, case, src, scratch, src.size, src.cs)
        perform(src.path, "qcow2", again.fill(False), log)
        if rng.random() < 0.3:
            must(QEMU_IMG, ["snapshot", "-c", "later", src.name], folder, log)
    if case["bitmap"] == "yes":
        add_bitmaps(rng, case, src, log)
    if case["dirty"] == "yes":
        make_dirty(rng, src, log)
        if not header(src.path)["incompat"] & 1:
            raise Broken("the source is not dirty")
    return src


def make_plain(rng, src, scratch, name, fmt, log):
    """A small image of its own: another source, or a backing file."""
    case = {"odd": "yes", "zeroes": "yes", "unmap": "no", "discard": "no",
            "packed": "yes", "holes": "yes", "size": "partial"}
    size = rng.randrange(1, 40) * 32768 + rng.choice([0, 0, 512])
    path = os.path.join(src.folder, name)
    if fmt == "raw":
        make_raw(rng, case, path, size)
        return size
    must(QEMU_IMG, ["create", "-q", "-f", "qcow2", path, size], src.folder,
         log)
    script = Script(rng, case, src, scratch, size, 65536)
    perform(path, fmt, script.fill(True), log)
    return size
