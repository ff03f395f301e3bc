# SPDX-License-Identifier: MIT
"""The changes in place that power may interrupt. 512-byte clusters make the
tables many and the files small."""

import shlex


class Case:
    """setup: shell lines with genuine tools. args: the front's command line.
    traced: the files that may change; guests: whose content is looked at.
    spare: barriers that this case does not need and others do.
    broken: it begins with errors; there shall be no more of them."""

    def __init__(self, setup, args, traced=("t",), guests=None, spare=(),
                 broken=False, long=False):
        self.setup, self.args = setup, shlex.split(args)
        self.traced = list(traced)
        self.guests = list(guests or [n for n in traced if n != "t.data"])
        self.images = [n for n in self.guests
                       if self.format_of(n) == "qcow2"]
        self.spare, self.broken, self.long = set(spare), broken, long

    @staticmethod
    def format_of(name):
        return "raw" if name.endswith(".raw") else "qcow2"


def image(options, size, *writes, name="t", base=None):
    """Lines that make an image, with a shared L1 where there are snapshots."""
    opts = f"-o {options} " if options else ""
    back = f"-b {base} -F {Case.format_of(base)} " if base else ""
    lines = [f"qemu-img create -q -f qcow2 {opts}{back}{name} {size}"]
    for w in writes:
        if w.startswith("qemu-img"):
            lines.append(w)
        else:
            lines.append(f"qemu-io -f qcow2 -c '{w}' {name}")
    return lines


SMALL = "cluster_size=512"
SNAP = "qemu-img snapshot -c s t"
OTHER = "qemu-img snapshot -c r t"
DATA = ("write -P 1 0 40k", "write -P 2 100k 20k")
SNAPPED = (*DATA, SNAP, "write -P 3 10k 10k", "write -P 4 110k 30k")
LOWER = image(SMALL, "128K", "write -P 7 0 128k", name="base")
ELSE = image(SMALL, "128K", "write -P 8 20k 100k", name="other")
BITMAP = "qemu-img bitmap --add -g 512 t b"

CASES = {
    "resize": Case(image(SMALL, "40K", "write -P 1 0 40k"),
                   "resize -q -f qcow2 t 3M"),
    "resize-shrink": Case(image(SMALL, "1M", "write -P 1 0 300k",
                                "write -P 2 600k 100k"),
                          # entries behind the end, and emptied blocks
                          "resize -q -f qcow2 --shrink t 200K",
                          spare=(1, 3)),
    "resize-backing": Case(
        image(SMALL, "256K", "write -P 7 0 256k", name="base") +
        image(SMALL, "40448", "write -P 1 0 10k", base="base"),
        "resize -q -f qcow2 t 200K"),

    "snapshot-c": Case(image(SMALL, "160K", *DATA), "snapshot -c s t"),
    "snapshot-c-second": Case(image(SMALL, "160K", *SNAPPED),
                              "snapshot -c r t"),
    "snapshot-c-v2": Case(image(SMALL + ",compat=0.10", "160K", *SNAPPED),
                          "snapshot -c r t"),
    "snapshot-c-packed": Case(
        image("cluster_size=4k", "256K", "write -c -P 1 0 4k",
              "write -c -P 2 4k 4k", "write -P 3 64k 64k", "write -z 68k 4k"),
        "snapshot -c s t"),
    "snapshot-c-extl2": Case(
        image("cluster_size=16k,extended_l2=on", "256K", "write -P 1 0 10k",
              "write -z 20k 2k"), "snapshot -c s t"),
    "snapshot-c-grows": Case(
        image(SMALL, "20M", "write -P 1 0 1M"), "snapshot -c s t",
        long=True),
    "snapshot-a": Case(image(SMALL, "160K", *SNAPPED), "snapshot -a s t"),
    "snapshot-a-size": Case(
        image(SMALL, "160K", *DATA, SNAP, "qemu-img resize -q t 1M",
              "write -P 5 900k 20k"), "snapshot -a s t"),
    "snapshot-a-other": Case(
        image(SMALL, "160K", *SNAPPED, OTHER, "write -P 6 0 20k"),
        "snapshot -a s t"),
    "snapshot-d": Case(image(SMALL, "160K", *SNAPPED), "snapshot -d s t"),
    "snapshot-d-first": Case(
        image(SMALL, "160K", *SNAPPED, OTHER, "write -P 6 0 20k"),
        # 2: no cluster becomes the only user's
        "snapshot -d s t", spare=(2,)),
    "snapshot-d-own": Case(
        image(SMALL, "160K", *DATA, SNAP, "discard 0 160k"),
        "snapshot -d s t", spare=(2,)),  # as above
    "snapshot-d-wide": Case(
        image(SMALL + ",refcount_bits=64", "160K", *SNAPPED),
        "snapshot -d s t", long=True),

    "rebase": Case(
        LOWER + ELSE + image(SMALL, "128K", "write -P 1 40k 10k",
                             base="base"),
        "rebase -b other -F qcow2 t"),
    "rebase-snapshot": Case(
        LOWER + ELSE + image(SMALL, "128K", "write -P 1 40k 10k",
                             base="base"),
        "rebase -b other -F qcow2 t"),
    "rebase-nothing": Case(
        LOWER + image(SMALL, "128K", "write -P 1 40k 10k", base="base"),
        "rebase -b '' t"),
    "rebase-short": Case(
        LOWER + image(SMALL, "30K", "write -P 8 0 30k", name="short") +
        image("cluster_size=4k", "128K", "write -P 1 40k 10k", base="base"),
        "rebase -b short -F qcow2 t"),
    "rebase-extl2": Case(
        LOWER + ELSE +
        image("cluster_size=16k,extended_l2=on", "128K", "write -P 1 41k 1k",
              base="base"),
        # 3, 4: both names lie behind the first sector, and are as long
        "rebase -b other -F qcow2 t", spare=(3, 4)),
    "rebase-unsafe": Case(
        LOWER + ELSE + image(SMALL, "128K", "write -P 1 40k 10k",
                             base="base"),
        "rebase -u -b other -F qcow2 t"),

    "commit": Case(
        image(SMALL, "128K", "write -P 7 0 64k", name="base") +
        image(SMALL, "128K", "write -P 1 40k 10k", "write -P 2 90k 20k",
              "write -z 5k 3k", base="base"),
        "commit -q t", traced=("t", "base")),
    "commit-keep": Case(
        image(SMALL, "128K", "write -P 7 0 64k", name="base") +
        image(SMALL, "128K", "write -P 1 40k 10k", "write -P 2 90k 20k",
              base="base"),
        "commit -q -d t", traced=("t", "base")),
    "commit-grows": Case(
        image(SMALL, "64K", "write -P 7 0 64k", name="base") +
        image("cluster_size=4k", "256K", "write -P 1 40k 10k",
              "write -P 2 200k 20k", base="base"),
        # 2: the base has grown, its data come next
        "commit -q t", traced=("t", "base"), spare=(2,)),
    "commit-raw": Case(
        ["truncate -s 64K base.raw"] +
        image(SMALL, "128K", "write -P 1 10k 10k", "write -P 2 90k 20k",
              base="base.raw"), "commit -q t", traced=("t", "base.raw")),
    "commit-data": Case(
        image(SMALL, "64K", "write -P 7 0 64k", name="base") +
        image(SMALL + ",data_file=t.data", "64K", "write -P 1 40k 10k",
              base="base"),
        "commit -q t", traced=("t", "t.data", "base")),
    "commit-shared": Case(
        image(SMALL, "128K", "write -P 7 0 64k", name="base") +
        ["qemu-img snapshot -c s base"] +
        image(SMALL, "128K", "write -P 1 40k 10k", base="base"),
        "commit -q t", traced=("t", "base")),
    "commit-bitmap": Case(
        image(SMALL, "128K", "write -P 7 0 30k",
              BITMAP.replace(" t ", " base "),
              "qemu-img bitmap --add -g 4k --disable base c", name="base") +
        image(SMALL, "128K", "write -P 1 20k 10k", "write -P 2 90k 20k",
              base="base"),
        "commit -q -d t", traced=("base",)),
    "convert-bitmap": Case(
        image(SMALL, "128K", "write -P 3 0 10k", "write -z 60k 3k",
              name="from") +
        image(SMALL, "128K", "write -P 7 0 30k", BITMAP, "write -P 8 50k 30k",
              "qemu-img bitmap --add -g 1k t c"),
        "convert -n -t writeback -O qcow2 from t"),
    "commit-snapshot": Case(
        image(SMALL, "128K", "write -P 7 0 64k", name="base") +
        image(SMALL, "128K", "write -P 1 40k 10k", base="base"),
        "commit -q t", traced=("t", "base"), long=True),

    "convert-packed": Case(
        image("cluster_size=4k", "128K", "write -P 1 10k 30k",
              "write -P 2 90k 20k", name="s") +
        image("cluster_size=4k", "128K", "write -c -P 3 60k 4k"),
        "convert -n -c -t writeback -O qcow2 s t"),

    # the old refcount table lies near the end (amend has put it there), so
    # that its cluster is the first that is free when the new one is there
    "convert-grows": Case(
        image("", "2304K", "write -P 5 0 2304k", name="from") +
        image(SMALL, "2304K", "write -P 1 0 1700k",
              "qemu-img amend -o refcount_bits=64 t"),
        "convert -n -t writeback -O qcow2 from t"),

    "amend-v2": Case(
        image(SMALL, "160K", *DATA, "write -z 0 3k", "write -z 60k 3k"),
        "amend -o compat=0.10 t"),
    "amend-v2-backing": Case(
        LOWER + image(SMALL, "128K", "write -P 1 0 10k", "write -z 4k 3k",
                      "write -z 60k 3k", base="base"),
        "amend -o compat=0.10 t"),
    "amend-v2-snapshot": Case(
        # r's zero clusters have their places with t's data; s is gone
        image(SMALL, "160K", *DATA, SNAP, "write -z 0 3k", OTHER,
              "qemu-img snapshot -a s t", "qemu-img snapshot -d s t",
              "write -z 60k 3k"),
        "amend -o compat=0.10 t"),
    "amend-v3": Case(image(SMALL + ",compat=0.10", "160K", *DATA),
                     "amend -o compat=1.1 t"),
    "amend-lazy": Case(image(SMALL, "160K", *DATA),
                       "amend -o lazy_refcounts=on t"),
    "amend-wide": Case(image(SMALL, "160K", *DATA),
                       "amend -o refcount_bits=64 t"),
    "amend-narrow": Case(image(SMALL, "160K", *DATA),
                         "amend -o refcount_bits=8 t"),
    "amend-wide-snapshot": Case(image(SMALL, "160K", *SNAPPED),
                                "amend -o refcount_bits=32 t"),
    "amend-size": Case(image(SMALL, "40K", "write -P 1 0 40k"),
                       "amend -o size=3M t"),

    "bitmap-add": Case(image(SMALL, "160K", *DATA),
                       "bitmap --add -g 512 t b"),
    "bitmap-add-second": Case(image(SMALL, "160K", BITMAP, *DATA),
                              "bitmap --add -g 1k t c"),
    "bitmap-remove": Case(image(SMALL, "160K", BITMAP, *DATA),
                          "bitmap --remove t b"),
    "bitmap-remove-one": Case(
        image(SMALL, "160K", BITMAP, "qemu-img bitmap --add t c", *DATA),
        "bitmap --remove t b"),
    "bitmap-clear": Case(image(SMALL, "160K", BITMAP, *DATA),
                         "bitmap --clear t b"),
    "bitmap-disable": Case(image(SMALL, "160K", BITMAP, *DATA),
                           "bitmap --disable t b"),
    "bitmap-merge": Case(
        image(SMALL, "160K", BITMAP, "write -P 1 0 40k",
              "qemu-img bitmap --add -g 512 t c", "write -P 1 100k 4k"),
        "bitmap --merge b t c"),

    # a leak: another cluster at the end, with a refcount; 512-byte clusters
    # have their only refcount block at 0x400
    "check-leaks": Case(
        image(SMALL, "16K", "write -P 1 0 16k") +
        ["s=$(stat -c %s t); truncate -s +512 t; printf '\\000\\001' | "
         "dd of=t bs=1 conv=notrunc seek=$((0x400 + s / 512 * 2)) "
         "2>/dev/null", "! qemu-img check -q t 2>/dev/null"],
        "check -q -r leaks t"),
    "check-copied": Case(
        image("", "1M", "write -P 1 0 128k") +
        ["printf '\\000' | dd of=t bs=1 conv=notrunc seek=$((0x40000)) "
         "2>/dev/null"], "check -q -r all t", broken=True),
    "check-refcount": Case(
        image("", "1M", "write -P 1 0 128k") +
        ["printf '\\000\\000' | dd of=t bs=1 conv=notrunc "
         "seek=$((0x2000a)) 2>/dev/null"], "check -q -r all t", broken=True),
    "check-rebuild": Case(
        image(SMALL, "64K", "write -P 1 0 50k") +
        ["dd if=/dev/zero of=t bs=512 seek=2 count=1 conv=notrunc "
         "2>/dev/null"], "check -q -r all t", broken=True,
        # all counts were lost before; the last but one keeps the old table
        spare=(0, 1)),
    "check-abort": Case(
        image(SMALL + ",lazy_refcounts=on", "64K", "write -P 1 0 20k") +
        ["qemu-io -f qcow2 -c 'write -P 2 30k 5k' -c abort t || true"],
        "check -q -r all t", broken=True, spare=(2,)),  # as above
    "check-abort-resize": Case(
        image(SMALL + ",lazy_refcounts=on", "64K", "write -P 1 0 20k") +
        ["qemu-io -f qcow2 -c 'write -P 2 30k 5k' -c abort t || true"],
        # 2: as above; 3 is of the resize itself
        "resize -q -f qcow2 t 80K", broken=True, spare=(2, 3)),
    "check-flags": Case(
        image(SMALL, "16K", "write -P 1 0 16k") +
        # cluster 6 is counted twice, and its entry says so
        ["printf '\\000\\002' | dd of=t bs=1 conv=notrunc "
         "seek=$((0x400 + 6 * 2)) 2>/dev/null",
         "printf '\\000' | dd of=t bs=1 conv=notrunc seek=$((0xa00)) "
         "2>/dev/null", "! qemu-img check -q t 2>/dev/null"],
        "check -q -r all t", broken=True),
    "check-dirty": Case(
        image(SMALL + ",lazy_refcounts=on", "64K", "write -P 1 0 50k") +
        ["printf '\\001' | dd of=t bs=1 conv=notrunc seek=79 2>/dev/null"],
        "check -q -r all t"),
}
