/* SPDX-License-Identifier: MIT */
/* Bitmaps to disk: bits, tables, directory, header, in this order. What was
 * there before is dropped when the header no longer leads to it. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "base/zero.h"
#include "format/qcow2_bitmap_edit.h"
#include "format/qcow2_reheader.h"

#define CHUNK 4096u
#define ENTRY_FIXED 24u
#define FLAG_IN_USE 1u
#define FLAG_AUTO 2u
#define TYPE_DIRTY_TRACKING 1u
#define ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)

static int
alloc(struct qcow2_edit *d, uint64_t len, uint64_t *ret, struct err *e)
{
	return qcow2_refs_alloc(&d->refs,
		units_div_up(len, qcow2_cluster_size(d->h)), ret, e);
}

/* A piece with a bit set gets a cluster, be they all set: QEMU knows of no
 * other way to write them. */
static int
store_piece(struct qcow2_edit *d, const struct qcow2_piece *v,
	const uint8_t *ones, uint64_t *ret, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h);

	*ret = 0;
	if (v->p ? zero_is(v->p, cs) : !v->ones)
		return 0;
	if (alloc(d, cs, ret, e) < 0)
		return -1;
	return plan_write(&d->plan, PLAN_IMAGE, *ret, v->p ? v->p : ones, cs,
		e);
}

static int
store_one(struct qcow2_edit *d, struct qcow2_bitmap *x, const uint8_t *ones,
	struct err *e)
{
	uint64_t n = x->bits.n, hoff;
	CLEANUP_FREE uint8_t *table = calloc(units_max(n, 1), 8);

	if (!table)
		return err_set(e, ERR_NOMEM, "out of memory");
	/* only an image that was made by hand comes here with one */
	if (n == 0)
		return err_set(e, ERR_UNSUPPORTED,
			"an empty disk has no bitmaps");
	for (uint64_t i = 0; i < n; i++) {
		if (store_piece(d, &x->bits.v[i], ones, &hoff, e) < 0)
			return -1;
		store_be64(table + i * 8, hoff);
	}
	if (alloc(d, n * 8, &x->table_hoff, e) < 0)
		return -1;
	x->table_entries = (uint32_t)n;
	return plan_write(&d->plan, PLAN_IMAGE, x->table_hoff, table, n * 8,
		e);
}

static int
store_directory(struct qcow2_bitmaps *b, struct qcow2_edit *d, uint64_t *hoff,
	uint64_t *len, struct err *e)
{
	CLEANUP(buf_free) struct buf out = BUF_INIT;

	for (size_t i = 0; i < b->n; i++) {
		const struct qcow2_bitmap *x = &b->v[i];
		size_t name = strlen(x->name);
		uint8_t *p;

		if (x->table_hoff == 0)
			continue;
		p = buf_grow(&out, units_align_up(ENTRY_FIXED + name, 8));
		if (!p)
			return err_set(e, ERR_NOMEM, "out of memory");
		store_be64(p, x->table_hoff);
		store_be32(p + 8, x->table_entries);
		store_be32(p + 12, (x->in_use ? FLAG_IN_USE : 0) |
			(x->is_auto ? FLAG_AUTO : 0));
		p[16] = TYPE_DIRTY_TRACKING;
		p[17] = (uint8_t)x->granularity;
		store_be16(p + 18, (uint16_t)name);
		memcpy(p + ENTRY_FIXED, x->name, name);
	}
	*len = out.len;
	if (alloc(d, out.len, hoff, e) < 0)
		return -1;
	return plan_write(&d->plan, PLAN_IMAGE, *hoff, out.p, out.len, e);
}

/* What a table leads to, and the table. One that makes no sense is a leak
 * from now on, as in QEMU. */
static int
drop_table(struct qcow2_edit *d, const struct qcow2_bitmap_gone *g,
	struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h);
	uint64_t end = d->plan.end[PLAN_IMAGE], len = (uint64_t)g->entries * 8;
	CLEANUP_FREE uint8_t *table = NULL;

	if (g->hoff >= end || len > end - g->hoff)
		return 0;
	table = malloc(len);
	if (!table)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (file_read_padded(d->plan.file[PLAN_IMAGE], table, len, g->hoff,
		    NULL, e) < 0)
		return -1;
	for (uint32_t i = 0; i < g->entries; i++) {
		uint64_t entry = load_be64(table + i * 8ul);

		if ((entry & ENTRY_OFFSET & (cs - 1)) ||
			(entry & ENTRY_OFFSET) >= end)
			return 0;
	}
	for (uint32_t i = 0; i < g->entries; i++) {
		uint64_t hoff = load_be64(table + i * 8ul) & ENTRY_OFFSET;

		if (hoff && qcow2_edit_drop(d, hoff, cs, e) < 0)
			return -1;
	}
	return qcow2_edit_drop(d, g->hoff, len, e);
}

/* The header turns to what has a table. */
static int
turn(struct qcow2_bitmaps *b, struct qcow2_edit *d,
	const struct qcow2_header *want, struct err *e)
{
	struct qcow2_header h = *want;
	uint64_t old = d->h->bitmap_dir_offset, len = d->h->bitmap_dir_size;
	bool had = d->h->has_bitmaps;

	h.n_bitmaps = 0;
	for (size_t i = 0; i < b->n; i++)
		h.n_bitmaps += b->v[i].table_hoff != 0;
	h.has_bitmaps = h.n_bitmaps > 0;
	h.autoclear = h.has_bitmaps ? h.autoclear | QCOW2_AUTOCLEAR_BITMAPS
		: h.autoclear & ~QCOW2_AUTOCLEAR_BITMAPS;
	h.bitmap_dir_offset = h.bitmap_dir_size = 0;
	if (h.has_bitmaps && store_directory(b, d, &h.bitmap_dir_offset,
		&h.bitmap_dir_size, e) < 0)
		return -1;
	if (qcow2_edit_reheader(d, &h, e) < 0)
		return -1;
	qcow2_overlap_put(&d->refs.overlap, QCOW2_META_BITMAPS,
		h.bitmap_dir_offset, h.bitmap_dir_size);
	if (had && qcow2_edit_drop(d, old, len, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_gone; i++) {
		if (drop_table(d, &b->gone[i], e) < 0)
			return -1;
	}
	b->n_gone = 0;
	return 0;
}

/* Takes the clusters of a table, and those that its entries ask for, off the
 * budget. */
static int
charge(struct qcow2_edit *d, const struct qcow2_bitmap *x, uint64_t *budget,
	struct err *e)
{
	uint8_t table[CHUNK];
	uint64_t len = (uint64_t)x->table_entries * 8, at = 0, n;
	uint64_t used = units_div_up(len, qcow2_cluster_size(d->h));

	for (; at < len && used <= *budget; at += n) {
		n = units_min(len - at, sizeof(table));
		if (file_read_padded(d->plan.file[PLAN_IMAGE], table, n,
			    x->table_hoff + at, NULL, e) < 0)
			return -1;
		for (uint64_t i = 0; i < n; i += 8)
			used += load_be64(table + i) != 0;
	}
	if (used > *budget)
		return err_set(e, ERR_LIMIT, "bitmaps of more bytes than the "
			"file has");
	*budget -= used;
	return 0;
}

/* Tables and bits may be shared, a thousand times: stored anew they are not. */
static int
check_budget(struct qcow2_bitmaps *b, struct qcow2_edit *d, struct err *e)
{
	uint64_t budget = units_div_up(units_max(d->plan.end[PLAN_IMAGE],
		QCOW2_BITS_MAX), qcow2_cluster_size(d->h));

	for (size_t i = 0; i < b->n; i++) {
		const struct qcow2_bitmap *x = &b->v[i];

		if (!x->in_use && !x->loaded && charge(d, x, &budget, e) < 0)
			return -1;
	}
	return 0;
}

static int
store_anew(struct qcow2_bitmaps *b, struct qcow2_edit *d,
	struct qcow2_bitmap *x, const uint8_t *ones, struct err *e)
{
	bool keep = x->loaded;

	if (qcow2_bitmaps_need(b, x, d->plan.file[PLAN_IMAGE], d->h, e) < 0 ||
		(b->log && x->is_auto &&
			qcow2_bits_merge(&x->bits, b->log, e) < 0) ||
		qcow2_bitmaps_leave(b, x, e) < 0 ||
		store_one(d, x, ones, e) < 0)
		return -1;
	if (!keep)
		qcow2_bits_free(&x->bits);
	x->loaded = keep;
	return 0;
}

static bool
any_usable(const struct qcow2_bitmaps *b)
{
	for (size_t i = 0; i < b->n; i++) {
		if (!b->v[i].in_use)
			return true;
	}
	return false;
}

int
qcow2_bitmaps_store(struct qcow2_bitmaps *b, struct qcow2_edit *d,
	const struct qcow2_header *want, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h);
	CLEANUP_FREE uint8_t *ones = malloc(cs);

	if (!ones)
		return err_set(e, ERR_NOMEM, "out of memory");
	memset(ones, 0xff, cs);
	if (check_budget(b, d, e) < 0)
		return -1;
	/* the others may go where the one was that was removed */
	if (b->n_gone && (turn(b, d, d->h, e) < 0 ||
		qcow2_edit_settle(d, e) < 0))
		return -1;
	if (!any_usable(b))
		return 0;
	for (size_t i = 0; i < b->n; i++) {
		if (!b->v[i].in_use &&
			store_anew(b, d, &b->v[i], ones, e) < 0)
			return -1;
	}
	return turn(b, d, want, e);
}

int
qcow2_bitmaps_set_size(struct qcow2_edit *d, uint64_t size, struct err *e)
{
	struct qcow2_header want = *d->h;

	if (d->bitmaps) {
		want.size = size;
		return qcow2_bitmaps_store(d->bitmaps, d, &want, e);
	}
	d->now.size = size;
	store_be64(d->head + 24, size);
	return qcow2_edit_head(d, e);
}
