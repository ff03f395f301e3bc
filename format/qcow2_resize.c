/* SPDX-License-Identifier: MIT */
/* Which way a resize goes, and what is refused before anything is loaded. */
#include "format/qcow2_bitmap_edit.h"
#include "format/qcow2_edit.h"
#include "format/qcow2_grow.h"

#define SECTOR 512

static int
check_request(const struct qcow2_resize *rq, uint64_t old_size, struct err *e)
{
	if (rq->new_size % SECTOR != 0)
		return err_set(e, ERR_USAGE,
			"The new size must be a multiple of %u", SECTOR);
	if (rq->new_size > INT64_MAX)
		return err_set(e, ERR_LIMIT, "the new size is too large");
	if (rq->new_size < old_size && rq->preallocation != PREALLOC_OFF)
		return err_set(e, ERR_USAGE,
			"Preallocation can't be used for shrinking an image");
	if (rq->new_size < old_size && !rq->shrink)
		return err_set(e, ERR_USAGE,
			"Use the --shrink option to perform a shrink "
			"operation.");
	return 0;
}

/* Bitmaps whose tables go with the new size stay as they are; else all are
 * stored anew, as QEMU does it with every one. */
static int
follow(struct qcow2_edit *d, struct qcow2_bitmaps *b, struct err *e)
{
	struct file *f = d->plan.file[PLAN_IMAGE];
	uint64_t size = d->rq->new_size;
	bool fit = false;

	/* Without the bit the bitmaps are stale, and stay so. */
	if (!d->h->has_bitmaps || !(d->h->autoclear & QCOW2_AUTOCLEAR_BITMAPS))
		return 0;
	if (size >= d->old_size &&
		qcow2_bitmap_fit(f, d->h, size, &fit, e) < 0)
		return -1;
	if (fit)
		return 0;
	if (qcow2_bitmaps_load(b, f, d->h, d->old_size, e) < 0 ||
		qcow2_bitmaps_resize(b, size, e) < 0)
		return -1;
	d->bitmaps = b;
	return 0;
}

static int
check_image(struct chain *c, struct err *e)
{
	const struct qcow2_header *h = &qcow2_of(c->im[0])->h;

	if (h->incompatible & (QCOW2_CORRUPT | QCOW2_DIRTY))
		return 0; /* the edit's to refuse */
	/* Version 2 need not say how large a snapshot's disk was. */
	if (h->n_snapshots > 0 && h->version < 3)
		return err_set(e, ERR_UNSUPPORTED,
			"Can't resize a v2 image which has snapshots");
	return 0;
}

int
qcow2_resize(struct chain *c, const struct qcow2_resize *rq, struct err *e)
{
	const struct qcow2_edit_request q = {
		.durable = rq->durable,
		.data_file = rq->data_file,
		.watch = rq->watch,
		.tap = rq->tap,
		.tap_arg = rq->tap_arg,
	};
	struct qcow2_bitmaps b = {0};
	struct qcow2_edit d;
	int r;

	if (check_request(rq, c->im[0]->size, e) < 0 ||
		check_image(c, e) < 0 ||
		qcow2_edit_open(&d, c, &q, e) < 0)
		return -1;
	d.rq = rq;
	r = follow(&d, &b, e);
	if (r == 0)
		r = rq->new_size < d.old_size ? qcow2_shrink(&d, e)
			: qcow2_grow(&d, e);
	if (r == 0)
		r = plan_run(&d.plan, e);
	qcow2_bitmaps_free(&b);
	qcow2_edit_close(&d);
	return r;
}
