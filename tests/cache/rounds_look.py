# SPDX-License-Identifier: MIT
"""What must hold after a round; see rounds.py, whose Rounds r is."""

import collections
import json
import os
import re
import shutil
import signal

MIB, GIB = 1 << 20, 1 << 30
ADDERS = ("ensure", "spawn")
REMOVERS = ("clean", "purge", "repair")


class Fault(Exception):
    """What must not be."""


def may_fail(r, t, why, begun):
    """Who is not disturbed himself may be by what others do."""
    gone = {i for u in r.tasks if u.what == "delete" for i in u.args}
    rot = any(u.what in ("verify", "repair") and not u.undisturbed
              for u in begun)
    if t.what == "spawn":
        return ("File exists" in why or "not in the cache" in why or
                t.instance in gone or (rot and "rotten" in why) or
                (t.image.kept and "looks like qcow2" in why))
    if t.what == "purge":
        return True
    # its maker was killed before he wrote the record
    if t.what == "verify" and "looks like qcow2" in why:
        return any(u.image and u.image.kept and u.what in ADDERS and
                   not u.undisturbed for u in begun)
    return t.what == "repair" and ("there is no base" in why or
                                   (rot and "rotten" in why))


def judge(r, t, begun):
    notes = [x for x in t.lines if ": warning: " in x]
    said = [x for x in t.lines if x not in notes]
    odd = [x for x in said if not x.startswith("byre: cache")]
    if odd:
        raise Fault(f"{t} says {odd}")
    r.sum[t.what] += 1
    if t.code < 0:
        r.sum["killed"] += 1
        wanted = {signal.SIGKILL} if t.delay is not None else set()
        wanted |= {signal.SIGKILL} if ":kill" in t.rule else set()
        wanted |= {signal.SIGTERM} if ":term" in t.rule else set()
        if -t.code not in wanted:
            raise Fault(f"{t}: {t.lines}")
        return
    fine = {"verify": (0, 3), "repair": (0, 3, 4)}.get(t.what, (0,))
    if t.code in fine:
        if t.undisturbed and t.code == 3:
            raise Fault(f"{t}: rot where there is none: {t.lines}")
        check_conversions(r, t)
        return
    why = said[0] if said else ""
    many = t.what in ("verify", "repair")  # a line for each base
    if t.code != 1 or not said or (len(said) > 1 and not many):
        raise Fault(f"{t} says {t.lines}")
    if t.undisturbed and not may_fail(r, t, why, begun):
        raise Fault(f"{t}, undisturbed: {t.lines}")
    r.sum["failed, disturbed" if t.rule else "failed"] += 1
    r.failures[re.sub(r"[0-9a-f]{40}|[^ ]*/[^ ]*|\d+", "*", why)[:100]] += 1


def check_conversions(r, t):
    """Whoever filled a staged file and ended well has added a base. (One
    that was taken for a dead one's before it was locked is empty.)"""
    if not r.shim or t.what not in ADDERS or t.mute:
        return
    staged = set()
    with open(t.calls, encoding="utf-8", errors="replace") as f:
        for line in f:
            m = re.match(r"(?:write|ringwrite|ftruncate|copy|clone) "
                         r"\S*/(\w+-[0-9a-f]{8})\b", line)
            if m:
                staged.add(m[1])
    added = collections.Counter(e["name"] for e in t.events
                                if e["event"] == "added")
    for name in r.by_name:
        # what is fetched is staged, too
        for base, most in ((name, 1 + ("--expect" in t.args)),
                           (name + "_1", 1)):
            n = sum(s[:-9] == base for s in staged)
            if n > most * added[base]:
                raise Fault(f"{t}: {base} made {n} times, added "
                            f"{added[base]} times")


def disks(r):
    for i in sorted(os.listdir(r.inst)):
        if re.match(r"i\d-", i):
            for d in sorted(os.listdir(os.path.join(r.inst, i))):
                if d in ("disk", "disk.local", "disk.flat"):
                    yield i, d


def base_of(r, i, d):
    return {"disk": r.images[int(i[1])].name, "disk.flat": None,
            "disk.local": r.images[int(i[1])].name + "_1"}[d]


def needed(r):
    """Bases of disks that nobody is about to delete, by inode."""
    gone = {i for t in r.tasks if t.what == "delete" for i in t.args}
    names = {base_of(r, i, d) for i, d in disks(r) if i not in gone}
    held = {}
    for name in names - {None}:
        link = os.path.join(r.work, "held", name)
        # so that its number is not used again
        os.link(os.path.join(r.base, name), link)
        held[name] = os.stat(link).st_ino
    return held


def check_held(r, held, begun):
    for name, ino in held.items():
        os.unlink(os.path.join(r.work, "held", name))
        # one that some disk did not give, is made anew
        if any(t.what == "repair" and t.image.name == name[:40] and
               not t.undisturbed for t in begun):
            continue
        if os.stat(os.path.join(r.base, name)).st_ino != ino:
            raise Fault(f"{name} was in use all the time, and was another "
                        "file for a while")


def bases(r):
    return {n for n in os.listdir(r.base) if n != ".byre"}


def check_bases(r):
    for name in bases(r):
        image = r.by_name.get(name[:40])
        if not image or name[40:] not in ("", "_1"):
            raise Fault(f"nobody asked for {name}")
        path = os.path.join(r.base, name)
        want = image.packed if image.kept and name == image.name \
            else image.content
        size = GIB if name != image.name else len(want)
        with open(path, "rb") as f:
            if os.fstat(f.fileno()).st_size != size or \
                    f.read(len(want)) != want:
                raise Fault(f"{name} is not its source")
        if size == GIB and image.digest != r.run(
                ["digest", "-f", "raw", path]).split()[0]:
            raise Fault(f"{name} has something behind its source")


def check_disks(r):
    for i, d in disks(r):
        image = r.images[int(i[1])]
        base, path = base_of(r, i, d), os.path.join(r.inst, i, d)
        if base and not os.path.exists(os.path.join(r.base, base)):
            raise Fault(f"{i}/{d} has lost its base {base}")
        fmt = "raw" if base is None else "qcow2"
        got = r.run(["digest", "--trusted", "-f", fmt, path])
        if got.split()[0] != image.digest:
            raise Fault(f"{i}/{d}: {got}")
        with open(os.path.join(r.inst, i, "disk.info"),
                  encoding="utf-8") as f:
            if json.load(f).get(path) != fmt:
                raise Fault(f"{i}/{d} is not in disk.info")
        r.sum["disks looked at"] += 1


def check_spawned(r, begun):
    gone = {i for t in r.tasks if t.what == "delete" for i in t.args}
    for t in begun:
        if t.what == "spawn" and t.code == 0 and t.instance not in gone \
                and not os.path.exists(t.target):
            raise Fault(f"{t}, and there is no disk")


def check_balance(r, before, begun):
    """Bases that came and went are those that the journals tell of; who
    was killed may have changed one more than he told."""
    after = bases(r)
    told = collections.Counter()
    for t in begun:
        for e in t.events:
            delta = {"added": 1, "restored": 1, "removed": -1,
                     "quarantined": -1}
            told[e.get("name")] += delta.get(e["event"], 0)
            r.sum["told " + e["event"]] += 1
    mute = [t.what for t in begun if t.mute]
    add = sum(w in ADDERS for w in mute)
    take = sum(w in REMOVERS for w in mute)
    for name in before | after:
        d = (name in after) - (name in before) - told[name]
        if not -take <= d <= add:
            raise Fault(f"{name}: {name in before} before, {name in after}"
                        f" after, {told[name]} by the journals")


def check_leavings(r):
    # who was killed before he wrote a record is followed by another
    for i in r.images:
        if i.kept and i.name in bases(r):
            r.cache("ensure", i.id, "-q", "--from", i.qcow2, "--keep-qcow2")
    said = r.cache("verify", "-q")
    if said:
        raise Fault(f"verify says: {said}")
    for s in strays(r):
        # where nobody can be asked who has it open, its age tells
        if r.deny:
            os.utime(s, (1, 1))
    said = r.cache("clean", "-q")
    if said:
        raise Fault(f"clean says: {said}")
    own = os.path.join(r.base, ".byre")
    left = strays(r) + os.listdir(os.path.join(own, "staging"))
    if left:
        raise Fault(f"left after a clean: {left}")
    for f in os.listdir(os.path.join(own, "records")):
        if f.rsplit(".", 1)[0] not in bases(r):
            raise Fault(f"a record of nothing: {f}")
    r.cache("list", "--json")
    shutil.rmtree(os.path.join(own, "quarantine"))
    for d in os.listdir(os.path.join(r.work, "trash")):
        shutil.rmtree(os.path.join(r.work, "trash", d))


def strays(r):
    return [os.path.join(p, f) for p, _, files in os.walk(r.inst)
            for f in files if f.startswith(".") and ".byre" in f and
            not p.startswith(r.base)]


def look(r, before, held, begun):
    """All of it. before: the bases that there were; held: those of needed(),
    by inode; begun: the processes that ran."""
    for t in begun:
        judge(r, t, begun)
    check_disks(r)
    check_held(r, held, begun)
    check_bases(r)
    check_spawned(r, begun)
    check_balance(r, before, begun)
    check_leavings(r)
    check_disks(r)
