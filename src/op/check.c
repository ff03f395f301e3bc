/* SPDX-License-Identifier: MIT */
/*
 * Check: the image is opened as it is, broken tables or not, checked, mended
 * if asked for, and then checked again. The work is the format's. Members of
 * the JSON stand in the order of QEMU's hash table.
 */
#include "op/check.h"

#include <errno.h>
#include <inttypes.h>

#include "base/json.h"
#include "op/inplace.h"

static int
open_reader(const struct check_request *rq, struct inplace *p, struct err *e)
{
	const struct source *s = &rq->source;
	struct chain_request cr = {
		.format = s->format,
		.data_path = s->data_path,
		.no_backing = !rq->whole_chain,
		.no_data_file = !rq->whole_chain,
		.check = true,
		.force_share = s->force_share || s->no_locks,
		.direct = s->direct,
		.gate = rq->gate,
		.watch = rq->watch,
	};
	struct file *f;

	if (source_file(s, &f, e) || chain_open(&p->chain, f, &cr, e))
		return -1;
	p->file = p->chain->im[0]->file;
	p->format = p->chain->im[0]->ops->format;
	return 0;
}

static int
open_image(const struct check_request *rq, struct inplace *p, struct err *e)
{
	const struct inplace_request ir = {
		.dirfd = rq->source.dirfd,
		.path = rq->source.path,
		.format = rq->source.format,
		.data_path = rq->source.data_path,
		.no_locks = rq->source.no_locks,
		.allow_probed = rq->allow_probed,
		.check = true,
		.no_backing = !rq->whole_chain,
		.gate = rq->gate,
		.watch = rq->watch,
	};

	if (rq->fix == 0)
		return open_reader(rq, p, e);
	if (!rq->source.path)
		return err_set(e, ERR_USAGE, "an image is mended by its path");
	if (rq->source.force_share)
		return err_set(e, ERR_USAGE, "force-share=on can only be used "
			"with read-only images");
	return inplace_open(p, &ir, e);
}

static int
check(const struct check_request *rq, struct inplace *p,
	struct check_result *ret, struct err *e)
{
	struct qcow2_header *h = &qcow2_of(p->chain->im[0])->h;
	struct qcow2_check_request q = {
		.fix = rq->fix,
		.durable = rq->durable,
		.watch = rq->watch,
		.tap = rq->tap,
		.tap_arg = rq->tap_arg,
	};
	struct qcow2_check_result first;

	if (qcow2_check(p->file, h, &q, &first, e))
		return -1;
	ret->r = first;
	if (first.eno || (!first.corruptions_fixed && !first.leaks_fixed))
		return 0;
	ret->mended = true;
	q.fix = 0;
	if (first.marked_corrupt)
		ret->r = (struct qcow2_check_result){.eno = ENOMEDIUM};
	else if (qcow2_check(p->file, h, &q, &ret->r, e))
		return -1;
	ret->r.corruptions_fixed = first.corruptions_fixed;
	ret->r.leaks_fixed = first.leaks_fixed;
	return 0;
}

int
check_run(const struct check_request *rq, struct check_result *ret,
	struct err *e)
{
	struct check_result r = {0};
	struct inplace p = {0};
	int status = open_image(rq, &p, e);

	r.format = p.format;
	if (status == 0 && p.format == FORMAT_QCOW2)
		status = check(rq, &p, &r, e);
	inplace_close(&p);
	if (status == 0)
		*ret = r;
	else if (rq->source.path)
		err_file(e, rq->source.path);
	return status;
}

enum check_verdict
check_verdict(const struct check_result *r)
{
	if (r->format != FORMAT_QCOW2)
		return CHECK_UNSUPPORTED;
	if (r->r.eno || r->r.errors)
		return CHECK_FAILED;
	return r->r.corruptions ? CHECK_CORRUPT
		: r->r.leaks ? CHECK_LEAKS
		: CHECK_CLEAN;
}

static double
percent(uint64_t part, uint64_t whole)
{
	return (double)part * 100.0 / (double)whole;
}

void
check_human(const struct check_result *res, struct buf *out)
{
	const struct qcow2_check_result *r = &res->r;

	if (res->mended)
		buf_fmt(out, "The following inconsistencies were found and "
			"repaired:\n\n    %" PRIu64 " leaked clusters\n    %"
			PRIu64 " corruptions\n\n"
			"Double checking the fixed image now...\n",
			r->leaks_fixed, r->corruptions_fixed);
	if (r->eno)
		return;
	if (!r->corruptions && !r->leaks && !r->errors)
		buf_str(out, "No errors were found on the image.\n");
	if (r->corruptions)
		buf_fmt(out, "\n%" PRIu64 " errors were found on the image.\n"
			"Data may be corrupted, or further writes to the image "
			"may corrupt it.\n", r->corruptions);
	if (r->leaks)
		buf_fmt(out, "\n%" PRIu64 " leaked clusters were found on the "
			"image.\nThis means waste of disk space, but no harm "
			"to data.\n", r->leaks);
	if (r->errors)
		buf_fmt(out, "\n%" PRIu64 " internal errors have occurred "
			"during the check.\n", r->errors);
	if (r->total && r->allocated)
		buf_fmt(out, "%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, "
			"%0.2f%% fragmented, %0.2f%% compressed clusters\n",
			r->allocated, r->total, percent(r->allocated, r->total),
			percent(r->fragmented, r->allocated),
			percent(r->packed, r->allocated));
	if (r->image_end)
		buf_fmt(out, "Image end offset: %" PRIu64 "\n", r->image_end);
}

static void
unless_zero(struct json_out *j, const char *key, uint64_t value)
{
	if (value)
		json_u64(j, key, value);
}

void
check_json(const struct check_result *res, const char *name, struct buf *out)
{
	const struct qcow2_check_result *r = &res->r;
	struct json_out j = {.out = out, .pretty = true};

	if (r->eno)
		return;
	json_open_object(&j, NULL);
	unless_zero(&j, "image-end-offset", r->image_end);
	unless_zero(&j, "compressed-clusters", r->packed);
	unless_zero(&j, "total-clusters", r->total);
	unless_zero(&j, "corruptions", r->corruptions);
	unless_zero(&j, "corruptions-fixed", r->corruptions_fixed);
	json_u64(&j, "check-errors", r->errors);
	unless_zero(&j, "leaks", r->leaks);
	unless_zero(&j, "leaks-fixed", r->leaks_fixed);
	unless_zero(&j, "allocated-clusters", r->allocated);
	json_str(&j, "filename", name);
	json_str(&j, "format", "qcow2");
	unless_zero(&j, "fragmented-clusters", r->fragmented);
	json_close_object(&j);
	buf_char(out, '\n');
}
