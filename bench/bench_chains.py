# SPDX-License-Identifier: MIT
"""Row 13: commit and safe rebase. Both change their images, so every run gets
fresh copies, outside of the time."""

import os
import shutil
import subprocess

TITLES = ("commit", "rebase")


def make(bench):
    """What the two commands work on, in a directory of its own."""
    def do(*argv):
        subprocess.run(argv, cwd=bench.chains, check=True,
                       stdout=subprocess.DEVNULL)

    bench.chains = os.path.join(bench.work, "chains")
    os.mkdir(bench.chains)
    raw = os.path.join(bench.images, "fs.raw")
    size = str(os.stat(raw).st_size)
    do(bench.qemu, "create", "-q", "-f", "qcow2", "base", size)
    do(bench.qemu, "convert", "-f", "raw", "-O", "qcow2", "-B", "base", "-F",
       "qcow2", raw, "commit.top")
    do(bench.qemu, "convert", "-f", "raw", "-O", "qcow2", raw, "old")
    shutil.copyfile(os.path.join(bench.chains, "old"),
                    os.path.join(bench.chains, "new"))
    do(bench.qemu, "create", "-q", "-f", "qcow2", "-b", "old", "-F", "qcow2",
       "rebase.top")
    # one cluster in sixteen is another one in the new base
    step = 16 << 16
    writes = [a for at in range(0, int(size) - step, step)
              for a in ("-c", f"write -P 7 {at} 64k")]
    for i in range(0, len(writes), 1000):
        do("qemu-io", "-f", "qcow2", *writes[i:i + 1000], "new")


def commands(bench, title):
    if title == "commit":
        line = "commit -q -f qcow2 {cache} top"
    else:
        line = "rebase -q -f qcow2 {cache} -b new -F qcow2 top"
    unsafe = line.format(cache="-t unsafe")
    return [("qemu-img -t unsafe", f"{bench.qemu} {unsafe}", "peer"),
            ("byre -t unsafe", f"{bench.byre} qemu-img {unsafe}", "byre"),
            ("qemu-img", f"{bench.qemu} {line.format(cache='')}", "beside"),
            ("byre", f"{bench.byre} qemu-img {line.format(cache='')}",
             "beside")]


def fresh(bench, title, work):
    for name in os.listdir(work):
        os.unlink(os.path.join(work, name))
    for name, source in (("top", title + ".top"), ("base", "base"),
                         ("old", "old"), ("new", "new")):
        if title == "rebase" and name in ("old", "new"):
            os.link(os.path.join(bench.chains, source),
                    os.path.join(work, name))
        elif title == "commit" or name == "top":
            shutil.copyfile(os.path.join(bench.chains, source),
                            os.path.join(work, name))
    os.sync()


def verify(bench, title, work):
    subprocess.run([bench.qemu, "compare", "-q", os.path.join(
        work, "base" if title == "commit" else "top"), os.path.join(
            bench.images, "fs.raw")], check=True)


def run_row(bench, row, run, touch):
    """run(argv, cwd) measures one child; touch(work, size) warms memory for
    what it writes, once the copies are made."""
    work = os.path.join(bench.work, "chain")
    os.makedirs(work, exist_ok=True)
    for number in range(bench.rounds + 1):
        first = number % len(row.peers)
        for peer in row.peers[first:] + row.peers[:first]:
            if peer.fault:
                continue
            fresh(bench, row.title, work)
            touch(work, bench.touch)
            try:
                done = run(peer.command.split(), work)
            except (OSError, RuntimeError) as e:
                peer.fault = str(e)
                continue
            if number == 0:
                verify(bench, row.title, work)
            else:
                peer.runs.append(done)
    shutil.rmtree(work)
