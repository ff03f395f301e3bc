#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""byre's cache and Nova's on one instances directory, at the same time.

Rounds: Nova spawns (qcow2 and flat), caches ahead and runs its cache manager,
instances are deleted, and byre ensures, spawns, verifies and cleans at no age
at all the same images; some of byre's processes are killed. After each round
every disk has its base and reads as its image, by genuine qemu-img, and every
base is whole. All bases are made old before each round, so that either cleaner
removes whatever it holds for unused; Nova's minimum age is what protects a
spawn of its own that has touched its base.

What may fail here: a spawn of Nova's whose base was cleaned away before it
took the lock, and a pass of its manager that met a disk which was just being
made or deleted. Both leave nothing; they are counted.
"""

import collections
import fcntl
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import uuid

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import beside  # noqa: E402

LONG = os.environ.get("BYRE_CHECK_LONG") == "1"
ROUNDS = 150 if LONG else 1
CROWDS = 10 if LONG else 1
BYRE = os.path.join(os.environ.get("top_builddir", os.getcwd()), "byre")
M = 1 << 20
MIN_AGE = 600     # seconds: Nova's, in these rounds
KEEP = 4          # instances that go on living after a round
AT_ONCE = 3       # of byre's processes
OF_BYRE = 50      # of them in a round, at most

# What byre may say when others are faster.
BYRE_MAY = ("not in the cache", "came and went", "appeared meanwhile",
            "cannot touch: No such file")
NOVA_MAY = {
    # its base went before it had the lock
    "spawn": ("FileNotFoundError", "DiskNotFound"),
    "slow": ("FileNotFoundError", "DiskNotFound"),
    "flat": ("FileNotFoundError", "DiskNotFound", "ProcessExecutionError"),
    "ahead": ("FileNotFoundError",),
    # a disk that is being made, or is gone by now
    "manage": ("InvalidDiskInfo", "DiskNotFound", "FileNotFoundError"),
    "delete": (),
}


def must(*argv):
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)


class Failed(Exception):
    pass


def has_open(pid, path):
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        try:
            if os.readlink(os.path.join(folder, fd)) == path:
                return True
        except OSError:
            pass
    return False


class Image:
    def __init__(self, tmp, n):
        self.id = str(uuid.UUID(int=0xb17e0000 + n))
        self.raw = os.path.join(tmp, f"image{n}.raw")
        with open(self.raw, "wb") as f:
            f.write(b"image %06d says\n" % n * 100000)
            f.seek(3 * M + 65536 * n)
            f.write(b"end of %06d\n" % n * 60000)
            f.truncate(5 * M)
        self.fmt = "raw" if n % 4 == 3 else "qcow2"
        self.path = self.raw
        if self.fmt == "qcow2":
            self.path = os.path.join(tmp, f"image{n}.qcow2")
            must("qemu-img", "convert", "-O", "qcow2",
                 *(["-c"] if n % 2 else []), self.raw, self.path)
        with open(self.raw, "rb") as f:
            self.content = f.read()


class World:
    """The directory, who works in it, and what they say."""

    def __init__(self, tmp):
        self.tmp, self.inst = tmp, os.path.join(tmp, "instances")
        self.base = os.path.join(self.inst, "_base")
        self.said = os.path.join(tmp, "said")
        os.makedirs(os.path.join(self.inst, "locks"))
        os.mkdir(self.base)
        open(self.said, "w", encoding="utf-8").close()
        self.nova = beside.Compute(self.inst, os.path.join(tmp, "nova"),
                                   MIN_AGE, self.say)
        self.images = {}
        for n in range(6):
            self.add(n)
        self.count = collections.Counter()
        self.words = collections.Counter()

    def add(self, n):
        image = Image(self.tmp, n)
        self.images[image.id] = image
        self.nova.glance.images[image.id] = (image.path, image.fmt)
        return image

    def name(self, image_id):
        return self.nova.nova.imagecache.get_cache_fname(image_id)

    def say(self, what, name, **more):
        """One line, whole, whoever else writes."""
        with open(self.said, "a", encoding="utf-8") as f:
            f.write(json.dumps({"what": what, "name": name, **more}) + "\n")

    def hear(self):
        with open(self.said, "r+", encoding="utf-8") as f:
            lines = [json.loads(line) for line in f]
            f.truncate(0)
        return lines

    # ---- Nova's processes

    def start(self, what, *args):
        pid = os.fork()
        if pid:
            return pid
        status = 0
        random.seed(os.getpid())
        try:
            time.sleep(random.random() * 0.3)
            getattr(self, "do_" + what)(*args)
            self.say("did", what)
        except Exception as e:
            self.say("failed", what, kind=type(e).__name__,
                     text=str(e)[:1000])
            status = 1
        finally:
            os._exit(status)

    def do_spawn(self, image_id, flat=False):
        u = str(uuid.uuid4())
        self.nova.records.add(u, image_id)
        try:
            self.nova.spawn(u, image_id, 16 * M, flat=flat)
        except Exception:
            self.do_delete(u)
            raise

    def do_slow(self, image_id):
        """With a qemu-img create that takes its time."""
        folder, genuine = os.path.join(self.tmp, "slow"), shutil.which(
            "qemu-img")
        os.mkdir(folder)
        path = os.path.join(folder, "qemu-img")
        with open(path, "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\n[ "$1" != create ] || sleep 0.5\n'
                    f'exec {genuine} "$@"\n')
        os.chmod(path, 0o755)
        os.environ["PATH"] = folder + ":" + os.environ["PATH"]
        self.do_spawn(image_id)

    def do_flat(self, image_id):
        self.do_spawn(image_id, flat=True)

    def do_ahead(self, image_id):
        self.nova.cache_ahead(image_id)

    def do_manage(self):
        for _ in range(3):
            try:
                self.nova.manage()
                self.say("did", "manage")
            except Exception as e:
                self.say("failed", "manage", kind=type(e).__name__,
                         text=str(e)[:1000])

    def do_delete(self, u):
        """As LibvirtDriver.delete_instance_files, and then the record."""
        path = os.path.join(self.inst, u)
        if os.path.exists(path):
            os.rename(path, path + "_del")
            shutil.rmtree(path + "_del")
        self.nova.records.drop(u)

    # ---- byre's

    def byre(self, command, *args):
        with open(os.path.join(self.tmp, "byre.err"), "ab") as err:
            return subprocess.Popen(
                [BYRE, "cache", command, "--instances", self.inst, *args],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=err)

    def any_byre(self, weights):
        """A process, and the instance that it makes a disk for, or None."""
        log = ("--log", "json")
        image = random.choice(self.active)
        kinds = [k for k in weights if k != "from"]
        kind, = random.choices(kinds, [weights[k] for k in kinds])
        if kind == "clean":
            return self.byre("clean", *log, "-q", "--min-age", "0",
                             "--min-age-resized", "0"), None
        if kind == "verify":
            return self.byre("verify", "-q", "--cached"), None
        if kind == "ensure":
            return self.byre("ensure", image.id, "--from", image.path, "-q",
                             *log), None
        u = str(uuid.uuid4())
        self.nova.records.add(u, image.id)
        disk = os.path.join(self.inst, u, "disk")
        how = random.choice([["--size", "16M"], ["--size", "16M"],
                             ["--flat", "--size", "16M"],
                             ["--sized-base", "--size", "1G"]])
        if random.random() < weights["from"]:
            how += ["--from", image.path]
        return self.byre("spawn", image.id, disk, "-q", *log, *how), u

    def reap(self, running, wait=False):
        for p, u in list(running):
            if wait:
                p.wait()
            if p.poll() is None:
                if random.random() < 0.02:
                    p.kill()
                    self.count["byre processes killed"] += 1
                continue
            running.remove((p, u))
            self.count["byre processes"] += 1
            if u and not os.path.exists(os.path.join(self.inst, u, "disk")):
                shutil.rmtree(os.path.join(self.inst, u), ignore_errors=True)
                self.nova.records.drop(u)

    # ---- what is said

    def late(self, line):
        """Nova's manager touches the base of every instance that it knows of.
        One that has no disk may go before; that each disk has its base is
        looked at below."""
        return (line["name"], line["kind"]) == ("manage", "FileNotFound") and \
            line["text"].startswith(f"File {self.base}/")

    def read_nova(self):
        for line in self.hear():
            what, name = line["what"], line["name"]
            if what == "did":
                self.count[f"nova {name}"] += 1
            elif what == "download":
                self.count["nova fetched"] += 1
            elif what == "removed":
                self.count["nova removed"] += 1
            elif line["kind"] in NOVA_MAY[name] or self.late(line):
                self.count[f"nova {name} gave up"] += 1
                self.words[f"nova {name}: {line['kind']}"] += 1
            else:
                raise Failed(f"Nova's {name}: {line['kind']}: {line['text']}")

    def read_byre(self):
        path = os.path.join(self.tmp, "byre.err")
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = f.readlines()
        os.unlink(path)
        for line in lines:
            if line.startswith("{"):
                try:
                    event = json.loads(line)
                except ValueError:
                    continue  # cut off: its writer was killed
                self.count["byre " + event["event"]] += 1
            elif "warning:" in line:
                self.words["byre: " + line.split(":")[-1].strip()] += 1
            elif line.strip():
                if not any(word in line for word in BYRE_MAY):
                    raise Failed("byre says: " + line)
                self.count["byre gave up"] += 1

    # ---- what is there

    def backing(self, path):
        with open(path, "rb") as f:
            head = f.read(4096)
        if head[:4] != b"QFI\xfb":
            return None
        at, n = struct.unpack(">QI", head[8:20])
        return head[at:at + n].decode()

    def check_disk(self, path, image):
        self.count["disks checked"] += 1
        back = self.backing(path)
        if back is None:
            with open(path, "rb") as f:
                if f.read(len(image.content)) != image.content or \
                        any(f.read()):
                    raise Failed(f"{path} does not read as its image")
            return
        if not os.path.exists(back):
            raise Failed(f"{path} has lost its base {back}")
        p = subprocess.run(["qemu-img", "compare", "-f", "qcow2", "-F", "raw",
                            path, image.raw], capture_output=True, text=True,
                           check=False)
        if p.returncode:
            raise Failed(f"{path}: {p.stdout}{p.stderr}")

    def check_bases(self):
        for image in self.images.values():
            name = os.path.join(self.base, self.name(image.id))
            for path, size in ((name, 5 * M), (name + "_1", 1 << 30)):
                if not os.path.exists(path):
                    continue
                with open(path, "rb") as f:
                    head = f.read(len(image.content))
                if head != image.content or os.path.getsize(path) != size:
                    raise Failed(f"{path} is not its image")

    def check(self):
        self.read_nova()
        self.read_byre()
        records = {r.uuid: r.image_ref for r in self.nova.records.all()}
        for u in os.listdir(self.inst):
            if u in ("_base", "locks", "compute_nodes"):
                continue
            if u not in records:
                raise Failed(f"{u} was left behind")
            for disk in os.listdir(os.path.join(self.inst, u)):
                if not disk.startswith("disk.info"):
                    self.check_disk(os.path.join(self.inst, u, disk),
                                    self.images[records[u]])
        self.check_bases()
        for command in ("verify", "clean"):
            p = self.byre(command, "-q")
            if p.wait():
                raise Failed(f"{command} after the round: {p.returncode}")
        self.read_byre()
        left = os.listdir(os.path.join(self.base, ".byre", "staging"))
        if left:
            raise Failed(f"left in staging: {left}")

    # ---- the rounds

    def age(self):
        """Nobody has used any base for hours."""
        for name in os.listdir(self.base):
            if name != ".byre":
                then = time.time() - 7200
                os.utime(os.path.join(self.base, name), (then, then))

    def thin(self):
        live = [r.uuid for r in self.nova.records.all()]
        random.shuffle(live)
        for u in live[KEEP:]:
            self.do_delete(u)
        return live[:KEEP]

    def round(self):
        live = self.thin()
        self.age()
        # the others are there to be cleaned away, by whoever comes first
        self.active = random.sample(list(self.images.values())[:6], 2)
        ids = [i.id for i in self.active]
        work = [("manage",), ("manage",)]
        work += [("delete", u) for u in live[:5]]
        work += [("spawn", random.choice(ids)) for _ in range(4)]
        work += [("flat", random.choice(ids)), ("ahead", random.choice(ids))]
        random.shuffle(work)
        weights = {"clean": random.choice([0, 1, 4]),
                   "ensure": random.choice([0, 1, 4]), "spawn": 4,
                   "verify": random.choice([0, 1])}
        weights["from"] = random.choice([0.1, 0.9])
        nova, running, started = {self.start(*w) for w in work}, [], 0
        while nova:
            for pid in list(nova):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    nova.discard(pid)
            self.reap(running)
            if len(running) < AT_ONCE and started < OF_BYRE:
                running.append(self.any_byre(weights))
                started += 1
            time.sleep(0.03)
        self.reap(running, wait=True)
        self.check()

    def crowd(self, n):
        """All want one image that nobody has: one fetches and converts."""
        image = self.add(100 + n)
        running = [(self.byre("ensure", image.id, "--from", image.path, "-q",
                              "--log", "json"), None) for _ in range(6)]
        nova = [self.start("spawn", image.id) for _ in range(3)]
        before = self.count["byre added"] + self.count["nova fetched"]
        running += [(self.byre("ensure", image.id, "--from", image.path, "-q",
                               "--log", "json"), None) for _ in range(6)]
        for pid in nova:
            os.waitpid(pid, 0)
        for p, _ in running:
            if p.wait():
                raise Failed(f"ensure in a crowd: {p.returncode}")
        gave_up = self.count["nova spawn gave up"]
        self.check()
        made = self.count["byre added"] + self.count["nova fetched"] - before
        if made != 1:
            raise Failed(f"{made} conversions of one image")
        if self.count["nova spawn gave up"] != gave_up:
            raise Failed("a spawn of Nova's failed without a cleaning")

    def lost_lock(self):
        """Nova's manager removes a lock file that a spawn of Nova's waits for,
        and cleanings take the lock of a new one."""
        image = self.add(300)
        if self.byre("ensure", image.id, "--from", image.path, "-q").wait():
            raise Failed("ensure")
        self.age()
        folder, name = os.path.join(self.inst, "locks"), self.name(image.id)
        lock = os.path.join(folder, "nova-" + name)
        with open(lock, "a", encoding="utf-8") as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            pid = self.start("slow", image.id)
            while not has_open(pid, lock):
                if os.waitpid(pid, os.WNOHANG)[0]:
                    raise Failed("a spawn of Nova's took no lock")
                time.sleep(0.01)
            # what its manager does at the end of a removal
            self.nova.remove_lock(name)
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if self.byre("clean", "-q", "--min-age", "0").wait():
                raise Failed("clean")
        gave_up = self.count["nova slow gave up"]
        self.check()
        if self.count["nova slow gave up"] != gave_up:
            raise Failed("the base of a spawn went, that had its lock")
        if not os.path.exists(os.path.join(self.base, name)):
            raise Failed("the base of a spawn went")

    def only_another_disk(self):
        """Nova's manager knows nothing of a disk.local; byre's cleaning
        touches its base, which keeps it from Nova's as well."""
        root, local = self.add(200), self.add(201)
        u = str(uuid.uuid4())
        self.nova.records.add(u, root.id)
        disk = os.path.join(self.inst, u, "disk.local")
        if self.byre("spawn", local.id, disk, "--size", "16M", "-q", "--from",
                     local.path).wait():
            raise Failed("spawn of a disk.local")
        self.age()
        if self.byre("clean", "-q", "--min-age", "0").wait():
            raise Failed("clean")
        os.waitpid(self.start("manage"), 0)
        self.check_disk(disk, local)
        self.do_delete(u)
        self.check()


def main():
    try:
        beside.find_nova()
    except beside.Missing as e:
        print(e)
        return 77
    if shutil.which("qemu-img") is None or not os.access(BYRE, os.X_OK):
        print("no genuine qemu-img, or no byre")
        return 77
    with tempfile.TemporaryDirectory(prefix="byre-nova.") as tmp:
        world = World(tmp)
        try:
            for n in range(CROWDS):
                world.crowd(n)
            world.lost_lock()
            world.only_another_disk()
            for n in range(ROUNDS):
                try:
                    world.round()
                except Failed as e:
                    raise Failed(f"round {n}: {e}") from None
        except Failed as e:
            print(f"FAIL: {e}", file=sys.stderr)
            return 1
    for what, n in sorted(world.count.items()):
        print(f"{n:8} {what}")
    for word, n in world.words.most_common(8):
        print(f"{n:8} {word}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
