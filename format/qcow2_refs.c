/* SPDX-License-Identifier: MIT */
/*
 * The counts themselves: cache, lookup, up, down, flush. Where QEMU's choice
 * of a cluster is visible in the file (first fit from free_index, which only
 * freeing moves back; a new block behind the cluster that needed it) ours is
 * the same. Growth of the table is qcow2_refs_area.c's.
 */
#include "format/qcow2_refs.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_refs_int.h"

#define GO_ON_STEP 4096u /* clusters between two questions whether to go on */
#define CLUSTER_OFFSET_MAX ((UINT64_C(1) << 56) - 1)
#define INCOMPATIBLE_AT 72 /* in the header */
#define BLOCK_OFFSET(entry) ((entry) & QCOW2_REFTABLE_OFFSET)

static uint64_t
cluster_size(const struct qcow2_refs *r)
{
	return UINT64_C(1) << r->cluster_bits;
}

static int
load_table(struct qcow2_refs *r, const struct qcow2_header *h, struct err *e)
{
	uint64_t len = (uint64_t)h->reftable_clusters << r->cluster_bits;

	if (len == 0 || len > QCOW2_REFTABLE_MAX)
		return err_set(e, ERR_LIMIT, "Reference count table too large");
	r->table = malloc(len);
	if (!r->table)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (file_read_padded(r->file, r->table, len, r->table_hoff, NULL, e) <
		0)
		return -1;
	r->n_table = len / 8;
	for (uint64_t i = 0; i < r->n_table; i++)
		r->table[i] = load_be64(&r->table[i]);
	return 0;
}

int
qcow2_refs_open(struct qcow2_refs *r, struct plan *p,
	const struct qcow2_header *h, uint8_t *head, size_t head_len,
	struct err *e)
{
	*r = (struct qcow2_refs){
		.file = p->file[PLAN_IMAGE],
		.plan = p,
		.head = head,
		.head_len = head_len,
		.cluster_bits = h->cluster_bits,
		.order = h->refcount_order,
		.block_bits = h->cluster_bits + 3 - h->refcount_order,
		.table_hoff = h->reftable_offset,
	};
	r->n_cache = units_max(4,
		units_min(64, QCOW2_REFS_CACHE >> h->cluster_bits));
	r->cache = calloc(r->n_cache, sizeof(*r->cache));
	if (!r->cache || load_table(r, h, e) < 0) {
		if (!r->cache)
			err_set(e, ERR_NOMEM, "out of memory");
		qcow2_refs_close(r);
		return -1;
	}
	r->overlap.cluster_bits = r->cluster_bits;
	qcow2_overlap_put(&r->overlap, QCOW2_META_HEADER, 0, cluster_size(r));
	qcow2_overlap_put(&r->overlap, QCOW2_META_REFTABLE, r->table_hoff,
		r->n_table * 8);
	for (uint64_t i = 0; i < r->n_table; i++) {
		if (r->table[i] == 0)
			continue;
		if (qcow2_overlap_add(&r->overlap, QCOW2_META_REFBLOCK,
			    BLOCK_OFFSET(r->table[i]), e) < 0) {
			qcow2_refs_close(r);
			return -1;
		}
	}
	return 0;
}

void
qcow2_refs_close(struct qcow2_refs *r)
{
	for (unsigned i = 0; r->cache && i < r->n_cache; i++)
		free(r->cache[i].p);
	free(r->cache);
	free(r->table);
	qcow2_overlap_free(&r->overlap);
	*r = (struct qcow2_refs){0};
}

/* A cluster that holds metadata and yet has the count 0: to use it would
 * destroy the image. */
static int
check_free(struct qcow2_refs *r, uint64_t first, uint64_t n, struct err *e)
{
	enum qcow2_meta hit = qcow2_overlap_find(&r->overlap, QCOW2_META_NONE,
		first << r->cluster_bits, n << r->cluster_bits);

	if (hit == QCOW2_META_NONE)
		return 0;
	return err_set(e, ERR_CORRUPT, "metadata near cluster %" PRIu64
		" has refcount 0 (%s)", first, qcow2_overlap_name(hit));
}

/* The bit is on the disk before anybody hears of it. Version 2 has none. */
static int
mark_corrupt(struct qcow2_refs *r, struct err *e)
{
	if (r->head_len < QCOW2_V3_HEADER)
		return 0;
	store_be64(r->head + INCOMPATIBLE_AT,
		load_be64(r->head + INCOMPATIBLE_AT) | QCOW2_CORRUPT);
	if (file_write(r->file, r->head + INCOMPATIBLE_AT, 8, INCOMPATIBLE_AT,
		    e) < 0)
		return -1;
	return r->plan->durable ? file_sync(r->file, e) : 0;
}

int
qcow2_refs_corrupt(struct qcow2_refs *r, struct err *e, const char *fmt, ...)
{
	char what[192];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (mark_corrupt(r, e) < 0)
		return -1;
	return err_set(e, ERR_CORRUPT, "qcow2: Marking image as corrupt: %s; "
		"further corruption events will be suppressed", what);
}

int
qcow2_refs_may_write(struct qcow2_refs *r, enum qcow2_meta own, uint64_t hoff,
	uint64_t len, struct err *e)
{
	enum qcow2_meta hit = qcow2_overlap_find(&r->overlap, own, hoff, len);

	if (hit == QCOW2_META_NONE)
		return 0;
	return qcow2_refs_corrupt(r, e, "Preventing invalid write on metadata "
		"(overlaps with %s)", qcow2_overlap_name(hit));
}

static int
write_back(struct qcow2_refs *r, struct qcow2_refs_block *b, struct err *e)
{
	if (b->hi == 0)
		return 0;
	if (qcow2_refs_may_write(r, QCOW2_META_REFBLOCK, b->hoff,
		    cluster_size(r), e) < 0 ||
		plan_write(r->plan, PLAN_IMAGE, b->hoff + b->lo, b->p + b->lo,
		    b->hi - b->lo, e) < 0)
		return -1;
	r->written = true;
	b->lo = b->hi = 0;
	return 0;
}

/* An empty slot for the block at hoff; its bytes are the caller's to fill. */
static int
make_slot(struct qcow2_refs *r, uint64_t hoff, struct qcow2_refs_block **ret,
	struct err *e)
{
	struct qcow2_refs_block *b = &r->cache[0];

	for (unsigned i = 0; i < r->n_cache && b->hoff != 0; i++) {
		if (r->cache[i].hoff == 0 || r->cache[i].used < b->used)
			b = &r->cache[i];
	}
	if (b->hi != 0) {
		if (write_back(r, b, e) < 0)
			return -1;
		r->evicted = true;
	}
	b->hoff = 0;
	if (!b->p) {
		b->p = malloc(cluster_size(r));
		if (!b->p)
			return err_set(e, ERR_NOMEM, "out of memory");
	}
	b->hoff = hoff;
	b->used = ++r->tick;
	*ret = b;
	return 0;
}

static int
check_block_offset(struct qcow2_refs *r, uint64_t ti, uint64_t hoff,
	struct err *e)
{
	if (r->table[ti] & ~QCOW2_REFTABLE_OFFSET)
		return err_set(e, ERR_CORRUPT, "refcount table entry %" PRIu64
			" has reserved bits set", ti);
	if (hoff & (cluster_size(r) - 1))
		return err_set(e, ERR_CORRUPT, "Refblock offset 0x%" PRIx64
			" unaligned (reftable index: 0x%" PRIx64 ")", hoff, ti);
	if (hoff >= r->plan->end[PLAN_IMAGE] || hoff > CLUSTER_OFFSET_MAX)
		return err_set(e, ERR_CORRUPT, "refcount block %" PRIu64
			" at %" PRIu64 " lies beyond the end of the file", ti,
			hoff);
	if (qcow2_overlap_single(&r->overlap, hoff))
		return err_set(e, ERR_CORRUPT, "refcount block %" PRIu64
			" at %" PRIu64 " overlaps other metadata", ti, hoff);
	return 0;
}

int
qcow2_refs_block_at(struct qcow2_refs *r, uint64_t ti,
	struct qcow2_refs_block **ret, struct err *e)
{
	uint64_t hoff = ti < r->n_table ? BLOCK_OFFSET(r->table[ti]) : 0;
	struct qcow2_refs_block *b;

	if (hoff == 0 && (ti >= r->n_table || r->table[ti] == 0)) {
		*ret = NULL;
		return 0;
	}
	for (unsigned i = 0; i < r->n_cache; i++) {
		if (r->cache[i].hoff == hoff && hoff != 0) {
			r->cache[i].used = ++r->tick;
			*ret = &r->cache[i];
			return 0;
		}
	}
	if (check_block_offset(r, ti, hoff, e) < 0)
		return -1;
	if (r->evicted && plan_run(r->plan, e) < 0)
		return -1;
	r->evicted = false;
	if (make_slot(r, hoff, &b, e) < 0)
		return -1;
	if (file_read_padded(r->file, b->p, cluster_size(r), hoff, NULL, e) <
		0) {
		b->hoff = 0;
		return -1;
	}
	*ret = b;
	return 0;
}

int
qcow2_refs_block_new(struct qcow2_refs *r, uint64_t hoff,
	struct qcow2_refs_block **ret, struct err *e)
{
	/* A block that once lay there may still be in the cache. */
	for (unsigned i = 0; i < r->n_cache; i++) {
		if (r->cache[i].hoff == hoff)
			r->cache[i].hoff = r->cache[i].lo = r->cache[i].hi = 0;
	}
	if (make_slot(r, hoff, ret, e) < 0)
		return -1;
	memset((*ret)->p, 0, cluster_size(r));
	(*ret)->lo = 0;
	(*ret)->hi = cluster_size(r);
	return qcow2_overlap_add(&r->overlap, QCOW2_META_REFBLOCK, hoff, e);
}

void
qcow2_refs_put(struct qcow2_refs *r, struct qcow2_refs_block *b, uint64_t i,
	uint64_t value)
{
	uint64_t at = (i << r->order) >> 3;
	uint64_t lo = units_align_down(at, 512);

	qcow2_refcount_set(b->p, r->order, i, value);
	if (b->hi == 0) {
		b->lo = lo;
		b->hi = lo + 512;
	} else {
		b->lo = units_min(b->lo, lo);
		b->hi = units_max(b->hi, lo + 512);
	}
}

uint64_t
qcow2_refs_max(const struct qcow2_refs *r)
{
	return r->order == 6 ? UINT64_MAX
		: (UINT64_C(1) << (1u << r->order)) - 1;
}

int
qcow2_refs_get(struct qcow2_refs *r, uint64_t cluster, uint64_t *ret,
	struct err *e)
{
	uint64_t i = cluster & ((UINT64_C(1) << r->block_bits) - 1);
	struct qcow2_refs_block *b;

	if (qcow2_refs_block_at(r, cluster >> r->block_bits, &b, e) < 0)
		return -1;
	*ret = b ? qcow2_refcount_get(b->p, r->order, i) : 0;
	return 0;
}

/* -times each; used to take back what add did before it had to start again */
static int
take_back(struct qcow2_refs *r, uint64_t first, uint64_t n, uint64_t times,
	struct err *e)
{
	for (uint64_t c = first; c < first + n; c++) {
		uint64_t i = c & ((UINT64_C(1) << r->block_bits) - 1);
		struct qcow2_refs_block *b;
		uint64_t v;

		if (qcow2_refs_block_at(r, c >> r->block_bits, &b, e) < 0)
			return -1;
		v = b ? qcow2_refcount_get(b->p, r->order, i) : 0;
		if (v < times)
			return err_set(e, ERR_CORRUPT, "cluster %" PRIu64
				" is referred to and has refcount %" PRIu64, c,
				v);
		qcow2_refs_put(r, b, i, v - times);
		if (v == times)
			r->free_index = units_min(r->free_index, c);
	}
	return 0;
}

int
qcow2_refs_add(struct qcow2_refs *r, uint64_t first, uint64_t n, unsigned depth,
	bool *ret_again, struct err *e)
{
	for (uint64_t c = first; c < first + n; c++) {
		uint64_t ti = c >> r->block_bits;
		uint64_t i = c & ((UINT64_C(1) << r->block_bits) - 1);
		struct qcow2_refs_block *b;

		if ((c % GO_ON_STEP == 0 && plan_go_on(r->plan, e) < 0) ||
			qcow2_refs_block_at(r, ti, &b, e) < 0)
			return -1;
		if (!b) {
			*ret_again = true;
			if (qcow2_refs_cover(r, c, depth, e) < 0)
				return -1;
			/* the same ones first, as QEMU does */
			r->free_index = units_min(r->free_index, first);
			return take_back(r, first, c - first, 1, e);
		}
		qcow2_refs_put(r, b, i, 1);
	}
	*ret_again = false;
	return 0;
}

int
qcow2_refs_find(struct qcow2_refs *r, uint64_t n, uint64_t *ret, struct err *e)
{
	uint64_t end = r->plan->end[PLAN_IMAGE] >> r->cluster_bits;
	uint64_t run = 0, used = 0, v;

	while (run < n) {
		if (r->free_index > CLUSTER_OFFSET_MAX >> r->cluster_bits)
			return err_set(e, ERR_LIMIT,
				"the image file would become too large");
		if ((r->free_index % GO_ON_STEP == 0 &&
			    plan_go_on(r->plan, e) < 0) ||
			qcow2_refs_get(r, r->free_index++, &v, e) < 0)
			return -1;
		run = v == 0 ? run + 1 : 0;
		if (v != 0 && r->free_index > end && ++used > QCOW2_REFS_PAST_END)
			return err_set(e, ERR_CORRUPT, "the refcounts of more "
				"than %u clusters past the end of the file "
				"are not 0", QCOW2_REFS_PAST_END);
	}
	*ret = r->free_index - n;
	return check_free(r, *ret, n, e);
}

int
qcow2_refs_alloc(struct qcow2_refs *r, uint64_t n, uint64_t *ret_hoff,
	struct err *e)
{
	uint64_t first;
	bool again;

	assert(n > 0);
	do {
		if (qcow2_refs_find(r, n, &first, e) < 0 ||
			qcow2_refs_add(r, first, n, 0, &again, e) < 0)
			return -1;
	} while (again);
	*ret_hoff = first << r->cluster_bits;
	return 0;
}

int
qcow2_refs_alloc_at(struct qcow2_refs *r, uint64_t hoff, uint64_t n,
	uint64_t *ret_n, struct err *e)
{
	uint64_t first = hoff >> r->cluster_bits, k, v;
	bool again;

	do {
		for (k = 0; k < n; k++) {
			if ((k % GO_ON_STEP == 0 &&
				    plan_go_on(r->plan, e) < 0) ||
				qcow2_refs_get(r, first + k, &v, e) < 0)
				return -1;
			if (v != 0)
				break;
		}
		if (check_free(r, first, k, e) < 0 ||
			qcow2_refs_add(r, first, k, 0, &again, e) < 0)
			return -1;
	} while (again);
	*ret_n = k;
	return 0;
}

int
qcow2_refs_raise(struct qcow2_refs *r, uint64_t cluster, uint64_t n,
	struct err *e)
{
	uint64_t i = cluster & ((UINT64_C(1) << r->block_bits) - 1), v;
	uint64_t max = qcow2_refs_max(r);
	struct qcow2_refs_block *b;

	if (qcow2_refs_block_at(r, cluster >> r->block_bits, &b, e) < 0)
		return -1;
	v = b ? qcow2_refcount_get(b->p, r->order, i) : 0;
	if (v == 0 || n > max - v)
		return err_set(e, v ? ERR_LIMIT : ERR_CORRUPT,
			"cluster %" PRIu64 " cannot have %" PRIu64
			" references more than %" PRIu64, cluster, n, v);
	qcow2_refs_put(r, b, i, v + n);
	return 0;
}

int
qcow2_refs_drop(struct qcow2_refs *r, uint64_t hoff, uint64_t len,
	struct err *e)
{
	return qcow2_refs_drop_times(r, hoff, len, 1, e);
}

int
qcow2_refs_drop_times(struct qcow2_refs *r, uint64_t hoff, uint64_t len,
	uint64_t times, struct err *e)
{
	uint64_t first = hoff >> r->cluster_bits;
	uint64_t end = (hoff + len + cluster_size(r) - 1) >> r->cluster_bits;
	uint64_t v, size = r->plan->end[PLAN_IMAGE];

	for (uint64_t c = first; c < end; c++) {
		uint64_t at = c << r->cluster_bits;

		if (take_back(r, c, 1, times, e) < 0)
			return -1;
		if (!r->discard || at >= size)
			continue;
		if (qcow2_refs_get(r, c, &v, e) < 0)
			return -1;
		if (v == 0 && plan_range(r->plan, PLAN_CLEAR, PLAN_IMAGE, at,
			units_min(cluster_size(r), size - at), e) < 0)
			return -1;
	}
	return 0;
}

int
qcow2_refs_last(struct qcow2_refs *r, uint64_t end, uint64_t *ret,
	struct err *e)
{
	uint64_t per_block = UINT64_C(1) << r->block_bits;
	uint64_t top = units_min(end, r->n_table << r->block_bits);

	for (uint64_t c = top; c > 0; c--) {
		uint64_t ti = (c - 1) >> r->block_bits;
		struct qcow2_refs_block *b;

		if (qcow2_refs_block_at(r, ti, &b, e) < 0)
			return -1;
		if (!b) {
			c = (ti << r->block_bits) + 1;
			continue;
		}
		if (qcow2_refcount_get(b->p, r->order,
			    (c - 1) & (per_block - 1)) != 0) {
			*ret = c - 1;
			return 0;
		}
	}
	return err_set(e, ERR_CORRUPT,
		"There are no references in the refcount table");
}

static int
write_table(struct qcow2_refs *r, uint64_t lo, uint64_t hi, struct err *e)
{
	CLEANUP_FREE uint8_t *out = malloc((hi - lo) * 8);

	if (!out)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (qcow2_refs_may_write(r, QCOW2_META_REFTABLE,
		    r->table_hoff + lo * 8, (hi - lo) * 8, e) < 0)
		return -1;
	for (uint64_t i = lo; i < hi; i++)
		store_be64(out + (i - lo) * 8, r->table[i]);
	return plan_write(r->plan, PLAN_IMAGE, r->table_hoff + lo * 8, out,
		(hi - lo) * 8, e);
}

void
qcow2_refs_forget(struct qcow2_refs *r)
{
	for (unsigned i = 0; i < r->n_cache; i++) {
		assert(r->cache[i].hi == 0);
		r->cache[i].hoff = 0;
	}
	r->evicted = true; /* planned is not yet written */
	r->free_index = 0;
}

int
qcow2_refs_write(struct qcow2_refs *r, struct err *e)
{
	for (unsigned i = 0; i < r->n_cache; i++) {
		if (write_back(r, &r->cache[i], e) < 0)
			return -1;
	}
	r->evicted = true; /* planned is not yet written */
	return 0;
}

int
qcow2_refs_flush(struct qcow2_refs *r, struct err *e)
{
	if (qcow2_refs_write(r, e) < 0)
		return -1;
	if (r->moved && write_table(r, 0, r->n_table, e) < 0)
		return -1;
	if (plan_barrier(r->plan, "counts before references", e) < 0)
		return -1;
	if (r->moved) {
		store_be64(r->head + 48, r->table_hoff);
		store_be32(r->head + 56, r->n_table * 8 >> r->cluster_bits);
		if (plan_write(r->plan, PLAN_IMAGE, 0, r->head, r->head_len,
			    e) < 0 ||
			plan_barrier(r->plan, "table switched", e) < 0)
			return -1;
	} else if (r->hook_hi != 0) {
		if (write_table(r, r->hook_lo, r->hook_hi, e) < 0 ||
			plan_barrier(r->plan, "blocks hooked up", e) < 0)
			return -1;
	}
	r->moved = false;
	r->hook_lo = r->hook_hi = 0;
	return 0;
}
