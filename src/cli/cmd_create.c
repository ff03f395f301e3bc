/* SPDX-License-Identifier: MIT */
/* byre create: a new image, durable, never over a file that exists. */
#include "config.h"

#include "cli/cmd.h"

#include <fcntl.h>
#include <stdio.h>

#include "base/parse.h"
#include "cli/imgopts.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/create.h"

static int
run(const struct options_args *a, struct imgopts *o, struct err *e)
{
	struct create_request rq = {
		.dirfd = AT_FDCWD,
		.path = a->operands.v[0],
		.unsafe_backing = a->unsafe_backing,
		.exclusive = true,
		.durable = true,
	};
	struct create_result result;
	struct progress p;
	struct gate g;
	int r;

	if (imgopts_finish(o, e) || policy_native(a, &g, e))
		return -1;
	rq.format = o->format;
	rq.qcow2 = o->qcow2;
	rq.raw_preallocation = o->preallocation;
	rq.has_size = o->has_size;
	rq.size = o->size;
	rq.gate = &g;
	if (a->operands.n == 2) {
		if (o->has_size)
			return err_set(e, ERR_USAGE,
				"the size is given twice");
		if (parse_size(a->operands.v[1], &rq.size, e))
			return -1;
		rq.has_size = true;
	}
	if (rq.qcow2.backing && !rq.qcow2.backing_format)
		return err_set(e, ERR_USAGE,
			"a backing file needs its format (-F)");
	if (!rq.has_size && !rq.qcow2.backing)
		return err_set(e, ERR_USAGE, "a size is needed");
	progress_start(&p, "create", false, false, a->quiet, -1,
		report_warning);
	rq.watch = &p.watch;
	report_started();
	r = create_run(&rq, &result, e);
	progress_end(&p, r == 0);
	return r;
}

int
cmd_create(struct options_args *a)
{
	enum format format = FORMAT_RAW;
	struct buf out = BUF_INIT;
	struct imgopts o = {0};
	struct err e = {0};
	int r;

	if (a->format && native_format(a->format, "-f", &format, &e))
		return report_error(&e);
	if (imgopts_wants_help(&a->options)) {
		imgopts_help(format, &out);
		return report_output(&out);
	}
	if (a->operands.n < 1 || a->operands.n > 2)
		return report_usage("FILE and SIZE are needed, %u operands are "
			"given", a->operands.n);
	if (imgopts_parse(&o, format, &a->options, a->backing,
		    a->backing_format, &e)) {
		err_prefix(&e, "-o");
		return report_error(&e);
	}
	r = run(a, &o, &e);
	imgopts_free(&o);
	if (r == 0)
		return REPORT_OK;
	err_file(&e, a->operands.v[0]);
	return report_error(&e);
}
