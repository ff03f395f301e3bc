/* SPDX-License-Identifier: MIT */
/* Bitmaps to disk: bits, tables, directory, header, in this order. What was
 * there before is dropped when the header no longer leads to it. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_bitmap_edit.h"
#include "format/qcow2_reheader.h"

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

static int
store_one(struct qcow2_edit *d, struct qcow2_bitmap *x, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h), n = x->bits.n, hoff;
	CLEANUP_FREE uint8_t *table = calloc(units_max(n, 1), 8);

	if (!table)
		return err_set(e, ERR_NOMEM, "out of memory");
	/* only an image that was made by hand comes here with one */
	if (n == 0)
		return err_set(e, ERR_UNSUPPORTED,
			"an empty disk has no bitmaps");
	/* An entry without a place says what all its bits are. */
	for (uint64_t i = 0; i < n; i++) {
		hoff = x->bits.v[i].ones;
		if (x->bits.v[i].p && (alloc(d, cs, &hoff, e) < 0 ||
			plan_write(&d->plan, PLAN_IMAGE, hoff,
				x->bits.v[i].p, cs, e) < 0))
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
		uint8_t *p = buf_grow(&out,
			units_align_up(ENTRY_FIXED + name, 8));

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

int
qcow2_bitmaps_store(struct qcow2_bitmaps *b, struct qcow2_edit *d,
	const struct qcow2_header *want, struct err *e)
{
	struct qcow2_header h = *want;
	uint64_t old = d->h->bitmap_dir_offset, len = d->h->bitmap_dir_size;
	bool had = d->h->has_bitmaps;

	for (size_t i = 0; i < b->n; i++) {
		if (b->v[i].loaded && b->v[i].table_hoff == 0 &&
			store_one(d, &b->v[i], e) < 0)
			return -1;
	}
	h.has_bitmaps = b->n > 0;
	h.n_bitmaps = (uint32_t)b->n;
	h.autoclear = b->n ? h.autoclear | QCOW2_AUTOCLEAR_BITMAPS
		: h.autoclear & ~QCOW2_AUTOCLEAR_BITMAPS;
	if (b->n && store_directory(b, d, &h.bitmap_dir_offset,
		&h.bitmap_dir_size, e) < 0)
		return -1;
	if (qcow2_edit_reheader(d, &h, e) < 0)
		return -1;
	qcow2_overlap_put(&d->refs.overlap, QCOW2_META_BITMAPS,
		h.bitmap_dir_offset, b->n ? h.bitmap_dir_size : 0);
	if (had && qcow2_edit_drop(d, old, len, e) < 0)
		return -1;
	for (size_t i = 0; i < b->n_gone; i++) {
		if (drop_table(d, &b->gone[i], e) < 0)
			return -1;
	}
	b->n_gone = 0;
	b->changed = false;
	return 0;
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
