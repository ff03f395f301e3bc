# SPDX-License-Identifier: MIT
"""Rows 14 to 17: the image cache, in instances directories made for it.

Row 14's peer is what Nova calls for the same step, without the Python and the
prlimit that Nova puts around each: info of the base twice, create, info of the
disk twice. The time in fsync and its like is told by bench/synctime.c, which
every other run has preloaded; "without" is what else those runs took.
"""

import contextlib
import hashlib
import os
import shutil
import statistics
import subprocess

BLOCK = 4096
PIECES = (64 << 10, 128 << 10, 256 << 10, 1 << 20)  # of the reader
GIB = 1 << 30


def sha1(text):
    return hashlib.sha1(text.encode()).hexdigest()


def median(values):
    return statistics.median(values)


class Timed:
    """What a program took in all, how much of it for the disk, and for all
    else: seconds, a list each."""

    def __init__(self):
        self.whole, self.flush, self.rest, self.calls = [], [], [], 0

    def figures(self):
        return {"ms": median(self.whole) * 1000, "flushes": self.calls,
                "flush_ms": median(self.flush or [0]) * 1000,
                "without_ms": median(self.rest or self.whole) * 1000,
                "min_ms": min(self.whole) * 1000}


def run_timed(bench, run, timed, lines, preloaded):
    """Runs the lines one after the other, as one step."""
    told = os.path.join(bench.memory, "flushes")
    if not preloaded:
        timed.whole.append(sum(run(argv, "/").seconds for argv in lines))
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(told)
    os.environ.update(LD_PRELOAD=bench.synctime, BENCH_SYNC_FILE=told)
    try:
        whole = sum(run(argv, "/").seconds for argv in lines)
    finally:
        del os.environ["LD_PRELOAD"], os.environ["BENCH_SYNC_FILE"]
    with open(told, encoding="ascii") as f:
        said = [line.split() for line in f]
    flush = sum(int(n) for n, _ in said) / 1e9
    timed.flush.append(flush)
    timed.rest.append(whole - flush)
    timed.calls = sum(int(n) for _, n in said)


def make_cache(bench, place):
    """An instances directory with the base of one image: (path, base)."""
    inst = os.path.join(place, "instances")
    os.mkdir(inst)
    source = os.path.join(place, "source.raw")
    with open(os.path.join(bench.images, "fs.raw"), "rb") as f, \
            open(source, "wb") as out:
        out.write(f.read(64 << 20))
        out.truncate(GIB)
    subprocess.run([bench.byre, "cache", "ensure", "--instances", inst, "-q",
                    "image", "--from", source], check=True)
    os.unlink(source)
    return inst, os.path.join(inst, "_base", sha1("image"))


def spawn_lines(bench, who, inst, base, disk):
    if who == "byre":
        return [[bench.byre, "cache", "spawn", "--instances", inst, "image",
                 disk, "--size", "20G"]]
    info = ["--force-share", "--output=json"]
    return [[bench.qemu, "info", base, *info],
            [bench.qemu, "info", base, *info],
            [bench.qemu, "create", "-f", "qcow2", "-o",
             f"backing_file={base},backing_fmt=raw", disk, str(20 * GIB)],
            [bench.qemu, "info", disk, *info],
            [bench.qemu, "info", disk, *info]]


def spawn_row(bench, run, inst, base, on, count):
    timed = {"true": Timed(), "qemu-img x 5": Timed(), "byre": Timed()}
    for number in range(count + 1):
        preloaded = bench.synctime and number % 2
        for who, t in timed.items():
            place = os.path.join(inst, f"{number}-{who[:4]}")
            os.mkdir(place)
            lines = [["true"]] if who == "true" else spawn_lines(
                bench, who, inst, base, os.path.join(place, "disk"))
            if number == 0:  # warms up
                run_timed(bench, run, Timed(), lines, False)
            else:
                run_timed(bench, run, t, lines, preloaded)
            shutil.rmtree(place)
    out = {who: t.figures() for who, t in timed.items()}
    return {"row": 14, "title": "spawn, the base is there", "on": on,
            "goal": "3 ms, 10x", "programs": out,
            "ratio": out["qemu-img x 5"]["without_ms"]
            / out["byre"]["without_ms"]}


def ensure_row(bench, run, inst, on, count):
    timed = {"true": Timed(), "byre": Timed()}
    line = [bench.byre, "cache", "ensure", "--instances", inst, "-q",
            "image", "--from", "/nothing"]
    for number in range(count + 1):
        preloaded = bench.synctime and number % 2
        for who, t in timed.items():
            lines = [["true"]] if who == "true" else [line]
            if number == 0:
                run_timed(bench, run, Timed(), lines, False)
            else:
                run_timed(bench, run, t, lines, preloaded)
    return {"row": 15, "title": "ensure, the base is there", "on": on,
            "goal": "2 ms",
            "programs": {who: t.figures() for who, t in timed.items()}}


# ---- row 16: a host with many instances ----

def template(bench, work, base, fmt="raw", size=20 * GIB):
    """A new overlay's bytes; the last part of base occurs once."""
    path = os.path.join(work, "template")
    subprocess.run([bench.qemu, "create", "-q", "-u", "-f", "qcow2", "-b",
                    base, "-F", fmt, path, str(size)], check=True)
    with open(path, "rb") as f:
        data = f.read()
    os.unlink(path)
    name = os.path.basename(base).encode()
    if data.count(name) != 1:
        raise SystemExit(f"{base} is not once in an overlay on it")
    return data, name


def write_sparse(path, data):
    """As qemu-img leaves it: blocks of zeros are holes."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    for at in range(0, len(data), BLOCK):
        if data[at:at + BLOCK].strip(b"\0"):
            os.pwrite(fd, data[at:at + BLOCK], at)
    os.ftruncate(fd, len(data))
    os.close(fd)


def make_host(bench, work, instances, bases):
    """Instances on bases, one in ten with a second disk, the last twentieth
    of the bases unused for two days. Returns the paths of all disks."""
    inst = os.path.join(work, "host")
    base_dir = os.path.join(inst, "_base")
    os.makedirs(base_dir)
    names = [sha1(f"image-{i}") for i in range(bases - 2)]
    for name in [*names, "swap_1024", "ephemeral_20_40d1d2c"]:
        with open(os.path.join(base_dir, name), "wb") as f:
            f.write(b"base" * 1024)
            f.truncate(GIB)
    unused = names[-max(1, bases // 20):]
    used = names[:len(names) - len(unused)]
    for name in unused:
        os.utime(os.path.join(base_dir, name), (1, 1))
    data, old = template(bench, work, os.path.join(base_dir, names[0]))
    second = {n: template(bench, work, os.path.join(base_dir, b))[0]
              for n, b in (("disk.swap", "swap_1024"),
                           ("disk.local", "ephemeral_20_40d1d2c"))}
    disks = []
    for i in range(instances):
        place = os.path.join(inst, f"{i:08x}-0000-4000-8000-{i:012x}")
        os.mkdir(place)
        path = os.path.join(place, "disk")
        write_sparse(path, data.replace(old, used[i % len(used)].encode()))
        disks.append(path)
        said = [f'"{path}": "qcow2"']
        if i % 10 == 0:
            name = "disk.swap" if i % 20 else "disk.local"
            path = os.path.join(place, name)
            write_sparse(path, second[name])
            disks.append(path)
            said.append(f'"{path}": "qcow2"')
        for name, text in (("disk.info", "{" + ", ".join(said) + "}"),
                           ("console.log", "Linux version 6.1.0\n" * 50)):
            with open(os.path.join(place, name), "w", encoding="ascii") as f:
                f.write(text)
    return inst, disks, len(unused)


def clean_row(bench, run, rounds):
    inst, disks, unused = make_host(bench, bench.work, bench.instances,
                                    bench.bases)
    line = [bench.byre, "cache", "clean", "--instances", inst, "--dry-run"]
    said = subprocess.run(line, capture_output=True, text=True,
                          check=True).stdout
    if f"would remove {unused} files" not in said:
        raise SystemExit(f"clean --dry-run: {said[-200:]}")
    step = max(1, len(disks) // bench.sample)
    byre, info = [], []
    for number in range(rounds + 1):
        one = run(line, "/")
        sample = disks[number % step::step]
        each = [run([bench.qemu, "info", d, "--force-share",
                     "--output=json"], "/").seconds for d in sample]
        if number:
            byre.append(one)
            info.append(sum(each) * len(disks) / len(sample))
    shutil.rmtree(inst)
    ours = median([r.seconds for r in byre])
    return {"row": 16, "title": f"clean --dry-run, {bench.instances} "
            f"instances, {bench.bases} bases", "on": "disk",
            "goal": "1 s, 20x", "ratio": median(info) / ours, "programs": {
                f"qemu-img info of {len(disks)} disks ({len(disks) // step} "
                "a round, scaled)": {"ms": median(info) * 1000},
                "byre": {"ms": ours * 1000,
                         "cpu_ms": median([r.cpu for r in byre]) * 1000,
                         "min_ms": min(r.seconds for r in byre) * 1000,
                         "rss": max(r.rss for r in byre)}}}


# ---- row 17: a scrub ----

def data_of(path):
    """The file's data, piece by piece, without its holes."""
    with open(path, "rb", buffering=0) as f:
        size, end = os.fstat(f.fileno()).st_size, 0
        while end < size:
            try:
                at = os.lseek(f.fileno(), end, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            os.lseek(f.fileno(), at, os.SEEK_SET)
            while at < end:
                piece = f.read(min(end - at, 1 << 20))
                at += len(piece)
                yield piece


def make_base(bench, inst, name, write):
    source = os.path.join(bench.work, "source.raw")
    with open(source, "wb") as f:
        write(f)
    subprocess.run([bench.byre, "cache", "ensure", "--instances", inst, "-q",
                    name, "--from", source, "-f", "raw"], check=True)
    os.unlink(source)
    path = os.path.join(inst, "_base", sha1(name))
    os.sync()
    for _ in data_of(path):  # into the page cache
        pass
    return path


def dense(bench):
    def write(f):
        left = bench.verify_mb << 20
        while left > 0:
            for piece in data_of(os.path.join(bench.images, "fs.raw")):
                f.write(piece[:left])
                left -= min(left, len(piece))
                if left == 0:
                    break
    return write


def sparse(f):
    f.truncate(64 * GIB)
    for i in range(64):
        os.pwrite(f.fileno(), os.urandom(1 << 20), i * GIB + (5 << 20))


def verify_row(bench, run, inst, name, path, workers, rounds, title):
    """One core against one reader, or all against as many."""
    count = os.stat(path).st_blocks * 512
    verify = [bench.byre, "cache", "verify", "--instances", inst, "-q",
              "-m", str(workers)]
    lines = {f"read {p >> 10}k": [bench.reader, str(p), str(workers), path]
             for p in PIECES}
    lines["byre"] = [*verify, "--cached", name]
    took = {who: [] for who in lines}
    for number in range(rounds + 1):
        for who, line in lines.items():
            one = run(line, "/")
            if number:
                took[who].append(one)
    fastest = min((w for w in lines if w != "byre"),
                  key=lambda w: median([r.seconds for r in took[w]]))
    best = median([r.seconds for r in took[fastest]])
    ours = median([r.seconds for r in took["byre"]])
    entry = {"row": 17, "title": title, "on": "page cache",
             "goal": "80 % of the fastest reader", "percent":
             100 * best / ours, "bytes": count, "programs": {
                 who: {"ms": median([r.seconds for r in runs]) * 1000,
                       "cpu_ms": median([r.cpu for r in runs]) * 1000,
                       "gb_s": count / median([r.seconds for r in runs])
                       / 1e9} for who, runs in took.items()}}
    entry["fastest"] = fastest
    # its flushes of the record are no reading
    entry["cpu_percent"] = 100 * min(
        p["cpu_ms"] for w, p in entry["programs"].items() if w != "byre") \
        / entry["programs"]["byre"]["cpu_ms"]
    return entry


def holes_row(bench, run, inst, rounds):
    """Holes are never read: by what it says, and by the time."""
    path = make_base(bench, inst, "sparse", sparse)
    entry = verify_row(bench, run, inst, "sparse", path, 1, rounds,
                       "verify --cached, 64 MiB in 64 GiB")
    said = subprocess.run(
        [bench.byre, "cache", "verify", "--instances", inst, "--cached",
         "--json", "sparse"], capture_output=True, text=True, check=True)
    read = [int(s.split(":")[1].strip(" ,")) for s in
            said.stdout.splitlines() if '"bytes-read"' in s]
    entry["goal"] = "holes are not read"
    entry["bytes_read"] = sum(read)
    if sum(read) > os.stat(path).st_blocks * 512 + (1 << 20):
        raise SystemExit(f"{sum(read)} bytes read: holes are")
    os.unlink(path)
    return entry


def verify_rows(bench, run, rounds):
    inst = os.path.join(bench.work, "scrub")
    os.mkdir(inst)
    entries = [holes_row(bench, run, inst, rounds)]
    path = make_base(bench, inst, "dense", dense(bench))
    size = f"{bench.verify_mb} MiB"
    cores = len(os.sched_getaffinity(0))
    entries.append(verify_row(bench, run, inst, "dense", path, 1, rounds,
                              f"verify --cached -m 1, {size}"))
    if cores > 1:
        entries.append(verify_row(bench, run, inst, "dense", path, cores,
                                  rounds, f"verify --cached -m {cores}, "
                                  + size))
    shutil.rmtree(inst)
    return entries


def rows(bench, run, wanted):
    entries = []
    for place, on in ((bench.work, "disk"), (bench.memory, "tmpfs")):
        if not wanted & {14, 15}:
            break
        inst, base = make_cache(bench, place)
        if 14 in wanted:
            entries.append(spawn_row(bench, run, inst, base, on,
                                     bench.loops))
        if 15 in wanted:
            entries.append(ensure_row(bench, run, inst, on, bench.loops))
        shutil.rmtree(inst)
    if 16 in wanted:
        entries.append(clean_row(bench, run, bench.rounds))
    if 17 in wanted:
        entries += verify_rows(bench, run, bench.rounds)
    return entries


def markdown(entries):
    if not entries:
        return []
    out = ["", "The cache. Whole processes; \"flush\" is the time in fsync "
           "and its like:", "",
           "| row | work | on | program | ms | of it flush | without |"
           " GB/s | result | goal |",
           "|---|---|---|---|---|---|---|---|---|---|"]
    for e in entries:
        for who, p in e["programs"].items():
            ours = who == "byre"
            result = ""
            if ours and "ratio" in e:
                result = f"**{e['ratio']:.1f}x**"
            elif ours and "percent" in e:
                result = f"**{e['percent']:.0f} %** of {e['fastest']}, " \
                    f"{e['cpu_percent']:.0f} % by CPU time"
            flush = f"{p['flush_ms']:.2f} in {p['flushes']}" \
                if p.get("flushes") else ""
            without = f"{p['without_ms']:.2f}" if "without_ms" in p else ""
            rate = f"{p['gb_s']:.2f}" if "gb_s" in p else ""
            out.append(f"| {e['row']} | {e['title']} | {e['on']} | {who} | "
                       f"{p['ms']:.2f} | {flush} | {without} | {rate} | "
                       f"{result} | {e['goal'] if ours else ''} |")
    return out
