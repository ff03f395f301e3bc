/* SPDX-License-Identifier: MIT */
/*
 * Emptying. An image without snapshots, bitmaps and data file becomes what
 * create would make: header, refcount table, one block, L1. QEMU writes those
 * over the old ones under the dirty bit; here tables of an empty image go
 * behind the file's end first, the header turns to them in one sector, and
 * from there back to the front: no crash needs a repair.
 */
#include "format/qcow2_empty.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define SPOTS 4u         /* blocks for tables anywhere, at most */

/* Tables of an empty image from cluster `first` on: refcount table, blocks,
 * L1. Clusters 0 and first .. first+n count 1. */
struct layout {
	uint64_t first, table, blocks, l1, n; /* clusters; the first is one */
	uint64_t index[SPOTS]; /* of the blocks */
};

struct empty {
	struct qcow2_edit *d;
	uint64_t cs;
	uint64_t l1_clusters;
	unsigned block_bits;
};

/* False where it cannot be done with few blocks and a table QEMU reads. */
static bool
lay_out(const struct empty *m, uint64_t first, struct layout *l)
{
	uint64_t need = 1, last;

	*l = (struct layout){.first = first, .l1 = m->l1_clusters};
	do { /* the blocks and the table count themselves */
		l->blocks = need;
		last = first + l->table + l->blocks + l->l1 - 1;
		l->table = units_div_up(((last >> m->block_bits) + 1) * 8,
			m->cs);
		last = first + l->table + l->blocks + l->l1 - 1;
		need = 0;
		for (uint64_t i = first >> m->block_bits;
			i <= last >> m->block_bits; i++) {
			if (i != 0 && need + 1 < SPOTS)
				l->index[1 + need] = i;
			need += i != 0;
		}
		need++;
		if (need > SPOTS)
			return false;
	} while (need > l->blocks);
	l->blocks = need;
	l->n = l->table + l->blocks + l->l1;
	return l->table * m->cs <= QCOW2_REFTABLE_MAX;
}

static bool
counted(const struct layout *l, uint64_t cluster)
{
	return cluster == 0 ||
		(cluster >= l->first && cluster < l->first + l->n);
}

static int
write_counts(struct empty *m, const struct layout *l, struct err *e)
{
	uint64_t per_block = UINT64_C(1) << m->block_bits;
	CLEANUP_FREE uint8_t *table = calloc(l->table, m->cs);
	CLEANUP_FREE uint8_t *block = malloc(m->cs);
	struct plan *p = &m->d->plan;

	if (!table || !block)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint64_t k = 0; k < l->blocks; k++) {
		uint64_t at = (l->first + l->table + k) * m->cs;
		uint64_t base = l->index[k] << m->block_bits;

		memset(block, 0, m->cs);
		for (uint64_t i = 0; i < per_block; i++) {
			if (counted(l, base + i))
				qcow2_refcount_set(block,
					m->d->h->refcount_order, i, 1);
		}
		store_be64(table + l->index[k] * 8, at);
		if (plan_write(p, PLAN_IMAGE, at, block, m->cs, e) < 0)
			return -1;
	}
	return plan_write(p, PLAN_IMAGE, l->first * m->cs, table,
		l->table * m->cs, e);
}

/* The header turns to the tables of l; they are on disk before. */
static int
turn_to(struct empty *m, const struct layout *l, struct err *e)
{
	struct qcow2_edit *d = m->d;
	uint64_t l1 = (l->first + l->table + l->blocks) * m->cs;
	uint64_t end = d->plan.end[PLAN_IMAGE], l1_end = l1 + l->l1 * m->cs;

	if (write_counts(m, l, e) < 0)
		return -1;
	if (l1 < end && plan_range(&d->plan, PLAN_CLEAR, PLAN_IMAGE, l1,
		units_min(l1_end, end) - l1, e) < 0)
		return -1;
	if (l1_end > d->plan.end[PLAN_IMAGE] &&
		plan_truncate(&d->plan, PLAN_IMAGE, l1_end, e) < 0)
		return -1;
	if (plan_barrier(&d->plan, "empty tables before the header", e) < 0)
		return -1;
	store_be64(d->head + 40, l1);
	store_be64(d->head + 48, l->first * m->cs);
	store_be32(d->head + 56, (uint32_t)l->table);
	if (qcow2_edit_head(d, e) < 0)
		return -1;
	return plan_barrier(&d->plan, "the header before old places", e);
}

static int
start_over(struct empty *m, const struct layout *behind,
	const struct layout *front, struct err *e)
{
	struct plan *p = &m->d->plan;

	if (turn_to(m, behind, e) < 0 || turn_to(m, front, e) < 0 ||
		plan_truncate(p, PLAN_IMAGE, (front->first + front->n) *
			m->cs, e) < 0 ||
		plan_barrier(p, "done", e) < 0)
		return -1;
	return plan_run(p, e);
}

/* Which images QEMU starts over with. */
static bool
can_start_over(const struct empty *m, struct layout *behind,
	struct layout *front)
{
	const struct qcow2_header *h = m->d->h;
	uint64_t end = units_div_up(m->d->plan.end[PLAN_IMAGE], m->cs);

	if (h->version < 3 || h->n_snapshots || h->n_bitmaps ||
		h->crypt_method || m->d->data_file ||
		3 + m->l1_clusters > UINT64_C(1) << m->block_bits)
		return false;
	return lay_out(m, 1, front) && front->table == 1 &&
		front->blocks == 1 &&
		lay_out(m, units_max(end, 3 + m->l1_clusters), behind);
}

static int
give_up_table(struct empty *m, struct qcow2_l2 *t, struct err *e)
{
	struct qcow2_edit *d = m->d;
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(d->h), bitmap;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t entry = qcow2_edit_l2_get(d, t, i, &bitmap);
		struct qcow2_entry x = {0};
		int r = 0;

		if (entry == 0 && bitmap == 0)
			continue;
		if (qcow2_entry_decode(d->h, entry, bitmap, &x, e) < 0)
			return -1;
		if (x.kind == QCOW2_E_PACKED)
			r = qcow2_edit_drop(d, x.hoff, x.hlen, e);
		else if (x.mapped)
			r = (d->data_file ? qcow2_edit_drop_data
				: qcow2_edit_drop)(d, x.hoff, m->cs, e);
		if (r < 0)
			return -1;
		qcow2_edit_l2_set(d, t, i, 0, 0);
	}
	return qcow2_edit_l2_write(d, t, e);
}

/* One L1 refers to a table once: else the work would not be linear in what
 * the file holds, and a table that is shared would be copied each time. */
static int
check_tables(const struct empty *m, struct err *e)
{
	const struct qcow2_edit *d = m->d;
	uint64_t n = 0;

	for (uint64_t i = 0; i < d->l1_entries; i++)
		n += (qcow2_edit_l1_get(d, i) & QCOW2_L1_OFFSET) != 0;
	if (n == d->refs.overlap.tables.n)
		return 0;
	return err_set(e, ERR_CORRUPT, "the L1 table refers %" PRIu64
		" times to %zu L2 tables", n, d->refs.overlap.tables.n);
}

/* Every entry goes; the tables stay, as with QEMU. */
static int
give_up_all(struct empty *m, struct err *e)
{
	struct qcow2_edit *d = m->d;

	d->refs.discard = true;
	for (uint64_t i = 0; i < d->l1_entries; i++) {
		struct qcow2_l2 t;
		uint64_t hoff;
		int r;

		if (qcow2_edit_l2_at(d, i, &hoff, e) < 0)
			return -1;
		if (hoff == 0)
			continue;
		r = qcow2_edit_l2_open(d, i, &t, e);
		if (r == 0)
			r = give_up_table(m, &t, e);
		qcow2_edit_l2_free(&t);
		if (r < 0 || (d->n_drop >= QCOW2_DROPS_MAX &&
				     qcow2_edit_settle(d, e) < 0))
			return -1;
	}
	if (qcow2_edit_settle(d, e) < 0 ||
		qcow2_refs_flush(&d->refs, e) < 0 ||
		plan_barrier(&d->plan, "done", e) < 0)
		return -1;
	return plan_run(&d->plan, e);
}

int
qcow2_empty(struct chain *c, const struct qcow2_edit_request *rq, struct err *e)
{
	struct layout behind, front;
	struct qcow2_edit d;
	struct empty m;
	int r;

	if (qcow2_edit_open(&d, c, rq, e) < 0)
		return -1;
	m = (struct empty){
		.d = &d,
		.cs = qcow2_cluster_size(d.h),
		.block_bits = d.refs.block_bits,
	};
	m.l1_clusters = units_div_up(d.l1_entries * 8, m.cs);
	if (can_start_over(&m, &behind, &front))
		r = start_over(&m, &behind, &front, e);
	else
		r = check_tables(&m, e) < 0 ? -1 : give_up_all(&m, e);
	qcow2_edit_close(&d);
	return r;
}
