/* SPDX-License-Identifier: MIT */
/*
 * The session of a change in place: what may be changed at all, the header's
 * fields, the L1 and L2 tables and the order of their writing. What to change
 * is the callers' business.
 */
#include "format/qcow2_edit.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define AUTOCLEAR_AT 88

/* Fresh tables per link: each link costs a barrier. */
#define FRESH_MAX (8u << 20)

int
qcow2_edit_changeable(const struct qcow2_header *h, struct err *e)
{
	if (h->incompatible & QCOW2_CORRUPT)
		return err_set(e, ERR_CORRUPT,
			"qcow2: Image is corrupt; cannot be opened read/write");
	if (h->incompatible & QCOW2_DIRTY)
		return err_set(e, ERR_CORRUPT, "the image is marked dirty (it "
			"was not closed), and could not be repaired");
	if (h->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN)
		return err_set(e, ERR_UNSUPPORTED,
			"unknown incompatible features 0x%" PRIx64,
			h->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN);
	if (h->crypt_method != 0)
		return err_set(e, ERR_UNSUPPORTED,
			"changing an encrypted image is not supported");
	return 0;
}

static int
load_l1(struct qcow2_edit *d, struct err *e)
{
	uint64_t len = (uint64_t)d->h->l1_entries * 8;

	if (len > QCOW2_L1_MAX)
		return err_set(e, ERR_LIMIT, "Active L1 table too large");
	d->l1_entries = d->h->l1_entries;
	d->l1_hoff = d->h->l1_offset;
	d->l1 = malloc(units_max(len, 8));
	if (!d->l1)
		return err_set(e, ERR_NOMEM, "out of memory");
	return file_read_padded(d->plan.file[PLAN_IMAGE], d->l1, len,
		d->l1_hoff, NULL, e);
}

/* The table's length is not stored: at least this much. */
#define SNAPSHOT_MIN 40

static int
guard_snapshots(struct qcow2_edit *d, struct err *e)
{
	struct qcow2_overlap *o = &d->refs.overlap;
	struct info_snapshot *v = NULL;
	uint64_t len = 0;
	size_t n = 0;
	int r = 0;

	if (d->h->n_snapshots == 0)
		return 0;
	if (qcow2_snapshot_load(d->plan.file[PLAN_IMAGE], d->h, &v, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < n && r == 0; i++) {
		len += SNAPSHOT_MIN + strlen(v[i].id) + strlen(v[i].name);
		if (v[i].l1_entries)
			r = qcow2_overlap_add_l1(o, v[i].l1_offset,
				(uint64_t)v[i].l1_entries * 8, e);
	}
	qcow2_overlap_put(o, QCOW2_META_SNAPSHOTS, d->h->snapshots_offset,
		units_max(len, 1));
	qcow2_snapshot_free(v, n);
	return r;
}

static int
guard_tables(struct qcow2_edit *d, struct err *e)
{
	struct qcow2_overlap *o = &d->refs.overlap;

	qcow2_overlap_put(o, QCOW2_META_L1, d->l1_hoff, d->l1_entries * 8);
	if (d->h->has_bitmaps && (d->h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		qcow2_overlap_put(o, QCOW2_META_BITMAPS,
			d->h->bitmap_dir_offset, d->h->bitmap_dir_size);
	if (guard_snapshots(d, e) < 0)
		return -1;
	for (uint64_t i = 0; i < d->l1_entries; i++) {
		uint64_t entry = qcow2_edit_l1_get(d, i) & QCOW2_L1_OFFSET;

		if (entry && qcow2_overlap_add(o, QCOW2_META_L2, entry, e) < 0)
			return -1;
	}
	qcow2_overlap_seal(o);
	return 0;
}

static int
clear_unknown_autoclear(struct qcow2_edit *d, struct err *e)
{
	uint64_t known = QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW;

	if (d->h->version < 3 || (d->h->autoclear & ~known) == 0)
		return 0;
	d->now.autoclear &= known;
	store_be64(d->head + AUTOCLEAR_AT, d->now.autoclear);
	if (qcow2_edit_head(d, e) < 0)
		return -1;
	return plan_barrier(&d->plan, "autoclear bits before changes", e);
}

static int
open_all(struct qcow2_edit *d, struct err *e)
{
	struct file *f = d->chain->im[0]->file;

	d->head_len = d->h->version < 3 ? QCOW2_V2_HEADER : QCOW2_V3_HEADER;
	if (file_read(f, d->head, d->head_len, 0, e) < 0 ||
		load_l1(d, e) < 0 ||
		qcow2_refs_open(&d->refs, &d->plan, d->h, d->head,
			d->head_len, e) < 0)
		return -1;
	if (guard_tables(d, e) < 0)
		return -1;
	return clear_unknown_autoclear(d, e);
}

int
qcow2_edit_open(struct qcow2_edit *d, struct chain *c,
	const struct qcow2_edit_request *rq, struct err *e)
{
	struct image *im = c->im[0];
	struct file *f = im->file;

	*d = (struct qcow2_edit){
		.chain = c, .now = qcow2_of(im)->h,
		.old_size = im->size, .data_file = rq->data_file,
	};
	d->h = &d->now;
	if (qcow2_edit_changeable(d->h, e) < 0)
		return -1;
	if (!f->writable || f->direct)
		return err_set(e, ERR_USAGE,
			"the file is not open for buffered writing");
	if (im->needs_data_file && !rq->data_file)
		return err_set(e, ERR_USAGE,
			"the external data file is not open for writing");
	plan_init(&d->plan, f, rq->data_file, rq->durable);
	d->plan.watch = rq->watch;
	d->plan.tap = rq->tap;
	d->plan.tap_arg = rq->tap_arg;
	if (open_all(d, e) < 0) {
		qcow2_edit_close(d);
		return -1;
	}
	return 0;
}

void
qcow2_edit_close(struct qcow2_edit *d)
{
	qcow2_refs_close(&d->refs);
	plan_free(&d->plan);
	free(d->l1);
	free(d->drop);
	free(d->kept);
	d->kept = NULL;
	d->l1 = NULL;
	d->drop = NULL;
}

int
qcow2_edit_head(struct qcow2_edit *d, struct err *e)
{
	if (qcow2_refs_may_write(&d->refs, QCOW2_META_HEADER, 0, d->head_len,
		    e) < 0)
		return -1;
	return plan_write(&d->plan, PLAN_IMAGE, 0, d->head, d->head_len, e);
}

uint64_t
qcow2_edit_l1_get(const struct qcow2_edit *d, uint64_t l1x)
{
	return l1x < d->l1_entries ? load_be64(d->l1 + l1x * 8) : 0;
}

void
qcow2_edit_l1_set(struct qcow2_edit *d, uint64_t l1x, uint64_t entry)
{
	assert(l1x < d->l1_entries);
	store_be64(d->l1 + l1x * 8, entry);
	d->l1_lo = d->l1_hi == 0 ? l1x : units_min(d->l1_lo, l1x);
	d->l1_hi = units_max(d->l1_hi, l1x + 1);
}

int
qcow2_edit_l2_at(struct qcow2_edit *d, uint64_t l1x, uint64_t *ret_hoff,
	struct err *e)
{
	uint64_t entry = qcow2_edit_l1_get(d, l1x);
	uint64_t hoff = entry & QCOW2_L1_OFFSET;

	if (entry & QCOW2_L1_RESERVED)
		return err_set(e, ERR_CORRUPT,
			"L1 entry %" PRIu64 " has reserved bits set", l1x);
	if (hoff & (qcow2_cluster_size(d->h) - 1))
		return err_set(e, ERR_CORRUPT, "L2 table offset 0x%" PRIx64
			" unaligned (L1 index: %#" PRIx64 ")", hoff, l1x);
	if (hoff != 0 && hoff >= d->plan.end[PLAN_IMAGE])
		return err_set(e, ERR_CORRUPT, "L2 table at %" PRIu64
			" lies beyond the end of the file", hoff);
	if (hoff != 0 && qcow2_overlap_single(&d->refs.overlap, hoff))
		return err_set(e, ERR_CORRUPT, "L2 table at %" PRIu64
			" overlaps other metadata", hoff);
	*ret_hoff = hoff;
	return 0;
}

int
qcow2_edit_l2_open(struct qcow2_edit *d, uint64_t l1x, struct qcow2_l2 *t,
	struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h), old;

	*t = (struct qcow2_l2){.l1x = l1x};
	if (qcow2_edit_l2_at(d, l1x, &old, e) < 0)
		return -1;
	t->p = calloc(1, cs);
	if (!t->p)
		return err_set(e, ERR_NOMEM, "out of memory");
	t->hoff = old;
	t->fresh = !(qcow2_edit_l1_get(d, l1x) & QCOW2_COPIED) || old == 0;
	if (t->fresh && (qcow2_refs_alloc(&d->refs, 1, &t->hoff, e) < 0 ||
		    qcow2_overlap_add(&d->refs.overlap, QCOW2_META_L2,
			    t->hoff, e) < 0 ||
		    (old && qcow2_edit_drop(d, old, cs, e) < 0)))
		return -1;
	if (old == 0)
		return 0;
	if (t->fresh)
		qcow2_overlap_remove(&d->refs.overlap, QCOW2_META_L2, old);
	if (plan_run(&d->plan, e) < 0)
		return -1;
	return file_read_padded(d->plan.file[PLAN_IMAGE], t->p, cs, old, NULL,
		e);
}

uint64_t
qcow2_edit_l2_get(const struct qcow2_edit *d, const struct qcow2_l2 *t,
	uint64_t l2x, uint64_t *ret_bitmap)
{
	const uint8_t *at = t->p + l2x * qcow2_l2_entry_size(d->h);

	*ret_bitmap = qcow2_has_extl2(d->h) ? load_be64(at + 8) : 0;
	return load_be64(at);
}

void
qcow2_edit_l2_set(const struct qcow2_edit *d, struct qcow2_l2 *t, uint64_t l2x,
	uint64_t entry, uint64_t bitmap)
{
	unsigned size = qcow2_l2_entry_size(d->h);
	uint64_t at = l2x * size;

	store_be64(t->p + at, entry);
	if (size == 16)
		store_be64(t->p + at + 8, bitmap);
	t->lo = t->hi == 0 ? at : units_min(t->lo, at);
	t->hi = units_max(t->hi, at + size);
}

void
qcow2_edit_l2_free(struct qcow2_l2 *t)
{
	free(t->p);
	t->p = NULL;
}

int
qcow2_edit_l2_write(struct qcow2_edit *d, struct qcow2_l2 *t, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h);
	uint64_t lo = t->fresh ? 0 : t->lo, hi = t->fresh ? cs : t->hi;

	if (hi == 0)
		return 0;
	if (qcow2_refs_may_write(&d->refs, QCOW2_META_L2, t->hoff, cs, e) <
			0 ||
		plan_write(&d->plan, PLAN_IMAGE, t->hoff + lo, t->p + lo,
			hi - lo, e) < 0)
		return -1;
	if (t->fresh)
		qcow2_edit_l1_set(d, t->l1x, t->hoff | QCOW2_COPIED);
	return 0;
}

int
qcow2_edit_l2_close(struct qcow2_edit *d, struct qcow2_l2 *t, struct err *e)
{
	int r = 0;

	if (!t->fresh && t->hi != 0)
		r = qcow2_refs_flush(&d->refs, e);
	if (r == 0)
		r = qcow2_edit_l2_write(d, t, e);
	if (t->fresh) {
		d->fresh += qcow2_cluster_size(d->h);
		if (r == 0 && d->fresh >= FRESH_MAX)
			r = qcow2_edit_link(d, e);
	}
	qcow2_edit_l2_free(t);
	return r;
}

int
qcow2_edit_drop(struct qcow2_edit *d, uint64_t hoff, uint64_t len,
	struct err *e)
{
	return qcow2_edit_drop_times(d, hoff, len, 1, e);
}

int
qcow2_edit_drop_times(struct qcow2_edit *d, uint64_t hoff, uint64_t len,
	uint64_t times, struct err *e)
{
	struct qcow2_drop *last = d->n_drop ? &d->drop[d->n_drop - 1] : NULL;
	uint64_t mask = qcow2_cluster_size(d->h) - 1;

	if (last && last->hoff == hoff && last->len == len &&
		(last->times == 0) == (times == 0)) {
		last->times += times;
		return 0;
	}
	/* whole clusters in a row; packed ranges may share one, and each of
	 * them counts */
	if (last && last->hoff + last->len == hoff && last->times == times &&
		!((hoff | len) & mask) && !((last->hoff | last->len) & mask)) {
		last->len += len;
		return 0;
	}
	if (d->n_drop == d->drop_cap) {
		size_t cap = d->drop_cap ? d->drop_cap * 2 : 16;
		struct qcow2_drop *v = realloc(d->drop, cap * sizeof(*v));

		if (!v)
			return err_set(e, ERR_NOMEM, "out of memory");
		d->drop = v;
		d->drop_cap = cap;
	}
	d->drop[d->n_drop++] = (struct qcow2_drop){hoff, len, times};
	return 0;
}

int
qcow2_edit_drop_data(struct qcow2_edit *d, uint64_t hoff, uint64_t len,
	struct err *e)
{
	return qcow2_edit_drop_times(d, hoff, len, 0, e);
}

int
qcow2_edit_link(struct qcow2_edit *d, struct err *e)
{
	if (qcow2_refs_flush(&d->refs, e) < 0)
		return -1;
	d->fresh = 0;
	if (d->l1_hi == 0)
		return 0;
	if (qcow2_refs_may_write(&d->refs, QCOW2_META_L1,
		    d->l1_hoff + d->l1_lo * 8, (d->l1_hi - d->l1_lo) * 8, e) <
			0 ||
		plan_write(&d->plan, PLAN_IMAGE, d->l1_hoff + d->l1_lo * 8,
		    d->l1 + d->l1_lo * 8, (d->l1_hi - d->l1_lo) * 8, e) < 0)
		return -1;
	d->l1_lo = d->l1_hi = 0;
	return 0;
}

static int
settle_one(struct qcow2_edit *d, const struct qcow2_drop *x, struct err *e)
{
	uint64_t end = d->plan.end[PLAN_DATA];

	if (x->times > 0)
		return qcow2_refs_drop_times(&d->refs, x->hoff, x->len,
			x->times, e);
	return x->hoff >= end ? 0 : plan_range(&d->plan, PLAN_CLEAR, PLAN_DATA,
		x->hoff, units_min(x->len, end - x->hoff), e);
}

int
qcow2_edit_settle(struct qcow2_edit *d, struct err *e)
{
	if (qcow2_edit_link(d, e) < 0)
		return -1;
	if (d->n_drop == 0)
		return 0;
	if (plan_barrier(&d->plan, "references gone before counts drop", e) <
		0)
		return -1;
	for (size_t i = 0; i < d->n_drop; i++) {
		if (settle_one(d, &d->drop[i], e) < 0)
			return -1;
	}
	d->n_drop = 0;
	return 0;
}
