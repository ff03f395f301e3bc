/* SPDX-License-Identifier: MIT */
/*
 * Refcount table and blocks made anew from the counts in memory, placed where
 * QEMU places them: a block goes into the first gap that no earlier block has
 * to count, the table into the first that is wide enough. Nothing that is
 * referred to is touched before the header turns to the new table; the old
 * ones are then leaks for the caller to mend.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_check_int.h"

#define REFTABLE_AT 48 /* in the header: offset, then clusters */

struct rebuild {
	struct qcow2_check *c;
	uint64_t *table; /* host order; owned */
	uint64_t n;      /* entries */
	uint64_t hoff;   /* of the table */
	bool grown;      /* the table, since it was last placed */
};

/* n clusters in a row that are free, from *from on; *from becomes the first
 * gap that was met. */
static int
allocate(struct qcow2_check *c, uint64_t n, uint64_t *from, uint64_t *ret,
	struct err *e)
{
	uint64_t clu = *from, run = 0;
	bool first = true;

	for (; clu < c->counts.n && run < n; clu++) {
		if (qcow2_counts_get(&c->counts, clu) != 0) {
			run = 0;
			continue;
		}
		run++;
		if (first)
			*from = clu;
		first = false;
	}
	if (run < n && qcow2_counts_grow(&c->counts, clu + n - run, e))
		return -1;
	clu -= run;
	for (uint64_t i = 0; i < n; i++) {
		if (qcow2_counts_set(&c->counts, clu + i, 1, e))
			return -1;
	}
	*ret = clu;
	return 0;
}

static int
widen(struct rebuild *r, uint64_t ti, struct err *e)
{
	uint64_t n = units_align_up((ti + 1) * 8, r->c->cluster) / 8;
	uint64_t *v;

	if (n * 8 > QCOW2_REFTABLE_MAX) {
		qcow2_check_io_report(r->c, "ERROR allocating reftable: %s",
			strerror(EFBIG));
		return qcow2_check_io_stop(r->c, EFBIG, e);
	}
	v = realloc(r->table, n * sizeof(*v));
	if (!v)
		return err_set(e, ERR_NOMEM, "no memory for a refcount table");
	memset(v + r->n, 0, (n - r->n) * sizeof(*v));
	r->table = v;
	r->n = n;
	r->grown = true;
	return 0;
}

/* Gives a block to every cluster in [clu, end) that is in use, and to those
 * blocks in turn. */
static int
place_blocks(struct rebuild *r, uint64_t clu, uint64_t end, struct err *e)
{
	struct qcow2_check *c = r->c;
	uint64_t free_from = 0, at;

	for (; clu < end; clu++) {
		uint64_t ti = clu >> c->block_bits;
		uint64_t first = ti << c->block_bits;

		if (qcow2_counts_get(&c->counts, clu) == 0)
			continue;
		if (ti >= r->n || r->table[ti] == 0) {
			free_from = units_max(free_from, first);
			if (allocate(c, 1, &free_from, &at, e))
				return -1;
			end = units_max(end, at + 1);
			if (ti >= r->n && widen(r, ti, e))
				return -1;
			r->table[ti] = at << c->h->cluster_bits;
		}
		clu = first + (UINT64_C(1) << c->block_bits) - 1;
	}
	return 0;
}

static int
place_table(struct rebuild *r, struct err *e)
{
	struct qcow2_check *c = r->c;
	uint64_t clusters, from, at;

	do {
		from = 0;
		clusters = units_div_up(r->n * 8, c->cluster);
		r->grown = false;
		if (allocate(c, clusters, &from, &at, e) ||
			place_blocks(r, at, at + clusters, e))
			return -1;
	} while (r->grown);
	r->hoff = at << c->h->cluster_bits;
	return 0;
}

/* Gaps are free by what was counted; what could not be counted, or was given
 * up, may still lie there. */
static int
check_place(struct qcow2_check *c, const char *name, uint64_t hoff,
	uint64_t len, struct err *e)
{
	const char *what;

	if (qcow2_check_io_overlap(c, QCOW2_META_NONE, hoff, len, &what, e))
		return -1;
	if (!what)
		return 0;
	if (qcow2_check_io_signal(c, e, "Preventing invalid write on metadata "
		"(overlaps with %s)", what))
		return -1;
	qcow2_check_io_report(c, "ERROR writing %s: %s", name, strerror(EIO));
	plan_forget(&c->plan);
	if (qcow2_check_io_features(c, e))
		return -1;
	return qcow2_check_io_stop(c, EIO, e);
}

static int
check_places(struct rebuild *r, struct err *e)
{
	for (uint64_t ti = 0; ti < r->n; ti++) {
		if (r->table[ti] && check_place(r->c, "refblock", r->table[ti],
			r->c->cluster, e))
			return -1;
	}
	return check_place(r->c, "reftable", r->hoff, r->n * 8, e);
}

static int
write_blocks(struct rebuild *r, struct err *e)
{
	struct qcow2_check *c = r->c;
	uint64_t per_block = UINT64_C(1) << c->block_bits;

	for (uint64_t ti = 0; ti < r->n; ti++) {
		uint64_t first = ti * per_block;
		uint64_t end = units_min(first + per_block, c->counts.n);

		if (r->table[ti] == 0)
			continue;
		memset(c->block_buf, 0, c->cluster);
		for (uint64_t clu = first; clu < end; clu++) {
			uint64_t v = qcow2_counts_get(&c->counts, clu);

			if (v)
				qcow2_refcount_set(c->block_buf,
					c->h->refcount_order, clu - first, v);
		}
		if (plan_write(&c->plan, PLAN_IMAGE, r->table[ti],
			c->block_buf, c->cluster, e))
			return -1;
	}
	return 0;
}

static int
write_table(struct rebuild *r, struct err *e)
{
	CLEANUP_FREE uint8_t *out = malloc(r->n * 8);

	if (!out)
		return err_set(e, ERR_NOMEM, "no memory for a refcount table");
	for (uint64_t i = 0; i < r->n; i++)
		store_be64(out + i * 8, r->table[i]);
	return plan_write(&r->c->plan, PLAN_IMAGE, r->hoff, out, r->n * 8, e);
}

static int
switch_header(struct rebuild *r, struct err *e)
{
	struct qcow2_check *c = r->c;
	uint8_t b[12];

	c->h->reftable_offset = r->hoff;
	c->h->reftable_clusters =
		(uint32_t)units_div_up(r->n * 8, c->cluster);
	store_be64(b, c->h->reftable_offset);
	store_be32(b + 8, c->h->reftable_clusters);
	return plan_write(&c->plan, PLAN_IMAGE, REFTABLE_AT, b, sizeof(b), e);
}

int
qcow2_check_rebuild(struct qcow2_check *c, struct err *e)
{
	struct rebuild r = {.c = c};
	int status = -1;

	if (place_blocks(&r, 0, c->counts.n, e) == 0 &&
		place_table(&r, e) == 0 && check_places(&r, e) == 0 &&
		write_blocks(&r, e) == 0 &&
		write_table(&r, e) == 0 &&
		plan_barrier(&c->plan, "new counts before the header", e) == 0 &&
		switch_header(&r, e) == 0 && qcow2_check_io_run(c, e) == 0)
		status = qcow2_check_blocks_load(c, e);
	if (status)
		c->r->errors++;
	free(r.table);
	return status;
}
