/* SPDX-License-Identifier: MIT */
/*
 * The check as a whole: what is looked at in which order, what a repair may do
 * and what it has done. The steps are in the files beside.
 */
#include "format/qcow2_check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/units.h"
#include "format/qcow2_check_int.h"

/* Bytes of overlapping tables that are read without a second thought. */
#define OVERLAP_FREE (64 * MIB)
/* How much larger a table may be than the room it takes on a file system that
 * packs it. */
#define PACKING_MOST 64

/* Counts every reference in the image. */
static int
count_all(struct qcow2_check *c, unsigned fix, struct err *e)
{
	const struct qcow2_header *h = c->h;

	c->fix = fix;
	qcow2_check_walk_reset(c);
	if (qcow2_check_walk_ref(c, 0, c->cluster, 0, 1, e) ||
		qcow2_check_walk_l1(c, h->l1_offset, h->l1_entries, true, e) ||
		qcow2_check_snapshots_walk(c, e) ||
		qcow2_check_walk_rest(c, e) ||
		qcow2_check_walk_ref(c, h->snapshots_offset, c->snapshots_len,
			0, 1, e) ||
		qcow2_check_walk_ref(c, h->reftable_offset, c->n_reftable * 8,
			0, 1, e) ||
		qcow2_check_bitmaps_count(c, e))
		return -1;
	return qcow2_check_blocks_walk(c, e);
}

/* The refcounts are made anew; what was wrong with the old ones is fixed. */
static int
rebuild(struct qcow2_check *c, struct err *e)
{
	struct qcow2_check_result *r = c->r, old = *r, leaks = {0};

	qcow2_check_io_say(c, "Rebuilding refcount structure");
	if (qcow2_check_rebuild(c, e))
		return -1;
	c->rebuilt = true;
	r->corruptions = 0;
	r->leaks = 0;
	c->rebuild = c->suspect = false;
	qcow2_counts_reset(&c->counts);
	if (count_all(c, 0, e))
		return -1;
	/* the old table and blocks are leaks now */
	c->r = &leaks;
	if (qcow2_check_blocks_compare(c, QCOW2_FIX_LEAKS, true, e)) {
		c->r = r;
		return -1;
	}
	c->r = r;
	/* Once it is marked QEMU writes no counts to it: that the leaks are
	 * mended is said and not done. */
	if (r->marked_corrupt)
		plan_forget(&c->plan);
	if (c->rebuild)
		qcow2_check_io_say(c, "ERROR rebuilt refcount structure is "
			"still broken");
	if (r->corruptions < old.corruptions)
		r->corruptions_fixed += old.corruptions - r->corruptions;
	if (r->leaks < old.leaks)
		r->leaks_fixed += old.leaks - r->leaks;
	r->leaks += leaks.leaks;
	return 0;
}

static int
mend_counts(struct qcow2_check *c, unsigned fix,
	const struct qcow2_check_result *before, struct err *e)
{
	if (c->rebuild) {
		qcow2_check_io_say(c, "ERROR need to rebuild refcount "
			"structures");
		c->r->errors++;
		return qcow2_check_io_stop(c, EIO, e);
	}
	if (c->r->leaks == 0 && c->r->corruptions == 0)
		return 0;
	*c->r = *before;
	return qcow2_check_blocks_compare(c, fix, true, e);
}

static int
check_counts(struct qcow2_check *c, struct err *e)
{
	struct qcow2_check_result before;
	unsigned fix = c->rq->fix;
	uint64_t n = units_div_up(c->file_len, c->cluster);

	if (n > INT32_MAX) {
		c->r->errors++;
		return qcow2_check_io_stop(c, EFBIG, e);
	}
	c->r->total = units_div_up(units_align_down(c->h->size, 512),
		c->cluster);
	if (qcow2_counts_open(&c->counts, n, c->h->refcount_order, e) ||
		count_all(c, fix, e))
		return -1;
	/* What is not known to be referred to is not compared, let alone
	 * mended. */
	if (c->cut) {
		c->r->errors += fix != 0;
		return fix ? qcow2_check_io_stop(c, EIO, e) : 0;
	}
	before = *c->r;
	if (qcow2_check_blocks_compare(c, 0, fix == 0, e))
		return -1;
	if (c->rebuild && (fix & QCOW2_FIX_ERRORS)) {
		if (rebuild(c, e))
			return -1;
	} else if (fix && mend_counts(c, fix, &before, e)) {
		return -1;
	}
	c->fix = fix;
	if (c->suspect && qcow2_check_copied(c, e))
		return -1;
	c->r->image_end = (c->highest + 1) << c->h->cluster_bits;
	return 0;
}

static void
add(struct qcow2_check_result *to, const struct qcow2_check_result *r)
{
	to->errors += r->errors;
	to->corruptions += r->corruptions;
	to->leaks += r->leaks;
	to->corruptions_fixed += r->corruptions_fixed;
	to->leaks_fixed += r->leaks_fixed;
}

/*
 * Leaked clusters go back to the file system. Only where nothing else is wrong
 * (QEMU does it in any case): what could not be counted may be data.
 */
static int
discard(struct qcow2_check *c, struct err *e)
{
	/* the old table must not be cleared under a header that still has it */
	if (c->rebuilt && c->n_freed &&
		plan_barrier(&c->plan, "header before its old table", e))
		return -1;
	for (size_t i = 0; i < c->n_freed; i++) {
		uint64_t hoff = c->freed[i].first << c->h->cluster_bits;
		uint64_t len = c->freed[i].n << c->h->cluster_bits;
		uint64_t end = c->plan.end[PLAN_IMAGE];

		if (hoff < end && plan_range(&c->plan, PLAN_CLEAR, PLAN_IMAGE,
			hoff, units_min(len, end - hoff), e))
			return -1;
	}
	return 0;
}

/* The marks go only when all that they stood for is on the disk. */
static int
finish(struct qcow2_check *c, struct err *e)
{
	uint64_t marks = QCOW2_DIRTY | QCOW2_CORRUPT;

	if (c->rq->fix == 0)
		return 0;
	if (c->r->errors == 0 && c->r->corruptions == 0 &&
		(c->h->incompatible & marks)) {
		c->h->incompatible &= ~marks;
		if (plan_barrier(&c->plan, "repairs before marks", e) ||
			qcow2_check_io_features(c, e))
			return -1;
	}
	if (c->r->errors == 0 && c->r->corruptions == 0 && discard(c, e))
		return -1;
	return plan_barrier(&c->plan, "done", e) ||
		qcow2_check_io_run(c, e) ? -1 : 0;
}

static int
run(struct qcow2_check *c, struct err *e)
{
	int status;

	if (qcow2_check_blocks_load(c, e))
		return -1;
	c->fix = c->rq->fix;
	if (c->fix && qcow2_check_io_autoclear(c, e))
		return -1;
	status = qcow2_check_snapshots_load(c, e) || check_counts(c, e) ||
		qcow2_check_table(c, e);
	add(c->r, &c->snapshot_r);
	return status ? -1 : finish(c, e);
}

static int
prepare(struct qcow2_check *c, struct err *e)
{
	uint64_t size, room;

	c->l1_buf = buf_alloc_aligned(QCOW2_CHECK_CHUNK);
	c->l2_buf = buf_alloc_aligned(c->cluster);
	c->block_buf = buf_alloc_aligned(c->cluster);
	if (!c->l1_buf || !c->l2_buf || !c->block_buf)
		return err_set(e, ERR_NOMEM, "no memory for tables");
	if (file_size(c->file, &size, e) ||
		file_allocated(c->file, &room, e))
		return -1;
	c->file_len = units_align_up(size, 512);
	c->budget = size;
	if (!c->file->is_block && room < size / PACKING_MOST)
		c->budget = room * PACKING_MOST;
	c->budget += OVERLAP_FREE;
	qcow2_index_init(&c->seen);
	plan_init(&c->plan, c->file, NULL, c->rq->durable);
	c->plan.tap = c->rq->tap;
	c->plan.tap_arg = c->rq->tap_arg;
	return 0;
}

static void
release(struct qcow2_check *c)
{
	qcow2_counts_close(&c->counts);
	qcow2_index_free(&c->seen);
	qcow2_overlap_free(&c->overlap);
	plan_free(&c->plan);
	free(c->reftable);
	free(c->snapshots);
	free(c->tables);
	free(c->freed);
	free(c->l1_buf);
	free(c->l2_buf);
	free(c->block_buf);
}

int
qcow2_check(struct file *f, struct qcow2_header *h,
	const struct qcow2_check_request *rq, struct qcow2_check_result *ret,
	struct err *e)
{
	struct qcow2_check_result r = {0};
	struct qcow2_check c = {
		.file = f, .h = h, .rq = rq, .r = &r,
		.cluster = qcow2_cluster_size(h),
		.external = (h->incompatible & QCOW2_DATA_FILE) != 0,
		.block_bits = h->cluster_bits + 3 - h->refcount_order,
	};
	struct err why = {0};
	int status;

	status = prepare(&c, &why) || run(&c, &why) ? -1 : 0;
	/* what was planned before the check broke off is as right as ever */
	if (status && rq->fix && plan_run(&c.plan, NULL))
		c.eno = c.eno ? c.eno : EIO;
	release(&c);
	if (status && why.kind == ERR_CANCELLED) {
		if (e)
			*e = why;
		return -1;
	}
	if (status)
		r.eno = c.eno ? c.eno : why.kind == ERR_NOMEM ? ENOMEM
			: why.eno ? why.eno : EIO;
	*ret = r;
	return 0;
}
