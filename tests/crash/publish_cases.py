# SPDX-License-Identifier: MIT
"""The ways in which the cache makes, changes and removes what is to last."""

import hashlib

X = hashlib.sha1(b"x").hexdigest()
OLD = hashlib.sha1(b"old").hexdigest()
BASE = "i/_base/" + X
RECORD = f"i/_base/.byre/records/{X}.json"
ENSURE = "cache ensure --instances i -q x --from "
MADE = "$B " + ENSURE + "src.raw"
# a cache that has its directories already
OTHER = "$B cache ensure --instances i -q o --from small.raw"
ROT = f"printf rot | dd of={BASE} bs=1 seek=9000 conv=notrunc 2>/dev/null"
FOUND_SPARE = {1: "what a verification has found lasts; here it was known"}
FOUND = "$B cache verify --instances i -q; [ $? -eq 3 ]"
SPAWN = "cache spawn --instances i x "
INFO = "mkdir i/a; printf '%s' '{\"/x/disk.local\": \"raw\"}' >i/a/disk.info"


class Case:
    """setup: shell commands before, durable but for the paths in late. args:
    what is recorded, ending with rc; again: how it may end when it is run once
    more. disks: what it makes, and the base below. built: x can be built on
    afterwards. removes: bases go, and a record may outlive its base. repairs:
    another file gets the name of a base, or none, and the old one is kept."""

    def __init__(self, args, setup=(OTHER,), rc=0, again=(0,), late=(),
                 disks=None, built=True, removes=False, repairs=False,
                 rotten=(0,), deny="", long=False, spare=None):
        self.args, self.setup, self.rc, self.again = args, setup, rc, again
        self.late, self.disks, self.built = late, disks or {}, built
        self.removes, self.repairs = removes, repairs
        self.rotten, self.deny, self.long = rotten, deny, long
        self.spare = spare or {}  # number of a flush: why it is there


def spawn(args="", disk="i/a/disk", below=BASE, setup=(MADE, INFO), **more):
    return Case(f"{SPAWN}{disk} {args}", setup, disks={disk: below},
                again=(0, 1), **more)


CASES = {
    "ensure, new cache": Case(ENSURE + "src.raw", ()),
    "ensure, new _base of somebody's": Case(
        ENSURE + "src.raw", ("mkdir i/_base",), late=("i/_base",)),
    "ensure raw": Case(ENSURE + "src.raw"),
    "ensure qcow2": Case(ENSURE + "src.qcow2"),
    "ensure kept": Case(ENSURE + "src.qcow2 --keep-qcow2"),
    "ensure kernel": Case(ENSURE + "src.raw --kernel"),
    "ensure fetched": Case(ENSURE + "src.raw --expect sha256:$SUM"),
    "ensure over an old record": Case(
        ENSURE + "src.raw",
        (f"$B {ENSURE}src.qcow2 --keep-qcow2", f"rm {BASE}")),
    "ensure, nobody flushed it": Case(
        ENSURE + "src.raw", (OTHER, f"cp src.raw {BASE}"), late=(BASE,)),
    "ensure without links": Case(ENSURE + "src.raw", deny="link", long=True),
    "overlay": spawn("--size 1G"),
    "overlay, new directories": spawn(disk="i/n/a/disk", setup=(MADE,)),
    "overlay without nameless files": spawn(deny="otmpfile", long=True),
    "overlay, disk.info on another device": spawn(
        deny="xdev", spare={0: "what is staged is whole before it moves; "
                            "here it does not"}),
    "overlay, nobody flushed the base": spawn(
        setup=(OTHER, INFO, f"cp src.raw {BASE}"), late=(BASE,)),
    "overlay, another file than recorded": spawn(
        setup=(MADE, INFO, f"cp {BASE} t && mv t {BASE}"), late=(BASE,)),
    "flat": spawn("--flat --size 4M", below=None),
    "sized": spawn("--sized-base --size 1G", below=BASE + "_1"),
    "sized again": spawn("--sized-base --size 1G", below=BASE + "_1",
                         setup=(MADE, INFO, "$B " + SPAWN + "i/b/disk "
                                "--sized-base --size 1G"), long=True),
    "ensure and spawn": spawn("--from src.qcow2", setup=(OTHER, INFO)),
    "swap": Case("cache blank --instances i -q swap --size 1M", built=False),
    "ephemeral": Case("cache blank --instances i -q ephemeral --size 1G",
                      built=False, long=True),
    "clean": Case(
        "cache clean --instances i -q --min-age 0",
        (MADE, "$B cache ensure --instances i -q old --from src.qcow2 "
         "--keep-qcow2", "$B " + SPAWN + "i/a/disk",
         f"touch -d '3 days ago' i/_base/{OLD} {BASE}"), removes=True),
    "purge": Case("cache purge --instances i -q x", (MADE,), again=(0, 1),
                  built=False, removes=True),
    "verify": Case("cache verify --instances i -q x", (MADE,)),
    "verify adopts": Case(
        "cache verify --instances i -q x", (OTHER, f"cp src.raw {BASE}"),
        late=(BASE,)),
    "verify finds rot": Case("cache verify --instances i -q", (MADE, ROT),
                             rc=3, again=(3,), rotten=(3,), built=False),
    "replace": Case(
        f"cache verify --instances i -q {X} --repair --from src.raw",
        (MADE, ROT, FOUND), rc=4, again=(0, 4), rotten=(0, 3), repairs=True,
        spare=FOUND_SPARE),
    "quarantine": Case(
        f"cache verify --instances i -q {X} --repair",
        (MADE, ROT, FOUND), rc=4, again=(0, 1, 4), rotten=(0, 3),
        repairs=True, removes=True, built=False, spare=FOUND_SPARE),
    "pin": Case("cache pin --instances i -q x", (MADE,)),
    "unpin": Case("cache unpin --instances i -q x",
                  (MADE, "$B cache pin --instances i -q x"), long=True),
}
