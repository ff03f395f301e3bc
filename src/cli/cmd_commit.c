/* SPDX-License-Identifier: MIT */
/* byre commit: into the base, durable, then the overlay is emptied. */
#include "config.h"

#include "cli/cmd.h"

#include "base/parse.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/commit.h"

static int
run(const struct options_args *a, struct err *e)
{
	struct commit_request rq = {
		.base = a->backing,
		.keep = a->drop || a->backing,
		.durable = true,
	};
	struct commit_result result;
	struct gate g;
	struct name n = {0};
	struct source s;
	struct progress p;
	int r, fd = -1;

	if (policy_native(a, &g, e) ||
		native_engine(a, &rq.engine, &rq.workers, e) ||
		native_progress_fd(a, &fd, e))
		return -1;
	if (a->rate_limit && parse_size(a->rate_limit, &rq.rate_limit, e))
		return err_prefix(e, "-r");
	if (native_inplace_source(a, a->operands.v[0], &n, &s,
			e))
		return -1;
	rq.image = inplace_of(&s, &g);
	progress_start(&p, "commit", a->progress, true, a->quiet, fd,
		report_warning);
	rq.image.watch = &p.watch;
	report_started();
	r = commit_run(&rq, &result, e);
	progress_end(&p, r == 0);
	if (r)
		err_file(e, s.path);
	name_free(&n);
	return r;
}

int
cmd_commit(struct options_args *a)
{
	struct err e = {0};

	if (a->operands.n != 1)
		return report_usage("one FILE is needed, %u operands are given",
			a->operands.n);
	if (run(a, &e))
		return report_error(&e);
	return REPORT_OK;
}
