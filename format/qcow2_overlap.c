/* SPDX-License-Identifier: MIT */
/*
 * The places of metadata. Single tables are ranges; L2 tables and refcount
 * blocks, of which a large image has many, are hashed by cluster: 16 bytes
 * for each at most, as the L1 and the refcount table that name them.
 */
#include "format/qcow2_overlap.h"

#include <assert.h>
#include <stdlib.h>

#include "base/units.h"
#include "format/qcow2_index.h"

#define GONE UINT64_MAX /* a slot that was emptied: searches go on behind it */

static size_t
slot_of(const struct qcow2_overlap_set *s, uint64_t cluster)
{
	return (size_t)(qcow2_index_hash(s->seed, cluster) >> 32) &
		(s->cap - 1);
}

static bool
has(const struct qcow2_overlap_set *s, uint64_t cluster)
{
	if (s->n == 0)
		return false;
	for (size_t i = slot_of(s, cluster); s->slot[i];
		i = (i + 1) & (s->cap - 1)) {
		if (s->slot[i] == cluster + 1)
			return true;
	}
	return false;
}

static void
enter(struct qcow2_overlap_set *s, uint64_t cluster)
{
	size_t i = slot_of(s, cluster);

	while (s->slot[i])
		i = (i + 1) & (s->cap - 1);
	s->slot[i] = cluster + 1;
	s->n++;
	s->used++;
}

static int
grow(struct qcow2_overlap_set *s, struct err *e)
{
	struct qcow2_overlap_set big = {.cap = 64, .seed = qcow2_index_seed()};

	while (big.cap < s->n * 2 + 2)
		big.cap *= 2;
	big.slot = calloc(big.cap, sizeof(*big.slot));
	if (!big.slot)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (size_t i = 0; i < s->cap; i++) {
		if (s->slot[i] && s->slot[i] != GONE)
			enter(&big, s->slot[i] - 1);
	}
	free(s->slot);
	*s = big;
	return 0;
}

static struct qcow2_overlap_set *
set_of(struct qcow2_overlap *o, enum qcow2_meta kind)
{
	assert(kind == QCOW2_META_L2 || kind == QCOW2_META_REFBLOCK);
	return kind == QCOW2_META_L2 ? &o->tables : &o->blocks;
}

int
qcow2_overlap_add(struct qcow2_overlap *o, enum qcow2_meta kind, uint64_t hoff,
	struct err *e)
{
	struct qcow2_overlap_set *s = set_of(o, kind);
	uint64_t cluster = hoff >> o->cluster_bits;

	if (has(s, cluster))
		return 0;
	if ((s->used + 1) * 4 > s->cap * 3 && grow(s, e) < 0)
		return -1;
	enter(s, cluster);
	return 0;
}

void
qcow2_overlap_remove(struct qcow2_overlap *o, enum qcow2_meta kind,
	uint64_t hoff)
{
	struct qcow2_overlap_set *s = set_of(o, kind);
	uint64_t cluster = hoff >> o->cluster_bits;

	if (!has(s, cluster))
		return;
	for (size_t i = slot_of(s, cluster);; i = (i + 1) & (s->cap - 1)) {
		if (s->slot[i] != cluster + 1)
			continue;
		s->slot[i] = GONE;
		s->n--;
		return;
	}
}

void
qcow2_overlap_free(struct qcow2_overlap *o)
{
	free(o->l1);
	free(o->blocks.slot);
	free(o->tables.slot);
	*o = (struct qcow2_overlap){0};
}

static struct qcow2_overlap_range
range_of(const struct qcow2_overlap *o, uint64_t hoff, uint64_t len)
{
	struct qcow2_overlap_range r = {.first = hoff >> o->cluster_bits};

	r.end = len == 0 ? r.first
		: ((hoff + len - 1) >> o->cluster_bits) + 1;
	return r;
}

void
qcow2_overlap_put(struct qcow2_overlap *o, enum qcow2_meta kind, uint64_t hoff,
	uint64_t len)
{
	o->one[kind] = range_of(o, hoff, len);
}

int
qcow2_overlap_add_l1(struct qcow2_overlap *o, uint64_t hoff, uint64_t len,
	struct err *e)
{
	if (o->n_l1 == o->l1_cap) {
		size_t cap = o->l1_cap ? o->l1_cap * 2 : 8;
		struct qcow2_overlap_range *v =
			realloc(o->l1, cap * sizeof(*v));

		if (!v)
			return err_set(e, ERR_NOMEM, "out of memory");
		o->l1 = v;
		o->l1_cap = cap;
	}
	o->l1[o->n_l1++] = range_of(o, hoff, len);
	return 0;
}

static int
by_first(const void *a, const void *b)
{
	const struct qcow2_overlap_range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

void
qcow2_overlap_seal(struct qcow2_overlap *o)
{
	uint64_t reach = 0;

	if (o->n_l1)
		qsort(o->l1, o->n_l1, sizeof(*o->l1), by_first);
	for (size_t i = 0; i < o->n_l1; i++) {
		reach = units_max(reach, o->l1[i].end);
		o->l1[i].reach = reach;
	}
}

/* The last range that begins before `end`, and how far any up to it goes. */
static bool
in_snapshot_l1(const struct qcow2_overlap *o, uint64_t first, uint64_t end)
{
	size_t lo = 0, hi = o->n_l1;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (o->l1[mid].first < end)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 && o->l1[lo - 1].reach > first;
}

static bool
any_of(const struct qcow2_overlap_set *s, uint64_t first, uint64_t end)
{
	for (uint64_t c = first; s->n > 0 && c < end; c++) {
		if (has(s, c))
			return true;
	}
	return false;
}

enum qcow2_meta
qcow2_overlap_find(const struct qcow2_overlap *o, enum qcow2_meta own,
	uint64_t hoff, uint64_t len)
{
	struct qcow2_overlap_range r = range_of(o, hoff, len);

	for (unsigned i = 0; i < QCOW2_METAS && r.first < r.end; i++) {
		bool hit = r.first < o->one[i].end && r.end > o->one[i].first;

		if (i == QCOW2_META_L2)
			hit = any_of(&o->tables, r.first, r.end);
		else if (i == QCOW2_META_REFBLOCK)
			hit = any_of(&o->blocks, r.first, r.end);
		else if (i == QCOW2_META_SNAPSHOT_L1)
			hit = in_snapshot_l1(o, r.first, r.end);
		if (hit && i != own)
			return (enum qcow2_meta)i;
	}
	return QCOW2_META_NONE;
}

bool
qcow2_overlap_single(const struct qcow2_overlap *o, uint64_t hoff)
{
	uint64_t c = hoff >> o->cluster_bits;

	for (unsigned i = 0; i < QCOW2_METAS; i++) {
		if (c >= o->one[i].first && c < o->one[i].end)
			return true;
	}
	return false;
}

const char *
qcow2_overlap_name(enum qcow2_meta kind)
{
	static const char *const names[] = {
		[QCOW2_META_HEADER] = "qcow2_header",
		[QCOW2_META_L1] = "active L1 table",
		[QCOW2_META_L2] = "active L2 table",
		[QCOW2_META_REFTABLE] = "refcount table",
		[QCOW2_META_REFBLOCK] = "refcount block",
		[QCOW2_META_SNAPSHOTS] = "snapshot table",
		[QCOW2_META_SNAPSHOT_L1] = "inactive L1 table",
		[QCOW2_META_BITMAPS] = "bitmap directory",
		[QCOW2_META_NONE] = "guest data",
	};

	return names[kind];
}
