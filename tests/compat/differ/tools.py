# SPDX-License-Identifier: MIT
"""Running programs, and looking at files without believing either program."""

import os
import shlex
import subprocess

QEMU_IMG = os.environ.get("QEMU_IMG", "qemu-img")
QEMU_IO = os.environ.get("QEMU_IO", "qemu-io")
TIMEOUT = 120
ZERO4K = bytes(4096)


class Mismatch(Exception):
    """The program under test answered otherwise than it should."""


class Broken(Exception):
    """The case could not be set up: a fault of the driver."""


class Done:
    def __init__(self, argv, cwd, proc):
        self.argv, self.cwd = argv, cwd
        self.rc = proc.returncode
        self.out = proc.stdout.decode("utf-8", "replace")
        self.err = proc.stderr.decode("utf-8", "replace")

    def __str__(self):
        text = f"(cd {self.cwd} && {shlex.join(self.argv)}) -> {self.rc}"
        for name, stream in (("out", self.out), ("err", self.err)):
            if stream.strip():
                text += f"\n    {name}: " + stream.strip()[:800]
        return text


def environment():
    """Ours, without what would change a program's policy."""
    env = {k: v for k, v in os.environ.items()
           if not k.startswith("BYRE_") or k == "BYRE_CONF"}
    env["LC_ALL"] = "C"
    return env


def run(prog, args, cwd, log):
    argv = shlex.split(prog) + [str(a) for a in args]
    try:
        proc = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=TIMEOUT,
                              env=environment(), check=False)
    except subprocess.TimeoutExpired:
        raise Mismatch(f"hangs: (cd {cwd} && {shlex.join(argv)})") from None
    done = Done(argv, cwd, proc)
    log.append(done)
    return done


def must(prog, args, cwd, log):
    """For setting up: a failure is the driver's fault."""
    done = run(prog, args, cwd, log)
    if done.rc != 0:
        raise Broken(f"setting up failed: {done}")
    return done


def same_bytes(a, b):
    """The offset of the first differing byte, the shorter's size, or None.
    Only what either file holds as data is read."""
    sizes = os.path.getsize(a), os.path.getsize(b)
    with open(a, "rb") as fa, open(b, "rb") as fb:
        for start, length in sorted([*data_runs(a), *data_runs(b)]):
            for off in range(start, start + length, 1 << 20):
                fa.seek(off)
                fb.seek(off)
                n = min(1 << 20, start + length - off, min(sizes) - off)
                x, y = fa.read(max(n, 0)), fb.read(max(n, 0))
                if x != y:
                    return off + next(i for i in range(n) if x[i] != y[i])
    return None if sizes[0] == sizes[1] else min(sizes)


def allocated(path):
    return os.stat(path).st_blocks * 512


def data_runs(path):
    """(offset, length) of what the file system holds as data."""
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        off = 0
        while off < size:
            try:
                start = os.lseek(fd, off, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(fd, start, os.SEEK_HOLE)
            yield start, min(end, size) - start
            off = end
    finally:
        os.close(fd)


def unholy_zeros(path):
    """The first aligned 4 KiB of zeros that is not a hole, or None."""
    with open(path, "rb") as f:
        for start, length in data_runs(path):
            first = -(-start // 4096) * 4096
            end = (start + length) // 4096 * 4096
            f.seek(first)
            while first < end:
                chunk = f.read(min(1 << 20, end - first))
                for i in range(0, len(chunk), 4096):
                    if chunk[i:i + 4096] == ZERO4K:
                        return first + i
                first += len(chunk)
    return None
