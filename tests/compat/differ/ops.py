# SPDX-License-Identifier: MIT
"""The command lines of a case: the same for both programs, each of which runs
in a folder of its own beside the source's, so that names in messages, in
backing references and in info are equal."""

import os
import shutil

from . import source

UP = "../src/"


class Plan:
    """args: the command line. out: the file it makes, or None. prepare makes
    what must exist before, in the folder of either program."""

    def __init__(self, args, out=None, fmt=None):
        self.args, self.out, self.fmt = args, out, fmt
        self.extra = []        # further files made (data files)
        self.prepare = lambda folder: None
        self.backed = False    # the output has a backing file
        self.local = False     # runs in a copy of the source's folder

    def where(self, folder):
        return os.path.join(folder, "src") if self.local else folder


def image_args(case, src, name):
    """How the source is named on the command line."""
    args = []
    if case["name"] == "opts":
        args += ["--image-opts"]
        name = f"driver=qcow2,file.driver=file,file.filename={name}"
    elif case["given"] == "-f":
        args += ["-f", src.fmt]
    if case["name"] == "file:":
        name = "file:" + name
    return args, name


def target_options(case, rng):
    """-o for a qcow2 target."""
    o = []
    for dim, key in (("qcs", "cluster_size"), ("qcompat", "compat"),
                     ("qrb", "refcount_bits"), ("qtype", "compression_type")):
        if case[dim] not in ("default", "-"):
            o.append(f"{key}={case[dim]}")
    for dim, key in (("qel2", "extended_l2"), ("qlazy", "lazy_refcounts")):
        if case[dim] == "on":
            o.append(f"{key}=on")
    if case["qpre"] not in ("off", "-"):
        o.append("preallocation=" + case["qpre"])
    if case["qdata"] not in ("none", "-"):
        o.append("data_file=out.data")
    if case["qdata"] == "raw":
        o.append("data_file_raw=on")
    rng.shuffle(o)
    return o


def spread(o, rng):
    """One -o with a list, or several."""
    if not o:
        return []
    if rng.random() < 0.3:
        return [a for x in o for a in ("-o", x)]
    return ["-o", ",".join(o)]


def prepare_target(rng, case, size):
    to = case["to"]
    if to == "fresh":
        return lambda folder: None
    length = -(-size // 512) * 512
    if to == "n-zero":
        length += rng.choice([0, 0, 65536, 512])
        junk = b""
    elif to == "n":
        junk = source.content(rng, length)
    else:
        length = rng.choice([0, 1000, 300000])
        junk = source.content(rng, length)

    def prepare(folder):
        with open(os.path.join(folder, "out.img"), "wb") as f:
            f.write(junk)
            f.truncate(length)
    return prepare


def convert(rng, case, src, scratch, log):
    args, name = image_args(case, src, UP + src.name)
    args = ["convert", "-O", case["op"], *args]
    names = [name]
    size = -(-src.size // 512) * 512
    for i in range(1, int(case["nsrc"])):
        more = f"more{i}.img"
        size += source.make_plain(rng, src, scratch, more, src.fmt, log)
        names.append(UP + more)
    o = []
    if case["op"] == "qcow2":
        o = target_options(case, rng)
        if case["c"] == "yes":
            args.append("-c")
    elif case["rawpre"] != "off":
        o = ["preallocation=" + case["rawpre"]]
    for dim, flag in (("S", "-S"), ("t", "-t"), ("T", "-T"), ("m", "-m")):
        if case[dim] != "default":
            args += [flag, case[dim]]
    for dim, flags in (("W", ["-W"]), ("C", ["-C"]), ("U", ["-U"]),
                       ("rate", ["-r", "200M"]), ("salvage", ["--salvage"])):
        if case[dim] == "yes":
            args += flags
    if case["say"] != "none":
        args.append(case["say"])
    if case["snapl"] == "yes":
        args += ["-l", rng.choice([src.snapshot,
                                   "snapshot.name=" + src.snapshot])]
    if case["bitmaps"] == "yes":
        args.append("--bitmaps")
    if case["to"] in ("n", "n-zero"):
        args.append("-n")
    if case["to"] == "n-zero":
        args.append("--target-is-zero")
    plan = Plan(None, "out.img", case["op"])
    if case["qback"] in ("-b", "-o"):
        args += backing(rng, case, src, scratch, o, log)
        plan.backed = True
    if case["qdata"] not in ("none", "-"):
        plan.extra.append("out.data")
    args += spread(o, rng)
    plan.args = args + names + ["out.img"]
    plan.prepare = prepare_target(rng, case, size)
    return plan


def backing(rng, case, src, scratch, o, log):
    """-B for convert: the source's own backing file, or another."""
    if src.backing:
        name, fmt = src.backing
    else:
        name, fmt = "other.img", rng.choice(["raw", "qcow2"])
        source.make_plain(rng, src, scratch, name, fmt, log)
    if case["qback"] == "-b":
        return ["-B", UP + name, "-F", fmt]
    o += ["backing_file=" + UP + name, "backing_fmt=" + fmt]
    return []


def create(rng, case, src, scratch, log):
    del scratch, log
    fmt = case["kfmt"]
    plan = Plan(None, "out.img", fmt)
    args = ["create", "-f", fmt]
    o = []
    if fmt == "qcow2":
        o = target_options(case, rng)
        if case["qdata"] != "none":
            plan.extra.append("out.data")
    elif case["kpre"] != "off":
        o = ["preallocation=" + case["kpre"]]
    if case["qback"] == "-b":
        args += ["-b", UP + src.name, "-F", src.fmt]
    elif case["qback"] == "-o":
        o += ["backing_file=" + UP + src.name, "backing_fmt=" + src.fmt]
    plan.backed = case["qback"] not in ("none", "-")
    if case["ku"] == "yes":
        args.append("-u")
    args += spread(o, rng) + ["out.img"]
    if case["ksize"] != "none":
        size = rng.choice([0, 65536, 1 << 20, 3 << 20, 10 << 20])
        if case["qpre"] in ("off", "-") and case["qdata"] != "raw" \
                and case["kpre"] in ("off", "-"):
            size = rng.choice([size, 1 << 30, 40 << 30])
        elif case["qpre"] in ("falloc", "full"):
            size = max(size, 512)  # see verdict.deterministic
        if case["ksize"] == "odd":
            size += rng.choice([1, 100, 511, 512, 777])
        args.append(str(size))
    plan.args = args
    return plan


def info(rng, case, src, scratch, log):
    del rng, scratch, log
    args, name = image_args(case, src, UP + src.name)
    args = ["info", *args]
    if case["out"] == "json":
        args.append("--output=json")
    if case["chain"] == "yes":
        args.append("--backing-chain")
    if case["U"] == "yes":
        args.append("-U")
    return Plan(args + [name])


def resize(rng, case, src, scratch, log):
    del scratch, log
    step = rng.choice([512, 4096, 65536, 1 << 20, src.cs]) \
        * rng.randint(1, 5)
    step = min(step, 16 << 20)
    if src.fmt == "raw" and rng.random() < 0.3:
        step += rng.choice([1, 100])
    if case["rsize"] == "grow":
        size, relative = src.size + step, f"+{step}"
    elif case["rsize"] == "shrink":
        step = min(step, src.size)
        size, relative = src.size - step, f"-{step}"
    else:
        size, relative = src.size, "+0"
    args = ["resize"]
    if case["given"] == "-f":
        args += ["-f", src.fmt]
    if case["shrink"] == "yes":
        args.append("--shrink")
    if case["rpre"] != "off":
        args.append("--preallocation=" + case["rpre"])
    args += [src.name,
             relative if case["rway"] == "relative" else str(size)]
    plan = Plan(args, src.name, src.fmt)
    plan.local = True

    def prepare(folder):
        copy = os.path.join(folder, "src")
        shutil.copytree(src.folder, copy, copy_function=sparse_copy)
    plan.prepare = prepare
    return plan


def sparse_copy(a, b):
    with open(a, "rb") as fa, open(b, "wb") as fb:
        while chunk := fa.read(65536):
            if chunk.count(0) == len(chunk):
                fb.seek(len(chunk), os.SEEK_CUR)
            else:
                fb.write(chunk)
        fb.truncate(os.fstat(fa.fileno()).st_size)


# Lines that must fail, and fail alike. SRC and FMT are the source's.
BAD = [
    "convert", "convert SRC", "convert -O raw -f FMT SRC /no/such/dir/out",
    "convert -f FMT -O raw no-such-file out.img",
    "convert -f FMT -O qcow2 -c -C SRC out.img",
    "convert -f FMT -O qcow2 -S 4k -C SRC out.img",
    "convert -f FMT -O raw -S 1000 SRC out.img",
    "convert -f FMT -O raw -S 32M SRC out.img",
    "convert -f FMT -O raw -m 0 SRC out.img",
    "convert -f FMT -O raw -m 17 SRC out.img",
    "convert -f FMT -O raw -t nonsense SRC out.img",
    "convert -f FMT -O raw -T nonsense SRC out.img",
    "convert -f FMT -O raw --target-is-zero SRC out.img",
    "convert -f FMT -O nosuchfmt SRC out.img",
    "convert -f nosuchfmt -O raw SRC out.img",
    "convert -f FMT -O qcow2 -o nosuchoption=1 SRC out.img",
    "convert -f FMT -O qcow2 -o cluster_size=1000 SRC out.img",
    "convert -f FMT -O qcow2 -o cluster_size=4M SRC out.img",
    "convert -f FMT -O qcow2 -o compat=0.10,refcount_bits=1 SRC out.img",
    "convert -f FMT -O qcow2 -o extended_l2=on,cluster_size=8k SRC out.img",
    "convert -f FMT -O qcow2 -c -o preallocation=metadata SRC out.img",
    "convert -f FMT -O qcow2 -B /no/such -F raw SRC out.img",
    "convert -f FMT -O qcow2 -B SRC SRC out.img",
    "convert -f FMT -O raw -n SRC out.img",
    "convert -f FMT -O raw -l nosuchsnapshot SRC out.img",
    "convert -f FMT -O raw --nosuchflag SRC out.img",
    "convert -f FMT -O raw --skip-broken-bitmaps SRC out.img",
    "create", "create -f qcow2 out.img", "create -f nosuch out.img 1M",
    "create -f qcow2 out.img 1X", "create -f qcow2 out.img -1",
    "create -f qcow2 out.img 1M 2M",
    "create -f qcow2 -o cluster_size=256 out.img 1M",
    "create -f qcow2 -o refcount_bits=3 out.img 1M",
    "create -f qcow2 -o refcount_bits=128 out.img 1M",
    "create -f qcow2 -o compat=2 out.img 1M",
    "create -f qcow2 -o compat=0.10,lazy_refcounts=on out.img 1M",
    "create -f qcow2 -o compression_type=lzma out.img 1M",
    "create -f qcow2 -o preallocation=some out.img 1M",
    "create -f qcow2 -o data_file_raw=on out.img 1M",
    "create -f qcow2 -b SRC out.img 1M",
    "create -f qcow2 -b no-such-file -F raw out.img",
    "create -f qcow2 -o cluster_size=512 out.img 1P",
    "create -f qcow2 /no/such/dir/out.img 1M",
    "create -f raw -o cluster_size=64k out.img 1M",
    "info", "info no-such-file", "info -f nosuch SRC", "info SRC SRC",
    "info --output=xml SRC",
    "resize", "resize -f FMT SRC", "resize -f FMT SRC 1X",
    "resize -f FMT no-such-file 1M", "resize -f FMT SRC +1M +1M",
    "resize -f FMT --preallocation=some SRC +1M",
    "nosuchcommand", "",
]


def bad(rng, case, src, scratch, log):
    del case, scratch, log
    line = rng.choice(BAD)
    return Plan([{"SRC": UP + src.name, "FMT": src.fmt}.get(a, a)
                 for a in line.split()])


PLANS = {"raw": convert, "qcow2": convert, "create": create, "info": info,
         "resize": resize, "bad": bad}
