/* SPDX-License-Identifier: MIT */
/* byre rebase: another backing file, and the same content unless -u. */
#include "config.h"

#include "cli/cmd.h"

#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/rebase.h"

static int
run(const struct options_args *a, struct err *e)
{
	struct rebase_request rq = {
		.backing = a->backing,
		.backing_format = a->backing_format,
		.only_header = a->unsafe_backing,
		.force_share = a->force_share,
		.durable = true,
	};
	enum format format = FORMAT_PROBE;
	struct rebase_result result;
	struct gate g;
	struct name n = {0};
	struct source s;
	struct progress p;
	int r, fd = -1;

	if (policy_native(a, &g, e) ||
		native_engine(a, &rq.engine, &rq.workers, e) ||
		native_progress_fd(a, &fd, e) ||
		(a->backing_format && native_format(a->backing_format, "-F",
			&format, e)) ||
		native_inplace_source(a, a->operands.v[0], &n, &s,
			e))
		return -1;
	if (!a->backing || (*a->backing && !a->backing_format)) {
		name_free(&n);
		return err_set(e, ERR_USAGE, a->backing
			? "a backing file needs its format (-F)"
			: "the new backing file is needed (-b, may be \"\")");
	}
	rq.image = inplace_of(&s, &g);
	progress_start(&p, "rebase", a->progress, true, a->quiet, fd,
		report_warning);
	rq.image.watch = &p.watch;
	report_started();
	r = rebase_run(&rq, &result, e);
	progress_end(&p, r == 0);
	if (r)
		err_file(e, s.path);
	name_free(&n);
	return r;
}

int
cmd_rebase(struct options_args *a)
{
	struct err e = {0};

	if (a->operands.n != 1)
		return report_usage("one FILE is needed, %u operands are given",
			a->operands.n);
	if (run(a, &e))
		return report_error(&e);
	return REPORT_OK;
}
