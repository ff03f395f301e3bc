/* SPDX-License-Identifier: MIT */
/* byre amend: options of an existing qcow2, durable. */
#include "config.h"

#include "cli/cmd.h"

#include "base/cleanup.h"
#include "cli/amendopts.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"

static int
run(const struct options_args *a, struct amend_request *rq, struct err *e)
{
	CLEANUP(name_free) struct name n = {0};
	struct amend_result result;
	struct progress p;
	struct source s;
	struct gate g;
	int r;

	if (policy_native(a, &g, e) ||
		native_inplace_source(a, a->operands.v[0], &n, &s,
			e))
		return -1;
	rq->image = (struct inplace_request){
		.dirfd = s.dirfd,
		.path = s.path,
		.data_path = s.data_path,
		.no_locks = s.no_locks,
		.format = s.format,
		.gate = &g,
	};
	rq->durable = true;
	progress_start(&p, "amend", a->progress, true, a->quiet, -1,
		report_warning);
	rq->image.watch = &p.watch;
	report_started();
	r = amend_run(rq, &result, e);
	progress_end(&p, r == 0);
	return r ? err_file(e, s.path) : 0;
}

int
cmd_amend(struct options_args *a)
{
	CLEANUP(parse_opts_free) struct parse_opts given = {0};
	struct amend_request rq = {0};
	struct err e = {0};
	bool create = false;

	if (a->operands.n != 1)
		return report_usage("one FILE is needed, %u operands are given",
			a->operands.n);
	if (a->options.n == 0)
		return report_usage("-o is needed");
	if (amendopts_parse(&a->options, &given, &rq, &create, &e))
		return report_usage("-o: %s", e.msg);
	if (run(a, &rq, &e))
		return report_error(&e);
	return REPORT_OK;
}
