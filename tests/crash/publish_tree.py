# SPDX-License-Identifier: MIT
"""A record of the shim (BYRE_SHIM_TREE), and what a loss of power leaves of it.

The model is no better than POSIX: a flush of a file makes its bytes and its
length durable and no name; a flush of a directory makes the names in it
durable. What is not flushed is there or not, each name and each block of 4 KiB
by itself, in any order; a name has one of the values that it had since then.
Only the two halves of a rename hold together until one directory is flushed:
the file is not lost from both.
"""

import itertools
import os
import posixpath

BLOCK = 4096
DIR = "a directory"
ZEROS = bytes(BLOCK)


class Content:
    """Bytes of a file, without their holes."""

    def __init__(self, other=None):
        self.length = other.length if other else 0
        self.blocks = dict(other.blocks) if other else {}

    def size(self, length):
        if length < self.length:
            for n in [n for n in self.blocks if n * BLOCK >= length]:
                del self.blocks[n]
            if length % BLOCK:
                self.put(length, bytes(BLOCK - length % BLOCK))
        self.length = length

    def put(self, off, data):
        """Within one block."""
        n, at = divmod(off, BLOCK)
        old = self.blocks.get(n, ZEROS)
        new = old[:at] + data + old[at + len(data):]
        if new == ZEROS:
            self.blocks.pop(n, None)
        else:
            self.blocks[n] = new

    def apply(self, piece):
        kind, off, what = piece
        if kind == "size":
            self.size(off)
        elif kind == "zero":
            for at, n in split(off, min(off + what, self.length)):
                self.put(at, bytes(n))
        else:
            self.put(off, what)
            self.length = max(self.length, off + len(what))

    def key(self):
        return self.length, hash(frozenset(self.blocks.items()))

    def __eq__(self, other):
        return self.length == other.length and self.blocks == other.blocks

    def read(self):
        out = bytearray(self.length)
        for n, b in self.blocks.items():
            out[n * BLOCK:(n + 1) * BLOCK] = b
        return bytes(out[:self.length])

    def save(self, path):
        with open(path, "wb") as f:
            for n in sorted(self.blocks):
                f.seek(n * BLOCK)
                f.write(self.blocks[n])
            f.truncate(self.length)


def split(start, end):
    """The blocks of a range: (offset, length)."""
    while start < end:
        n = min(BLOCK - start % BLOCK, end - start)
        yield start, n
        start += n


def load(path):
    c = Content()
    with open(path, "rb") as f:
        end = os.fstat(f.fileno()).st_size
        at = 0
        while at < end:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            stop = os.lseek(f.fileno(), at, os.SEEK_HOLE)
            for off, n in split(at, stop):
                c.put(off, os.pread(f.fileno(), n, off))
            at = stop
    c.length = end
    return c


def differences(old, new):
    """Pieces that make new of old."""
    if new.length < old.length:
        yield "size", new.length, 0
        old = Content(old)
        old.size(new.length)
    for n in sorted(set(old.blocks) | set(new.blocks)):
        b = new.blocks.get(n, ZEROS)
        if old.blocks.get(n, ZEROS) != b:
            off = n * BLOCK
            yield "data", off, b[:min(BLOCK, new.length - off)]
    if new.length != old.length:
        yield "size", new.length, 0


class File:
    """An inode. whole: as it is at the end of the record."""

    def __init__(self, ino, content=None):
        self.ino = ino
        self.whole = content or Content()
        self.first = Content(content)


def walk(top):
    """{path: File or DIR}"""
    found, files = {}, {}
    for here, dirs, names in os.walk(top):
        where = os.path.relpath(here, top)
        for d in dirs:
            found[posixpath.normpath(posixpath.join(where, d))] = DIR
        for name in names:
            path = os.path.join(here, name)
            ino = os.stat(path).st_ino
            if ino not in files:
                files[ino] = File(ino, load(path))
            found[posixpath.normpath(posixpath.join(where, name))] = files[ino]
    return found


def passing(path):
    """Whose bytes and absence harm nobody: locks, what is staged, a clock."""
    return path.startswith(("i/locks", "i/_base/.byre/staging/")) or \
        path == "i/_base/.byre/clock" or ".byre-" in path or \
        path.endswith(".disk.info.byre")


class Record:
    """Events: (kind, ...), with inodes for names."""

    def __init__(self, data, start):
        self.start = start
        self.files = {f.ino: f for f in start.values() if f is not DIR}
        self.events = []
        self.told = None
        self.came_from = None
        at = 0
        while at < len(data):
            end = data.index(b"\n", at)
            kind, ino, a, b, path = data[at:end].decode().split(" ", 4)
            at, ino, a, b = end + 1, int(ino), int(a), int(b)
            body = b""
            if kind in ("write", "have"):
                body = data[at:at + b]
                at += b
            self.take(kind, ino, a, b, posixpath.normpath(path), body)

    def file(self, ino):
        return self.files.setdefault(ino, File(ino))

    def change(self, f, piece):
        f.whole.apply(piece)
        self.events.append(("data", f, piece))

    def take(self, kind, ino, a, b, path, body):
        ev = self.events
        if kind == "write":
            for off, n in split(a, a + b):
                self.change(self.file(ino),
                            ("data", off, body[off - a:off - a + n]))
        elif kind == "zero":
            self.change(self.file(ino), ("zero", a, b))
        elif kind == "size":
            self.change(self.file(ino), ("size", b, 0))
        elif kind == "state":
            self.told = Content()
            self.told.length = b
        elif kind == "have":
            for off, n in split(a, a + b):
                self.told.put(off, body[off - a:off - a + n])
        elif kind == "stated":
            f = self.file(ino)
            for piece in list(differences(f.whole, self.told)):
                self.change(f, piece)
        elif kind in ("create", "nameless"):
            self.files[ino] = f = File(ino)
            if kind == "create":
                ev.append(("name", path, f))
        elif kind == "link":
            ev.append(("name", path, self.file(ino)))
        elif kind == "mkdir":
            ev.append(("name", path, DIR))
        elif kind in ("unlink", "rmdir"):
            ev.append(("name", path, None))
        elif kind == "from":
            self.came_from = path
        elif kind == "rename":
            ev.append(("rename", self.came_from, path, self.file(ino)))
        elif kind == "sync":
            ev.append(("sync", self.file(ino)))
        elif kind == "syncdir":
            ev.append(("syncdir", path))

    def end(self):
        now = dict(self.start)
        for e in self.events:
            if e[0] == "name":
                now[e[1]] = e[2]
            elif e[0] == "rename":
                now[e[1]], now[e[2]] = None, e[3]
        return {p: f for p, f in now.items() if f is not None}

    def gives(self, top):
        """None, or where the tree is not what the record gives."""
        is_, want = walk(top), self.end()
        for p in sorted(set(is_) | set(want)):
            a, b = is_.get(p), want.get(p)
            if (a is DIR) != (b is DIR) or (a is None) != (b is None):
                return f"{p}: {a} and not {b}"
            if a is not DIR and a.whole != b.whole:
                return f"{p}: other bytes"
        return None


class Disk:
    """What is durable, and what is on its way. late: paths of the start that
    nobody has flushed."""

    def __init__(self, start, late=()):
        self.sure = {p: f for p, f in start.items() if p not in late}
        self.maybe = {p: [start[p]] for p in late}
        self.ties = []  # (path, its value's number, path, number)
        self.data = {}  # file: what is durable of it
        self.pieces = {}
        for f in set(start.values()) - {DIR}:
            self.data[f] = Content(f.first)
            self.pieces[f] = []
        for p in late:
            f = start[p]
            if f is DIR:
                continue
            self.data[f] = Content()
            self.pieces[f] = list(differences(Content(), f.first))

    def shows(self, f):
        return any(not passing(p) and (v is f) for p, v in self.names())

    def names(self):
        yield from self.sure.items()
        for p, values in self.maybe.items():
            for v in values:
                yield p, v

    def name(self, path, value):
        values = self.maybe.setdefault(path, [])
        values.append(value)
        return len(values)

    def flush_dir(self, where):
        for p in [p for p in self.maybe if posixpath.dirname(p) == where]:
            self.sure[p] = self.maybe.pop(p)[-1]
        self.ties = [t for t in self.ties
                     if where not in (posixpath.dirname(t[0]),
                                      posixpath.dirname(t[2]))]

    def step(self, e):
        if e[0] == "data":
            self.data.setdefault(e[1], Content())
            self.pieces.setdefault(e[1], []).append(e[2])
        elif e[0] == "name":
            # a lock without a name is made again
            if e[1].startswith("i/locks"):
                self.sure[e[1]] = e[2]
            else:
                self.name(e[1], e[2])
        elif e[0] == "rename":
            i, j = self.name(e[1], None), self.name(e[2], e[3])
            self.ties.append((e[1], i, e[2], j))
        elif e[0] == "sync":
            c = self.data.setdefault(e[1], Content())
            for piece in self.pieces.get(e[1], ()):
                c.apply(piece)
            self.pieces[e[1]] = []
        else:
            self.flush_dir(e[1])

    def picks(self, rng, most):
        """Which of its values each name has."""
        n = [len(v) for v in self.maybe.values()]
        count = 1
        for k in n:
            count *= k + 1
        if count <= most:
            yield from itertools.product(*(range(k + 1) for k in n))
            return
        yield tuple(0 for k in n)
        yield tuple(n)
        for i, last in enumerate(n):
            for v in range(last + 1):
                yield tuple(v if k == i else 0 for k in range(len(n)))
                yield tuple(v if k == i else n[k] for k in range(len(n)))
        for _ in range(most):
            yield tuple(rng.randint(0, k) for k in n)

    def contents(self, f, rng, more):
        """What a file with this much on its way may hold."""
        pieces = self.pieces.get(f, ())
        if not pieces:
            yield self.data.get(f, Content())
            return
        n = len(pieces)
        if n <= 3 + 3 * more:
            picks = itertools.product((False, True), repeat=n)
        else:
            picks = [[False] * n, [True] * n, [k > 0 for k in range(n)],
                     [k == 0 for k in range(n)], [k < n - 1 for k in range(n)]]
            picks += [[rng.random() < 0.5 for _ in range(n)]
                      for _ in range(1 + 8 * more)]
        for pick in picks:
            c = Content(self.data.get(f))
            for piece, kept in zip(pieces, pick):
                if kept:
                    c.apply(piece)
            yield c

    def trees(self, rng, most, more):
        """{path: (File, Content) or DIR}"""
        paths = list(self.maybe)
        where = {p: i for i, p in enumerate(paths)}
        for pick in self.picks(rng, most):
            if any(pick[where[a]] >= i and pick[where[b]] < j
                   for a, i, b, j in self.ties):
                continue
            view = dict(self.sure)
            for p, k in zip(paths, pick):
                if k:
                    view[p] = self.maybe[p][k - 1]
            view = {p: v for p, v in view.items() if v is not None}
            for p in sorted(view):
                above = posixpath.dirname(p)
                if above and view.get(above) is not DIR:
                    del view[p]
            yield from self.filled(view, rng, more)

    def filled(self, view, rng, more):
        files = {v for v in view.values() if v is not DIR}
        torn = {v for p, v in view.items() if v is not DIR and
                not passing(p) and self.pieces.get(v)}
        held = {f: self.data.get(f, Content()) for f in files - torn}
        torn = sorted(torn, key=lambda f: f.ino)
        for some in itertools.islice(itertools.product(
                *(list(self.contents(f, rng, more)) for f in torn)),
                16 + 240 * more):
            held.update(zip(torn, some))
            yield {p: DIR if v is DIR else (v, held[v])
                   for p, v in view.items()}


def key(tree):
    """What tells two trees apart."""
    out = []
    for p, v in tree.items():
        if v is DIR:
            out.append((p, 0))
        elif not passing(p):
            out.append((p, id(v[0]), v[1].key()))
    out.append(any("/staging/" in p for p in tree))
    return hash(frozenset(out))
