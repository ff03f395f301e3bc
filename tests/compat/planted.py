#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Do the suites see bugs? Plants one at a time into a copy of the source tree,
builds, and demands that a suite fails.

A plant is a replacement of text that occurs exactly once; when it does not,
the plant has to be written anew, and that is a failure (--check looks at this
alone). Needs configure in the source tree and what `make check` needs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile

MAP, ENTRY = "format/qcow2_map.c", "format/qcow2_entry.c"

SNAPSHOT, TURN = "format/qcow2_snapshot_edit.c", "format/qcow2_turn_run.c"
TEXTS, CRASH = "tests/compat/transcripts.py replay ", "tests/crash/inplace.py "

# name: (file, text, replacement, suite). A suite is a script of tests/ with
# its arguments, or features that differential cases must have.
PLANTS = {
    "packed size off by a sector": (
        ENTRY, "ret->hlen = (more + 1) * 512",
        "ret->hlen = (more ? more : 1) * 512", "packed=yes,op=raw"),
    "zero flag ignored": (
        ENTRY, "} else if (entry & QCOW2_ZERO) {",
        "} else if (h->version < 3 && (entry & QCOW2_ZERO)) {",
        "zeroes=yes,el2=off,compat=1.1,depth=1,op=raw"),
    "subcluster bitmap shifted": (
        MAP, "if (n->zero >> i & 1) {",
        "if (n->zero >> (i + 1) % QCOW2_SUBCLUSTERS & 1) {",
        "el2=on,op=raw"),
    "backing file's end ignored": (
        "format/chain.c", "struct extent rest = {.kind = EXTENT_ZERO,",
        "struct extent rest = {.kind = EXTENT_HOLE,",
        "depth=3,blen=shorter,op=raw"),
    "last partial cluster lost": (
        "format/qcow2.c", "im->size = units_align_down(q->h.size, 512);",
        "im->size = units_align_down(q->h.size, qcow2_cluster_size(&q->h));",
        "size=partial,fmt=qcow2,op=raw"),
    "COPIED ignored in a data file": (
        ENTRY, "((h->incompatible & QCOW2_DATA_FILE) &&",
        "(false &&", "data=file,op=raw"),
    "COPIED not written": (
        "format/qcow2_place.c",
        "store_be64(l2_entry(p, voff), hoff | QCOW2_COPIED);\n\tp->l2_dirty",
        "store_be64(l2_entry(p, voff), hoff);\n\tp->l2_dirty",
        "op=qcow2,c=no,qel2=off,S=default"),
    "short read taken as zeros": (
        "src/op/fetch.c", "if (r->done == r->len)\n\t\treturn 0;",
        "if (r->done == r->len || !r->eno)\n\t\treturn 0;",
        "tests/crash/convert-new.sh"),
    "L1 index off by one": (
        MAP, "uint64_t l1x = voff >> shift, n, i, j, next;",
        "uint64_t l1x = (voff >> shift) + (voff >> shift > 1), n, i, j, next;",
        "cs=512,frag=yes,depth=0,op=raw"),
    "L2 mask too narrow": (
        MAP, "(UINT64_C(1) << qcow2_l2_bits(h)) - 1;",
        "(UINT64_C(1) << (qcow2_l2_bits(h) - 1)) - 1;",
        "cs=512,frag=yes,depth=0,op=raw"),
    "refcount width wrong": (
        "format/qcow2_refcount.c",
        "store_be32(block + i * 4, (uint32_t)value);",
        "store_be16(block + i * 4, (uint16_t)value);", "op=qcow2,qrb=32,S=default"),
    "offset within a packed cluster ignored": (
        "src/op/fetch.c", "memcpy(out, c->scratch + p->poff, p->len);",
        "memcpy(out, c->scratch, p->len);", "packed=yes,nsrc=3,op=raw"),
    "snapshot's L1 ignored": (
        "format/qcow2.c", "q->l1_offset = s.l1_offset;",
        "q->l1_offset = q->h.l1_offset;", "snapl=yes,op=raw"),
    "hole punched over data": (
        "src/op/sink_raw.c", "return file_zero(s->file, voff, len, e);",
        "return file_zero(s->file, voff < 512 ? voff : voff - 512, len, e);",
        "to=n,op=raw,m=1"),
    "reference beyond the end unchecked": (
        MAP, "n.hoff >= w->data_end && !", "n.hoff > INT64_MAX && !",
        "tests/golden/run.sh"),
    "second zstd frame dropped": (
        "format/codec_zstd.c", "while (done < out_len) {",
        "while (done == 0) {", "tests/golden/run.sh"),
    "deflate window": (
        "format/codec_zlib.c", "Z_DEFLATED, -p->window_bits",
        "Z_DEFLATED, p->window_bits", "op=qcow2,c=yes,qtype=zlib"),
    "header length ignored": (
        "format/qcow2_header.c", "h->header_length = cursor_be32(&c);",
        "h->header_length = cursor_be32(&c) ? QCOW2_V3_HEADER : 0;",
        "op=info,depth=1,compat=1.1"),
    "extensions in another order": (
        "format/qcow2_encode.c",
        """	if (h->has_backing_format)
		string_extension(o, QCOW2_EXT_BACKING_FORMAT,
			h->backing_format);
	if (h->has_data_file)
		string_extension(o, QCOW2_EXT_DATA_FILE, h->data_file);
""",
        """	if (h->has_data_file)
		string_extension(o, QCOW2_EXT_DATA_FILE, h->data_file);
	if (h->has_backing_format)
		string_extension(o, QCOW2_EXT_BACKING_FORMAT,
			h->backing_format);
""", "op=create,qdata=file,qback=-b"),
    "data file ignored": (
        MAP, ".data_index = external ? 1 : 0,", ".data_index = 0,",
        "data=file,op=raw"),
    "packed cluster shared, refcount not": (
        "format/qcow2_alloc.c",
        "qcow2_refcount_set(b->p, a->order, i & mask, v);",
        "qcow2_refcount_set(b->p, a->order, i & mask, v > 1 ? 1 : v);",
        "op=qcow2,c=yes,S=default"),
    "snapshot raises no counts": (
        SNAPSHOT, "if (qcow2_turn_tree(t, d->l1, d->l1_entries, 1, e) < 0) {",
        "if (t->d != d) {", TEXTS + "snapshot"),
    "snapshot leaves COPIED": (
        TURN, "entry |= count == 1 ? QCOW2_COPIED : 0;",
        "entry |= count <= 2 ? QCOW2_COPIED : 0;", TEXTS + "snapshot"),
    "snapshot shares an L1 entry that is COPIED": (
        TURN, "hoff | (count == 1 ? QCOW2_COPIED : 0));",
        "hoff | QCOW2_COPIED);", TEXTS + "snapshot"),
    "snapshot's old L1 table leaks": (
        SNAPSHOT, "qcow2_turn_range(t, s->l1_offset, len, -1, e) < 0 ||", "",
        TEXTS + "snapshot"),
    "applied snapshot keeps the size": (
        SNAPSHOT, "store_be64(d->head + 24, s->disk_size);", "",
        TEXTS + "snapshot"),
    "header turns before the copies are there": (
        TURN, 'plan_barrier(p, "copies before the header turns to them", '
        'e) < 0 ||', "", CRASH + "snapshot-d"),
    "header turns back too early": (
        TURN, 'plan_barrier(p, "old places before the header turns back", '
        'e) < 0 ||', "", CRASH + "snapshot-c snapshot-d"),
    "commit skips zeros": (
        "format/qcow2_guest_zero.c", "if (g->keep_holes && !s.t) {",
        "if (s.t || g->keep_holes) {", TEXTS + "commit"),
    "commit leaves a short base": (
        "src/op/commit.c", "if (j->base.chain->size >= size)",
        "if (j->base.chain->size >= size || true)", TEXTS + "commit"),
    "commit empties an overlay it should keep": (
        "src/op/commit.c", "if (rq->keep)", "if (rq->keep && !rq->image.path)",
        TEXTS + "commit"),
    "rebase takes a short file for one that matches": (
        "src/op/scan_diff.c", "t.differs = !same(s, t.old, t.other, voff);",
        "t.differs = (!s->other.chain || voff < s->other.chain->size) && "
        "!same(s, t.old, t.other, voff);", TEXTS + "rebase"),
    "rebase renames before it copies": (
        "src/op/rebase.c", "if (!rq->only_header && copy(j, ret, e) < 0)",
        "if (rq->only_header && copy(j, ret, e) < 0)", TEXTS + "rebase"),
    "map's depth off by one": (
        "src/op/map.c", "x->s.depth);", "x->s.depth + 1u);", TEXTS + "map"),
    "map joins runs that are not neighbours": (
        "src/op/map.c",
        "return !(s->flags & STATUS_PLACED) || s->hoff + s->len == b->hoff;",
        "return true;", TEXTS + "map"),
    "compare stops at the shorter end": (
        "src/op/compare.c", "uint64_t size = units_max(a, b);",
        "uint64_t size = units_min(a, b);", TEXTS + "compare"),
    "measure counts bytes, not clusters": (
        "src/op/measure.c", "n = units_align_up(at + n, cluster) - at;", "",
        TEXTS + "measure"),
    "check misses leaks": (
        "format/qcow2_check_blocks.c", "\telse\n\t\tc->r->leaks++;",
        "", TEXTS + "check"),
    "check mends no leak": (
        "format/qcow2_check_blocks.c", "put(c, b, clu, found);",
        "put(c, b, clu, disk);", TEXTS + "check"),
    "new bitmaps are coarser than asked": (
        "format/qcow2_bitmap_edit.c",
        "(unsigned)__builtin_ctzll(x->granularity),",
        "(unsigned)__builtin_ctzll(x->granularity) + 1u,",
        TEXTS + "bitmap"),
}


def apply(root, plant):
    """The old text of the file; None when the plant does not apply."""
    path = os.path.join(root, plant[0])
    with open(path, encoding="utf-8") as f:
        text = f.read()
    if text.count(plant[1]) != 1:
        return None
    with open(path, "w", encoding="utf-8") as f:
        f.write(text.replace(plant[1], plant[2]))
    return text


def check(root):
    bad = 0
    for name, (path, text, _, _) in PLANTS.items():
        try:
            with open(os.path.join(root, path), encoding="utf-8") as f:
                found = f.read().count(text)
        except FileNotFoundError:
            found = 0
        if found != 1:
            bad += 1
            print(f"{name}: its text occurs {found} times in {path}")
    print(f"{len(PLANTS)} plants, {bad} do not apply")
    return bad


def quiet(argv, cwd, env=None, limit=900):
    try:
        done = subprocess.run(argv, cwd=cwd, env=env, timeout=limit,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              check=False)
    except subprocess.TimeoutExpired:
        return 124, "timed out"
    return done.returncode, (done.stdout + done.stderr).decode(
        "utf-8", "replace")


def suite(tree, build, what):
    """Exit code and output of the suite of a plant."""
    byre = os.path.join(build, "byre")
    env = {**os.environ, "top_srcdir": tree, "top_builddir": build,
           "BYRE": byre, "BYRE_QEMU_IMG": byre + " qemu-img"}
    env.pop("BYRE_CHECK_LONG", None)
    if what.startswith("tests/") and ".py" in what:
        script, *args = what.split()
        return quiet([sys.executable, "-B", os.path.join(tree, script),
                      *args], build, env)
    if what.startswith("tests/"):
        return quiet([os.path.join(tree, what)], build, env)
    return quiet([sys.executable, "-B", os.path.join(
        tree, "tests/compat/differential.py"), "--cases", "40", "--stop", "1",
        "--only", what], build, env)


def make(build):
    code, text = quiet(["make", "-s", f"-j{os.cpu_count()}", "byre", "mkimage",
                        "libcore.la"], build)
    if code == 0:
        code, text = quiet(["make", "-s", f"-j{os.cpu_count()}", "check",
                            "TESTS="], build)
    if code:
        sys.exit(f"planted: does not build:\n{text[-3000:]}")


def plant_all(root, only):
    bad = 0
    with tempfile.TemporaryDirectory(prefix="byre-planted-") as work:
        tree, build = (os.path.join(work, d) for d in ("tree", "build"))
        shutil.copytree(root, tree, symlinks=True,
                        ignore=shutil.ignore_patterns(
                            ".git", "*.o", "*.lo", "*.la", ".libs", "build",
                            "autom4te.cache", "*.work"))
        os.mkdir(build)
        code, text = quiet([os.path.join(tree, "configure"), "-q"], build)
        if code:
            sys.exit(f"planted: configure fails:\n{text[-3000:]}")
        make(build)
        chosen = {n: p for n, p in PLANTS.items()
                  if any(o in n for o in only.split(","))}
        for what in sorted({p[3] for p in chosen.values()}):
            code, text = suite(tree, build, what)
            if code:
                bad += 1
                print(f"without a plant {what} gives {code}:\n{text[-2000:]}",
                      flush=True)
        for name, plant in chosen.items():
            path = os.path.join(tree, plant[0])
            old = apply(tree, plant)
            if old is None:
                bad += 1
                print(f"does not apply: {name}", flush=True)
                continue
            make(build)
            code, _ = suite(tree, build, plant[3])
            caught = code not in (0, 77)
            bad += not caught
            print(f"{'caught' if caught else 'MISSED'}: {name} "
                  f"({plant[3]})", flush=True)
            with open(path, "w", encoding="utf-8") as f:
                f.write(old)
    print(f"{len(chosen)} bugs planted, {bad} faults")
    return bad


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    p.add_argument("--root", default=os.environ.get("top_srcdir", "."))
    p.add_argument("--check", action="store_true",
                   help="only look whether every plant applies")
    p.add_argument("--only", default="", help="plants whose name holds one of these, by commas")
    args = p.parse_args()
    root = os.path.abspath(args.root)
    sys.exit(1 if check(root) or (not args.check
                                  and plant_all(root, args.only)) else 0)


if __name__ == "__main__":
    main()
