/* SPDX-License-Identifier: MIT */
/*
 * Making a qcow2 larger: a longer L1, preallocation or zeros in the new area,
 * the size last. Clusters are placed where QEMU places them; unlike QEMU, a
 * data cluster that is preallocated on used ground is cleared first.
 */
#include "format/qcow2_grow.h"

#include "format/qcow2_bitmap_edit.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define SUB_ALLOCATED UINT64_C(0x00000000ffffffff)
#define SUB_ZERO UINT64_C(0xffffffff00000000)

struct grow {
	struct qcow2_edit *d;
	uint64_t cs;
	uint64_t new_size;
	enum preallocation mode;
	bool zero;      /* a backing file would show: zeros must hide it */
	uint64_t first; /* the first cluster to be linked, bytes */
	uint64_t next;  /* host byte behind the data placed last; 0: none */
	uint64_t chunk_end; /* guest byte where the search starts anew */
	struct qcow2_head head;
};

/* A cluster is copied and zeroed in these units. */
static uint64_t
unit_of(const struct grow *g)
{
	return qcow2_has_extl2(g->d->h) ? g->cs / QCOW2_SUBCLUSTERS : g->cs;
}

static unsigned
l1_shift(const struct qcow2_edit *d)
{
	return d->h->cluster_bits + qcow2_l2_bits(d->h);
}

/* The new table is written, then the header turns to it in one sector; with
 * `size`, which lies there too, the image's size changes by the same write. */
static int
grow_l1(struct grow *g, uint64_t entries, bool size, struct err *e)
{
	struct qcow2_edit *d = g->d;
	uint64_t old_hoff = d->l1_hoff, old_entries = d->l1_entries, hoff;
	uint8_t *l1;

	if (qcow2_refs_alloc(&d->refs, units_div_up(entries * 8, g->cs), &hoff,
		    e) < 0)
		return -1;
	l1 = realloc(d->l1, entries * 8);
	if (!l1)
		return err_set(e, ERR_NOMEM, "out of memory");
	memset(l1 + old_entries * 8, 0, (entries - old_entries) * 8);
	d->l1 = l1;
	d->l1_hoff = hoff;
	d->l1_entries = entries;
	if (plan_write(&d->plan, PLAN_IMAGE, hoff, l1, entries * 8, e) < 0 ||
		qcow2_refs_flush(&d->refs, e) < 0)
		return -1;
	if (size)
		store_be64(d->head + 24, g->new_size);
	store_be32(d->head + 36, entries);
	store_be64(d->head + 40, hoff);
	if (qcow2_edit_head(d, e) < 0 ||
		plan_barrier(&d->plan, "L1 switched before the old is freed",
			e) < 0)
		return -1;
	qcow2_overlap_put(&d->refs.overlap, QCOW2_META_L1, hoff, entries * 8);
	return old_entries == 0 ? 0
		: qcow2_refs_drop(&d->refs, old_hoff, old_entries * 8, e);
}

/* What an entry of the new area becomes that is not empty (left by whoever
 * wrote the image): hidden where zeros are due, else as it is. */
static int
hide_entry(struct grow *g, struct qcow2_l2 *t, uint64_t l2x, uint64_t entry,
	struct err *e)
{
	struct qcow2_entry x;

	if (!g->zero)
		return 0;
	if (entry & QCOW2_PACKED) {
		if (qcow2_entry_decode(g->d->h, entry, 0, &x, e) < 0 ||
			qcow2_edit_drop(g->d, x.hoff, x.hlen, e) < 0)
			return -1;
		entry = 0;
	}
	if (!qcow2_has_extl2(g->d->h))
		entry |= QCOW2_ZERO;
	qcow2_edit_l2_set(g->d, t, l2x, entry, SUB_ZERO);
	return 0;
}

/* Runs fn on every L2 table of [first, new_size). */
static int
each_table(struct grow *g,
	int (*fn)(struct grow *g, struct qcow2_l2 *t, uint64_t voff, uint64_t n,
		struct err *e),
	struct err *e)
{
	unsigned shift = l1_shift(g->d);
	uint64_t voff = g->first;

	while (voff < g->new_size) {
		uint64_t end = ((voff >> shift) + 1) << shift;
		uint64_t n = units_div_up(
			units_min(end, g->new_size) - voff, g->cs);
		struct qcow2_l2 t;

		if (plan_go_on(&g->d->plan, e) < 0)
			return -1;
		if (qcow2_edit_l2_open(g->d, voff >> shift, &t, e) < 0 ||
			fn(g, &t, voff, n, e) < 0) {
			qcow2_edit_l2_free(&t);
			return -1;
		}
		if (qcow2_edit_l2_close(g->d, &t, e) < 0 ||
			(g->d->n_drop >= QCOW2_DROPS_MAX &&
				qcow2_edit_settle(g->d, e) < 0))
			return -1;
		voff = end;
	}
	return 0;
}

static uint64_t
index_of(const struct grow *g, uint64_t voff)
{
	return (voff >> g->d->h->cluster_bits) &
		((UINT64_C(1) << qcow2_l2_bits(g->d->h)) - 1);
}

static int
zero_table(struct grow *g, struct qcow2_l2 *t, uint64_t voff, uint64_t n,
	struct err *e)
{
	uint64_t l2x = index_of(g, voff), bitmap;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t entry = qcow2_edit_l2_get(g->d, t, l2x + i, &bitmap);

		if (hide_entry(g, t, l2x + i, entry, e) < 0)
			return -1;
	}
	return 0;
}

/* n entries from l2x on point to clusters from hoff on. */
static void
set_run(struct grow *g, struct qcow2_l2 *t, uint64_t l2x, uint64_t n,
	uint64_t hoff)
{
	bool data = g->mode != PREALLOC_METADATA && !g->d->data_file;
	uint64_t flags = QCOW2_COPIED, bitmap = 0;

	if (g->zero && data)
		bitmap = SUB_ALLOCATED;
	else if (g->zero && qcow2_has_extl2(g->d->h))
		bitmap = SUB_ZERO;
	else if (g->zero)
		flags |= QCOW2_ZERO;
	for (uint64_t i = 0; i < n; i++)
		qcow2_edit_l2_set(g->d, t, l2x + i, (hoff + i * g->cs) | flags,
			bitmap);
}

/* Places up to n data clusters: behind the last ones (*hoff) if that is free,
 * anywhere in a row if not (*hoff 0). *ret of them were placed at *hoff. */
static int
place(struct grow *g, uint64_t voff, uint64_t n, uint64_t *hoff, uint64_t *ret,
	struct err *e)
{
	struct qcow2_edit *d = g->d;
	uint64_t end, used;

	*ret = n;
	if (d->data_file) {
		*hoff = voff;
		return 0;
	}
	if (*hoff != 0) {
		if (qcow2_refs_alloc_at(&d->refs, *hoff, n, ret, e) < 0)
			return -1;
		if (*ret == 0)
			return 0;
	}
	if (*hoff == 0 && qcow2_refs_alloc(&d->refs, n, hoff, e) < 0)
		return -1;
	used = d->plan.touched[PLAN_IMAGE];
	if (*hoff < used && plan_range(&d->plan, PLAN_CLEAR, PLAN_IMAGE, *hoff,
		units_min(*ret * g->cs, used - *hoff), e) < 0)
		return -1;
	/* The last cluster ends with the last unit of it that the guest sees,
	 * as QEMU has it. */
	end = *hoff + units_min(*ret * g->cs,
		units_align_up(g->new_size - voff, unit_of(g)));
	if (end > d->plan.end[PLAN_IMAGE])
		return plan_truncate(&d->plan, PLAN_IMAGE, end, e);
	return 0;
}

/* QEMU allocates in requests of at most this many bytes. */
static uint64_t
chunk(const struct grow *g)
{
	return units_align_down(INT_MAX, g->cs);
}

static int
map_table(struct grow *g, struct qcow2_l2 *t, uint64_t voff, uint64_t n,
	struct err *e)
{
	uint64_t l2x = index_of(g, voff), i = 0, run, got, bitmap;

	while (i < n) {
		uint64_t at = voff + i * g->cs, most = n - i;
		uint64_t entry = qcow2_edit_l2_get(g->d, t, l2x + i, &bitmap);

		if (at >= g->chunk_end)
			g->next = 0;
		if (g->next == 0)
			g->chunk_end = at + chunk(g);
		if (entry != 0 || bitmap != 0) {
			if (hide_entry(g, t, l2x + i, entry, e) < 0)
				return -1;
			i++;
			g->next = 0;
			continue;
		}
		most = units_min(most, units_div_up(g->chunk_end - at, g->cs));
		for (run = 1; run < most; run++) {
			if (qcow2_edit_l2_get(g->d, t, l2x + i + run,
				    &bitmap) != 0 || bitmap != 0)
				break;
		}
		if (place(g, at, run, &g->next, &got, e) < 0)
			return -1;
		set_run(g, t, l2x + i, got, g->next);
		i += got;
		g->next = got < run ? 0 : g->next + got * g->cs;
	}
	return 0;
}

/* The clusters are there already, in a row from g->next on. */
static int
link_table(struct grow *g, struct qcow2_l2 *t, uint64_t voff, uint64_t n,
	struct err *e)
{
	uint64_t l2x = index_of(g, voff), bitmap;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t entry = qcow2_edit_l2_get(g->d, t, l2x + i, &bitmap);
		struct qcow2_entry x;

		if (entry == 0)
			continue;
		if (qcow2_entry_decode(g->d->h, entry, bitmap, &x, e) < 0)
			return -1;
		if (x.kind == QCOW2_E_PACKED
				? qcow2_edit_drop(g->d, x.hoff, x.hlen, e) < 0
				: (entry & QCOW2_L2_OFFSET) &&
					qcow2_edit_drop(g->d,
						entry & QCOW2_L2_OFFSET, g->cs,
						e) < 0)
			return -1;
	}
	set_run(g, t, l2x, n, g->next);
	/* all of the head's cluster has been written */
	if (g->head.p && voff == g->head.voff)
		qcow2_edit_l2_set(g->d, t, l2x, g->next | QCOW2_COPIED,
			SUB_ALLOCATED);
	g->next += n * g->cs;
	return 0;
}

/* Room for all new data clusters in a row behind the last one that is used,
 * with counts for them and for the tables to come, as QEMU makes it. */
static int
allocate_area(struct grow *g, struct err *e)
{
	struct qcow2_edit *d = g->d;
	uint64_t n = units_div_up(g->new_size - g->first, g->cs), got;
	uint64_t tables = units_div_up(n,
		UINT64_C(1) << qcow2_l2_bits(d->h)) + 1;
	enum plan_kind kind = g->mode == PREALLOC_FULL ? PLAN_FILL
		: PLAN_ALLOCATE;
	uint64_t last, start, end, used;

	if (g->first >= g->new_size)
		return 0;
	if (qcow2_refs_last(&d->refs,
		    units_div_up(d->plan.end[PLAN_IMAGE], g->cs), &last, e) <
			0 ||
		qcow2_refs_area(&d->refs, last + 1, n + tables, true, &start,
			e) < 0)
		return -1;
	/* the old table is given back even if making room is stopped */
	if (qcow2_refs_write(&d->refs, e) < 0 ||
		qcow2_refs_alloc_at(&d->refs, start * g->cs, n, &got, e) < 0)
		return -1;
	if (got != n)
		return err_set(e, ERR_CORRUPT, "cluster %" PRIu64
			" behind the end is in use", start + got);
	g->next = start * g->cs;
	end = g->next + n * g->cs;
	/* Bytes that a former owner left behind the end must go. */
	used = units_min(d->plan.touched[PLAN_IMAGE], end);
	if (used > g->next && plan_range(&d->plan, PLAN_FILL, PLAN_IMAGE,
		g->next, used - g->next, e) < 0)
		return -1;
	used = units_max(d->plan.end[PLAN_IMAGE], g->next);
	if (end > used && plan_range(&d->plan, kind, PLAN_IMAGE, used,
		end - used, e) < 0)
		return -1;
	return g->head.p == NULL ? 0 : plan_write(&d->plan, PLAN_IMAGE,
		g->next, g->head.p, g->cs, e);
}

static int
grow_data_file(struct grow *g, struct err *e)
{
	struct plan *p = &g->d->plan;
	uint64_t end = p->end[PLAN_DATA], size = g->new_size;

	if (!g->d->data_file)
		return 0;
	if (g->mode == PREALLOC_OFF)
		return plan_truncate(p, PLAN_DATA, size, e);
	if (g->first < size)
		size = units_align_up(size, unit_of(g));
	if (size <= end)
		return 0;
	if (g->mode == PREALLOC_METADATA)
		return plan_truncate(p, PLAN_DATA, size, e);
	return plan_range(p, g->mode == PREALLOC_FULL ? PLAN_FILL
		: PLAN_ALLOCATE, PLAN_DATA, end, size - end, e);
}

static int
new_area(struct grow *g, struct err *e)
{
	bool data = g->mode == PREALLOC_FALLOC || g->mode == PREALLOC_FULL;
	bool inside = data && !g->d->data_file;

	/* A cluster in which the old size ends becomes part of the new area:
	 * QEMU copies it there, wherever it was. */
	if (inside && g->head.p)
		g->first = g->head.voff;
	else if (g->mode != PREALLOC_OFF &&
		qcow2_head_fix(g->d, &g->head, true, g->zero, e) < 0)
		return -1;
	if (inside && allocate_area(g, e) < 0)
		return -1;
	if (g->mode == PREALLOC_OFF) {
		if (g->zero && (each_table(g, zero_table, e) < 0 ||
			qcow2_head_fix(g->d, &g->head, false, true, e) < 0))
			return -1;
	} else if (each_table(g, inside ? link_table : map_table, e) < 0) {
		return -1;
	}
	return grow_data_file(g, e);
}

static int
check_size(const struct grow *g, uint64_t entries, struct err *e)
{
	if (entries > QCOW2_L1_MAX / 8) {
		err_set(e, ERR_LIMIT, "Failed to grow the L1 table");
		if (e)
			e->eno = EFBIG;
		return -1;
	}
	/* Version 2 has no zero clusters to hide the backing file with. */
	if (g->zero && g->d->h->version < 3 && g->mode <= PREALLOC_METADATA &&
		units_align_up(g->d->old_size, unit_of(g)) < g->new_size) {
		err_set(e, ERR_UNSUPPORTED, "Failed to zero out new clusters");
		if (e)
			e->eno = ENOTSUP;
		return -1;
	}
	return 0;
}

static int
grow_all(struct grow *g, struct err *e)
{
	struct qcow2_edit *d = g->d;
	uint64_t entries = units_div_up(g->new_size,
		UINT64_C(1) << l1_shift(d));
	bool plain = g->mode == PREALLOC_OFF && !g->zero && !d->data_file &&
		!d->bitmaps;

	if (check_size(g, entries, e) < 0)
		return -1;
	if (!plain && g->new_size > d->old_size &&
		qcow2_head_load(d, &g->head, e) < 0)
		return -1;
	if (entries > d->l1_entries) {
		if (grow_l1(g, entries, plain, e) < 0)
			return -1;
	} else {
		plain = false;
	}
	if (!plain) {
		if (g->new_size > d->old_size && new_area(g, e) < 0)
			return -1;
		if (qcow2_edit_settle(d, e) < 0 ||
			plan_barrier(&d->plan, "new area before size", e) < 0)
			return -1;
		if (qcow2_bitmaps_set_size(d, g->new_size, e) < 0 ||
			qcow2_edit_settle(d, e) < 0)
			return -1;
	}
	if (qcow2_refs_flush(&d->refs, e) < 0)
		return -1;
	return plan_barrier(&d->plan, "done", e);
}

int
qcow2_grow(struct qcow2_edit *d, struct err *e)
{
	struct grow g = {
		.d = d,
		.cs = qcow2_cluster_size(d->h),
		.new_size = d->rq->new_size,
		.mode = d->rq->preallocation,
	};
	int r;

	/* A raw data file must read as the image does: everything mapped. */
	if (d->data_file && g.mode == PREALLOC_OFF &&
		(d->h->autoclear & QCOW2_AUTOCLEAR_RAW))
		g.mode = PREALLOC_METADATA;
	g.zero = d->chain->n > 1 && d->chain->im[1]->size > d->old_size;
	g.first = units_align_up(d->old_size, g.cs);
	g.chunk_end = g.first + chunk(&g);
	r = grow_all(&g, e);
	qcow2_head_free(&g.head);
	return r;
}
