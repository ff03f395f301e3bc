#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Byre beside its peers: interleaved rounds, medians, ratios.

Every round runs all the programs of a row one after the other (A B C A B C
...), so that a slow moment of the machine hits all of them. The ratio is the
median of the fastest peer by byre's median; a program that is durable at its
end stands beside it and takes no part. Images come from bench/mkimages.

"existing" writes into a file whose pages are in the cache and which already
holds zeros where the image has them (-n --target-is-zero); "fresh" makes a new
file. An existing target is flushed and read before each run, outside of the
time: nbdcopy drops what it wrote from the cache. Before a fresh one a file of
the source's size is written and removed: a virtual machine hands free memory
back to its host, and whoever ran after a program that gave up much would pay
for its return. The first peer of a round is another one each time.
"""

import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import bench_cache  # noqa: E402
import bench_chains  # noqa: E402

NBD = "nbdcopy {zero} -- [ qemu-nbd -r -f {fmt} {src} ] {dst}"
NULL = open(os.devnull, "r+b")  # for the children, all the time


class Run:
    """One finished child: seconds, CPU seconds, peak RSS (bench/run.c)."""

    helper = "./bench_run"

    def __init__(self, argv, cwd):
        with tempfile.NamedTemporaryFile("r", dir="/dev/shm") as answer:
            done = subprocess.run([self.helper, answer.name, *argv], cwd=cwd,
                                  stdin=NULL, stdout=NULL,
                                  stderr=subprocess.PIPE, check=False)
            if done.returncode:
                raise RuntimeError(f"{self.helper}: {done.returncode}")
            wall, cpu, rss, code = answer.read().split()
        self.seconds, self.cpu = float(wall), float(cpu)
        self.rss = int(rss) * 1024
        if int(code):
            raise RuntimeError(f"{shlex.join(argv)}: "
                               f"{done.stderr.decode(errors='replace')}")


class Peer:
    """kind: "peer", "byre", or "beside" (durable; not in the ratio)."""

    def __init__(self, name, command, kind="peer"):
        self.name, self.command, self.kind = name, command, kind
        self.runs, self.size, self.fault = [], None, None

    def median(self, what="seconds"):
        return statistics.median(getattr(r, what) for r in self.runs)


class Row:
    def __init__(self, number, title, target, src, fmt, peers, mode="fresh",
                 out="raw", place=None):
        self.number, self.title, self.target = number, title, target
        self.src, self.fmt, self.peers = src, fmt, peers
        self.mode, self.out, self.place = mode, out, place
        self.key = f"{number}-{title}-{mode}"


def raw_peers(bench, fmt, mode, clones=False):
    """Programs that make a raw file."""
    keep = "-n --target-is-zero" if mode == "existing" else ""
    q = f"{bench.qemu} convert -f {fmt} -O raw {keep}"
    front = f"{bench.byre} qemu-img convert -f {fmt} -O raw {keep}"
    native = f"{bench.byre} convert --trusted -f {fmt} -O raw {keep}"
    nbd = NBD.replace("{fmt}", fmt).replace(
        "{zero}", "--destination-is-zero" if mode == "existing" else "")
    peers = [
        Peer("qemu-img", q + " {src} {dst}"),
        Peer("qemu-img -W -m 16", q + " -W -m 16 {src} {dst}"),
        Peer("qemu-img -C -W", q + " -C -W {src} {dst}"),
        Peer("qemu-img -t none -T none",
             q + " -t none -T none -W -m 16 {src} {dst}"),
        Peer("nbdcopy", nbd),
        Peer("byre -t unsafe", front + " -t unsafe {src} {dst}", "byre"),
        Peer("byre (durable)", native + " {src} {dst}", "beside"),
        Peer("qemu-img -t writeback",
             q + " -t writeback -W -m 16 {src} {dst}", "beside"),
    ]
    if fmt == "raw":
        peers += [Peer("cp --sparse", "cp --sparse=always --reflink=never "
                       "{src} {dst}")]
    if clones and fmt == "raw":
        peers += [Peer("cp --reflink", "cp --reflink=always {src} {dst}",
                       "beside")]
    return peers


def qcow2_peers(bench):
    q = f"{bench.qemu} convert -f raw -O qcow2"
    return [
        Peer("qemu-img", q + " {src} {dst}"),
        Peer("qemu-img -W -m 16", q + " -W -m 16 {src} {dst}"),
        Peer("qemu-img -C -W", q + " -C -W {src} {dst}"),
        Peer("qemu-img -t none -T none",
             q + " -t none -T none -W -m 16 {src} {dst}"),
        Peer("byre -t unsafe", f"{bench.byre} qemu-img convert -t unsafe -f "
             "raw -O qcow2 {src} {dst}", "byre"),
        Peer("byre (durable)", f"{bench.byre} convert -f raw -O qcow2 "
             "{src} {dst}", "beside"),
        Peer("cp --sparse", "cp --sparse=always --reflink=never {src} {dst}",
             "beside"),
    ]


def packed_peers(bench, kind):
    o = "-c -o compression_type=" + kind
    q = f"{bench.qemu} convert -f raw -O qcow2 {o}"
    native = f"{bench.byre} convert -f raw -O qcow2 {o}"
    peers = [
        Peer("qemu-img -c", q + " {src} {dst}"),
        Peer("qemu-img -c -W -m 16", q + " -W -m 16 {src} {dst}"),
        Peer("byre -c -t unsafe", f"{bench.byre} qemu-img convert -t unsafe "
             f"-f raw -O qcow2 {o} {{src}} {{dst}}", "byre"),
    ]
    if kind == "zlib":
        peers.append(Peer("byre --deflate-window=32k (durable)", native
                          + " --deflate-window=32k {src} {dst}", "beside"))
    else:
        peers.append(Peer("byre (durable)", native + " {src} {dst}",
                          "beside"))
    return peers


def convert_rows(bench):
    rows = []

    def raw(number, title, target, src, place=None, modes=("existing",
                                                           "fresh")):
        fmt = "raw" if src.endswith(".raw") else "qcow2"
        for mode in modes:
            goal = target if isinstance(target, str) else target[mode]
            rows.append(Row(number, title, goal, src, fmt,
                            raw_peers(bench, fmt, mode), mode, "raw", place))
    raw(1, "zlib -> raw", "3.4", "zlib.qcow2")
    raw(2, "zstd -> raw", "2.5", "zstd.qcow2")
    goal = {"existing": "1.8", "fresh": "1.3"}
    raw(3, "plain 64k -> raw", goal, "plain64k.qcow2")
    raw(3, "plain 2M -> raw", goal, "plain2m.qcow2")
    raw(3, "extended L2 -> raw", goal, "extl2.qcow2")
    raw(5, "chain of 3 -> raw", "3", "top.qcow2")
    rows.append(Row(6, "raw -> qcow2", "1.5", "fs.raw", "raw",
                    qcow2_peers(bench), out="qcow2"))
    rows.append(Row(7, "raw -> qcow2 -c zlib", "1.8", "fs.raw", "raw",
                    packed_peers(bench, "zlib"), out="qcow2"))
    rows.append(Row(7, "raw -> qcow2 -c zstd", "1.3", "fs.raw", "raw",
                    packed_peers(bench, "zstd"), out="qcow2"))
    if bench.xfs:
        raw(1, "XFS: zlib -> raw", "3.4", "zlib.qcow2", bench.xfs, ["fresh"])
        raw(3, "XFS: plain 64k -> raw", "1.2", "plain64k.qcow2", bench.xfs,
            ["fresh"])
        raw(4, "XFS: raw -> raw", "3 (10 by qemu-img)", "fs.raw", bench.xfs,
            ["fresh"])
    return rows


def read_rows(bench):
    """Programs that read and tell, and make nothing."""
    rows = []
    q, front = f"{bench.qemu} compare", f"{bench.byre} qemu-img compare"
    other = os.path.join(bench.images, "fs.raw")
    for src in ("zlib.qcow2", "plain64k.qcow2"):
        line = f" -f qcow2 -F raw {{src}} {other}"
        rows.append(Row(11, f"compare {src} with raw",
                        "5" if src == "zlib.qcow2" else "-", src, "qcow2", [
                            Peer("qemu-img", q + line),
                            Peer("qemu-img -T none", q + " -T none" + line),
                            Peer("byre", front + line, "byre")], "read"))
    line = " check {src}"
    rows.append(Row(10, "check of a fragmented TiB", "5", "fragmented.qcow2",
                    "qcow2", [Peer("qemu-img", bench.qemu + line),
                              Peer("byre", f"{bench.byre} qemu-img" + line,
                                   "byre")], "read"))
    line = " map --output=json {src}"
    rows.append(Row(12, "map of a fragmented TiB", "3", "fragmented.qcow2",
                    "qcow2", [Peer("qemu-img", bench.qemu + line),
                              Peer("byre", f"{bench.byre} qemu-img" + line,
                                   "byre")], "read"))
    return rows


def run_read_row(bench, row, rounds):
    """Fills the row's peers; first all of them must say the same."""
    src = os.path.join(bench.images, row.src)
    said = None
    for number in range(rounds + 1):
        first = number % len(row.peers)
        for peer in row.peers[first:] + row.peers[:first]:
            argv = shlex.split(peer.command.format(src=src))
            if number:
                peer.runs.append(Run(argv, bench.work))
                continue
            with tempfile.TemporaryFile(dir=bench.work) as out:
                subprocess.run(argv, stdout=out, check=True)
                out.seek(0)
                text = hashlib.blake2b()
                while chunk := out.read(1 << 20):
                    text.update(chunk)
            said = said or text.digest()
            if text.digest() != said:
                raise SystemExit(f"{peer.name}: other words than "
                                 f"{row.peers[0].name}")


def file_hash(path):
    h = hashlib.blake2b()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            h.update(chunk)
    return h.hexdigest()


def flush(path):
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path, os.O_RDWR)
        os.fsync(fd)
        while os.read(fd, 1 << 20):
            pass
        os.close(fd)


def touch_memory(work, size):
    """Pages for the cache that the host has given already."""
    path = os.path.join(work, "touched")
    with open(path, "wb", buffering=0) as f:
        for _ in range(size >> 20):
            f.write(bytes(1 << 20))
    os.unlink(path)


def run_row(bench, row, rounds):
    """Fills the row's peers. The first round warms up and is verified."""
    work = row.place or bench.work
    src = os.path.join(row.place or bench.images, row.src)
    dst = os.path.join(work, "out.img")
    wanted = None
    for number in range(rounds + 1):
        first = number % len(row.peers)
        for peer in row.peers[first:] + row.peers[:first]:
            if peer.fault:
                continue
            if row.mode == "fresh":
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(dst)
                touch_memory(work, bench.touch)
            elif not os.path.exists(dst):
                shutil.copyfile(src, dst) if row.fmt == "raw" else \
                    subprocess.run([bench.qemu, "convert", "-O", "raw", src,
                                    dst], check=True)
            flush(dst)
            argv = shlex.split(peer.command.format(src=src, dst=dst))
            try:
                run = Run(argv, work)
            except (OSError, RuntimeError) as e:
                peer.fault = str(e)
                print(f"  {peer.name}: {e}", file=sys.stderr)
                continue
            if number:
                peer.runs.append(run)
                continue
            st = os.stat(dst)
            peer.size = {"size": st.st_size, "allocated": st.st_blocks * 512}
            if row.out == "raw":
                digest = file_hash(dst)
                wanted = wanted or digest
                if digest != wanted:
                    raise SystemExit(f"{peer.name}: other bytes than "
                                     f"{row.peers[0].name}")
            elif peer.name != "cp --sparse":
                subprocess.run([bench.qemu, "compare", "-q", src, dst],
                               check=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(dst)


def report_row(row):
    alive = [p for p in row.peers if p.runs]
    byre = [p for p in alive if p.kind == "byre"]
    peers = [p for p in alive if p.kind == "peer"]
    entry = {"row": row.number, "title": row.title, "mode": row.mode,
             "target": row.target, "programs": [
                 {"name": p.name, "kind": p.kind, "command": p.command,
                  "median": p.median(), "cpu": p.median("cpu"),
                  "rss": max(r.rss for r in p.runs),
                  "min": min(r.seconds for r in p.runs),
                  "seconds": [round(r.seconds, 4) for r in p.runs],
                  "output": p.size} for p in alive],
             "failed": {p.name: p.fault for p in row.peers if p.fault}}
    if byre and peers:
        fastest = min(peers, key=Peer.median)
        entry["fastest"] = fastest.name
        entry["ratio"] = fastest.median() / byre[0].median()
    return entry


def loops(bench, count):
    """Row 8: whole processes, in milliseconds above `true`."""
    entries = []
    for place, what in ((bench.work, "disk"), (bench.memory, "tmpfs")):
        if not place:
            continue
        base = os.path.join(place, "base.raw")
        with open(base, "wb") as f:
            f.truncate(1 << 30)
        img = os.path.join(place, "loop.qcow2")
        make = "create -q -f qcow2 -o backing_file={base},backing_fmt=raw " \
            "{img} 20G"
        jobs = {
            "create overlay": (make, True, "1"),
            "info": ("info --output=json -f qcow2 {img}", False, "0.7"),
            "resize": ("resize -q -f qcow2 {img} {size}", False, "1"),
        }
        for title, (line, fresh, target) in jobs.items():
            peers = [Peer("true", "true"), Peer("qemu-img", bench.qemu + " "
                                                + line)]
            peers.append(Peer("byre", bench.byre + " qemu-img " + line,
                              "byre"))
            if title == "create overlay":
                peers.append(Peer("byre native (durable)", bench.byre
                                  + " create -q --trusted -f qcow2 -b {base} "
                                  "-F raw {img} 20G", "beside"))
            run_loop(bench, peers, fresh, count, img, base, make)
            entries.append(report_loop(peers, title, what, target))
        os.unlink(base)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(img)
    return entries


def run_loop(bench, peers, fresh, count, img, base, make):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(img)
    if not fresh:
        subprocess.run(shlex.split(bench.qemu + " " + make.format(
            base=base, img=img)), check=True)
    for number in range(count + 1):
        for peer in peers:
            if peer.fault:
                continue
            if fresh:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(img)
            size = (20 << 30) + (number + 1) * (1 << 20)
            argv = shlex.split(peer.command.format(base=base, img=img,
                                                   size=size))
            try:
                run = Run(argv, "/")
            except (OSError, RuntimeError) as e:
                peer.fault = str(e)
                print(f"  {peer.name}: {e}", file=sys.stderr)
                continue
            if number:
                peer.runs.append(run)


def report_loop(peers, title, what, target):
    true = peers[0].median()
    above = {p.name: {"ms": (p.median() - true) * 1000,
                      "rss": max(r.rss for r in p.runs)}
             for p in peers[1:] if p.runs}
    return {"row": 8, "title": title, "on": what, "true_ms": true * 1000,
            "target_ms": target, "above_true": above,
            "failed": {p.name: p.fault for p in peers if p.fault}}


def extras(bench, rounds):
    """Row 9: what --digest adds to a convert."""
    native = f"{bench.byre} convert --trusted -f qcow2 -O raw -n " \
        "--target-is-zero {src} {dst}"
    entries = []
    for src in ("zlib.qcow2", "plain64k.qcow2"):
        peers = [Peer("without", native),
                 Peer("--digest", native.replace("{src}", "--digest {src}"),
                      "byre")]
        row = Row(9, "--digest: " + src, "1 / 1.05", src, "qcow2", peers,
                  "existing")
        run_row(bench, row, rounds)
        entries.append(report_row(row))
    return entries


def chain_rows(bench):
    entries = []
    bench_chains.make(bench)
    for title in bench_chains.TITLES:
        peers = [Peer(*c) for c in bench_chains.commands(bench, title)]
        row = Row(13, title, "1.5", "fs.raw", "qcow2", peers)
        bench_chains.run_row(bench, row, Run, touch_memory)
        entries.append(report_row(row))
    return entries


def machine(bench):
    cpu = "?"
    with contextlib.suppress(OSError), open("/proc/cpuinfo",
                                            encoding="ascii") as f:
        cpu = next((line.split(":")[1].strip() for line in f
                    if line.startswith("model name")), "?")
    here = os.path.dirname(os.path.abspath(__file__))

    def first(*argv):
        try:
            return subprocess.run(argv, capture_output=True, text=True,
                                  check=True).stdout.strip().split("\n")[0]
        except (OSError, subprocess.CalledProcessError):
            return "?"
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime(
            "%Y-%m-%d %H:%M UTC"),
        "cpu": cpu, "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf(
            "SC_PHYS_PAGES") / (1 << 30), 1),
        "kernel": platform.release(),
        "filesystem": first("stat", "-f", "-c", "%T", bench.work),
        "commit": bench.commit or first("git", "-C", here, "describe",
                                        "--always", "--dirty"),
        "qemu-img": first(*shlex.split(bench.qemu), "--version"),
        "byre": first(*shlex.split(bench.byre), "--version"),
        "command": shlex.join(sys.argv),
        "images": {n: os.stat(os.path.join(bench.images, n)).st_blocks * 512
                   for n in sorted(os.listdir(bench.images))},
    }


def markdown(result):
    m = result["machine"]
    out = [
        "# Results", "",
        f"{m['cpu']}, {m['cpus']} CPUs, {m['memory_gib']} GiB, kernel "
        f"{m['kernel']}, {m['filesystem']}; commit {m['commit']}, "
        f"{m['date']}.", "", f"Peers: {m['qemu-img']}.", "",
        f"    {m['command']}", "",
        "Seconds are medians; the ratio is the fastest peer's by byre's, "
        "neither flushing; the durable byre stands beside.", "",
        "| row | work | target is | qemu-img | fastest peer | byre | ratio |"
        " goal | byre durable | byre CPU s | byre RSS MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|"]
    for e in result["rows"]:
        by = {p["name"]: p for p in e["programs"]}
        ours = next((p for p in e["programs"] if p["kind"] == "byre"), None)
        if "ratio" not in e or not ours:
            out.append(f"| {e['row']} | {e['title']} | {e['mode']} | | | "
                       f"failed: {e['failed']} | | {e['target']} | | | |")
            continue
        fastest = by[e["fastest"]]
        first = e["programs"][0]
        durable = next((p for p in e["programs"] if p["kind"] == "beside"
                        and p["name"].startswith("byre")), None)
        out.append(
            f"| {e['row']} | {e['title']} | {e['mode']} | "
            f"{first['median']:.3f} | {fastest['median']:.3f} "
            f"{fastest['name']} | {ours['median']:.3f} | "
            f"**{e['ratio']:.2f}** | {e['target']} | "
            + (f"{durable['median']:.3f}" if durable else "")
            + f" | {ours['cpu']:.2f} | {ours['rss'] / (1 << 20):.0f} |")
    sizes = [e for e in result["rows"] if e["row"] == 7]
    if sizes:
        out += ["", "Sizes of compressed outputs, bytes:", ""]
        for e in sizes:
            out.append(f"- {e['title']}: " + ", ".join(
                f"{p['name']} {p['output']['size']}" for p in e["programs"]))
    if result["loops"]:
        out += ["", "Whole processes, milliseconds above `true` (on tmpfs an "
                "fsync costs nothing):", "",
                "| work | on | qemu-img | byre | goal | byre durable |"
                " byre RSS MiB |", "|---|---|---|---|---|---|---|"]
        for e in result["loops"]:
            a = e["above_true"]

            def ms(name, a=a):
                return f"{a[name]['ms']:.2f}" if name in a else ""
            rss = f"{a['byre']['rss'] / (1 << 20):.0f}" if "byre" in a else ""
            out.append(f"| {e['title']} | {e['on']} | {ms('qemu-img')} | "
                       f"{ms('byre')} | {e['target_ms']} | "
                       f"{ms('byre native (durable)')} | {rss} |")
    if result["extras"]:
        out += ["", "What a digest adds (durable, existing target): "
                + "; ".join(f"{e['title']} {1 / e['ratio']:.3f}x"
                            for e in result["extras"] if "ratio" in e) + "."]
    out += bench_cache.markdown(result["cache"])
    worst = [p["rss"] for e in result["rows"] for p in e["programs"]
             if p["kind"] == "byre" and e["mode"] != "read"]
    if worst:
        out += ["", "Largest RSS of a byre convert: "
                f"{max(worst) / (1 << 20):.1f} MiB."]
    return "\n".join(out) + "\n"


@contextlib.contextmanager
def xfs_mount(bench, wanted):
    """An XFS with reflink on a loop device, holding the images; root only."""
    if not wanted or os.geteuid() != 0 or not shutil.which("mkfs.xfs"):
        yield None
        return
    disk = os.path.join(bench.work, "xfs.disk")
    mnt = os.path.join(bench.work, "xfs")
    os.mkdir(mnt)
    need = sum(os.stat(os.path.join(bench.images, n)).st_blocks * 512
               for n in ("fs.raw", "zlib.qcow2", "plain64k.qcow2"))
    with open(disk, "wb") as f:
        f.truncate(need * 2 + (1 << 30))
    try:
        subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", disk],
                       check=True)
        subprocess.run(["mount", "-o", "loop", disk, mnt], check=True)
    except (OSError, subprocess.CalledProcessError) as e:
        print(f"no XFS rows: {e}", file=sys.stderr)
        yield None
        return
    try:
        for n in ("fs.raw", "zlib.qcow2", "plain64k.qcow2"):
            subprocess.run(["cp", "--sparse=always", os.path.join(
                bench.images, n), mnt], check=True)
        yield mnt
    finally:
        subprocess.run(["umount", mnt], check=False)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--byre", default="./byre", help="the program (path)")
    p.add_argument("--run", default=Run.helper, help="made of bench/run.c")
    p.add_argument("--qemu", default=os.environ.get("QEMU_IMG", "qemu-img"))
    p.add_argument("--images", required=True, help="made by mkimages")
    p.add_argument("--work", help="where outputs go (default: beside them)")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--loops", type=int, default=200)
    p.add_argument("--rows",
                   default="1,2,3,4,5,6,7,8,9,11,12,13,14,15,16,17")
    p.add_argument("--match", default="",
                   help="only titles holding this: plain, (fresh)")
    p.add_argument("--instances", type=int, default=10000, help="row 16")
    p.add_argument("--bases", type=int, default=500, help="row 16")
    p.add_argument("--sample", type=int, default=300,
                   help="row 16: disks that qemu-img looks at in a round")
    p.add_argument("--verify-mb", type=int, default=2048, help="row 17")
    p.add_argument("--reader", help="row 17: made of bench/read.c")
    p.add_argument("--synctime", help="rows 14, 15: of bench/synctime.c")
    p.add_argument("--no-xfs", action="store_true")
    p.add_argument("--commit", help="recorded (default: git describe)")
    p.add_argument("--json", help="write all numbers here")
    p.add_argument("--markdown", help="write the table here")
    bench = p.parse_args()
    # the XFS is unmounted and outputs are removed on the way out
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if os.sep in bench.byre:
        bench.byre = os.path.abspath(bench.byre)
    Run.helper = os.path.abspath(bench.run)
    beside = os.path.dirname(Run.helper)
    bench.reader = os.path.abspath(
        bench.reader or os.path.join(beside, "bench_read"))
    bench.synctime = os.path.abspath(
        bench.synctime or os.path.join(beside, ".libs/bench_synctime.so"))
    bench.images = os.path.abspath(bench.images)
    bench.touch = os.stat(os.path.join(bench.images,
                                       "fs.raw")).st_blocks * 512
    wanted = {int(n) for n in bench.rows.split(",")}
    with tempfile.TemporaryDirectory(
            prefix="byre-bench-", dir=os.path.abspath(
                bench.work or os.path.dirname(bench.images))) as work, \
            tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        bench.work, bench.memory = work, memory
        with xfs_mount(bench, wanted & {1, 3, 4} and not bench.no_xfs) \
                as bench.xfs:
            result = {"machine": machine(bench), "rows": [], "loops": [],
                      "extras": [], "cache": []}
            for row in convert_rows(bench):
                shown = f"{row.title} ({row.mode})"
                if row.number in wanted and bench.match in shown:
                    print(row.number, shown, file=sys.stderr)
                    run_row(bench, row, bench.rounds)
                    result["rows"].append(report_row(row))
        for row in read_rows(bench):
            if row.number in wanted and bench.match in row.title:
                print(f"{row.number} {row.title}", file=sys.stderr)
                run_read_row(bench, row, bench.rounds)
                result["rows"].append(report_row(row))
        if 13 in wanted:
            result["rows"] += chain_rows(bench)
        if 8 in wanted:
            result["loops"] = loops(bench, bench.loops)
        if 9 in wanted:
            result["extras"] = extras(bench, bench.rounds)
        result["cache"] = bench_cache.rows(bench, Run, wanted)
    if bench.json:
        with open(bench.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=1)
            f.write("\n")
    text = markdown(result)
    if bench.markdown:
        with open(bench.markdown, "w", encoding="utf-8") as f:
            f.write(text)
    print(text, end="")


if __name__ == "__main__":
    main()
