/* SPDX-License-Identifier: MIT */
/*
 * Refcounts of another width: new blocks and a new table, which count all but
 * the old ones; the header turns to them in one sector, and with that the old
 * ones are free.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_amend.h"

#define SLACK 64u /* table entries beyond those needed at first */

struct width {
	struct qcow2_edit *d;
	unsigned order, bits; /* log2: of count bits, of counts per block */
	uint64_t *place;      /* of the new blocks; 1: wanted, 0: not needed */
	uint64_t n;           /* room in it */
	uint64_t *old;        /* old blocks, sorted cluster numbers */
	uint64_t n_old;
	uint64_t table_hoff;
	const struct watch *watch;
	unsigned walks; /* that QEMU would have made: those that placed blocks,
			 * one that finds nothing to place; one writes */
};

static int
by_number(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

static int
want(struct width *w, uint64_t cluster, struct err *e)
{
	uint64_t ti = cluster >> w->bits, *v;
	uint64_t per = qcow2_cluster_size(w->d->h) / 8;

	if (ti >= w->n) {
		uint64_t n = units_align_up(ti + SLACK, per);

		if (n * 8 > QCOW2_REFTABLE_MAX)
			return err_set(e, ERR_LIMIT, "the refcount table would "
				"exceed %u MiB", QCOW2_REFTABLE_MAX >> 20);
		v = realloc(w->place, n * sizeof(*v));
		if (!v)
			return err_set(e, ERR_NOMEM, "out of memory");
		memset(v + w->n, 0, (n - w->n) * sizeof(*v));
		w->place = v;
		w->n = n;
	}
	if (w->place[ti] == 0)
		w->place[ti] = 1;
	return 0;
}

/* The old blocks. One that is there twice would count clusters without end. */
static int
list_old(struct width *w, struct err *e)
{
	const struct qcow2_refs *r = &w->d->refs;

	w->n_old = 0;
	for (uint64_t ti = 0; ti < r->n_table; ti++) {
		if (r->table[ti] != 0)
			w->old[w->n_old++] = (r->table[ti] &
				QCOW2_REFTABLE_OFFSET) >> r->cluster_bits;
	}
	qsort(w->old, w->n_old, sizeof(*w->old), by_number);
	for (uint64_t i = 1; i < w->n_old; i++) {
		if (w->old[i] == w->old[i - 1])
			return err_set(e, ERR_CORRUPT, "the refcount block at "
				"%" PRIu64 " is there twice",
				w->old[i] << r->cluster_bits);
	}
	return 0;
}

/* Every count fits, and every block that will count something is wanted. */
static int
look(struct width *w, struct err *e)
{
	struct qcow2_refs *r = &w->d->refs;
	uint64_t max = w->order == 6 ? UINT64_MAX
		: (UINT64_C(1) << (1u << w->order)) - 1;
	uint64_t per = UINT64_C(1) << r->block_bits, v;

	if (list_old(w, e) < 0)
		return -1;
	for (uint64_t ti = 0; ti < r->n_table; ti++) {
		if (r->table[ti] == 0)
			continue;
		if (plan_go_on(r->plan, e) < 0)
			return -1;
		for (uint64_t i = 0; i < per; i++) {
			uint64_t c = ti * per + i;

			if (qcow2_refs_get(r, c, &v, e) < 0)
				return -1;
			if (v > max)
				return err_set(e, ERR_LIMIT, "Cannot decrease "
					"refcount entry width to %u bits: "
					"Cluster at offset 0x%" PRIx64 " has a "
					"refcount of %" PRIu64, 1u << w->order,
					c << r->cluster_bits, v);
			if (v && want(w, c, e) < 0)
				return -1;
		}
	}
	return 0;
}

/* A walk was made: never the last one, and the third shows that there will be
 * more than three. */
static void
walked(struct width *w)
{
	unsigned i = w->walks++, total = i > 1 ? i + 2 : 3;

	watch_progress(w->watch, i, total);
	watch_progress(w->watch, i + 1, total);
}

/* Places what is wanted; that may make more wanted. */
static int
place(struct width *w, struct err *e)
{
	struct qcow2_refs *r = &w->d->refs;
	uint64_t hoff, n, i = 0;
	bool placed = false;

	while (i < w->n) {
		if (w->place[i] != 1) {
			i++;
			continue;
		}
		if (plan_go_on(r->plan, e) < 0 ||
			qcow2_refs_alloc(r, 1, &hoff, e) < 0)
			return -1;
		w->place[i] = hoff;
		placed = true;
		if (want(w, hoff >> r->cluster_bits, e) < 0)
			return -1;
		/* nothing else before it is wanted */
		i = units_min(i, hoff >> r->cluster_bits >> w->bits);
	}
	if (placed)
		walked(w);
	if (w->table_hoff)
		return 0;
	/* the table, and then the blocks that count it */
	do {
		n = w->n;
		if (w->table_hoff && qcow2_refs_drop(r, w->table_hoff, n * 8,
			e) < 0)
			return -1;
		if (qcow2_refs_alloc(r, n * 8 >> r->cluster_bits,
			    &w->table_hoff, e) < 0)
			return -1;
		for (i = 0; i < n * 8 >> r->cluster_bits; i++) {
			if (want(w, (w->table_hoff >> r->cluster_bits) + i,
				    e) < 0)
				return -1;
		}
		if (place(w, e) < 0) /* once: there is a table now */
			return -1;
	} while (n != w->n);
	return 0;
}

static bool
is_old(const struct width *w, uint64_t cluster)
{
	const struct qcow2_refs *r = &w->d->refs;
	uint64_t first = r->table_hoff >> r->cluster_bits;

	return (cluster >= first &&
		       cluster < first + (r->n_table * 8 >> r->cluster_bits)) ||
		bsearch(&cluster, w->old, w->n_old, sizeof(*w->old),
			by_number);
}

static int
write_all(struct width *w, struct err *e)
{
	struct qcow2_refs *r = &w->d->refs;
	uint64_t cs = qcow2_cluster_size(w->d->h);
	uint64_t per = UINT64_C(1) << w->bits, v;
	CLEANUP_FREE uint8_t *block = malloc(cs);
	CLEANUP_FREE uint8_t *table = calloc(w->n, 8);

	if (!block || !table)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint64_t ti = 0; ti < w->n; ti++) {
		store_be64(table + ti * 8, w->place[ti]);
		if (w->place[ti] == 0)
			continue;
		memset(block, 0, cs);
		for (uint64_t i = 0; i < per; i++) {
			uint64_t c = ti * per + i;

			if (qcow2_refs_get(r, c, &v, e) < 0)
				return -1;
			if (v && is_old(w, c))
				v--;
			qcow2_refcount_set(block, w->order, i, v);
		}
		if (plan_write(&w->d->plan, PLAN_IMAGE, w->place[ti], block,
			    cs, e) < 0)
			return -1;
	}
	return plan_write(&w->d->plan, PLAN_IMAGE, w->table_hoff, table,
		w->n * 8, e);
}

int
qcow2_amend_width(struct qcow2_edit *d, unsigned order, const struct watch *watch,
	struct err *e)
{
	struct width w = {
		.d = d, .order = order, .watch = watch,
		.bits = d->h->cluster_bits + 3 - order,
	};
	CLEANUP_FREE uint64_t *old = calloc(units_max(d->refs.n_table, 1),
		sizeof(*old));
	/* blocks that the allocation adds while it goes are old ones too */
	uint64_t had;
	int r = -1;

	if (!old)
		return err_set(e, ERR_NOMEM, "out of memory");
	w.old = old;
	if (look(&w, e) == 0 && place(&w, e) == 0) {
		had = d->refs.n_table;
		free(old);
		w.old = old = calloc(had, sizeof(*old));
		r = old ? look(&w, e)
			: err_set(e, ERR_NOMEM, "out of memory");
	}
	if (r == 0)
		r = place(&w, e);
	if (r == 0) {
		walked(&w);
		r = write_all(&w, e);
	}
	if (r == 0)
		r = qcow2_refs_flush(&d->refs, e);
	if (r == 0) {
		store_be64(d->head + 48, w.table_hoff);
		store_be32(d->head + 56, w.n * 8 >> d->h->cluster_bits);
		store_be32(d->head + 96, order);
		r = qcow2_edit_head(d, e);
	}
	free(w.place);
	return r < 0 ? -1 : plan_barrier(&d->plan, "done", e);
}
