/* SPDX-License-Identifier: MIT */
/*
 * The tables of a turn, and the turn itself. An L2 table is copied only if a
 * flag in it changes.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_turn_int.h"

static int
by_number(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

/* One L1 refers to a table once: else the work would not be linear in what
 * the file holds. */
static int
check_l1(struct qcow2_turn *t, const uint8_t *l1, uint64_t entries,
	struct err *e)
{
	CLEANUP_FREE uint64_t *v = malloc(units_max(entries, 1) * sizeof(*v));
	uint64_t n = 0, cs = qcow2_cluster_size(t->d->h);

	if (!v)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint64_t i = 0; i < entries; i++) {
		uint64_t entry = load_be64(l1 + i * 8);
		uint64_t hoff = entry & QCOW2_L1_OFFSET;

		if (entry & QCOW2_L1_RESERVED)
			return err_set(e, ERR_CORRUPT, "L1 entry %" PRIu64
				" has reserved bits set", i);
		if (hoff & (cs - 1))
			return err_set(e, ERR_CORRUPT, "L2 table offset 0x%"
				PRIx64 " unaligned (L1 index: 0x%" PRIx64 ")",
				hoff, i);
		if (hoff >= t->file_end)
			return err_set(e, ERR_CORRUPT, "L2 table at %" PRIu64
				" lies beyond the end of the file", hoff);
		if (hoff && qcow2_overlap_find(&t->d->refs.overlap,
			QCOW2_META_L2, hoff, cs) != QCOW2_META_NONE)
			return err_set(e, ERR_CORRUPT, "L2 table at %" PRIu64
				" overlaps other metadata", hoff);
		if (hoff)
			v[n++] = hoff;
	}
	qsort(v, n, sizeof(*v), by_number);
	for (uint64_t i = 1; i < n; i++) {
		if (v[i] == v[i - 1])
			return err_set(e, ERR_CORRUPT, "L2 table at %" PRIu64
				" is referred to twice by one L1 table", v[i]);
	}
	return 0;
}

static int
read_table(struct qcow2_turn *t, uint64_t hoff, struct err *e)
{
	return file_read_padded(t->d->plan.file[PLAN_IMAGE], t->table,
		qcow2_cluster_size(t->d->h), hoff, NULL, e);
}

/* What entry l2x of the table that was read takes up: *ret_len 0 if nothing
 * that is counted. */
static int
range_of(struct qcow2_turn *t, uint64_t entry, uint64_t *ret_hoff,
	uint64_t *ret_len, struct err *e)
{
	const struct qcow2_header *h = t->d->h;
	uint64_t cs = qcow2_cluster_size(h), hoff = entry & QCOW2_L2_OFFSET;
	struct qcow2_entry x;

	*ret_len = 0;
	if (entry & QCOW2_PACKED) {
		if (qcow2_entry_decode(h, entry & ~QCOW2_COPIED, 0, &x, e) <
			0)
			return -1;
		*ret_hoff = x.hoff;
		*ret_len = x.hlen;
	} else if (hoff & (cs - 1)) {
		return err_set(e, ERR_CORRUPT, "Cluster allocation offset 0x%"
			PRIx64 " unaligned", hoff);
	} else if (hoff) {
		*ret_hoff = hoff;
		*ret_len = cs;
	}
	return 0;
}

int
qcow2_turn_tree(struct qcow2_turn *t, const uint8_t *l1, uint64_t entries,
	int step, struct err *e)
{
	const struct qcow2_header *h = t->d->h;
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(h), at, len;
	unsigned size = qcow2_l2_entry_size(h);

	if (check_l1(t, l1, entries, e) < 0)
		return -1;
	for (uint64_t i = 0; i < entries; i++) {
		uint64_t hoff = load_be64(l1 + i * 8) & QCOW2_L1_OFFSET;

		if (hoff == 0)
			continue;
		if (plan_go_on(&t->d->plan, e) < 0 ||
			read_table(t, hoff, e) < 0)
			return -1;
		for (uint64_t k = 0; k < n; k++) {
			if (range_of(t, load_be64(t->table + k * size), &at,
				    &len, e) < 0 ||
				(len && qcow2_turn_range(t, at, len, step,
					e) < 0))
				return -1;
		}
		if (qcow2_turn_range(t, hoff, n * size, step, e) < 0)
			return -1;
	}
	return 0;
}

/* Sets the flags in the table that was read; *ret whether any changed. */
static int
flag_table(struct qcow2_turn *t, bool *ret, struct err *e)
{
	const struct qcow2_header *h = t->d->h;
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(h), at, len, count;
	unsigned size = qcow2_l2_entry_size(h);

	*ret = false;
	for (uint64_t k = 0; k < n; k++) {
		uint64_t was = load_be64(t->table + k * size);
		uint64_t entry = was & ~QCOW2_COPIED;

		if (was == 0)
			continue;
		if (range_of(t, entry, &at, &len, e) < 0)
			return -1;
		if (len && !(entry & QCOW2_PACKED)) {
			if (qcow2_refs_get(&t->next, at >> h->cluster_bits,
				    &count, e) < 0)
				return -1;
			entry |= count == 1 ? QCOW2_COPIED : 0;
		}
		if (entry != was) {
			store_be64(t->table + k * size, entry);
			*ret = true;
		}
	}
	return 0;
}

/* l1 gets its flags; copy is the one that leads to copies of tables. */
static int
copy_tables(struct qcow2_turn *t, uint8_t *l1, uint8_t *copy,
	uint64_t entries, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(t->d->h), count, place;

	for (uint64_t i = 0; i < entries; i++) {
		uint64_t hoff = load_be64(l1 + i * 8) & QCOW2_L1_OFFSET;
		bool changed;

		if (hoff == 0) {
			memset(l1 + i * 8, 0, 8);
			memset(copy + i * 8, 0, 8);
			continue;
		}
		if (plan_go_on(&t->d->plan, e) < 0 ||
			read_table(t, hoff, e) < 0 ||
			flag_table(t, &changed, e) < 0 ||
			qcow2_refs_get(&t->next,
				hoff >> t->d->h->cluster_bits, &count, e) < 0)
			return -1;
		store_be64(l1 + i * 8,
			hoff | (count == 1 ? QCOW2_COPIED : 0));
		memcpy(copy + i * 8, l1 + i * 8, 8);
		if (!changed)
			continue;
		if (qcow2_turn_place(t, 1, &place, e) < 0 ||
			plan_write(&t->d->plan, PLAN_IMAGE, place, t->table,
				cs, e) < 0)
			return -1;
		store_be64(copy + i * 8, place | QCOW2_COPIED);
	}
	return 0;
}

/* The tables that were copied, in their old places. */
static int
renew_tables(struct qcow2_turn *t, const uint8_t *l1, const uint8_t *copy,
	uint64_t entries, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(t->d->h);

	for (uint64_t i = 0; i < entries; i++) {
		uint64_t hoff = load_be64(l1 + i * 8) & QCOW2_L1_OFFSET;
		uint64_t from = load_be64(copy + i * 8) & QCOW2_L1_OFFSET;

		if (hoff == from)
			continue;
		if (read_table(t, from, e) < 0 ||
			plan_write(&t->d->plan, PLAN_IMAGE, hoff, t->table,
				cs, e) < 0)
			return -1;
	}
	return 0;
}

/* One sector: which L1, which counts, and whatever the caller has changed. */
static int
turn_head(struct qcow2_turn *t, uint64_t l1_hoff, uint64_t entries,
	uint64_t table_hoff, uint64_t n_table, struct err *e)
{
	struct qcow2_edit *d = t->d;

	store_be32(d->head + 36, (uint32_t)entries);
	store_be64(d->head + 40, l1_hoff);
	store_be64(d->head + 48, table_hoff);
	store_be32(d->head + 56, n_table * 8 >> d->h->cluster_bits);
	return qcow2_edit_head(d, e);
}

static int
there_and_back(struct qcow2_turn *t, const uint8_t *l1, const uint8_t *copy,
	uint64_t entries, uint64_t l1_hoff, uint64_t copy_hoff, struct err *e)
{
	struct qcow2_edit *d = t->d;
	struct plan *p = &d->plan;

	if (plan_barrier(p, "copies before the header turns to them", e) < 0 ||
		turn_head(t, copy_hoff, entries, t->table_hoff,
			t->next.n_table, e) < 0 ||
		plan_barrier(p, "turned before the old places change", e) < 0)
		return -1;
	t->turned = true;
	if (plan_run(p, e) < 0 || renew_tables(t, l1, copy, entries, e) < 0 ||
		plan_write(p, PLAN_IMAGE, l1_hoff, l1, entries * 8, e) < 0 ||
		qcow2_turn_renew_counts(t, e) < 0)
		return -1;
	if (plan_barrier(p, "old places before the header turns back", e) < 0 ||
		turn_head(t, l1_hoff, entries, d->refs.table_hoff,
			d->refs.n_table, e) < 0 ||
		plan_barrier(p, "turned back before the copies go", e) < 0)
		return -1;
	return plan_truncate(p, PLAN_IMAGE, t->file_end, e);
}

int
qcow2_turn_run(struct qcow2_turn *t, const uint8_t *l1, uint64_t entries,
	uint64_t l1_hoff, struct err *e)
{
	struct qcow2_edit *d = t->d;
	uint64_t cs = qcow2_cluster_size(d->h), len = entries * 8, hoff;
	CLEANUP_FREE uint8_t *final = malloc(units_max(len, 8));
	CLEANUP_FREE uint8_t *copy = malloc(units_max(len, 8));

	if (!final || !copy)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (check_l1(t, l1, entries, e) < 0)
		return -1;
	memcpy(final, l1, len);
	if (copy_tables(t, final, copy, entries, e) < 0 ||
		qcow2_turn_place(t, units_div_up(len, cs), &hoff, e) < 0 ||
		plan_write(&d->plan, PLAN_IMAGE, hoff, copy, len, e) < 0 ||
		qcow2_turn_counts(t, e) < 0 ||
		there_and_back(t, final, copy, entries, l1_hoff, hoff, e) < 0)
		return -1;
	free(d->l1);
	d->l1 = TAKE_PTR(final);
	d->l1_entries = entries;
	d->l1_hoff = l1_hoff;
	qcow2_overlap_put(&d->refs.overlap, QCOW2_META_L1, l1_hoff, len);
	qcow2_refs_forget(&d->refs);
	return 0;
}
