/* SPDX-License-Identifier: MIT */
/* byre bitmap: steps on one dirty bitmap of a qcow2, all or none of them,
 * durable. The files below the image are not opened. */
#include "config.h"

#include "cli/cmd.h"

#include <fcntl.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/units.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/steps.h"
#include "op/bitmap.h"

static int
change(const struct options_args *a, struct bitmap_request *rq,
	const struct source *s, struct gate *g, struct err *e)
{
	struct bitmap_result result;
	struct progress p;
	int r;

	rq->image = (struct inplace_request){
		.dirfd = s->dirfd,
		.path = s->path,
		.data_path = s->data_path,
		.no_locks = s->no_locks,
		.format = s->format,
		.no_backing = true,
		.gate = g,
	};
	progress_start(&p, "bitmap", false, false, a->quiet, -1,
		report_warning);
	rq->image.watch = &p.watch;
	report_started();
	r = bitmap_run(rq, &result, e);
	progress_end(&p, r == 0);
	return r ? err_file(e, s->path) : 0;
}

static int
run(const struct options_args *a, const struct bitmap_step *steps, unsigned n,
	struct err *e)
{
	CLEANUP(name_free) struct name name = {0}, other = {0};
	struct bitmap_request rq = {
		.name = a->operands.v[1],
		.steps = steps,
		.n_steps = n,
		.durable = true,
	};
	struct source s, from;
	struct gate g;

	if (policy_native(a, &g, e) ||
		native_inplace_source(a, a->operands.v[0], &name, &s,
			e))
		return -1;
	if (a->granularity && (parse_size(a->granularity, &rq.granularity, e) ||
		rq.granularity == 0))
		return err_set(e, ERR_USAGE, "--granularity: a power of 2 of "
			"at least 512 is needed");
	if (a->source_file) {
		struct options_args b = {.format = a->source_format};

		if (native_source(&b, a->source_file, &other, &from, e))
			return -1;
		rq.source = &from;
		rq.source_gate = &g;
	}
	return change(a, &rq, &s, &g, e);
}

int
cmd_bitmap(struct options_args *a)
{
	struct bitmap_step steps[STEPS_MAX];
	bool add = false, merge = false;
	struct err e = {0};
	unsigned n;

	if (a->operands.n != 2)
		return report_usage("FILE and BITMAP are needed, %u operands "
			"are given", a->operands.n);
	n = steps_bitmap(&a->steps, steps, &add, &merge);
	if (n == 0 || n > STEPS_MAX)
		return report_usage("1 to %u of --add, --remove, --clear, "
			"--enable, --disable and --merge are needed",
			STEPS_MAX);
	if (a->granularity && !add)
		return report_usage("--granularity needs --add");
	if (a->source_file && !merge)
		return report_usage("--source-file needs --merge");
	if (a->source_format && !a->source_file)
		return report_usage("--source-format needs --source-file");
	if (run(a, steps, n, &e))
		return report_error(&e);
	return REPORT_OK;
}
