/* SPDX-License-Identifier: MIT */
/*
 * New refcount blocks and tables, and old ones out. The placement is QEMU's:
 * a block goes into the first free cluster, a table that must grow goes with
 * blocks for itself behind everything that the old one could count.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "base/zero.h"
#include "format/qcow2_refs_int.h"

static void
hook(struct qcow2_refs *r, uint64_t ti, uint64_t entry)
{
	r->table[ti] = entry;
	if (r->hook_hi == 0) {
		r->hook_lo = ti;
		r->hook_hi = ti + 1;
	} else {
		r->hook_lo = units_min(r->hook_lo, ti);
		r->hook_hi = units_max(r->hook_hi, ti + 1);
	}
}

static int
new_area(struct qcow2_refs *r, uint64_t start, uint64_t more, bool exact,
	uint64_t new_ti, uint64_t new_hoff, uint64_t *ret, struct err *e);

int
qcow2_refs_cover(struct qcow2_refs *r, uint64_t cluster, unsigned depth,
	struct err *e)
{
	uint64_t ti = cluster >> r->block_bits, clu, used, end;
	struct qcow2_refs_block *b;

	if (depth >= QCOW2_REFS_DEPTH)
		return err_set(e, ERR_CORRUPT,
			"no refcount block can be placed for cluster %" PRIu64,
			cluster);
	if (qcow2_refs_find(r, 1, &clu, e) < 0)
		return -1;
	if (clu >> r->block_bits != ti) {
		bool again;

		if (qcow2_refs_add(r, clu, 1, depth + 1, &again, e) < 0)
			return -1;
		/* the block at clu is given up: nothing counts it */
		if (again)
			return 0;
	}
	if (qcow2_refs_block_new(r, clu << r->cluster_bits, &b, e) < 0)
		return -1;
	if (clu >> r->block_bits == ti)
		qcow2_refs_put(r, b,
			clu & ((UINT64_C(1) << r->block_bits) - 1), 1);
	if (ti < r->n_table) {
		hook(r, ti, clu << r->cluster_bits);
		return 0;
	}
	used = (units_max(cluster, clu) >> r->block_bits) + 1;
	return new_area(r, used << r->block_bits, 0, false, ti,
		clu << r->cluster_bits, &end, e);
}

/* Counts [start, end) in the blocks from table index `from` on, making the
 * blocks that miss at *block_hoff and onwards. */
static int
fill_blocks(struct qcow2_refs *r, uint64_t from, uint64_t to, uint64_t start,
	uint64_t end, uint64_t block_hoff, struct err *e)
{
	uint64_t per_block = UINT64_C(1) << r->block_bits;

	for (uint64_t ti = from; ti < to; ti++) {
		uint64_t lo = units_max(ti * per_block, start);
		uint64_t hi = units_min((ti + 1) * per_block, end);
		struct qcow2_refs_block *b;

		if (r->table[ti] != 0) {
			if (qcow2_refs_block_at(r, ti, &b, e) < 0)
				return -1;
		} else {
			if (qcow2_refs_block_new(r, block_hoff, &b, e) < 0)
				return -1;
			r->table[ti] = block_hoff;
			block_hoff += UINT64_C(1) << r->cluster_bits;
		}
		for (uint64_t c = lo; c < hi; c++)
			qcow2_refs_put(r, b, c & (per_block - 1), 1);
	}
	return 0;
}

static int
new_area(struct qcow2_refs *r, uint64_t start, uint64_t more, bool exact,
	uint64_t new_ti, uint64_t new_hoff, uint64_t *ret, struct err *e)
{
	uint64_t blocks = qcow2_refcount_blocks(r->cluster_bits,
		r->block_bits, start + more, !exact);
	uint64_t n = exact ? blocks : blocks + units_div_up(blocks, 2);
	uint64_t from = start >> r->block_bits, fresh = 0, v;
	uint64_t clusters, old_hoff = r->table_hoff, old_n = r->n_table;
	uint64_t *table;

	for (uint64_t i = r->n_table; i > n; i--) {
		if (r->table[i - 1] != 0)
			n = i; /* a block more than needed stays counted */
	}
	n = units_align_up(n, (UINT64_C(1) << r->cluster_bits) / 8);
	if (n * 8 > QCOW2_REFTABLE_MAX)
		return err_set(e, ERR_LIMIT, "the refcount table would exceed "
			"%u MiB", QCOW2_REFTABLE_MAX >> 20);
	clusters = n * 8 >> r->cluster_bits;
	table = calloc(n, sizeof(*table));
	if (!table)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(table, r->table, units_min(n, r->n_table) * sizeof(*table));
	if (new_hoff)
		table[new_ti] = new_hoff;
	for (uint64_t i = from; i < blocks; i++)
		fresh += table[i] == 0;
	/* What lies behind `start` is free by our caller's word; an image
	 * whose own counts say otherwise never gets here. */
	free(r->table);
	r->table = table;
	r->n_table = n;
	r->table_hoff = (start + fresh) << r->cluster_bits;
	r->moved = true;
	*ret = start + fresh + clusters;
	for (uint64_t c = start; c < *ret; c++) {
		if (qcow2_refs_get(r, c, &v, e) < 0)
			return -1;
		if (v != 0)
			return err_set(e, ERR_CORRUPT, "cluster %" PRIu64
				" behind the end is in use", c);
	}
	if (fill_blocks(r, from, blocks, start, *ret,
		    start << r->cluster_bits, e) < 0 ||
		qcow2_refs_flush(r, e) < 0 || plan_run(r->plan, e) < 0)
		return -1;
	/* Run, for the old table's place may be taken by guest data at once,
	 * and those are written past the plan. */
	qcow2_overlap_put(&r->overlap, QCOW2_META_REFTABLE, r->table_hoff, n * 8);
	return qcow2_refs_drop(r, old_hoff, old_n * 8, e);
}

int
qcow2_refs_area(struct qcow2_refs *r, uint64_t start, uint64_t more, bool exact,
	uint64_t *ret, struct err *e)
{
	return new_area(r, start, more, exact, 0, 0, ret, e);
}

/* Blocks that left the table: the counts that others keep of them. */
static int
drop_pruned(struct qcow2_refs *r, const uint64_t *old, struct err *e)
{
	for (uint64_t ti = 0; ti < r->n_table; ti++) {
		uint64_t hoff = old[ti] & QCOW2_REFTABLE_OFFSET, v = 0;
		uint64_t by = hoff >> r->cluster_bits >> r->block_bits;

		if (hoff == 0 || r->table[ti] != 0)
			continue;
		if (by >= r->n_table || old[by] == 0)
			return qcow2_refs_corrupt(r, e, "Refblock at %#" PRIx64
				" is not covered by the refcount structures",
				hoff);
		if (r->table[by] != 0 && qcow2_refs_get(r,
			hoff >> r->cluster_bits, &v, e) < 0)
			return -1;
		if (v != 1) {
			qcow2_refs_corrupt(r, e, "Invalid refcount: "
				"refblock offset %#" PRIx64 ", reftable index %"
				PRIu64 ", block offset %#" PRIx64
				", refcount %#" PRIx64, old[by] &
				QCOW2_REFTABLE_OFFSET, by, hoff, v);
			if (e)
				e->eno = EINVAL;
			return -1;
		}
		if (qcow2_refs_drop(r, hoff, UINT64_C(1) << r->cluster_bits,
			e) < 0)
			return -1;
	}
	return 0;
}

int
qcow2_refs_prune(struct qcow2_refs *r, struct err *e)
{
	uint64_t mask = (UINT64_C(1) << r->cluster_bits) - 1;
	CLEANUP_FREE uint64_t *old = malloc(r->n_table * sizeof(*old));

	if (!old)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(old, r->table, r->n_table * sizeof(*old));
	for (uint64_t ti = 0; ti < r->n_table; ti++) {
		uint64_t hoff = old[ti] & QCOW2_REFTABLE_OFFSET;

		if (hoff & mask)
			return qcow2_refs_corrupt(r, e, "Cannot get entry from "
				"refcount block cache: Offset %#" PRIx64
				" is unaligned", hoff);
		if (hoff >= r->plan->end[PLAN_IMAGE])
			hook(r, ti, 0);
	}
	/* The entries must be off the disk before the counts go down. */
	if (r->hook_hi == 0)
		return 0;
	if (qcow2_refs_flush(r, e) < 0 || plan_run(r->plan, e) < 0)
		return -1;
	return drop_pruned(r, old, e);
}

static bool
counts_nothing(struct qcow2_refs *r, uint64_t ti, struct qcow2_refs_block *b)
{
	uint64_t own = b->hoff >> r->cluster_bits;
	uint64_t i = own & ((UINT64_C(1) << r->block_bits) - 1), v;
	bool zero;

	if (own >> r->block_bits != ti)
		return zero_is(b->p, UINT64_C(1) << r->cluster_bits);
	v = qcow2_refcount_get(b->p, r->order, i);
	qcow2_refcount_set(b->p, r->order, i, 0);
	zero = zero_is(b->p, UINT64_C(1) << r->cluster_bits);
	qcow2_refcount_set(b->p, r->order, i, v);
	return zero;
}

int
qcow2_refs_shrink(struct qcow2_refs *r, struct err *e)
{
	CLEANUP_FREE uint64_t *old = NULL;

	old = malloc(r->n_table * sizeof(*old));
	if (!old)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(old, r->table, r->n_table * sizeof(*old));
	for (uint64_t ti = 0; ti < r->n_table; ti++) {
		struct qcow2_refs_block *b;

		if (qcow2_refs_block_at(r, ti, &b, e) < 0)
			return -1;
		if (b && counts_nothing(r, ti, b)) {
			b->hoff = b->lo = b->hi = 0;
			hook(r, ti, 0);
		}
	}
	if (r->hook_hi == 0)
		return 0;
	/* The entry must be off the disk before its block's count is: a block
	 * in the table with count 0 is corruption. */
	if (qcow2_refs_flush(r, e) < 0)
		return -1;
	for (uint64_t ti = 0; ti < r->n_table; ti++) {
		uint64_t own = old[ti] >> r->cluster_bits;

		if (old[ti] == 0 || r->table[ti] != 0)
			continue;
		if (own >> r->block_bits == ti)
			continue; /* its count went with it */
		if (qcow2_refs_drop(r, old[ti] & QCOW2_REFTABLE_OFFSET,
			    UINT64_C(1) << r->cluster_bits, e) < 0)
			return -1;
	}
	return 0;
}
