/* SPDX-License-Identifier: MIT */
/*
 * The refcount table and its blocks: whether they can be used at all, and what
 * they say of each cluster against what was counted.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "base/zero.h"
#include "format/qcow2_check_int.h"

#define BLOCK_OFFSET(entry) ((entry) & QCOW2_REFTABLE_OFFSET)

int
qcow2_check_blocks_load(struct qcow2_check *c, struct err *e)
{
	uint64_t len = (uint64_t)c->h->reftable_clusters
		<< c->h->cluster_bits;
	uint64_t *table = malloc(units_max(len, 8));

	if (!table)
		return err_set(e, ERR_NOMEM, "no memory for the refcount "
			"table");
	if (qcow2_check_io_read(c, c->h->reftable_offset, table, len, NULL,
		e)) {
		free(table);
		return -1;
	}
	for (uint64_t i = 0; i < len / 8; i++)
		table[i] = load_be64(&table[i]);
	free(c->reftable);
	c->reftable = table;
	c->n_reftable = len / 8;
	qcow2_check_io_moved(c);
	return 0;
}

/* The file is made long enough for a block behind its end. */
static int
enlarge(struct qcow2_check *c, uint64_t hoff, int *ret_eno, struct err *e)
{
	uint64_t end = hoff + c->cluster;

	if (hoff > (uint64_t)INT64_MAX - c->cluster) {
		*ret_eno = EINVAL;
		return 0;
	}
	if (end >> c->h->cluster_bits > INT32_MAX) {
		*ret_eno = EFBIG;
		return 0;
	}
	*ret_eno = 0;
	if (plan_truncate(&c->plan, PLAN_IMAGE, end, e))
		return -1;
	if (qcow2_check_io_run(c, e)) {
		/* QEMU then makes all of them anew */
		*ret_eno = c->eno;
		c->eno = 0;
		c->plan.end[PLAN_IMAGE] = c->file->size;
		return e->kind == ERR_IO ? 0 : -1;
	}
	return qcow2_counts_grow(&c->counts,
		units_div_up(c->file_len, c->cluster), e);
}

static int
outside(struct qcow2_check *c, uint64_t i, uint64_t hoff, struct err *e)
{
	bool mend = (c->fix & QCOW2_FIX_ERRORS) != 0;
	int eno;

	c->r->corruptions++;
	qcow2_check_io_say(c, "%s refcount block %" PRIu64
		" is outside image", mend ? "Repairing" : "ERROR", i);
	if (!mend)
		return 0;
	if (enlarge(c, hoff, &eno, e))
		return -1;
	if (eno) {
		c->rebuild = true;
		if (eno != EINVAL)
			qcow2_check_io_report(c, "Could not resize file: %s",
				strerror(eno));
		qcow2_check_io_say(c, "ERROR could not resize image: %s",
			strerror(eno));
		return 0;
	}
	c->r->corruptions--;
	c->r->corruptions_fixed++;
	return qcow2_check_walk_ref(c, hoff, c->cluster, 0, 1, e);
}

static int
block_entry(struct qcow2_check *c, uint64_t i, struct err *e)
{
	uint64_t entry = c->reftable[i], hoff = BLOCK_OFFSET(entry), n;
	uint64_t clu = hoff >> c->h->cluster_bits;

	if (entry & ~QCOW2_REFTABLE_OFFSET) {
		qcow2_check_io_say(c, "ERROR refcount table entry %" PRIu64
			" has reserved bits set", i);
	} else if (hoff & (c->cluster - 1)) {
		qcow2_check_io_say(c, "ERROR refcount block %" PRIu64
			" is not cluster aligned; refcount table entry "
			"corrupted", i);
	} else if (clu >= c->counts.n) {
		return outside(c, i, hoff, e);
	} else if (hoff == 0) {
		return 0;
	} else {
		if (qcow2_check_walk_ref(c, hoff, c->cluster, 0, 1, e))
			return -1;
		n = qcow2_counts_get(&c->counts, clu);
		if (n == 1)
			return 0;
		qcow2_check_io_say(c, "ERROR refcount block %" PRIu64
			" refcount=%" PRIu64, i, n);
	}
	c->r->corruptions++;
	c->rebuild = true;
	return 0;
}

int
qcow2_check_blocks_walk(struct qcow2_check *c, struct err *e)
{
	for (uint64_t i = 0; i < c->n_reftable; i++) {
		if (c->reftable[i] && block_entry(c, i, e))
			return -1;
	}
	return 0;
}

/* What a comparison is about: one block and the clusters [first, end) that it
 * counts. p is NULL where no block is: all its counts are 0. */
struct block {
	uint64_t ti, first, end;
	uint8_t *p;
	uint64_t lo, hi; /* changed bytes; hi 0: none */
	unsigned fix;
	bool last;
};

/* The flags of a byte are wrong for a cluster of that count. */
static bool
flags_suspect(unsigned byte, uint64_t count)
{
	return count == 1 ? (byte & QCOW2_COUNTS_SHARED) != 0
		: (byte & QCOW2_COUNTS_COPIED) != 0;
}

static void
put(struct qcow2_check *c, struct block *b, uint64_t clu, uint64_t value)
{
	uint64_t i = clu - b->first;
	uint64_t at = units_align_down((i << c->h->refcount_order) >> 3, 512);

	qcow2_refcount_set(b->p, c->h->refcount_order, i, value);
	b->lo = b->hi == 0 ? at : units_min(b->lo, at);
	b->hi = units_max(b->hi, at + 512);
}

/* To be given back to the file system, if all turns out well. */
static int
note_freed(struct qcow2_check *c, uint64_t clu, struct err *e)
{
	struct qcow2_check_run *v = c->n_freed ? &c->freed[c->n_freed - 1]
		: NULL;

	if (v && v->first + v->n == clu) {
		v->n++;
		return 0;
	}
	if (c->n_freed == c->freed_cap) {
		size_t cap = c->freed_cap ? c->freed_cap * 2 : 64;

		v = realloc(c->freed, cap * sizeof(*v));
		if (!v)
			return err_set(e, ERR_NOMEM, "no memory for leaks");
		c->freed = v;
		c->freed_cap = cap;
	}
	c->freed[c->n_freed++] = (struct qcow2_check_run){clu, 1};
	return 0;
}

/* A cluster whose counts differ. */
static int
mismatch(struct qcow2_check *c, struct block *b, uint64_t clu, uint64_t disk,
	uint64_t found, struct err *e)
{
	bool mend = false;

	if (disk == 0) {
		c->rebuild = true;
	} else if (disk > found && (b->fix & QCOW2_FIX_LEAKS)) {
		mend = true;
		c->r->leaks_fixed++;
	} else if (disk < found && (b->fix & QCOW2_FIX_ERRORS)) {
		mend = true;
		c->r->corruptions_fixed++;
	}
	qcow2_check_io_say(c, "%s cluster %" PRIu64 " refcount=%" PRIu64
		" reference=%" PRIu64, mend ? "Repairing" : disk < found
			? "ERROR" : "Leaked", clu, disk, found);
	if (mend) {
		put(c, b, clu, found);
		return found ? 0 : note_freed(c, clu, e);
	}
	if (disk < found)
		c->r->corruptions++;
	else
		c->r->leaks++;
	c->suspect = true;
	return b->last ? qcow2_counts_set(&c->counts, clu, disk, e) : 0;
}

static int
compare_one(struct qcow2_check *c, struct block *b, uint64_t clu,
	struct err *e)
{
	uint64_t disk = b->p ? qcow2_refcount_get(b->p, c->h->refcount_order,
		clu - b->first) : 0;
	uint64_t found = qcow2_counts_get(&c->counts, clu);

	if (disk || found)
		c->highest = units_max(c->highest, clu);
	c->suspect |= flags_suspect(qcow2_counts_byte(&c->counts, clu), found);
	return disk == found ? 0 : mismatch(c, b, clu, disk, found, e);
}

/* What a byte of the counts wants a 16-bit count on disk to be; NEVER where it
 * must be looked at. */
#define NEVER 0x10000u

static void
expectations(uint32_t want[256])
{
	for (unsigned i = 0; i < 256; i++) {
		unsigned v = i & QCOW2_COUNTS_VALUE;

		want[i] = v == QCOW2_COUNTS_VALUE || flags_suspect(i, v)
			? NEVER : v;
	}
}

/* 16-bit counts, as nearly all images have: how many of the n clusters from
 * clu on are as they should be, *ret_used is behind the last in use. */
static uint64_t
equal_run(const struct qcow2_check *c, const struct block *b, uint64_t clu,
	uint64_t n, const uint32_t want[256], uint64_t *ret_used)
{
	const uint8_t *disk = b->p + (clu - b->first) * 2;
	const uint8_t *page = c->counts.page[clu >> QCOW2_COUNTS_PAGE_BITS];
	uint64_t at = clu & (QCOW2_COUNTS_PAGE - 1), i, used = 0;

	n = units_min(n, QCOW2_COUNTS_PAGE - at);
	if (!page)
		return zero_is(disk, n * 2) ? n : 0;
	for (i = 0; i < n; i++) {
		uint32_t v = load_be16(disk + i * 2);

		if (want[page[at + i]] != v)
			break;
		if (v)
			used = clu + i + 1;
	}
	*ret_used = used;
	return i;
}

static int
compare_block(struct qcow2_check *c, struct block *b, const uint32_t want[256],
	struct err *e)
{
	for (uint64_t clu = b->first; clu < b->end;) {
		uint64_t used = 0, n = b->end - clu;

		if (!b->p && !c->counts.page[clu >> QCOW2_COUNTS_PAGE_BITS]) {
			clu = (clu | (QCOW2_COUNTS_PAGE - 1)) + 1;
			continue;
		}
		if (b->p && c->h->refcount_order == 4) {
			n = equal_run(c, b, clu, n, want, &used);
			if (used)
				c->highest = units_max(c->highest, used - 1);
			clu += n;
			if (n)
				continue;
		}
		if (compare_one(c, b, clu++, e))
			return -1;
	}
	if (b->hi == 0)
		return 0;
	return plan_write(&c->plan, PLAN_IMAGE,
		BLOCK_OFFSET(c->reftable[b->ti]) + b->lo, b->p + b->lo,
		units_min(b->hi, c->cluster) - b->lo, e);
}

/* No count of the block can be had. */
static void
unreadable(struct qcow2_check *c, const struct block *b, int eno)
{
	for (uint64_t clu = b->first; clu < b->end; clu++) {
		qcow2_check_io_say(c, "Can't get refcount for cluster %" PRIu64
			": %s", clu, strerror(eno));
		c->r->errors++;
	}
	c->suspect = true;
}

static int
load_block(struct qcow2_check *c, struct block *b, bool *ret_bad,
	struct err *e)
{
	uint64_t hoff = b->ti < c->n_reftable
		? BLOCK_OFFSET(c->reftable[b->ti]) : 0;
	bool zero = false;

	*ret_bad = false;
	b->p = NULL;
	if (hoff == 0)
		return 0;
	if (hoff & (c->cluster - 1)) {
		if (qcow2_check_io_signal(c, e, "Refblock offset %#" PRIx64
			" unaligned (reftable index: %#" PRIx64 ")", hoff,
			b->ti))
			return -1;
		*ret_bad = true;
		unreadable(c, b, EIO);
		return 0;
	}
	if (qcow2_check_io_read(c, hoff, c->block_buf, c->cluster, &zero, e)) {
		if (!c->eno)
			return -1;
		*ret_bad = true;
		unreadable(c, b, c->eno);
		c->eno = 0;
		return 0;
	}
	if (!zero)
		b->p = c->block_buf;
	return 0;
}

int
qcow2_check_blocks_compare(struct qcow2_check *c, unsigned fix, bool last,
	struct err *e)
{
	uint64_t n = c->counts.n, per_block = UINT64_C(1) << c->block_bits;
	uint32_t want[256];

	expectations(want);
	c->highest = 0;
	for (uint64_t first = 0; first < n; first += per_block) {
		struct block b = {
			.ti = first >> c->block_bits, .first = first,
			.end = units_min(first + per_block, n), .fix = fix,
			.last = last,
		};
		bool bad;

		if (load_block(c, &b, &bad, e) ||
			(!bad && compare_block(c, &b, want, e)))
			return -1;
	}
	return 0;
}

int
qcow2_check_blocks_count(struct qcow2_check *c, uint64_t clu, uint64_t *ret,
	bool *ret_known, struct err *e)
{
	uint64_t ti = clu >> c->block_bits, hoff, at;
	uint64_t i = clu & ((UINT64_C(1) << c->block_bits) - 1);
	uint8_t b[8];

	hoff = ti < c->n_reftable ? BLOCK_OFFSET(c->reftable[ti]) : 0;
	*ret_known = !(hoff & (c->cluster - 1)) &&
		hoff <= QCOW2_CHECK_OFFSET_MAX - c->cluster;
	*ret = 0;
	if (!*ret_known)
		return 0;
	if (clu < c->counts.n) {
		*ret = qcow2_counts_get(&c->counts, clu);
		return 0;
	}
	if (hoff == 0)
		return 0;
	/* the count, and no more of its block */
	at = hoff + (i << c->h->refcount_order) / 8;
	if (qcow2_check_io_read(c, at, b, sizeof(b), NULL, e)) {
		if (!c->eno)
			return -1;
		c->eno = 0;
		*ret_known = false;
		return 0;
	}
	if (c->h->refcount_order < 3)
		i &= (8u >> c->h->refcount_order) - 1;
	else
		i = 0;
	*ret = qcow2_refcount_get(b, c->h->refcount_order, i);
	return 0;
}
