# SPDX-License-Identifier: MIT
"""The dimensions of a case, which values exclude each other, and the planner.

A feature is DIM=VALUE. The tables here are both the generator and the list of
invalid pairs with their reasons: a pair that no rule forbids must be reachable,
and the full run fails when one of them was not exercised. Nothing here touches
a file.
"""

# Values that stand for "nothing special"; they are no features of their own.
PLAIN = {"-", "no", "off", "none", "default"}

SMALL_CS = ["512", "1k", "2k", "4k", "8k"]
BIG_CS = ["16k", "32k", "64k", "128k", "256k", "512k", "1M", "2M"]
QCOW2 = {"fmt": ["qcow2"]}
CONVERT = {"op": ["raw", "qcow2"]}
TO_QCOW2 = {"op": ["qcow2", "create"]}


def even(*values):
    return {v: 1 for v in values}


# name: (applies when, {value: weight}); order is the order of drawing.
DIMS = {
    # what is done
    "op": ({}, {"raw": 5, "qcow2": 6, "info": 2, "create": 3, "resize": 4,
                "bad": 1}),
    # the source image
    "fmt": ({}, {"qcow2": 8, "raw": 2}),
    "depth": (QCOW2, {"0": 5, "1": 3, "2": 2, "3": 2}),
    "compat": (QCOW2, {"1.1": 4, "0.10": 1}),
    "cs": (QCOW2, {**even(*SMALL_CS), **even(*BIG_CS), "64k": 3, "2M": 2}),
    "rb": (QCOW2, {"16": 5, **even("1", "2", "4", "8", "32", "64")}),
    "el2": (QCOW2, {"off": 2, "on": 1}),
    "data": (QCOW2, {"none": 6, "file": 1, "raw": 1}),
    "packed": (QCOW2, {"no": 1, "yes": 1}),
    "ctype": (QCOW2, {"zlib": 1, "zstd": 1}),
    "lazy": (QCOW2, {"off": 3, "on": 1}),
    "prealloc": (QCOW2, {"off": 5, **even("metadata", "falloc", "full")}),
    "snap": (QCOW2, {"no": 2, "yes": 1}),
    "bitmap": (QCOW2, {"no": 3, "yes": 1}),
    "dirty": (QCOW2, {"no": 4, "yes": 1}),
    "bfmt": ({"depth": ["1", "2", "3"]}, {"raw": 1, "qcow2": 1}),
    "blen": ({"depth": ["1", "2", "3"]}, even("shorter", "equal", "longer")),
    "size": ({}, {"whole": 3, "partial": 4, "bytes": 3, "empty": 0.3}),
    "odd": ({}, {"no": 1, "yes": 1}),
    "zeroes": ({}, {"no": 1, "yes": 1}),
    "unmap": (QCOW2, {"no": 1, "yes": 1}),
    "discard": (QCOW2, {"no": 1, "yes": 1}),
    "frag": (QCOW2, {"no": 6, "yes": 1}),
    "holes": ({"fmt": ["raw"]}, {"no": 1, "yes": 2}),
    # how it is named
    "given": ({"op": ["raw", "qcow2", "info", "resize"]},
              {"-f": 3, "probe": 1}),
    "name": ({"op": ["raw", "qcow2", "info"]},
             {"plain": 4, "file:": 1, "opts": 1}),
    # convert
    "nsrc": (CONVERT, {"1": 6, "2": 1, "3": 1}),
    "snapl": ({"op": ["raw", "qcow2"], "snap": ["yes"]},
              {"no": 1, "yes": 1}),
    "S": (CONVERT, {"default": 4, **even("0", "512", "4k", "64k", "1M")}),
    "t": (CONVERT, {"default": 3, **even("unsafe", "writeback", "none",
                                         "writethrough", "directsync")}),
    "T": (CONVERT, {"default": 3, "none": 1}),
    "m": (CONVERT, {"default": 2, **even("1", "8", "16")}),
    "W": (CONVERT, {"no": 4, "yes": 1}),
    "C": (CONVERT, {"no": 6, "yes": 1}),
    "rate": (CONVERT, {"no": 8, "yes": 1}),
    "U": ({"op": ["raw", "qcow2", "info"]}, {"no": 4, "yes": 1}),
    "say": (CONVERT, {"none": 3, "-p": 1, "-q": 1}),
    "salvage": (CONVERT, {"no": 6, "yes": 1}),
    "to": (CONVERT, {"fresh": 5, "over": 2, "n-zero": 1, "n": 1}),
    "rawpre": ({"op": ["raw"]}, {"off": 4, "falloc": 1, "full": 1}),
    # options of a qcow2 target
    "kfmt": ({"op": ["create"]}, {"qcow2": 4, "raw": 1}),
    "qcs": (TO_QCOW2, {"default": 4, **even("512", "4k", "16k", "64k",
                                            "256k", "2M")}),
    "qcompat": (TO_QCOW2, {"default": 3, "1.1": 1, "0.10": 1}),
    "qrb": (TO_QCOW2, {"default": 5, **even("1", "2", "4", "8", "16", "32",
                                            "64")}),
    "qel2": (TO_QCOW2, {"off": 3, "on": 1}),
    "qlazy": (TO_QCOW2, {"off": 3, "on": 1}),
    "qtype": (TO_QCOW2, {"default": 2, "zlib": 1, "zstd": 1}),
    "c": ({"op": ["qcow2"]}, {"no": 1, "yes": 1}),
    "qpre": (TO_QCOW2, {"off": 5, **even("metadata", "falloc", "full")}),
    "qback": (TO_QCOW2, {"none": 2, "-b": 1, "-o": 1}),
    "qdata": (TO_QCOW2, {"none": 6, "file": 1, "raw": 1}),
    "bitmaps": ({"op": ["qcow2"], "bitmap": ["yes"]}, {"no": 1, "yes": 1}),
    # create
    "kpre": ({"kfmt": ["raw"]}, {"off": 2, "falloc": 1, "full": 1}),
    "ksize": ({"op": ["create"]}, {"given": 3, "odd": 1, "none": 2}),
    "ku": ({"qback": ["-b", "-o"], "op": ["create"]}, {"no": 4, "yes": 1}),
    # info
    "out": ({"op": ["info"]}, {"human": 1, "json": 1}),
    "chain": ({"op": ["info"]}, {"no": 2, "yes": 1}),
    # resize
    "rsize": ({"op": ["resize"]}, even("grow", "shrink", "same")),
    "rway": ({"op": ["resize"]}, even("absolute", "relative")),
    "shrink": ({"op": ["resize"]}, {"no": 1, "yes": 2}),
    "rpre": ({"op": ["resize"]}, {"off": 4, **even("metadata", "falloc",
                                                   "full")}),
}

NOT16 = "1,2,4,8,32,64"
V2 = "version 2 has no place for it"
EMPTY = "an image of no bytes holds none"

# (feature pattern, feature pattern, reason); VALUE may be a list or !VALUE.
INVALID = [
    ("compat=0.10", "rb=" + NOT16, V2),
    ("compat=0.10", "ctype=zstd", V2),
    ("compat=0.10", "el2=on", V2),
    ("compat=0.10", "lazy=on", V2),
    ("compat=0.10", "data=file,raw", V2),
    ("compat=0.10", "bitmap=yes", V2),
    ("compat=0.10", "dirty=yes", V2),
    ("qcompat=0.10", "qrb=" + NOT16, V2),
    ("qcompat=0.10", "qtype=zstd", V2),
    ("qcompat=0.10", "qel2=on", V2),
    ("qcompat=0.10", "qlazy=on", V2),
    ("qcompat=0.10", "qdata=file,raw", V2),
    ("qcompat=0.10", "bitmaps=yes", V2),
    ("el2=on", "cs=" + ",".join(SMALL_CS), "subclusters need 16k"),
    ("qel2=on", "qcs=512,4k", "subclusters need 16k"),
    ("packed=yes", "data=file,raw", "a data file holds no packed clusters"),
    ("packed=yes", "prealloc=metadata,falloc,full",
     "a packed cluster cannot overwrite an allocated one"),
    ("snap=yes", "data=file,raw", "snapshots and data files exclude"),
    ("snap=yes", "rb=1", "a shared cluster needs a refcount of 2"),
    ("dirty=yes", "data=file,raw", "no refcounts change, so never dirty"),
    ("data=raw", "depth=1,2,3", "a raw data file excludes a backing file"),
    ("qdata=raw", "qback=-b,-o", "a raw data file excludes a backing file"),
    ("qdata=raw", "ku=yes", "a raw data file excludes a backing file"),
    ("kfmt=raw", "ku=yes", "about backing files"),
    ("c=yes", "qdata=file,raw", "a data file holds no packed clusters"),
    ("c=yes", "qpre=metadata,falloc,full", "-c excludes preallocation"),
    ("c=yes", "C=yes", "-c excludes -C"),
    ("C=yes", "S=0,512,4k,64k,1M", "-S excludes -C"),
    ("C=yes", "salvage=yes", "-C excludes --salvage"),
    ("nsrc=2,3", "qback=-b,-o", "-B excludes several sources"),
    ("nsrc=2,3", "snapl=yes", "-l excludes several sources"),
    ("nsrc=2,3", "bitmaps=yes", "--bitmaps excludes several sources"),
    ("size=bytes", "fmt=qcow2", "qcow2 counts in sectors"),
    ("size=bytes", "name=opts", "qcow2 counts in sectors"),
    ("size=bytes", "given=probe", "qcow2 counts in sectors"),
    ("size=bytes", "op=resize", "qemu-img first rounds the file up"),
    ("size=partial", "cs=512", "a sector is a cluster"),
    ("size=empty", "packed=yes", EMPTY),
    ("size=empty", "dirty=yes", EMPTY),
    ("size=empty", "bitmap=yes", EMPTY),
    ("size=empty", "bitmaps=yes", EMPTY),
    ("size=empty", "odd=yes", EMPTY),
    ("size=empty", "zeroes=yes", EMPTY),
    ("size=empty", "unmap=yes", EMPTY),
    ("size=empty", "discard=yes", EMPTY),
    ("size=empty", "frag=yes", EMPTY),
    ("size=empty", "holes=yes", EMPTY),
    ("size=empty", "blen=shorter,equal", EMPTY),
    ("size=empty", "rsize=shrink", EMPTY),
    ("size=empty", "rsize=same", "qemu-img wants a positive size"),
    ("fmt=raw", "rpre=metadata", "raw has none"),
    ("holes=yes", "rpre=metadata", "raw has none"),
    ("size=bytes", "rpre=metadata", "raw has none"),
    ("rpre=!off", "rsize=shrink,same", "only what grows is preallocated"),
    ("bitmaps=yes", "dirty=yes", "its bitmaps are inconsistent"),
    ("name=opts", "given=-f", "--image-opts excludes -f"),
    ("name=opts", "fmt=raw", "of interest for qcow2 only"),
    ("name=opts", "nsrc=2,3", "one description is enough"),
    ("op=qcow2", "to=n-zero,n", "new qcow2 images only"),
    ("to=n-zero,n", "rawpre=falloc,full", "-n excludes -o"),
    ("given=probe", "fmt=raw",
     "raw content that is guessed is warned of or refused"),
    ("kfmt=raw", "qcs=!default", "raw has no such option"),
    ("kfmt=raw", "qcompat=!default", "raw has no such option"),
    ("kfmt=raw", "qrb=!default", "raw has no such option"),
    ("kfmt=raw", "qel2=on", "raw has no such option"),
    ("kfmt=raw", "qlazy=on", "raw has no such option"),
    ("kfmt=raw", "qtype=!default", "raw has no such option"),
    ("kfmt=raw", "qpre=!off", "raw has its own"),
    ("kfmt=raw", "qback=!none", "raw has no such option"),
    ("kfmt=raw", "qdata=!none", "raw has no such option"),
    ("kfmt=raw", "ksize=none", "only an overlay can do without a size"),
    ("ku=yes", "ksize=none", "-u needs a size"),
    ("ksize=none", "qback=none", "only an overlay can do without a size"),
]

# Three that exclude each other.
INVALID3 = [
    ("packed=yes", "snap=yes", "rb=2,4",
     "the refcount of a shared packed cluster overflows"),
    ("prealloc=!off", "depth=1,2,3", "el2=off",
     "preallocation over a backing file needs subclusters"),
    ("qpre=!off", "qback=-b,-o", "qel2=off",
     "preallocation over a backing file needs subclusters"),
]


def _pattern(text):
    dim, _, values = text.partition("=")
    everything = DIMS[dim][1]
    if values.startswith("!"):
        picked = {v for v in everything if v != values[1:]}
    else:
        picked = set(values.split(","))
        assert picked <= set(everything), text
    return dim, picked


_PAIRS = [(_pattern(a), _pattern(b), why) for a, b, why in INVALID]
_TRIPLES = [(_pattern(a), _pattern(b), _pattern(c), why)
            for a, b, c, why in INVALID3]


def why_not(chosen, dim, value):
    """The reason why value cannot join what was chosen, or None."""
    for (ad, av), (bd, bv), why in _PAIRS:
        if dim == ad and value in av and chosen.get(bd) in bv:
            return why
        if dim == bd and value in bv and chosen.get(ad) in av:
            return why
    for rule in _TRIPLES:
        parts = rule[:3]
        if any(d == dim and value in v for d, v in parts) and all(
                (value if d == dim else chosen.get(d)) in v
                for d, v in parts):
            return rule[3]
    return None


def _needs(wants):
    """Values that the wanted dimensions oblige others to have."""
    allowed = {}
    queue = list(wants)
    while queue:
        dim = queue.pop()
        for other, values in DIMS[dim][0].items():
            before = allowed.get(other, set(DIMS[other][1]))
            allowed[other] = before & set(values)
            if other in wants and wants[other] not in allowed[other]:
                return None
            if not allowed[other]:
                return None
            queue.append(other)
    return allowed


# What byre refuses by name; that it does is checked where a case draws it.
REFUSED = (
)


def pair_reason(a, b):
    """Why features a and b (dim, value) never meet, or None."""
    if a[0] == b[0]:
        return "one dimension"
    for refused, why in REFUSED:
        if set(refused) <= {a, b}:
            return why
    wants = dict([a, b])
    allowed = _needs(wants)
    if allowed is None:
        return "belongs to another operation or format"
    why = why_not({a[0]: a[1]}, *b)
    if why:
        return why
    # What one of them implies may exclude the other.
    for dim, values in allowed.items():
        if dim in wants:
            continue
        if all(why_not(wants, dim, v) for v in values):
            return "what one implies excludes the other"
    return None


def draw(rng, wants):
    """One case as {dim: value}, or None when the wants cannot be met."""
    allowed = _needs(wants)
    if allowed is None:
        return None
    for _ in range(60):
        chosen = _draw_once(rng, wants, allowed)
        if chosen is not None:
            return chosen
    return None


def _draw_once(rng, wants, allowed):
    chosen = {}
    for dim, (when, weights) in DIMS.items():
        if any(chosen[d] not in values for d, values in when.items()):
            if dim in wants:
                return None
            chosen[dim] = "-"
            continue
        if dim in wants:
            values = [wants[dim]]
        else:
            values = [v for v in weights if v in allowed.get(dim, weights)]
        joined = {**wants, **chosen}
        joined.pop(dim, None)
        values = [v for v in values if not why_not(joined, dim, v)]
        if not values:
            return None
        chosen[dim] = rng.choices(values, [weights[v] for v in values])[0]
    return chosen


def features(case):
    return [(d, v) for d, v in case.items() if v not in PLAIN]


def all_features():
    return [(d, v) for d, (_, vs) in DIMS.items() for v in vs
            if v not in PLAIN]
