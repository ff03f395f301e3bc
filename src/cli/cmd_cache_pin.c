/* SPDX-License-Identifier: MIT */
/* byre cache pin and unpin. */
#include "config.h"

#include "cli/cmd.h"

#include "cache/pin.h"
#include "cli/cache.h"
#include "cli/progress.h"
#include "cli/report.h"

static int
run(const struct options_args *a, struct store *s, bool pinned, struct err *e)
{
	struct pin_request rq = {
		.store = s,
		.id = a->operands.v[0],
		.pinned = pinned,
		.wait = !a->no_wait,
	};
	struct journal journal;
	struct progress p;
	int r;

	if (cache_journal(a, &journal, e))
		return -1;
	rq.journal = &journal;
	report_started();
	if (cache_open(a, true, s, e))
		return -1;
	progress_start(&p, "cache pin", false, false, a->quiet, -1,
		report_warning);
	rq.watch = &p.watch;
	r = pin_set(&rq, e);
	progress_end(&p, r == 0);
	return r;
}

static int
set(const struct options_args *a, bool pinned)
{
	struct store s = STORE_NONE;
	struct err e = {0};
	int r;

	if (a->operands.n != 1)
		return report_usage("one image's id is needed, %u are given",
			a->operands.n);
	r = run(a, &s, pinned, &e);
	store_close(&s);
	return r ? report_error(&e) : REPORT_OK;
}

int
cmd_cache_pin(struct options_args *a)
{
	return set(a, true);
}

int
cmd_cache_unpin(struct options_args *a)
{
	return set(a, false);
}
