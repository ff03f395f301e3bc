/* SPDX-License-Identifier: MIT */
/*
 * Amend: one step after another, each on the image as the last one left it.
 * The image is opened and locked once.
 */
#include "op/amend.h"

#include <string.h>

#include "base/cleanup.h"
#include "format/qcow2_amend.h"
#include "format/qcow2_update.h"

static bool
same(const char *given, bool has, const char *stored)
{
	return given ? has && strcmp(given, stored) == 0 : !has;
}

/* Errors in the order in which QEMU meets them. */
static int
check(const struct amend_request *rq, const struct qcow2_header *h,
	struct err *e)
{
	unsigned version = rq->version ? rq->version : h->version;
	bool raw = h->autoclear & QCOW2_AUTOCLEAR_RAW;

	if (rq->data_file && !(h->incompatible & QCOW2_DATA_FILE))
		return err_set(e, ERR_USAGE, "data-file can only be set for "
			"images that use an external data file");
	if (rq->data_file && strlen(rq->data_file) >= sizeof(h->data_file))
		return err_set(e, ERR_LIMIT,
			"the data file's name is too long");
	if (rq->data_file_raw > 0 && !raw)
		return err_set(e, ERR_USAGE,
			"data-file-raw cannot be set on existing images");
	if (rq->refcount_bits && rq->refcount_bits != 16 && version < 3 &&
		rq->refcount_bits != 1u << h->refcount_order)
		return err_set(e, ERR_USAGE, "Refcount widths other than 16 "
			"bits require compatibility level 1.1 or above (use "
			"compat=1.1 or greater)");
	if ((rq->backing || rq->backing_format) &&
		!(same(rq->backing, h->backing[0] != '\0', h->backing) &&
			same(rq->backing_format, h->has_backing_format,
				h->backing_format)))
		return err_set(e, ERR_USAGE, "%s", AMEND_BACKING);
	if (rq->lazy_refcounts > 0 && version < 3 &&
		!(h->compatible & QCOW2_LAZY_REFCOUNTS))
		return err_set(e, ERR_USAGE, "Lazy refcounts only supported "
			"with compatibility level 1.1 and above (use "
			"compat=1.1 or greater)");
	return 0;
}

static int
header(const struct amend_request *rq, struct qcow2_edit *d, struct err *e)
{
	struct qcow2_header want = *d->h;

	if (rq->data_file_raw == 0)
		want.autoclear &= ~QCOW2_AUTOCLEAR_RAW;
	if (rq->lazy_refcounts >= 0 && want.version >= 3)
		want.compatible = rq->lazy_refcounts
			? want.compatible | QCOW2_LAZY_REFCOUNTS
			: want.compatible & ~QCOW2_LAZY_REFCOUNTS;
	if (rq->data_file) {
		want.has_data_file = *rq->data_file != '\0';
		want.data_file_len = (uint32_t)strlen(rq->data_file);
		memset(want.data_file, 0, sizeof(want.data_file));
		memcpy(want.data_file, rq->data_file, want.data_file_len);
	}
	return qcow2_amend_header(d, &want, e);
}

enum part {
	PART_UPGRADE,
	PART_WIDTH,
	PART_HEADER,
	PART_SIZE,
	PART_DOWNGRADE,
	PARTS,
};

static bool
due(const struct amend_request *rq, const struct qcow2_header *h,
	enum part part)
{
	switch (part) {
	case PART_UPGRADE:
		return rq->version > h->version;
	case PART_WIDTH:
		return rq->refcount_bits &&
			rq->refcount_bits != 1u << h->refcount_order;
	case PART_SIZE:
		return rq->size != 0;
	case PART_DOWNGRADE:
		return rq->version && rq->version < h->version;
	default:
		return true;
	}
}

/* The parts that take time, and no others, make up the progress. */
struct parts {
	const struct watch *watch;
	unsigned n, done;
};

static bool
takes_time(enum part part)
{
	return part == PART_UPGRADE || part == PART_WIDTH ||
		part == PART_DOWNGRADE;
}

static void
on_progress(void *arg, uint64_t done, uint64_t total)
{
	const struct parts *p = arg;

	watch_progress(p->watch, p->done * total + done, p->n * total);
}

static int
edit(const struct amend_request *rq, struct qcow2_edit *d, enum part part,
	const struct watch *w, struct err *e)
{
	switch (part) {
	case PART_UPGRADE:
		return qcow2_amend_upgrade(d, e);
	case PART_WIDTH:
		return qcow2_amend_width(d,
			(unsigned)__builtin_ctz(rq->refcount_bits), w, e);
	case PART_HEADER:
		return header(rq, d, e);
	default:
		return qcow2_amend_downgrade(d, w, e);
	}
}

static int
open_edit(const struct amend_request *rq, struct inplace *p,
	struct qcow2_edit *d, struct err *e)
{
	const struct qcow2_edit_request q = {
		.durable = rq->durable,
		.data_file = p->data,
		.watch = rq->image.watch,
	};

	return qcow2_edit_open(d, p->chain, &q, e);
}

/* What would stop the last step must not leave the ones before it, but for
 * sizes of snapshots that the new size may meet. */
static int
check_downgrade(const struct amend_request *rq, struct inplace *p,
	struct err *e)
{
	const struct qcow2_header *h = &qcow2_of(p->chain->im[0])->h;
	unsigned bits = rq->refcount_bits ? rq->refcount_bits
		: 1u << h->refcount_order;
	struct qcow2_edit d;
	int r;

	if (open_edit(rq, p, &d, e) < 0)
		return -1;
	r = qcow2_amend_may_downgrade(&d, bits, rq->size != 0, e);
	qcow2_edit_close(&d);
	return r;
}

static int
run_part(const struct amend_request *rq, struct inplace *p, enum part part,
	const struct watch *w, struct err *e)
{
	const struct qcow2_resize size = {
		.new_size = rq->size,
		.shrink = true,
		.durable = rq->durable,
		.data_file = p->data,
		.watch = rq->image.watch,
	};
	struct qcow2_edit d;
	int r;

	if (part == PART_SIZE)
		return qcow2_resize(p->chain, &size, e);
	if (open_edit(rq, p, &d, e) < 0)
		return -1;
	r = edit(rq, &d, part, w, e);
	if (r == 0)
		r = plan_run(&d.plan, e);
	qcow2_edit_close(&d);
	return r;
}

static int
run(const struct amend_request *rq, struct amend_result *ret, struct err *e)
{
	CLEANUP(inplace_close) struct inplace p = {0};
	struct parts parts = {.watch = rq->image.watch};
	const struct watch w = {.progress = on_progress, .arg = &parts};
	struct qcow2_header h; /* as it was */

	if (inplace_open(&p, &rq->image, e) < 0)
		return -1;
	ret->format = p.format;
	ret->opened = true;
	if (p.format != FORMAT_QCOW2)
		return err_set(e, ERR_UNSUPPORTED,
			"a raw image has nothing to amend");
	h = qcow2_of(p.chain->im[0])->h;
	if (check(rq, &h, e) < 0 || (due(rq, &h, PART_DOWNGRADE) &&
		check_downgrade(rq, &p, e) < 0))
		return -1;
	for (unsigned part = 0; part < PARTS; part++)
		parts.n += takes_time((enum part)part) &&
			due(rq, &h, (enum part)part);
	for (unsigned part = 0; part < PARTS; part++) {
		if (!due(rq, &h, (enum part)part))
			continue;
		if (run_part(rq, &p, (enum part)part, &w, e) < 0 ||
			inplace_again(&p, e) < 0)
			return -1;
		if (takes_time((enum part)part) && ++parts.done < parts.n)
			on_progress(&parts, 0, 1);
	}
	watch_progress(rq->image.watch, 1, 1);
	return 0;
}

int
amend_run(const struct amend_request *rq, struct amend_result *ret,
	struct err *e)
{
	*ret = (struct amend_result){0};
	return run(rq, ret, e) < 0 ? err_file(e, rq->image.path) : 0;
}
