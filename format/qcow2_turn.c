/* SPDX-License-Identifier: MIT */
/*
 * The counts of a turn: copies of refcount blocks that count what is to be
 * and, while they are in use, themselves. The tables are qcow2_turn_run.c's.
 */
#include "format/qcow2_turn.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_refs_int.h"
#include "format/qcow2_turn_int.h"

int
qcow2_turn_begin(struct qcow2_turn *t, struct qcow2_edit *d, struct err *e)
{
	struct qcow2_header h;
	uint64_t cs = qcow2_cluster_size(d->h);

	*t = (struct qcow2_turn){.d = d};
	/* New blocks must be hooked up; else the barrier before the turn is
	 * enough. */
	if ((d->refs.moved || d->refs.hook_hi != 0
			    ? qcow2_refs_flush(&d->refs, e)
			    : qcow2_refs_write(&d->refs, e)) < 0 ||
		plan_run(&d->plan, e) < 0)
		return -1;
	h = *d->h;
	h.reftable_offset = d->refs.table_hoff;
	h.reftable_clusters = d->refs.n_table * 8 >> h.cluster_bits;
	t->table = malloc(cs);
	if (!t->table)
		return err_set(e, ERR_NOMEM, "out of memory");
	t->file_end = d->plan.end[PLAN_IMAGE];
	t->first = t->end = units_div_up(t->file_end, cs);
	return qcow2_refs_open(&t->next, &d->plan, &h, d->head, d->head_len,
		e);
}

void
qcow2_turn_end(struct qcow2_turn *t)
{
	struct plan *p = &t->d->plan;
	struct err ignored;

	/* Nothing refers to the copies of a turn that was not made. */
	if (!t->turned && t->table && p->end[PLAN_IMAGE] > t->file_end &&
		plan_truncate(p, PLAN_IMAGE, t->file_end, &ignored) == 0)
		(void)plan_run(p, &ignored);
	qcow2_refs_close(&t->next);
	free(t->table);
	t->table = NULL;
}

int
qcow2_turn_place(struct qcow2_turn *t, uint64_t n, uint64_t *ret,
	struct err *e)
{
	uint64_t run = 0, used = 0, v;

	/* What somebody counts behind the end stays as it is. */
	while (run < n) {
		if ((t->end % 4096 == 0 && plan_go_on(&t->d->plan, e) < 0) ||
			qcow2_refs_get(&t->d->refs, t->end++, &v, e) < 0)
			return -1;
		run = v == 0 ? run + 1 : 0;
		if (v != 0 && ++used > QCOW2_REFS_PAST_END)
			return err_set(e, ERR_CORRUPT, "the refcounts of more "
				"than %u clusters past the end of the file "
				"are not 0", QCOW2_REFS_PAST_END);
	}
	*ret = (t->end - n) << t->d->h->cluster_bits;
	return 0;
}

/* Gives block ti, which is in the cache at b, a place among the copies. */
static int
move_block(struct qcow2_turn *t, uint64_t ti, struct qcow2_refs_block *b,
	struct err *e)
{
	uint64_t hoff;

	if (ti >= t->d->refs.n_table ||
		t->next.table[ti] != t->d->refs.table[ti])
		return 0;
	if (qcow2_turn_place(t, 1, &hoff, e) < 0)
		return -1;
	t->next.table[ti] = b->hoff = hoff;
	b->lo = 0;
	b->hi = qcow2_cluster_size(t->d->h);
	return 0;
}

int
qcow2_turn_no_room(const struct qcow2_refs *r, uint64_t cluster, struct err *e)
{
	err_set(e, ERR_LIMIT, "the refcount of cluster %" PRIu64
		" would exceed %" PRIu64 " (refcount_bits=%u)", cluster,
		qcow2_refs_max(r), 1u << r->order);
	if (e)
		e->eno = EINVAL;
	return -1;
}

static int
change(struct qcow2_turn *t, uint64_t cluster, int64_t step, struct err *e)
{
	struct qcow2_refs *r = &t->next;
	uint64_t ti = cluster >> r->block_bits, v;
	uint64_t i = cluster & ((UINT64_C(1) << r->block_bits) - 1);
	struct qcow2_refs_block *b;

	if (qcow2_refs_block_at(r, ti, &b, e) < 0)
		return -1;
	v = b ? qcow2_refcount_get(b->p, r->order, i) : 0;
	if (v == 0 || (step < 0 && v < (uint64_t)-step))
		return err_set(e, ERR_CORRUPT, "cluster %" PRIu64
			" is referred to and has refcount %" PRIu64, cluster,
			v);
	if (step > 0 && v == qcow2_refs_max(r))
		return qcow2_turn_no_room(r, cluster, e);
	if (move_block(t, ti, b, e) < 0)
		return -1;
	qcow2_refs_put(r, b, i, v + (uint64_t)step);
	return 0;
}

int
qcow2_turn_range(struct qcow2_turn *t, uint64_t hoff, uint64_t len,
	int64_t step, struct err *e)
{
	uint64_t bits = t->d->h->cluster_bits;
	uint64_t end = units_div_up(hoff + len, UINT64_C(1) << bits);

	if (hoff + len > units_align_up(t->file_end, UINT64_C(1) << bits))
		return err_set(e, ERR_CORRUPT, "clusters at %" PRIu64
			" lie beyond the end of the file", hoff);
	for (uint64_t c = hoff >> bits; len > 0 && c < end; c++) {
		if (change(t, c, step, e) < 0)
			return -1;
	}
	return 0;
}

static int
reach(struct qcow2_turn *t, uint64_t ti, struct err *e)
{
	struct qcow2_refs *r = &t->next;
	uint64_t per = qcow2_cluster_size(t->d->h) / 8;
	uint64_t n = units_align_up(ti + 1, per), *v;

	if (ti < r->n_table)
		return 0;
	if (n * 8 > QCOW2_REFTABLE_MAX)
		return err_set(e, ERR_LIMIT, "the refcount table would exceed "
			"%u MiB", QCOW2_REFTABLE_MAX >> 20);
	v = realloc(r->table, n * sizeof(*v));
	if (!v)
		return err_set(e, ERR_NOMEM, "out of memory");
	memset(v + r->n_table, 0, (n - r->n_table) * sizeof(*v));
	r->table = v;
	r->n_table = n;
	return 0;
}

/* The copies from `from` on count themselves; that may make more of them. */
static int
count_copies(struct qcow2_turn *t, uint64_t from, struct err *e)
{
	struct qcow2_refs *r = &t->next;

	for (uint64_t c = from; c < t->end; c++) {
		uint64_t ti = c >> r->block_bits, hoff, v;
		struct qcow2_refs_block *b;

		if (qcow2_refs_get(&t->d->refs, c, &v, e) < 0)
			return -1;
		if (v != 0)
			continue;
		if (reach(t, ti, e) < 0 ||
			qcow2_refs_block_at(r, ti, &b, e) < 0)
			return -1;
		if (b) {
			if (move_block(t, ti, b, e) < 0)
				return -1;
		} else {
			if (qcow2_turn_place(t, 1, &hoff, e) < 0 ||
				qcow2_refs_block_new(r, hoff, &b, e) < 0)
				return -1;
			r->table[ti] = hoff;
		}
		qcow2_refs_put(r, b,
			c & ((UINT64_C(1) << r->block_bits) - 1), 1);
	}
	return 0;
}

int
qcow2_turn_counts(struct qcow2_turn *t, struct err *e)
{
	struct qcow2_refs *r = &t->next;
	uint64_t per = qcow2_cluster_size(t->d->h) / 8, counted, more;
	CLEANUP_FREE uint8_t *out = NULL;

	if (count_copies(t, t->first, e) < 0)
		return -1;
	counted = t->end;
	/* Room for the table itself and for the blocks that count it: one
	 * cluster of table refers to far more than itself. */
	do {
		more = r->n_table / per;
		if (reach(t, (t->end + 2 * more + 16) >> r->block_bits, e) < 0)
			return -1;
	} while (r->n_table / per != more);
	if (qcow2_turn_place(t, more, &t->table_hoff, e) < 0 ||
		count_copies(t, counted, e) < 0 || qcow2_refs_write(r, e) < 0)
		return -1;
	if (r->n_table / per != more)
		return err_set(e, ERR_LIMIT, "no room for a refcount table");
	out = malloc(r->n_table * 8);
	if (!out)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint64_t i = 0; i < r->n_table; i++)
		store_be64(out + i * 8, r->table[i]);
	return plan_write(&t->d->plan, PLAN_IMAGE, t->table_hoff, out,
		r->n_table * 8, e);
}

/* Block ti as it will be, in its old place: without the copies, which lie
 * behind t->first; clusters that nobody needs any more are given back. */
static int
renew_block(struct qcow2_turn *t, uint64_t ti, uint8_t *out, struct err *e)
{
	struct qcow2_refs *r = &t->next;
	uint64_t cs = qcow2_cluster_size(t->d->h), base = ti << r->block_bits;
	struct qcow2_refs_block *new, *old;
	struct plan *p = &t->d->plan;

	if (qcow2_refs_block_at(r, ti, &new, e) < 0 ||
		qcow2_refs_block_at(&t->d->refs, ti, &old, e) < 0)
		return -1;
	memcpy(out, new->p, cs);
	for (uint64_t i = 0; i < UINT64_C(1) << r->block_bits; i++) {
		uint64_t was = qcow2_refcount_get(old->p, r->order, i);
		uint64_t at = (base + i) * cs;

		if (base + i >= t->first)
			qcow2_refcount_set(out, r->order, i, was);
		else if (was != 0 &&
			qcow2_refcount_get(out, r->order, i) == 0 &&
			plan_range(p, PLAN_CLEAR, PLAN_IMAGE, at,
				units_min(cs, t->file_end - at), e) < 0)
			return -1;
	}
	for (uint64_t at = 0; at < cs; at += 512) {
		if (memcmp(out + at, old->p + at, 512) != 0 &&
			plan_write(p, PLAN_IMAGE, old->hoff + at, out + at,
				512, e) < 0)
			return -1;
	}
	return 0;
}

int
qcow2_turn_renew_counts(struct qcow2_turn *t, struct err *e)
{
	const struct qcow2_refs *was = &t->d->refs;
	CLEANUP_FREE uint8_t *out = malloc(qcow2_cluster_size(t->d->h));

	if (!out)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (uint64_t ti = 0; ti < was->n_table; ti++) {
		if (was->table[ti] != 0 &&
			t->next.table[ti] != was->table[ti] &&
			renew_block(t, ti, out, e) < 0)
			return -1;
	}
	return 0;
}
