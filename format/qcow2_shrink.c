/* SPDX-License-Identifier: MIT */
/*
 * Making a qcow2 smaller. The size goes first, in one sector: from then on the
 * guest sees the new image and nothing else changes for it (QEMU writes it
 * last; a crash there leaves the old size with holes in it). Then the
 * references behind it, then the counts, the refcount blocks that count
 * nothing, and the end of the file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "base/zero.h"
#include "format/qcow2_bitmap_edit.h"
#include "format/qcow2_grow.h"

struct shrink {
	struct qcow2_edit *d;
	uint64_t cs;
	uint64_t first;  /* the first cluster that goes, guest byte */
	uint64_t keep;   /* L1 entries that stay */
	uint8_t *gone;   /* those that do not, big endian */
	uint64_t n_gone;
	uint8_t *table;  /* one L2 */
};

/* What an L2 entry takes with it: *ret_len 0 if nothing that is counted. */
static int
range_of(struct shrink *s, uint64_t entry, uint64_t bitmap, uint64_t *ret_hoff,
	uint64_t *ret_len, struct err *e)
{
	struct qcow2_entry x;

	*ret_hoff = *ret_len = 0;
	if (entry == 0 && bitmap == 0)
		return 0;
	if (qcow2_entry_decode(s->d->h, entry, bitmap, &x, e) < 0)
		return -1;
	if (x.kind == QCOW2_E_PACKED) {
		*ret_hoff = x.hoff;
		*ret_len = x.hlen;
	} else if ((entry & QCOW2_L2_OFFSET) && !s->d->data_file) {
		*ret_hoff = entry & QCOW2_L2_OFFSET;
		*ret_len = s->cs;
	}
	if (*ret_hoff >= s->d->plan.end[PLAN_IMAGE] && *ret_len)
		return err_set(e, ERR_CORRUPT, "cluster at %" PRIu64
			" lies beyond the end of the file", *ret_hoff);
	return 0;
}

static int
check_counted(struct shrink *s, uint64_t hoff, uint64_t len, struct err *e)
{
	uint64_t end = hoff + len, v;

	for (uint64_t at = hoff & ~(s->cs - 1); at < end; at += s->cs) {
		uint64_t c = at >> s->d->h->cluster_bits;

		if (qcow2_refs_get(&s->d->refs, c, &v, e) < 0)
			return -1;
		if (v == 0)
			return err_set(e, ERR_CORRUPT, "cluster %" PRIu64
				" is referred to and has refcount 0", c);
		if (v == 1 && qcow2_overlap_single(&s->d->refs.overlap, at))
			return err_set(e, ERR_CORRUPT, "cluster %" PRIu64
				" is metadata and also data", c);
	}
	return 0;
}

enum walk {
	WALK_CHECK, /* counts are sound: nothing is changed */
	WALK_DROP,
};

static int
entry_at(struct shrink *s, uint64_t l2x, enum walk w, struct err *e)
{
	const uint8_t *at = s->table + l2x * qcow2_l2_entry_size(s->d->h);
	uint64_t bitmap = qcow2_has_extl2(s->d->h) ? load_be64(at + 8) : 0;
	uint64_t hoff, len;

	if (range_of(s, load_be64(at), bitmap, &hoff, &len, e) < 0)
		return -1;
	if (len == 0)
		return 0;
	return w == WALK_CHECK ? check_counted(s, hoff, len, e)
		: qcow2_refs_drop(&s->d->refs, hoff, len, e);
}

/* Entries [from, end) of the table at hoff, and the table when from is 0. */
static int
walk_table(struct shrink *s, uint64_t hoff, uint64_t from, enum walk w,
	struct err *e)
{
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(s->d->h);

	if (file_read_padded(s->d->plan.file[PLAN_IMAGE], s->table, s->cs, hoff,
		    NULL, e) < 0)
		return -1;
	for (uint64_t i = from; i < n; i++) {
		if (entry_at(s, i, w, e) < 0)
			return -1;
	}
	if (from > 0)
		return 0;
	return w == WALK_CHECK ? check_counted(s, hoff, s->cs, e)
		: qcow2_refs_drop(&s->d->refs, hoff, s->cs, e);
}

static int
walk_gone(struct shrink *s, enum walk w, struct err *e)
{
	for (uint64_t i = 0; i < s->n_gone; i++) {
		uint64_t hoff = load_be64(s->gone + i * 8) & QCOW2_L1_OFFSET;

		if (w == WALK_CHECK && plan_go_on(&s->d->plan, e) < 0)
			return -1;
		if (hoff && walk_table(s, hoff, 0, w, e) < 0)
			return -1;
	}
	return 0;
}

static uint64_t
first_index(const struct shrink *s)
{
	return (s->first >> s->d->h->cluster_bits) &
		((UINT64_C(1) << qcow2_l2_bits(s->d->h)) - 1);
}

/* Everything that will be dropped is sound, before anything is written. */
static int
check_all(struct shrink *s, struct err *e)
{
	struct qcow2_edit *d = s->d;
	uint64_t tables = 0, hoff;

	for (uint64_t i = s->keep; i < d->l1_entries; i++) {
		if (qcow2_edit_l2_at(d, i, &hoff, e) < 0)
			return -1;
		tables += hoff != 0;
	}
	/* One L1 refers to a table once: more than fit into the file is an
	 * image made to keep us busy. */
	if (tables > units_div_up(d->plan.end[PLAN_IMAGE], s->cs))
		return err_set(e, ERR_CORRUPT, "%" PRIu64
			" L2 tables are more than the file has clusters",
			tables);
	if (first_index(s) != 0) {
		if (qcow2_edit_l2_at(d, s->keep - 1, &hoff, e) < 0)
			return -1;
		if (hoff && walk_table(s, hoff, first_index(s), WALK_CHECK,
			e) < 0)
			return -1;
	}
	return walk_gone(s, WALK_CHECK, e);
}

/* The table in which the new size ends: its entries behind that go. */
static int
cut_table(struct shrink *s, struct err *e)
{
	struct qcow2_edit *d = s->d;
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(d->h), i = first_index(s);
	uint64_t at = i * qcow2_l2_entry_size(d->h);
	uint64_t hoff, len, bitmap, entry;
	struct qcow2_l2 t;

	if (i == 0)
		return 0;
	if (qcow2_edit_l2_at(d, s->keep - 1, &hoff, e) < 0)
		return -1;
	if (hoff == 0)
		return 0;
	if (plan_run(&d->plan, e) < 0 ||
		file_read_padded(d->plan.file[PLAN_IMAGE], s->table, s->cs,
			hoff, NULL, e) < 0)
		return -1;
	if (zero_is(s->table + at, s->cs - at))
		return 0;
	if (qcow2_edit_l2_open(d, s->keep - 1, &t, e) < 0) {
		qcow2_edit_l2_free(&t);
		return -1;
	}
	for (; i < n; i++) {
		entry = qcow2_edit_l2_get(d, &t, i, &bitmap);
		if (entry == 0 && bitmap == 0)
			continue;
		if (range_of(s, entry, bitmap, &hoff, &len, e) < 0 ||
			(len && qcow2_edit_drop(d, hoff, len, e) < 0)) {
			qcow2_edit_l2_free(&t);
			return -1;
		}
		qcow2_edit_l2_set(d, &t, i, 0, 0);
	}
	return qcow2_edit_l2_close(d, &t, e);
}

static int
cut_file(struct shrink *s, struct err *e)
{
	struct qcow2_edit *d = s->d;
	uint64_t last, end = d->plan.end[PLAN_IMAGE];

	if (qcow2_refs_shrink(&d->refs, e) < 0 ||
		qcow2_refs_last(&d->refs, units_div_up(end, s->cs), &last, e) <
			0 ||
		qcow2_refs_write(&d->refs, e) < 0)
		return -1;
	if ((last + 1) * s->cs < end &&
		plan_truncate(&d->plan, PLAN_IMAGE, (last + 1) * s->cs, e) < 0)
		return -1;
	if (d->data_file && plan_truncate(&d->plan, PLAN_DATA,
		d->rq->new_size, e) < 0)
		return -1;
	return plan_barrier(&d->plan, "done", e);
}

static int
shrink_all(struct shrink *s, struct err *e)
{
	struct qcow2_edit *d = s->d;

	if (check_all(s, e) < 0)
		return -1;
	if (qcow2_refs_prune(&d->refs, e) < 0)
		return err_prefix(e, "Failed to discard unused refblocks");
	if (qcow2_bitmaps_set_size(d, d->rq->new_size, e) < 0 ||
		plan_barrier(&d->plan, "size before references", e) < 0 ||
		cut_table(s, e) < 0)
		return -1;
	for (uint64_t i = s->keep; i < d->l1_entries; i++) {
		if (qcow2_edit_l1_get(d, i) != 0)
			qcow2_edit_l1_set(d, i, 0);
	}
	if (qcow2_edit_link(d, e) < 0 ||
		plan_barrier(&d->plan, "references gone before counts drop",
			e) < 0)
		return -1;
	d->refs.discard = true;
	if (qcow2_edit_settle(d, e) < 0 || walk_gone(s, WALK_DROP, e) < 0)
		return -1;
	return cut_file(s, e);
}

int
qcow2_shrink(struct qcow2_edit *d, struct err *e)
{
	unsigned shift = d->h->cluster_bits + qcow2_l2_bits(d->h);
	struct shrink s = {.d = d, .cs = qcow2_cluster_size(d->h)};
	CLEANUP_FREE uint8_t *gone = NULL, *table = NULL;

	s.first = units_align_up(d->rq->new_size, s.cs);
	s.keep = units_min(units_div_up(s.first, UINT64_C(1) << shift),
		d->l1_entries);
	s.n_gone = d->l1_entries - s.keep;
	gone = malloc(units_max(s.n_gone * 8, 8));
	table = malloc(s.cs);
	if (!gone || !table)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(gone, d->l1 + s.keep * 8, s.n_gone * 8);
	s.gone = gone;
	s.table = table;
	return shrink_all(&s, e);
}
