# SPDX-License-Identifier: MIT
"""A qcow2 file as bytes, and the names of what can be wrong with it.

A damage takes an Image and gives the changed bytes; it raises Inapplicable
where the image has no such place.
"""

import struct

OFFSET = 0x00fffffffffffe00
COPIED = 1 << 63
PACKED = 1 << 62
ZERO = 1


class Inapplicable(Exception):
    pass


def be(fmt, data, at):
    return struct.unpack_from(">" + fmt, data, at)[0]


class Image:
    def __init__(self, data):
        self.data = bytearray(data)
        d = self.data
        self.version = be("I", d, 4)
        self.bits = be("I", d, 20)
        self.cluster = 1 << self.bits
        self.l1_size = be("I", d, 36)
        self.l1 = be("Q", d, 40)
        self.reftable = be("Q", d, 48)
        self.reftable_clusters = be("I", d, 56)
        self.n_snapshots = be("I", d, 60)
        self.snapshots = be("Q", d, 64)
        self.incompatible = be("Q", d, 72) if self.version > 2 else 0
        self.order = be("I", d, 96) if self.version > 2 else 4
        self.extl2 = bool(self.incompatible & 16)
        self.entry = 16 if self.extl2 else 8
        self.external = bool(self.incompatible & 4)

    def u64(self, at):
        return be("Q", self.data, at) if at + 8 <= len(self.data) else 0

    def set64(self, at, value):
        self.grow(at + 8)
        struct.pack_into(">Q", self.data, at, value)
        return self.data

    def set32(self, at, value):
        struct.pack_into(">I", self.data, at, value)
        return self.data

    def grow(self, size):
        if len(self.data) < size:
            self.data.extend(bytes(size - len(self.data)))

    def l1_places(self):
        return [p for p in range(self.l1, self.l1 + 8 * self.l1_size, 8)
                if self.u64(p)]

    def l2_tables(self):
        return [self.u64(p) & OFFSET for p in self.l1_places()]

    def entries(self, wanted):
        """Places of L2 entries that satisfy wanted(entry, bitmap)."""
        found = []
        for table in self.l2_tables():
            for p in range(table, table + self.cluster, self.entry):
                bitmap = self.u64(p + 8) if self.extl2 else 0
                if wanted(self.u64(p), bitmap):
                    found.append(p)
        return found

    def pick(self, places, index=0):
        if len(places) <= index:
            raise Inapplicable
        return places[index]

    def plain(self, index=0):
        """Place of the index-th L2 entry with data."""
        return self.pick(self.entries(
            lambda e, b: e & OFFSET and not e & PACKED
            and (b & 0xffffffff if self.extl2 else not e & ZERO)), index)

    def packed(self, index=0):
        return self.pick(self.entries(lambda e, b: e & PACKED), index)

    def unused(self):
        return self.pick(self.entries(lambda e, b: e == 0 and b == 0))

    def blocks(self):
        return [p for p in range(self.reftable, self.reftable
                                 + self.reftable_clusters * self.cluster, 8)
                if self.u64(p)]

    def set_count(self, cluster, value):
        per = self.cluster * 8 >> self.order
        place = self.reftable + cluster // per * 8
        block = self.u64(place)
        if not block:
            raise Inapplicable
        i = cluster % per
        if self.order < 3:
            at, shift = block + (i << self.order) // 8, (i << self.order) % 8
            mask = ((1 << (1 << self.order)) - 1) << shift
            self.data[at] = self.data[at] & ~mask | value << shift & mask
        else:
            n = 1 << (self.order - 3)
            at = block + i * n
            self.data[at:at + n] = (value & (1 << 8 * n) - 1).to_bytes(n, "big")
        return self.data

    def count(self, cluster):
        per = self.cluster * 8 >> self.order
        block = self.u64(self.reftable + cluster // per * 8)
        i = cluster % per
        if self.order < 3:
            byte = self.data[block + (i << self.order) // 8]
            return byte >> (i << self.order) % 8 & (1 << (1 << self.order)) - 1
        n = 1 << (self.order - 3)
        return int.from_bytes(self.data[block + i * n:block + i * n + n],
                              "big")

    def most(self):
        return (1 << (1 << self.order)) - 1

    def data_cluster(self, index=0):
        if self.external:
            raise Inapplicable
        return (self.u64(self.plain(index)) & OFFSET) >> self.bits

    def clusters(self):
        return -(-len(self.data) // self.cluster)

    def snapshot_entries(self):
        at, found = self.snapshots, []
        for _ in range(self.n_snapshots):
            found.append(at)
            n = 40 + be("I", self.data, at + 36) + be("H", self.data, at + 12) \
                + be("H", self.data, at + 14)
            at += -(-n // 8) * 8
        return found

    def snapshot(self, index=0):
        return self.pick(self.snapshot_entries(), index)

    def bitmaps(self):
        """Places of the bitmap directory's entries."""
        at, end = be("I", self.data, 100) if self.version > 2 else 72, \
            self.cluster
        while at + 8 <= end:
            kind, size = be("I", self.data, at), be("I", self.data, at + 4)
            if kind == 0x23852875:
                n, place = be("I", self.data, at + 8), \
                    be("Q", self.data, at + 24)
                found = []
                for _ in range(n):
                    found.append(place)
                    place += -(-(24 + be("H", self.data, place + 18)) // 8) * 8
                return found
            if kind == 0:
                break
            at += 8 + -(-size // 8) * 8
        return []

    def metadata(self):
        """(offset, length) of what random damage may hit."""
        spots = [(self.l1, max(8, 8 * self.l1_size)),
                 (self.reftable, 64), (36, 36)]
        spots += [(t, self.cluster) for t in self.l2_tables()] * 2
        spots += [(self.u64(p), min(self.cluster, self.clusters() + 1
                                    << self.order >> 3) or 1)
                  for p in self.blocks()] * 2
        spots += [(p, 56) for p in self.snapshot_entries()]
        for p in self.snapshot_entries():
            spots.append((be("Q", self.data, p), 8))
        return spots


DAMAGES = {}


def damage(f):
    DAMAGES[f.__name__.replace("_", "-")] = f
    return f


def v3(img):
    if img.version < 3:
        raise Inapplicable


@damage
def nothing(img):
    return img.data


@damage
def leak(img):
    c = img.data_cluster()
    if img.count(c) >= img.most():
        raise Inapplicable
    return img.set_count(c, img.count(c) + 1)


@damage
def leak_free(img):
    """Clusters behind and between that nobody refers to."""
    img.grow((img.clusters() + 3) * img.cluster)
    img.set_count(img.clusters() - 1, 1)
    return img.set_count(img.clusters() - 3, img.most())


@damage
def too_low(img):
    if img.order == 0:
        raise Inapplicable
    p = img.plain(0)
    img.set64(img.plain(1), img.u64(p))
    return img.data


@damage
def count_zero(img):
    return img.set_count(img.data_cluster(), 0)


@damage
def header_zero(img):
    return img.set_count(0, 0)


@damage
def all_counts_zero(img):
    for p in img.blocks():
        at = img.u64(p)
        img.data[at:at + img.cluster] = bytes(img.cluster)
    return img.data


@damage
def l2_copied_off(img):
    p = img.plain()
    return img.set64(p, img.u64(p) ^ COPIED)


@damage
def l1_copied_off(img):
    p = img.pick(img.l1_places())
    return img.set64(p, img.u64(p) ^ COPIED)


@damage
def l1_reserved(img):
    p = img.pick(img.l1_places())
    return img.set64(p, img.u64(p) | 1 << 60 | 5)


@damage
def l1_flags_only(img):
    p = img.pick(img.l1_places())
    return img.set64(p, COPIED | 1)


@damage
def l1_misaligned(img):
    if img.bits == 9:
        raise Inapplicable
    p = img.pick(img.l1_places())
    return img.set64(p, img.u64(p) + 512)


@damage
def l1_beyond(img):
    p = img.pick(img.l1_places())
    return img.set64(p, COPIED | 1 << 45)


@damage
def l1_just_beyond(img):
    p = img.pick(img.l1_places())
    return img.set64(p, COPIED | img.clusters() * img.cluster)


@damage
def l1_to_itself(img):
    p = img.pick(img.l1_places())
    return img.set64(p, img.l1)


@damage
def l1_to_header(img):
    p = img.pick(img.l1_places())
    return img.set64(p, COPIED | img.reftable)


@damage
def l1_twice(img):
    places = range(img.l1, img.l1 + 8 * img.l1_size, 8)
    free = [p for p in places if not img.u64(p)]
    used = img.l1_places()
    if not free or not used:
        raise Inapplicable
    return img.set64(free[0], img.u64(used[0]))


@damage
def l2_twice_and_broken(img):
    l1_twice(img)
    return l2_reserved(img)


@damage
def l2_reserved(img):
    p = img.plain()
    return img.set64(p, img.u64(p) | 1 << 57 | 6)


@damage
def l2_misaligned_data(img):
    if img.bits == 9:
        raise Inapplicable
    p = img.plain()
    return img.set64(p, img.u64(p) + 512)


def prealloc(img, step):
    if img.bits == 9:
        raise Inapplicable
    p = img.plain()
    e = img.u64(p)
    if img.extl2:
        img.set64(p, e + step)
        return img.set64(p + 8, 0xffff << 32)
    return img.set64(p, (e + step) | ZERO)


@damage
def l2_misaligned_zero(img):
    v3(img)
    return prealloc(img, 512)


@damage
def l2_misaligned_zero_beyond(img):
    v3(img)
    return prealloc(img, (1 << 40) + 1024)


@damage
def l2_misaligned_zero_in_header(img):
    """The table lies over the header: nothing may be written there."""
    v3(img)
    prealloc(img, 512)
    p = img.pick(img.l1_places())
    e = img.u64(p)
    table = e & OFFSET
    img.data[img.reftable:img.reftable + 512] = img.data[table:table + 512]
    return img.set64(p, COPIED | img.reftable)


@damage
def data_beyond(img):
    return img.set64(img.plain(), COPIED | 1 << 44)


@damage
def data_just_beyond(img):
    return img.set64(img.plain(), COPIED | img.clusters() * img.cluster)


@damage
def data_over_header(img):
    return img.set64(img.plain(), COPIED | img.reftable)


@damage
def data_over_l2(img):
    return img.set64(img.plain(), COPIED | img.l2_tables()[0])


@damage
def data_over_block(img):
    return img.set64(img.plain(), COPIED | img.u64(img.blocks()[0]))


@damage
def data_over_l1(img):
    return img.set64(img.plain(), img.l1)


@damage
def data_many(img):
    """One cluster serves them all; small widths overflow."""
    places = img.entries(lambda e, b: e & OFFSET and not e & PACKED)
    if len(places) < 2:
        raise Inapplicable
    for p in places:
        img.set64(p, img.u64(places[0]))
    return img.data


@damage
def packed_copied(img):
    p = img.packed()
    return img.set64(p, img.u64(p) | COPIED)


@damage
def packed_beyond(img):
    p = img.packed()
    return img.set64(p, img.u64(p) | 1 << 39)


@damage
def packed_long(img):
    p = img.packed(1 if img.bits == 12 else 0)
    shift = 62 - (img.bits - 8)
    return img.set64(p, img.u64(p) | ((1 << 62) - (1 << shift)))


@damage
def packed_bitmap(img):
    if not img.extl2:
        raise Inapplicable
    return img.set64(img.packed() + 8, 3 << 32)


@damage
def packed_external(img):
    if not img.external:
        raise Inapplicable
    p = img.plain()
    return img.set64(p, img.u64(p) | PACKED | COPIED)


@damage
def bitmap_both(img):
    if not img.extl2:
        raise Inapplicable
    return img.set64(img.plain() + 8, 0xff | 0xf0 << 32)


@damage
def bitmap_unallocated(img):
    if not img.extl2:
        raise Inapplicable
    return img.set64(img.unused() + 8, 0x10)


@damage
def external_offset_zero(img):
    if not img.external:
        raise Inapplicable
    return img.set64(img.plain(1), COPIED)


@damage
def reftable_reserved(img):
    p = img.blocks()[0]
    return img.set64(p, img.u64(p) | 3)


@damage
def reftable_misaligned(img):
    if img.bits == 9:
        raise Inapplicable
    p = img.blocks()[0]
    return img.set64(p, img.u64(p) + 512)


@damage
def reftable_second_misaligned(img):
    if img.bits == 9:
        raise Inapplicable
    return img.set64(img.blocks()[-1] + 8, 512 * 3)


@damage
def reftable_outside(img):
    return img.set64(img.blocks()[0], img.clusters() * img.cluster * 2)


@damage
def reftable_extra_outside(img):
    return img.set64(img.blocks()[-1] + 8,
                     (img.clusters() + 5) * img.cluster)


@damage
def reftable_far_outside(img):
    return img.set64(img.blocks()[-1] + 8, 1 << 62)


@damage
def reftable_highest(img):
    return img.set64(img.blocks()[-1] + 8, (1 << 64) - (1 << img.bits))


@damage
def reftable_twice(img):
    return img.set64(img.blocks()[-1] + 8, img.u64(img.blocks()[0]))


@damage
def reftable_over_l2(img):
    return img.set64(img.blocks()[-1] + 8, img.pick(img.l2_tables()))


@damage
def reftable_empty(img):
    for p in img.blocks():
        img.set64(p, 0)
    return img.data


@damage
def reftable_none(img):
    return img.set32(56, 0)


@damage
def reftable_header(img):
    return img.set64(48, 0)


@damage
def reftable_beyond(img):
    return img.set64(48, 1 << 40)


@damage
def l1_offset_beyond(img):
    return img.set64(40, 1 << 40)


@damage
def l1_large(img):
    return img.set32(36, 400)


@damage
def truncated(img):
    return img.data[:len(img.data) * 2 // 3]


@damage
def truncated_head(img):
    return img.data[:img.cluster]


@damage
def cut_in_cluster(img):
    return img.data[:(img.clusters() - 1) * img.cluster - 100]


@damage
def longer(img):
    img.grow(len(img.data) + 5 * img.cluster + 700)
    return img.data


@damage
def marked_dirty(img):
    v3(img)
    return img.set64(72, img.incompatible | 1)


@damage
def marked_corrupt(img):
    v3(img)
    return img.set64(72, img.incompatible | 2)


@damage
def marked_and_leaking(img):
    v3(img)
    img.set64(72, img.incompatible | 3)
    return leak_free(img)


@damage
def marked_and_broken(img):
    v3(img)
    img.set64(72, img.incompatible | 3)
    return data_beyond(img)


@damage
def leak_and_flags(img):
    leak(img)
    return l1_copied_off(img)


@damage
def many_faults(img):
    for f in (leak_free, l1_reserved, l2_copied_off, data_just_beyond,
              count_zero):
        f(img)
    return img.data


@damage
def snapshots_too_many(img):
    return img.set32(60, 70000)


@damage
def snapshots_misplaced(img):
    return img.set64(64, img.snapshots + 8)


@damage
def snapshots_beyond(img):
    img.set32(60, 3)
    return img.set64(64, 1 << 40)


@damage
def snapshots_highest(img):
    img.set32(60, 3)
    return img.set64(64, (1 << 63) - img.cluster)


@damage
def snapshots_over_l1(img):
    img.set32(60, 1)
    return img.set64(64, img.l1)


@damage
def snapshots_none(img):
    img.snapshot()
    return img.set32(60, 0)


@damage
def snapshots_less(img):
    img.snapshot(1)
    return img.set32(60, 1)


@damage
def snapshot_l1_misaligned(img):
    p = img.snapshot()
    return img.set64(p, img.u64(p) + 8)


@damage
def snapshot_l1_large(img):
    return img.set32(img.snapshot() + 8, 4194305)


@damage
def snapshot_l1_beyond(img):
    return img.set64(img.snapshot(), 1 << 42)


@damage
def snapshot_l1_negative(img):
    return img.set64(img.snapshot(), 1 << 63)


@damage
def snapshot_l1_active(img):
    return img.set64(img.snapshot(), img.l1)


@damage
def snapshot_l2_broken(img):
    l1 = img.u64(img.snapshot())
    table = img.u64(l1) & OFFSET
    for p in range(table, table + img.cluster, img.entry):
        if img.u64(p) & OFFSET and not img.u64(p) & PACKED:
            return img.set64(p, img.u64(p) | 2 | 1 << 59)
    raise Inapplicable


@damage
def snapshot_l2_zero_misaligned(img):
    v3(img)
    if img.bits == 9 or img.extl2:
        raise Inapplicable
    table = img.u64(img.u64(img.snapshot())) & OFFSET
    for p in range(table, table + img.cluster, img.entry):
        if img.u64(p) & OFFSET and not img.u64(p) & PACKED:
            return img.set64(p, (img.u64(p) + 512) | ZERO)
    raise Inapplicable


@damage
def snapshot_extra_short(img):
    """As an old program would have written it."""
    p = img.snapshot()
    size = be("I", img.data, p + 36)
    names = bytes(img.data[p + 40 + size:p + 40 + size + 200])
    img.data[p + 40 + 8:p + 40 + 8 + 200] = names
    return img.set32(p + 36, 8)


@damage
def snapshot_extra_none(img):
    p = img.snapshot()
    p = img.snapshot(img.n_snapshots - 1)
    size = be("I", img.data, p + 36)
    names = bytes(img.data[p + 40 + size:p + 40 + size + 100])
    img.data[p + 40:p + 40 + 100] = names
    return img.set32(p + 36, 0)


@damage
def snapshot_extra_long(img):
    return img.set32(img.snapshot() + 36, 1500)


@damage
def snapshot_extra_huge(img):
    return img.set32(img.snapshot() + 36, 0xfffffff0)


@damage
def bitmap_cluster_lost(img):
    p = img.pick(img.bitmaps())
    return img.set_count(img.u64(p) >> img.bits, 0)


@damage
def bitmap_leaks(img):
    p = img.pick(img.bitmaps(), 1)
    return img.set_count(img.u64(p) >> img.bits, 2)


def in_use(img, p):
    img.set32(p + 12, be("I", img.data, p + 12) | 1)


@damage
def bitmap_in_use(img):
    p = img.pick(img.bitmaps())
    in_use(img, p)
    return img.data


@damage
def bitmap_table_reserved(img):
    p = img.pick(img.bitmaps())
    in_use(img, p)
    return img.set64(img.u64(p), 1 << 60)


@damage
def bitmap_table_beyond(img):
    p = img.pick(img.bitmaps())
    in_use(img, p)
    return img.set64(img.u64(p), 1 << 42)


@damage
def bitmap_table_place(img):
    p = img.pick(img.bitmaps())
    in_use(img, p)
    return img.set64(p, 1 << 42)


@damage
def bitmap_table_negative(img):
    p = img.pick(img.bitmaps())
    in_use(img, p)
    return img.set64(p, 3 << 62)


@damage
def bitmap_entry_reserved(img):
    """Of a bitmap that is loaded when the image is opened."""
    p = img.pick(img.bitmaps())
    return img.set64(img.u64(p), 1 << 60)


@damage
def bitmap_directory_broken(img):
    p = img.pick(img.bitmaps())
    img.data[p + 17] = 60
    return img.data
