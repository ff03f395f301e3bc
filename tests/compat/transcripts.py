#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Transcripts of qemu-img: what genuine qemu-img 7.2 answered, line by line.

transcripts/COMMAND.txt holds scenarios. Each is run in a directory of its own:

    == name (each)        every command starts from what the set-up made
    $ LINE                set-up, by a shell, with the genuine tools
    > qemu-img ARGS       a command; what follows was recorded
    >s qemu-img ARGS      as well, but only the status counts, and on which
                          streams there was text
    >p qemu-img ARGS      as well, and every step of the progress counts
    | stdout   ! stderr   (\\c: no newline there; \\xNN, \\\\: as in C)
    ? STATUS
    = names: +new -gone   files that came and went
    = check FILE: STATUS  genuine `qemu-img check`
    = guest FILE [SNAP]: SHA   what the guest sees, by genuine qemu-img
    = info FILE: JSON     genuine `qemu-img info`
    = bytes FILE: SHA     the file itself
    ~ PATTERN             byre answers otherwise, on purpose: it fails, with
                          one line that is like this

replay runs the front (BYRE_QEMU_IMG) and compares; verify records again with
genuine qemu-img and compares with the text; record writes the text. In set-ups
a directory for temporary names (@DIR@), dates and sizes on disk are normalised.
Without genuine tools, replay makes what it can with the front itself and
leaves the other scenarios and the verdicts out.

transcripts/SKIP names what is not replayed: COMMAND or COMMAND/SCENARIO and a
reason.
"""

import argparse
import concurrent.futures
import difflib
import fnmatch
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transcripts")
OURS = os.environ.get("BYRE_QEMU_IMG", "byre qemu-img")
TIMEOUT = 60
# the names that set-ups may use, beside those of qemu-utils
POKE = """#!/bin/sh
# poke FILE OFFSET HEX...: bytes in place
f=$1 at=$2; shift 2
for b in $(echo "$*" | sed 's/ //g; s/../& /g'); do
	printf "\\\\$(printf %03o 0x$b)"
done | dd of="$f" bs=1 seek=$((at)) conv=notrunc 2>/dev/null
"""


class Command:
    def __init__(self, text, mark, line):
        self.text, self.mark, self.line = text, mark, line
        self.recorded = []  # lines as in the file, without "= "
        self.wants = []     # verdicts: (kind, arguments)
        self.otherwise = None
        self.got = None


class Scenario:
    def __init__(self, name, flags, line):
        self.name, self.flags, self.line = name, flags, line
        self.steps = []     # ("$", text) or ("c", Command), ("#", text)


def parse(path):
    """Comments in front of the first scenario, and the scenarios."""
    head, found = [], []
    with open(path, encoding="utf-8") as f:
        lines = f.read().split("\n")
    for number, line in enumerate(lines, 1):
        mark = line[:2]
        last = found[-1].steps[-1][1] if found and found[-1].steps else None
        if mark == "==":
            m = re.fullmatch(r"== (.*?)(?: \(([a-z, ]+)\))?", line)
            flags = set((m[2] or "").split(", ")) - {""}
            found.append(Scenario(m[1], flags, number))
        elif not found:
            head.append(line)
        elif mark == "$ ":
            found[-1].steps.append(("$", line[2:]))
        elif mark == "> " or line[:3] in (">s ", ">p "):
            how, text = line.split(" ", 1)
            c = Command(text, how, number)
            found[-1].steps.append(("c", c))
        elif mark in ("| ", "! ", "? ", "= ") or line in ("|", "!"):
            last.recorded.append(line)
            if mark == "= " and not line.startswith("= names"):
                what = line[2:].split(":", 1)[0]
                last.wants.append(what)
        elif mark == "~ ":
            last.otherwise = line[2:]
        elif line.startswith("#") or not line:
            found[-1].steps.append(("#", line))
        else:
            sys.exit(f"{path}:{number}: what is '{line}'?")
    return head, found


def shown(data, mark):
    """A stream as lines of the file."""
    text = data.decode("utf-8", "surrogateescape")
    out = []
    for part in text.splitlines(keepends=True) if "\n" not in text else \
            re.findall(r"[^\n]*\n|[^\n]+", text):
        part = part.replace("\\", "\\\\")
        part = part[:-1] if part.endswith("\n") else part + "\\c"
        part = re.sub(r"[\x00-\x1f\x7f\udc80-\udcff]",
                      lambda m: f"\\x{ord(m[0]) & 0xff:02x}", part)
        out.append(f"{mark} {part}".rstrip(" "))
    return out


# a run of progress: where it began and where it ended
PROGRESS = re.compile(rb"(    \([0-9.]+/100%\)\r)(?:    \([0-9.]+/100%\)\r)*"
                      rb"(    \([0-9.]+/100%\)\r)")
RULES = [
    (re.compile(rb"disk size: .*"), b"disk size: @SIZE@"),
    (re.compile(rb'("actual-size": )\d+'), rb"\1@SIZE@"),
    (re.compile(rb'("date-n?sec": )\d+'), rb"\1@N@"),
    (re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), b"@DATE-AND-THE-TIME@"),
    # QEMU's own name of a node, in which digits are random
    (re.compile(rb"#block\d+"), b"#blockN"),
]


def normal(data, folder, steps=False):
    data = data.replace(folder.encode(), b"@DIR@")
    if not steps:
        data = PROGRESS.sub(rb"\1\2", data)
    for pattern, by in RULES:
        data = pattern.sub(by, data)
    return data


class World:
    """A directory, and the programs in it."""

    def __init__(self, root, front, genuine):
        self.root, self.genuine = root, genuine
        self.bin = os.path.join(root, "bin")
        self.dir = os.path.join(root, "d")
        self.kept = os.path.join(root, "kept")
        setup = os.path.join(root, "setup")
        for d in (self.bin, self.dir, setup):
            os.mkdir(d)
        self.front = link(self.bin, front)
        if not genuine:
            link(setup, front)
        with open(os.path.join(setup, "poke"), "w", encoding="ascii") as f:
            f.write(POKE)
        os.chmod(f.name, 0o755)
        env = {k: v for k, v in os.environ.items()
               if not k.startswith("BYRE_")}
        env.update(LC_ALL="C", TZ="UTC", PATH=setup + ":" + env["PATH"])
        self.env = env

    def call(self, argv, shell=False):
        return subprocess.run(argv, cwd=self.dir, env=self.env, shell=shell,
                              stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=TIMEOUT, check=False)

    def names(self):
        return {os.path.relpath(os.path.join(d, n), self.dir)
                for d, _, files in os.walk(self.dir) for n in files}

    def keep(self):
        shutil.rmtree(self.kept, ignore_errors=True)
        copy(self.dir, self.kept)

    def restore(self):
        shutil.rmtree(self.dir)
        copy(self.kept, self.dir)


def copy(src, dst):
    subprocess.run(["cp", "-a", "--sparse=always", src, dst], check=True)


def link(folder, program):
    """A program of that name that is run as qemu-img."""
    words = shlex.split(program)
    target = shutil.which(words[0])
    path = os.path.join(folder, "qemu-img")
    os.symlink(os.path.abspath(target), path)
    return path


def sha(data):
    return hashlib.sha256(data).hexdigest()[:32]


def verdict(world, what):
    """The answer of a verdict, or None where genuine tools are needed."""
    kind, *args = what.split(" ")
    path = os.path.join(world.dir, args[0])
    if kind == "bytes":
        with open(path, "rb") as f:
            return sha(f.read())
    if not world.genuine:
        return None
    fmt = [] if len(args) < 2 or not args[1].startswith("-f") else \
        ["-f", args.pop(1)[2:]]
    if kind == "check":
        return str(world.call(["qemu-img", "check", "-q", *fmt, args[0]])
                   .returncode)
    if kind == "info":
        p = world.call(["qemu-img", "info", "--output=json", *fmt, args[0]])
        return re.sub(r"\s+", " ", normal(p.stdout, world.dir).decode()) \
            .strip()
    if kind == "guest":
        out = os.path.join(world.root, "guest")
        snap = ["-l", "snapshot.name=" + args[1]] if len(args) > 1 else []
        p = world.call(["qemu-img", "convert", "-O", "raw", *fmt, *snap,
                        args[0], out])
        if p.returncode:
            return "cannot be read"
        with open(out, "rb") as f:
            text = sha(f.read())
        os.unlink(out)
        return text
    sys.exit(f"no such verdict: {what}")


def run_command(world, c, before):
    """What the file would hold for this command."""
    argv = shlex.split(c.text)
    if argv[0] != "qemu-img":
        sys.exit(f"line {c.line}: not qemu-img")
    argv = [a.replace("@DIR@", world.dir) for a in argv]
    try:
        p = world.call([world.front] + argv[1:])
    except subprocess.TimeoutExpired:
        return ["? hangs"], b""
    out, err = (normal(x, world.dir, c.mark == ">p")
                for x in (p.stdout, p.stderr))
    lines = []
    if c.mark == ">s":
        lines += ["| ..."] * bool(out) + ["! ..."] * bool(err)
    else:
        lines += shown(out, "|") + shown(err, "!")
    lines.append(f"? {p.returncode}")
    now = world.names()
    changed = ["+" + n for n in sorted(now - before)] + \
        ["-" + n for n in sorted(before - now)]
    if changed:
        lines.append("= names: " + " ".join(changed))
    for what in c.wants:
        try:
            answer = verdict(world, what)
        except FileNotFoundError:
            answer = "absent"
        if answer is not None:
            lines.append(f"= {what}: {answer}")
        else:
            lines += [r for r in c.recorded if r.startswith(f"= {what}:")]
    return lines, err


class Unusable(Exception):
    """The set-up needs what is not there."""


def perform(scenario, front, genuine):
    """Runs all commands; c.got is what they gave. The set-up must succeed."""
    with tempfile.TemporaryDirectory(prefix="byre-transcript-") as root:
        world = World(os.path.realpath(root), front, genuine)
        kept = False
        for kind, step in scenario.steps:
            if kind == "$":
                if not genuine and re.search(r"\bqemu-(io|nbd)\b", step):
                    raise Unusable("no qemu-io")
                p = world.call(step.replace("@DIR@", world.dir), shell=True)
                if p.returncode and not genuine:
                    raise Unusable("no genuine qemu-img")
                if p.returncode:
                    raise RuntimeError(f"set-up: {step}: {p.stderr.decode()}")
                kept = False
            elif kind == "c":
                if "each" in scenario.flags:
                    if kept:
                        world.restore()
                    else:
                        world.keep()
                        kept = True
                step.got, step.err = run_command(world, step, world.names())


def difference(c):
    """The lines in which recorded and given differ, or []."""
    if c.otherwise is not None:
        status = [x for x in c.got if x.startswith("? ")]
        text = c.err.decode("utf-8", "replace")
        if status == ["? 1"] and text.count("\n") == 1 and \
                fnmatch.fnmatchcase(text.rstrip("\n"), c.otherwise):
            return []
        return [f"not like '{c.otherwise}':"] + c.got
    if c.recorded == c.got:
        return []
    return list(difflib.unified_diff(c.recorded, c.got, "recorded", "given",
                                     lineterm="", n=1))[2:]


def judge(job):
    """(file, scenario, faults or None, why it was left out)."""
    name, scenario, front, genuine, verify = job
    try:
        perform(scenario, front, genuine)
    except Unusable as e:
        return name, scenario, None, str(e)
    except Exception as e:  # pylint: disable=broad-except
        return name, scenario, [f"{name}.txt:{scenario.line}: "
                                f"{type(e).__name__}: {e}"], None
    faults = []
    for kind, c in scenario.steps:
        if kind != "c":
            continue
        if verify:
            c.otherwise = None
        diff = difference(c)
        if diff:
            faults.append(f"{name}.txt:{c.line}: {c.text}\n    " +
                          "\n    ".join(diff))
    return name, scenario, faults, None


def record(path, genuine):
    head, scenarios = parse(path)
    out = list(head)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda s: perform(s, genuine, True), scenarios))
    for s in scenarios:
        flags = f" ({', '.join(sorted(s.flags))})" if s.flags else ""
        out.append(f"== {s.name}{flags}")
        for kind, step in s.steps:
            if kind == "$":
                out.append("$ " + step)
            elif kind == "#":
                out.append(step)
            else:
                out.append(f"{step.mark} {step.text}")
                out += step.got
                if step.otherwise is not None:
                    out.append("~ " + step.otherwise)
    while out and not out[-1]:
        out.pop()
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(out) + "\n")


def skip_list():
    path = os.path.join(HERE, "SKIP")
    found = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            line = line.strip()
            if line and not line.startswith("#"):
                what, _, why = line.partition(": ")
                found[what] = why
    return found


def genuine_program():
    path = shutil.which(os.environ.get("QEMU_IMG", "qemu-img"))
    if not path:
        return None
    p = subprocess.run([path, "--version"], capture_output=True, text=True,
                       check=False)
    if "byre" in p.stdout or "version 7.2" not in p.stdout or \
            not shutil.which("qemu-io"):
        return None
    return path


def run_all(names, mode, genuine, only):
    """Replays or verifies; returns the number of faults."""
    skipped = skip_list() if mode == "replay" else {}
    passed_skip, failed_skip = set(), set()
    jobs, faults, done, left_out = [], 0, 0, {}
    front = genuine if mode == "verify" else OURS
    for name in names:
        for s in parse(os.path.join(HERE, name + ".txt"))[1]:
            if not only or only in s.name:
                jobs.append((name, s, front, bool(genuine), mode == "verify"))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, s, wrong, why in pool.map(judge, jobs):
            done += sum(k == "c" for k, _ in s.steps)
            entry = next((e for e in (f"{name}/{s.name}", name)
                          if e in skipped), None)
            if why:
                left_out[why] = left_out.get(why, 0) + 1
            elif entry:
                (failed_skip if wrong else passed_skip).add(entry)
            else:
                for w in wrong:
                    print(f"FAIL: {w}", flush=True)
                faults += len(wrong)
    for what in sorted(failed_skip):
        print(f"not replayed: {what}: {skipped[what]}")
    if not only and genuine:
        for what in sorted(passed_skip - failed_skip):
            print(f"passes: {what}: take it out of SKIP")
    for why, n in left_out.items():
        print(f"left out: {n} scenarios ({why})")
    print(f"{mode}: {len(jobs)} scenarios, {done} commands, {faults} faults")
    return faults


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("mode", choices=["replay", "verify", "record"])
    p.add_argument("names", nargs="*", help="COMMAND, or COMMAND/SCENARIO")
    args = p.parse_args()
    names, only = args.names, ""
    if len(names) == 1 and "/" in names[0]:
        names[0], only = names[0].split("/", 1)
    if not names:
        names = sorted(n[:-4] for n in os.listdir(HERE) if n.endswith(".txt"))
    genuine = genuine_program()
    if args.mode != "replay" and not genuine:
        print("SKIP: no genuine qemu-img 7.2 and qemu-io")
        sys.exit(77)
    if args.mode == "record":
        for name in names:
            record(os.path.join(HERE, name + ".txt"), genuine)
        sys.exit(0)
    sys.exit(1 if run_all(names, args.mode, genuine, only) else 0)


if __name__ == "__main__":
    main()
