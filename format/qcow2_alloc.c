/* SPDX-License-Identifier: MIT */
/*
 * Giving out host clusters in QEMU's order. Refcounts decide what is free;
 * the search goes on from `next`. A change that needs a new refcount block
 * makes it, takes itself back and reports AGAIN, because the block may lie
 * where the caller wanted to go: the caller then searches again. Refcount
 * blocks and the table are kept by qcow2_alloc_block.c; what the clusters
 * hold is not known here.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2.h"
#include "format/qcow2_alloc_block.h"

/* 2^56 - 1: offsets in L1, L2 (specification: bits 9..55). */
#define HOFF_MAX ((UINT64_C(1) << 56) - 1)
#define TABLE_MAX (QCOW2_REFTABLE_MAX / sizeof(uint64_t))

static int change(struct qcow2_alloc *a, uint64_t cx, uint64_t n, bool up,
	struct err *e);
static int area(struct qcow2_alloc *a, uint64_t start, uint64_t more,
	bool exact, uint64_t new_rx, uint64_t new_hoff, uint64_t *ret_hoff,
	struct err *e);

/* How many clusters from cx on are free, at most n. */
static int
free_run(struct qcow2_alloc *a, uint64_t cx, uint64_t n, uint64_t *ret_n,
	struct err *e)
{
	uint64_t per = UINT64_C(1) << a->block_bits;
	uint64_t run = 0;

	while (run < n) {
		uint64_t rx = (cx + run) >> a->block_bits;
		uint64_t i = (cx + run) & (per - 1);
		uint64_t stop = units_min(per, i + (n - run));
		struct qcow2_alloc_block *b;

		if (rx >= a->entries || !a->table[rx]) {
			run += stop - i;
			continue;
		}
		if (qcow2_alloc_block_load(a, rx, &b, e))
			return -1;
		for (; i < stop; i++, run++)
			if (qcow2_refcount_get(b->p, a->order, i)) {
				*ret_n = run;
				return 0;
			}
	}
	*ret_n = n;
	return 0;
}

/* n contiguous free clusters, not counted yet. */
static int
find(struct qcow2_alloc *a, uint64_t n, uint64_t hoff_max, uint64_t *ret_cx,
	struct err *e)
{
	uint64_t run;

	for (;;) {
		if (free_run(a, a->next, n, &run, e))
			return -1;
		if (run == n)
			break;
		a->next += run + 1;
	}
	a->next += n;
	if (a->next && a->next - 1 > hoff_max >> a->bits)
		return err_set(e, ERR_LIMIT, "image needs host offsets beyond "
			"%" PRIu64, hoff_max);
	*ret_cx = a->next - n;
	return 0;
}

/* A refcount block for cluster cx, which has none. Ends in AGAIN. */
static int
make_block(struct qcow2_alloc *a, uint64_t cx, struct err *e)
{
	uint64_t rx = cx >> a->block_bits, at, used, after;
	struct qcow2_alloc_block *b;
	int r;

	if (find(a, 1, HOFF_MAX, &at, e))
		return -1;
	if (at >> a->block_bits != rx) {
		/* Counted by another block, which may be missing too: then
		 * that one is made first, and it counts itself. */
		r = change(a, at, 1, true, e);
		if (r)
			return r;
	}
	if (qcow2_alloc_block_new(a, rx, at << a->bits, &b, e))
		return -1;
	if (at >> a->block_bits == rx)
		qcow2_refcount_set(b->p, a->order,
			at & ((UINT64_C(1) << a->block_bits) - 1), 1);
	if (rx < a->entries) {
		a->table[rx] = at << a->bits;
		return QCOW2_ALLOC_AGAIN;
	}
	/* The table is full: a new one starts where a refcount block that
	 * counts neither cx nor the new block begins. */
	used = units_max(cx, at) + 1;
	used = units_align_up(used, UINT64_C(1) << a->block_bits);
	if (area(a, used << a->bits, 0, false, rx, at << a->bits, &after, e))
		return -1;
	return QCOW2_ALLOC_AGAIN;
}

/* Counts n clusters from cx up or down by one. 0, -1, or AGAIN: nothing was
 * changed but a refcount block made. */
static int
change(struct qcow2_alloc *a, uint64_t cx, uint64_t n, bool up, struct err *e)
{
	uint64_t mask = (UINT64_C(1) << a->block_bits) - 1;
	uint64_t max = UINT64_MAX >> (64 - (1u << a->order));
	struct qcow2_alloc_block *b = NULL;
	uint64_t i, v;
	int r;

	for (i = cx; i < cx + n; i++) {
		uint64_t rx = i >> a->block_bits;

		if (!b || !(i & mask)) {
			if (rx >= a->entries || !a->table[rx]) {
				r = make_block(a, i, e);
				if (r != QCOW2_ALLOC_AGAIN)
					return r;
				a->next = units_min(a->next, cx);
				if (change(a, cx, i - cx, !up, e))
					return -1;
				return QCOW2_ALLOC_AGAIN;
			}
			if (qcow2_alloc_block_load(a, rx, &b, e))
				return -1;
		}
		v = qcow2_refcount_get(b->p, a->order, i & mask);
		if (v == (up ? max : 0))
			return err_set(e, ERR_LIMIT, "refcount %" PRIu64 " of "
				"cluster %" PRIu64 " cannot be changed", v, i);
		v = up ? v + 1 : v - 1;
		if (!v && i < a->next)
			a->next = i;
		qcow2_refcount_set(b->p, a->order, i & mask, v);
		b->dirty = true;
	}
	return 0;
}

int
qcow2_alloc_take(struct qcow2_alloc *a, uint64_t n, uint64_t *ret_hoff,
	struct err *e)
{
	uint64_t cx;
	int r;

	do {
		if (find(a, n, HOFF_MAX, &cx, e))
			return -1;
		r = change(a, cx, n, true, e);
	} while (r == QCOW2_ALLOC_AGAIN);
	if (r)
		return -1;
	*ret_hoff = cx << a->bits;
	return 0;
}

int
qcow2_alloc_take_at(struct qcow2_alloc *a, uint64_t hoff, uint64_t n,
	uint64_t *ret_n, struct err *e)
{
	uint64_t run;
	int r;

	do {
		if (free_run(a, hoff >> a->bits, n, &run, e))
			return -1;
		r = change(a, hoff >> a->bits, run, true, e);
	} while (r == QCOW2_ALLOC_AGAIN);
	if (r)
		return -1;
	*ret_n = run;
	return 0;
}

int
qcow2_alloc_take_bytes(struct qcow2_alloc *a, uint64_t len, uint64_t hoff_max,
	uint64_t *ret_hoff, struct err *e)
{
	uint64_t cs = UINT64_C(1) << a->bits, off = a->packed, room, cx, v;
	uint64_t mask = (UINT64_C(1) << a->block_bits) - 1;
	struct qcow2_alloc_block *b;
	int r;

	if (off) {
		cx = off >> a->bits;
		if (qcow2_alloc_block_load(a, cx >> a->block_bits, &b, e))
			return -1;
		v = qcow2_refcount_get(b->p, a->order, cx & mask);
		if (v == UINT64_MAX >> (64 - (1u << a->order)))
			off = 0;
	}
	room = cs - (off & (cs - 1));
	do {
		if (!off || room < len) {
			if (find(a, 1, units_min(hoff_max, HOFF_MAX), &cx, e))
				return -1;
			if (!off || units_align_up(off, cs) != cx << a->bits) {
				off = cx << a->bits;
				room = cs;
			} else {
				room += cs;
			}
		}
		cx = off >> a->bits;
		r = change(a, cx, ((off + len - 1) >> a->bits) - cx + 1, true,
			e);
		if (r == QCOW2_ALLOC_AGAIN)
			off = 0;
	} while (r == QCOW2_ALLOC_AGAIN);
	if (r)
		return -1;
	a->packed = off + len;
	if (!(a->packed & (cs - 1)))
		a->packed = 0;
	qcow2_alloc_reach(a, off + len);
	*ret_hoff = off;
	return 0;
}

int
qcow2_alloc_release(struct qcow2_alloc *a, uint64_t hoff, uint64_t n,
	struct err *e)
{
	return change(a, hoff >> a->bits, n, false, e);
}

/* Counts the clusters of [from, to) once in block rx, as far as it covers
 * them. */
static void
count_area(struct qcow2_alloc *a, struct qcow2_alloc_block *b, uint64_t rx,
	uint64_t from, uint64_t to)
{
	uint64_t first = rx << a->block_bits;
	uint64_t i = from > first ? from - first : 0;
	uint64_t stop = to > first ? to - first : 0;

	stop = units_min(stop, UINT64_C(1) << a->block_bits);
	for (; i < stop; i++) {
		qcow2_refcount_set(b->p, a->order, i, 1);
		b->dirty = true;
	}
}

static int
area(struct qcow2_alloc *a, uint64_t start, uint64_t more, bool exact,
	uint64_t new_rx, uint64_t new_hoff, uint64_t *ret_hoff, struct err *e)
{
	uint64_t cs = UINT64_C(1) << a->bits, cx = start >> a->bits;
	uint64_t blocks = qcow2_refcount_blocks(a->bits, a->block_bits,
		cx + more, !exact);
	uint64_t entries = exact ? blocks : blocks + units_div_up(blocks, 2);
	uint64_t old_entries = a->entries, old_hoff = a->table_hoff;
	uint64_t rx, made = 0, table_hoff, end, at = start;
	struct qcow2_alloc_block *b;

	entries = units_align_up(entries, cs / sizeof(uint64_t));
	if (entries > TABLE_MAX)
		return err_set(e, ERR_LIMIT, "refcount table of %" PRIu64
			" bytes exceeds %u", entries * sizeof(uint64_t),
			QCOW2_REFTABLE_MAX);
	if (qcow2_alloc_block_table(a, entries, e))
		return -1;
	if (new_hoff)
		a->table[new_rx] = new_hoff;
	for (rx = cx >> a->block_bits; rx < blocks; rx++)
		made += !a->table[rx];
	table_hoff = start + made * cs;
	end = table_hoff + entries * sizeof(uint64_t);
	for (rx = cx >> a->block_bits; rx < blocks; rx++) {
		if (a->table[rx]) {
			if (qcow2_alloc_block_load(a, rx, &b, e))
				return -1;
		} else {
			if (qcow2_alloc_block_new(a, rx, at, &b, e))
				return -1;
			a->table[rx] = at;
			at += cs;
		}
		count_area(a, b, rx, cx, end >> a->bits);
	}
	a->table_hoff = table_hoff;
	a->table_virgin = true;
	qcow2_alloc_reach(a, end);
	*ret_hoff = end;
	return qcow2_alloc_release(a, old_hoff,
		units_div_up(old_entries * sizeof(uint64_t), cs), e);
}

int
qcow2_alloc_area(struct qcow2_alloc *a, uint64_t start, uint64_t more,
	bool exact, uint64_t *ret_hoff, struct err *e)
{
	return area(a, start, more, exact, 0, 0, ret_hoff, e);
}

int
qcow2_alloc_used(struct qcow2_alloc *a, uint64_t *ret_hoff, struct err *e)
{
	uint64_t cx = units_div_up(a->end, UINT64_C(1) << a->bits), run;

	for (; cx; cx--) {
		if (free_run(a, cx - 1, 1, &run, e))
			return -1;
		if (!run)
			break;
	}
	*ret_hoff = cx << a->bits;
	return 0;
}

int
qcow2_alloc_open(struct qcow2_alloc *a, struct file *f, bool fresh,
	unsigned bits, unsigned order, struct err *e)
{
	struct qcow2_alloc_block *b;
	uint64_t hoff;

	memset(a, 0, sizeof(*a));
	a->f = f;
	a->fresh = fresh;
	a->bits = bits;
	a->order = order;
	a->block_bits = bits + 3 - order;
	a->table_hoff = UINT64_C(1) << bits;
	a->table_virgin = true;
	if (qcow2_alloc_block_open(a, e) ||
		qcow2_alloc_block_new(a, 0, UINT64_C(2) << bits, &b, e))
		return -1;
	a->table[0] = UINT64_C(2) << bits;
	return qcow2_alloc_take(a, 3, &hoff, e);
}
