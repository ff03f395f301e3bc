/* SPDX-License-Identifier: MIT */
/*
 * What the check says and reads, and the look before a write: whether it would
 * hit other metadata. Writes go through the plan.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2_check_int.h"
#include "io/sparse.h"

#define SECTOR 512
#define INCOMPATIBLE_AT 72
#define AUTOCLEAR_AT 88
#define LINE_MAX_BYTES 768

static void
say(struct qcow2_check *c, bool named, const char *fmt, va_list ap)
{
	const struct watch *w = c->rq->watch;
	char line[LINE_MAX_BYTES];

	if (!w || !w->found || c->said > QCOW2_CHECK_MESSAGES)
		return;
	if (c->said++ == QCOW2_CHECK_MESSAGES) {
		w->found(w->arg, "(further messages are left out)", false);
		return;
	}
	vsnprintf(line, sizeof(line), fmt, ap);
	w->found(w->arg, line, named);
}

void
qcow2_check_io_say(struct qcow2_check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(c, false, fmt, ap);
	va_end(ap);
}

void
qcow2_check_io_report(struct qcow2_check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(c, true, fmt, ap);
	va_end(ap);
}

int
qcow2_check_io_stop(struct qcow2_check *c, int eno, struct err *e)
{
	c->eno = eno;
	return err_sys(e, eno, "the check did not come to an end");
}

/* Whether all of [hoff, hoff+len) lies in a hole or past the end. */
static int
is_hole(struct qcow2_check *c, uint64_t hoff, uint64_t len, bool *ret,
	struct err *e)
{
	uint64_t size = c->file->size, run;

	*ret = true;
	if (hoff >= size)
		return 0;
	if (hoff < c->run_lo || hoff >= c->run_hi) {
		if (sparse_next(c->file, hoff, &run, &c->run_data, e))
			return -1;
		c->run_lo = hoff;
		c->run_hi = hoff + run;
	}
	*ret = !c->run_data &&
		(c->run_hi >= size || hoff + len <= c->run_hi);
	return 0;
}

int
qcow2_check_io_run(struct qcow2_check *c, struct err *e)
{
	uint64_t size;

	if (c->plan.n == 0)
		return 0;
	c->run_lo = c->run_hi = 0;
	if (plan_run(&c->plan, e) || file_size(c->file, &size, e)) {
		c->eno = e->eno ? e->eno : EIO;
		return -1;
	}
	c->file_len = units_align_up(size, SECTOR);
	return 0;
}

/* Whether something that is planned would change [hoff, hoff+len). */
static bool
is_planned(const struct qcow2_check *c, uint64_t hoff, uint64_t len)
{
	for (size_t i = 0; i < c->plan.n; i++) {
		const struct plan_op *op = &c->plan.op[i];

		if (op->kind != PLAN_BARRIER && op->hoff < hoff + len &&
			hoff < op->hoff + units_max(op->len, 1))
			return true;
	}
	return false;
}

int
qcow2_check_io_read(struct qcow2_check *c, uint64_t hoff, void *buf,
	uint64_t len, bool *ret_zero, struct err *e)
{
	bool zero = false;

	if (watch_cancelled(c->rq->watch))
		return err_set(e, ERR_CANCELLED, "cancelled");
	if (hoff > QCOW2_CHECK_OFFSET_MAX - len)
		return qcow2_check_io_stop(c, EIO, e);
	if (is_planned(c, hoff, len) && qcow2_check_io_run(c, e))
		return -1;
	if ((ret_zero && is_hole(c, hoff, len, &zero, e)) ||
		(!zero && file_read_padded(c->file, buf, len, hoff, NULL, e))) {
		c->eno = e->eno ? e->eno : EIO;
		return -1;
	}
	if (ret_zero)
		*ret_zero = zero;
	return 0;
}

/* A table that is not aligned lies in two clusters. */
static int
overlap_add(struct qcow2_check *c, enum qcow2_meta kind, uint64_t hoff,
	struct err *e)
{
	return qcow2_overlap_add(&c->overlap, kind, hoff, e) ||
		qcow2_overlap_add(&c->overlap, kind, hoff + c->cluster - 1, e);
}

static int
add_tables(struct qcow2_check *c, struct err *e)
{
	uint64_t bytes = (uint64_t)c->h->l1_entries * 8, n;
	uint8_t *buf = c->block_buf;

	for (uint64_t at = 0; at < bytes; at += n) {
		n = units_min(bytes - at, c->cluster);
		if (qcow2_check_io_read(c, c->h->l1_offset + at, buf, n, NULL,
			e))
			return -1;
		for (uint64_t i = 0; i < n; i += 8) {
			uint64_t l2 = load_be64(buf + i) & QCOW2_L1_OFFSET;

			if (l2 && overlap_add(c, QCOW2_META_L2, l2, e))
				return -1;
		}
	}
	return 0;
}

static int
add_blocks(struct qcow2_check *c, struct err *e)
{
	for (uint64_t i = 0; i < c->n_reftable; i++) {
		uint64_t hoff = c->reftable[i] & QCOW2_REFTABLE_OFFSET;

		if (hoff && hoff < QCOW2_CHECK_OFFSET_MAX &&
			overlap_add(c, QCOW2_META_REFBLOCK, hoff, e))
			return -1;
	}
	return 0;
}

static int
overlap_load(struct qcow2_check *c, struct err *e)
{
	const struct qcow2_header *h = c->h;
	struct qcow2_overlap *o = &c->overlap;

	if (c->overlap_known)
		return 0;
	qcow2_check_io_moved(c);
	o->cluster_bits = h->cluster_bits;
	qcow2_overlap_put(o, QCOW2_META_HEADER, 0, c->cluster);
	qcow2_overlap_put(o, QCOW2_META_L1, h->l1_offset,
		(uint64_t)h->l1_entries * 8);
	qcow2_overlap_put(o, QCOW2_META_REFTABLE, h->reftable_offset,
		c->n_reftable * 8);
	qcow2_overlap_put(o, QCOW2_META_SNAPSHOTS, h->snapshots_offset,
		c->snapshots_len);
	if (h->has_bitmaps)
		qcow2_overlap_put(o, QCOW2_META_BITMAPS, h->bitmap_dir_offset,
			h->bitmap_dir_size);
	for (uint64_t i = 0; i < c->n_snapshots; i++) {
		const struct qcow2_check_snapshot *s = &c->snapshots[i];

		if (qcow2_overlap_add_l1(o, s->l1_hoff,
			(uint64_t)s->l1_entries * 8, e))
			return -1;
	}
	qcow2_overlap_seal(o);
	if (add_tables(c, e) || add_blocks(c, e))
		return -1;
	c->overlap_known = true;
	return 0;
}

void
qcow2_check_io_moved(struct qcow2_check *c)
{
	qcow2_overlap_free(&c->overlap);
	c->overlap_known = false;
}

int
qcow2_check_io_overlap(struct qcow2_check *c, enum qcow2_meta own,
	uint64_t hoff, uint64_t len, const char **ret, struct err *e)
{
	enum qcow2_meta hit;

	if (overlap_load(c, e))
		return -1;
	hit = qcow2_overlap_find(&c->overlap, own, hoff, len);
	*ret = hit == QCOW2_META_NONE ? NULL : qcow2_overlap_name(hit);
	return 0;
}

int
qcow2_check_io_features(struct qcow2_check *c, struct err *e)
{
	uint8_t b[8];

	/* version 2 has no place for them */
	if (c->h->version < 3)
		return 0;
	store_be64(b, c->h->incompatible);
	return plan_write(&c->plan, PLAN_IMAGE, INCOMPATIBLE_AT, b, sizeof(b),
		e);
}

int
qcow2_check_io_autoclear(struct qcow2_check *c, struct err *e)
{
	uint64_t known = QCOW2_AUTOCLEAR_BITMAPS | QCOW2_AUTOCLEAR_RAW;
	uint8_t b[8];

	if (c->h->version < 3 || (c->h->autoclear & ~known) == 0)
		return 0;
	c->h->autoclear &= known;
	store_be64(b, c->h->autoclear);
	if (plan_write(&c->plan, PLAN_IMAGE, AUTOCLEAR_AT, b, sizeof(b), e))
		return -1;
	return plan_barrier(&c->plan, "autoclear bits before repairs", e);
}

int
qcow2_check_io_signal(struct qcow2_check *c, struct err *e, const char *fmt,
	...)
{
	bool fatal = c->rq->fix != 0;
	char what[256];
	va_list ap;

	if (c->signalled)
		return 0;
	c->signalled = true;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	qcow2_check_io_say(c, fatal
		? "qcow2: Marking image as corrupt: %s; further corruption "
		  "events will be suppressed"
		: "qcow2: Image is corrupt: %s; further non-fatal corruption "
		  "events will be suppressed", what);
	if (!fatal)
		return 0;
	/* nothing else is written to it any more */
	plan_forget(&c->plan);
	c->r->marked_corrupt = true;
	c->h->incompatible |= QCOW2_CORRUPT;
	return qcow2_check_io_features(c, e);
}
