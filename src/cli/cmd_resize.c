/* SPDX-License-Identifier: MIT */
/* byre resize: a new virtual size in place, durable. Without -f only content
 * that is plain raw is written to. */
#include "config.h"

#include "cli/cmd.h"

#include <fcntl.h>
#include <string.h>

#include "base/parse.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/resize.h"

static int
size_of(const char *text, struct resize_request *rq, struct err *e)
{
	if (*text == '+' || *text == '-')
		rq->relative = *text++ == '+' ? 1 : -1;
	return parse_size(text, &rq->size, e);
}

static int
run(const struct options_args *a, const char *size, struct err *e)
{
	static const char *const modes[] = {"off", "metadata", "falloc",
		"full", NULL};
	struct resize_request rq = {
		.dirfd = AT_FDCWD,
		.shrink = a->shrink,
		.durable = true,
	};
	struct resize_result result;
	struct gate g;
	struct name n = {0};
	struct source s;
	struct progress p;
	unsigned mode = 0;
	int r;

	if (policy_native(a, &g, e) ||
		native_inplace_source(a, a->operands.v[0], &n, &s,
			e))
		return -1;
	if (size_of(size, &rq, e) || native_word(a->preallocation,
			"--preallocation", modes, &mode, e)) {
		name_free(&n);
		return -1;
	}
	rq.gate = &g;
	rq.path = s.path;
	rq.data_path = s.data_path;
	rq.no_locks = s.no_locks;
	rq.format = s.format;
	rq.preallocation = (enum preallocation)mode;
	progress_start(&p, "resize", false, false, a->quiet, -1,
		report_warning);
	rq.watch = &p.watch;
	report_started();
	r = resize_run(&rq, &result, e);
	progress_end(&p, r == 0);
	if (r)
		err_file(e, s.path);
	name_free(&n);
	return r;
}

int
cmd_resize(struct options_args *a)
{
	struct err e = {0};

	if (a->operands.n != 2)
		return report_usage("FILE and SIZE are needed, %u operands are "
			"given", a->operands.n);
	if (run(a, a->operands.v[1], &e))
		return report_error(&e);
	return REPORT_OK;
}
