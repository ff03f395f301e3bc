/* SPDX-License-Identifier: MIT */
/*
 * L1 and L2 of a new image. Answers requests as QEMU's block/qcow2-cluster.c
 * does: in place where the guest cluster is mapped, else in new clusters,
 * contiguous on the host as far as that goes. An L2 table is taken before the
 * first data of its range. Which clusters are free is qcow2_alloc's matter,
 * and the bytes themselves are moved by others.
 */
#include "config.h"

#include "format/qcow2_place.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define L1_WINDOW 8192 /* entries: 64 KiB */
/* QEMU keeps L2 tables in slices of this size at most; a request is answered
 * slice by slice, which shows in the layout. */
#define SLICE_BYTES (64 * KIB)
#define REQUEST_MAX UINT64_C(0x7ffffe00) /* BDRV_REQUEST_MAX_BYTES */

#define SUB_ALL_ZERO (UINT64_C(0xffffffff) << 32)

static uint64_t
cluster_size(const struct qcow2_place *p)
{
	return qcow2_cluster_size(&p->h);
}

/* Bytes per subcluster, or per cluster without subclusters. */
static uint64_t
sub_size(const struct qcow2_place *p)
{
	return qcow2_has_extl2(&p->h) ? cluster_size(p) / QCOW2_SUBCLUSTERS
				      : cluster_size(p);
}

static uint64_t
clusters_of(const struct qcow2_place *p, uint64_t len)
{
	return units_div_up(len, cluster_size(p));
}

static uint64_t
l1_window(const struct qcow2_place *p)
{
	return units_min(L1_WINDOW, units_max(p->h.l1_entries, 1));
}

static int
l1_flush(struct qcow2_place *p, struct err *e)
{
	uint64_t n = units_min(l1_window(p), p->h.l1_entries - p->l1_first);

	if (!p->l1_dirty)
		return 0;
	if (file_write(p->f, p->l1, n * 8, p->h.l1_offset + p->l1_first * 8,
		    e))
		return -1;
	p->l1_dirty = false;
	return 0;
}

/* The entry of L1 with number l1x, in the window. */
static int
l1_entry(struct qcow2_place *p, uint64_t l1x, uint8_t **ret, struct err *e)
{
	uint64_t n = l1_window(p), first = l1x - l1x % n;

	if (first != p->l1_first) {
		n = units_min(n, p->h.l1_entries - first);
		if (l1_flush(p, e) ||
			file_read_padded(p->f, p->l1, n * 8,
				p->h.l1_offset + first * 8, NULL, e))
			return -1;
		p->l1_first = first;
	}
	*ret = p->l1 + (l1x - first) * 8;
	return 0;
}

static int
l2_flush(struct qcow2_place *p, struct err *e)
{
	if (!p->l2_dirty)
		return 0;
	if (qcow2_alloc_write(&p->a, p->l2, cluster_size(p), p->l2_hoff,
		    p->l2_virgin, e))
		return -1;
	p->l2_dirty = false;
	p->l2_virgin = false;
	return 0;
}

/* Makes the L2 table of guest byte voff the current one; a new table when
 * there is none. */
static int
l2_load(struct qcow2_place *p, uint64_t voff, struct err *e)
{
	uint64_t l1x = voff >> (p->h.cluster_bits + qcow2_l2_bits(&p->h));
	uint64_t hoff;
	uint8_t *entry;

	if (p->l2_hoff && p->l1x == l1x)
		return 0;
	if (l2_flush(p, e) || l1_entry(p, l1x, &entry, e))
		return -1;
	p->l2_hoff = 0;
	hoff = load_be64(entry) & QCOW2_L1_OFFSET;
	if (hoff) {
		if (file_read_padded(p->f, p->l2, cluster_size(p), hoff, NULL,
			    e))
			return -1;
	} else {
		if (qcow2_alloc_take(&p->a, 1, &hoff, e))
			return -1;
		memset(p->l2, 0, cluster_size(p));
		store_be64(entry, hoff | QCOW2_COPIED);
		p->l1_dirty = true;
		p->l2_dirty = p->l2_virgin = true;
		qcow2_alloc_reach(&p->a, hoff + cluster_size(p));
	}
	p->l2_hoff = hoff;
	p->l1x = l1x;
	return 0;
}

/* Entry of guest byte voff in the current table. */
static uint8_t *
l2_entry(struct qcow2_place *p, uint64_t voff)
{
	uint64_t x = voff >> p->h.cluster_bits;

	x &= (UINT64_C(1) << qcow2_l2_bits(&p->h)) - 1;
	return p->l2 + x * qcow2_l2_entry_size(&p->h);
}

/* Can the cluster be written in place? All of ours are counted once. */
static bool
is_mapped(const struct qcow2_place *p, uint64_t entry)
{
	if (entry & QCOW2_PACKED)
		return false;
	return entry & QCOW2_L2_OFFSET ||
		(p->data && entry & QCOW2_COPIED);
}

/* Guest bytes from voff to the end of its L2 slice. */
static uint64_t
slice_left(const struct qcow2_place *p, uint64_t voff)
{
	uint64_t bytes = units_min(SLICE_BYTES, cluster_size(p)) /
		qcow2_l2_entry_size(&p->h) * cluster_size(p);

	return bytes - voff % bytes;
}

/* Clusters from voff, at most n, that are all mapped contiguously (mapped) or
 * all not mapped. */
static uint64_t
count_alike(struct qcow2_place *p, uint64_t voff, uint64_t n, bool mapped)
{
	uint64_t first = load_be64(l2_entry(p, voff)) & QCOW2_L2_OFFSET, i;

	for (i = 0; i < n; i++) {
		uint64_t entry = load_be64(
			l2_entry(p, voff + i * cluster_size(p)));

		if (is_mapped(p, entry) != mapped)
			break;
		if (mapped && (entry & QCOW2_L2_OFFSET) !=
				first + i * cluster_size(p))
			break;
	}
	return i;
}

/* Marks the subclusters of [voff, voff+len) as having bytes; the range lies
 * in the current table. *ret_head and *ret_tail: bytes before and behind it
 * that become part of the guest's disk with it. */
static void
mark_subclusters(struct qcow2_place *p, uint64_t voff, uint64_t len,
	bool prealloc, uint32_t *ret_head, uint32_t *ret_tail)
{
	uint64_t cs = cluster_size(p), sub = sub_size(p), end = voff + len;
	uint64_t at = units_align_down(voff, sub), bits;

	*ret_head = (uint32_t)(voff - at);
	*ret_tail = (uint32_t)(units_align_up(end, sub) - end);
	for (; at < end; at += sub) {
		uint8_t *bitmap = l2_entry(p, at) + 8;
		uint64_t bit = UINT64_C(1) << (at % cs / sub);

		bits = load_be64(bitmap);
		if (bits & bit && at <= voff)
			*ret_head = 0;
		if (bits & bit && at + sub >= end)
			*ret_tail = 0;
		if (!prealloc)
			store_be64(bitmap, (bits | bit) & ~(bit << 32));
	}
	p->l2_dirty = true;
}

static void
map_clusters(struct qcow2_place *p, uint64_t voff, uint64_t hoff, uint64_t n)
{
	uint64_t cs = cluster_size(p);

	for (; n; n--, voff += cs, hoff += cs)
		store_be64(l2_entry(p, voff), hoff | QCOW2_COPIED);
	p->l2_dirty = true;
}

/* New clusters for [voff, voff+len) of one slice; *hoff is where they must
 * lie, or UINT64_MAX. *ret_len 0: not there. */
static int
place_new(struct qcow2_place *p, uint64_t voff, uint64_t len, uint64_t *hoff,
	uint64_t *ret_len, struct err *e)
{
	uint64_t cs = cluster_size(p), in = voff & (cs - 1);
	uint64_t n = count_alike(p, voff, clusters_of(p, in + len), false);
	uint64_t at = *hoff;

	if (p->data) {
		at = voff - in;
	} else if (at == UINT64_MAX) {
		if (qcow2_alloc_take(&p->a, n, &at, e))
			return -1;
	} else if (qcow2_alloc_take_at(&p->a, at, n, &n, e)) {
		return -1;
	}
	if (n) {
		map_clusters(p, voff - in, at, n);
		*hoff = at;
	}
	*ret_len = n ? units_min(len, n * cs - in) : 0;
	return 0;
}

void
qcow2_place_reach(struct qcow2_place *p, uint64_t end)
{
	if (p->data)
		p->data_end = units_max(p->data_end, end);
	else
		qcow2_alloc_reach(&p->a, end);
}

int
qcow2_place_data(struct qcow2_place *p, uint64_t voff, uint64_t len,
	bool prealloc, struct qcow2_run *ret, struct err *e)
{
	uint64_t cs = cluster_size(p), at = voff, left = len;
	uint64_t next = UINT64_MAX; /* host cluster that must follow */
	struct qcow2_run run = {.voff = voff};

	while (left) {
		uint64_t in = at & (cs - 1), n = units_min(left, REQUEST_MAX);
		uint64_t hoff = next, entry;
		uint32_t head = 0, tail = 0;
		bool mapped;

		n = units_min(n, slice_left(p, at));
		if (l2_load(p, at, e))
			return -1;
		entry = load_be64(l2_entry(p, at));
		mapped = is_mapped(p, entry);
		if (mapped) {
			hoff = entry & QCOW2_L2_OFFSET;
			if (next != UINT64_MAX && next != hoff)
				break;
			n = units_min(n, count_alike(p, at,
				clusters_of(p, in + n), true) * cs - in);
		} else if (place_new(p, at, n, &hoff, &n, e)) {
			return -1;
		}
		if (!n)
			break;
		if (qcow2_has_extl2(&p->h)) {
			mark_subclusters(p, at, n, prealloc, &head, &tail);
		} else if (!mapped) {
			head = (uint32_t)in;
			tail = (uint32_t)(units_align_up(at + n, cs) - at - n);
		}
		if (at == voff) {
			run.hoff = hoff + in;
			run.head = head;
		}
		run.tail = tail;
		run.len += n;
		next = hoff + units_align_up(in + n, cs);
		at += n;
		left -= n;
	}
	/* Preallocation writes nothing but the zeros behind the disk's end. */
	if (!prealloc || run.tail)
		qcow2_place_reach(p, run.hoff + run.len + run.tail);
	*ret = run;
	return 0;
}

int
qcow2_place_map(struct qcow2_place *p, uint64_t voff, uint64_t hoff,
	uint64_t len, struct err *e)
{
	uint64_t n;

	for (; len; voff += n, hoff += n, len -= n) {
		n = units_min(len, slice_left(p, voff));
		if (l2_load(p, voff, e))
			return -1;
		map_clusters(p, voff, hoff, n / cluster_size(p));
	}
	return 0;
}

/* Part of one cluster, with subclusters: the cluster keeps its place. */
static void
zero_subclusters(struct qcow2_place *p, uint64_t voff, uint64_t len)
{
	uint64_t sub = sub_size(p), cs = cluster_size(p), bits, at;
	uint8_t *bitmap = l2_entry(p, voff) + 8;

	bits = load_be64(bitmap);
	for (at = voff; at < voff + len; at += sub) {
		uint64_t bit = UINT64_C(1) << (at % cs / sub);

		bits = (bits | bit << 32) & ~bit;
	}
	store_be64(bitmap, bits);
	p->l2_dirty = true;
}

/* A whole cluster: its place is given back, as with BDRV_REQ_MAY_UNMAP. */
static int
zero_cluster(struct qcow2_place *p, uint64_t voff, struct err *e)
{
	uint8_t *entry = l2_entry(p, voff);
	uint64_t old = load_be64(entry);

	p->l2_dirty = true;
	store_be64(entry, 0);
	if (qcow2_has_extl2(&p->h))
		store_be64(entry + 8, SUB_ALL_ZERO);
	else
		store_be64(entry, QCOW2_ZERO);
	if (!is_mapped(p, old) || p->data)
		return 0;
	return qcow2_alloc_release(&p->a, old & QCOW2_L2_OFFSET, 1, e);
}

int
qcow2_place_zero(struct qcow2_place *p, uint64_t voff, uint64_t len,
	struct err *e)
{
	uint64_t cs = cluster_size(p), end = voff + len, n;

	for (; voff < end; voff += n) {
		n = units_min(cs - voff % cs, end - voff);
		if (l2_load(p, voff, e))
			return -1;
		if (n == cs || (voff % cs == 0 && voff + n >= p->h.size)) {
			if (zero_cluster(p, voff, e))
				return -1;
		} else {
			zero_subclusters(p, voff, n);
		}
	}
	return 0;
}

int
qcow2_place_packed(struct qcow2_place *p, uint64_t voff, uint64_t len,
	uint64_t *ret_hoff, struct err *e)
{
	/* Specification, "Compressed Clusters Descriptor": x offset bits. */
	unsigned x = 62 - (p->h.cluster_bits - 8);
	uint64_t hoff, sectors;
	uint8_t *entry;

	if (l2_load(p, voff, e))
		return -1;
	entry = l2_entry(p, voff);
	if (p->data || load_be64(entry) & QCOW2_L2_OFFSET)
		return err_set(e, ERR_USAGE, "cluster at %" PRIu64 " cannot be "
			"written compressed", voff);
	if (qcow2_alloc_take_bytes(&p->a, len, (UINT64_C(1) << x) - 1, &hoff,
		    e))
		return -1;
	sectors = (hoff + len - 1) / 512 - hoff / 512;
	store_be64(entry, QCOW2_PACKED | sectors << x | hoff);
	if (qcow2_has_extl2(&p->h))
		store_be64(entry + 8, 0);
	p->l2_dirty = true;
	*ret_hoff = hoff;
	return 0;
}

int
qcow2_place_flush(struct qcow2_place *p, struct err *e)
{
	if (l2_flush(p, e) || l1_flush(p, e))
		return -1;
	return qcow2_alloc_flush(&p->a, e);
}

/* On a target that does not read as zeros all of L1 is written at first. */
static int
l1_clear(struct qcow2_place *p, struct err *e)
{
	uint64_t len = (uint64_t)p->h.l1_entries * 8, at, n;

	for (at = 0; at < len; at += n) {
		n = units_min(l1_window(p) * 8, len - at);
		if (qcow2_alloc_write(&p->a, p->l1, n, p->h.l1_offset + at,
			    true, e))
			return -1;
	}
	return 0;
}

int
qcow2_place_open(struct qcow2_place *p, struct file *f, struct file *data,
	const struct qcow2_options *o, struct err *e)
{
	uint64_t hoff = 0, l1_entries;

	memset(p, 0, sizeof(*p));
	p->f = f;
	p->data = o->data_file ? data : NULL;
	if (qcow2_options_header(o, &p->h, e))
		return -1;
	l1_entries = qcow2_options_l1_entries(&p->h);
	if (qcow2_alloc_open(&p->a, f, !f->is_block, p->h.cluster_bits,
		    p->h.refcount_order, e))
		return -1;
	if (l1_entries && qcow2_alloc_take(&p->a, clusters_of(p, l1_entries *
						8), &hoff, e))
		return -1;
	p->h.l1_entries = (uint32_t)l1_entries;
	p->h.l1_offset = hoff;
	qcow2_alloc_reach(&p->a, hoff + l1_entries * 8);
	p->l1 = calloc(l1_window(p), 8);
	p->l2 = malloc(cluster_size(p));
	if (!p->l1 || !p->l2)
		return err_sys(e, ENOMEM, "cannot keep mapping tables");
	return l1_clear(p, e);
}

void
qcow2_place_close(struct qcow2_place *p)
{
	qcow2_alloc_close(&p->a);
	free(p->l1);
	free(p->l2);
	memset(p, 0, sizeof(*p));
}
