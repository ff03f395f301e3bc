/* SPDX-License-Identifier: MIT */
/* byre cache purge: an image's bases go now, unless they are used. */
#include "config.h"

#include "cli/cmd.h"

#include <inttypes.h>

#include "cache/purge.h"
#include "cli/cache.h"
#include "cli/progress.h"
#include "cli/report.h"

static int
run(const struct options_args *a, struct store *s, struct purge_result *ret,
	struct err *e)
{
	struct purge_request rq = {
		.store = s,
		.id = a->operands.v[0],
		.roots = a->roots.v,
		.n_roots = a->roots.n,
		.ignore = a->ignore_disks.v,
		.n_ignore = a->ignore_disks.n,
		.hosts = a->hosts.v,
		.n_hosts = a->hosts.n,
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
	progress_start(&p, "cache purge", false, false, a->quiet, -1,
		report_warning);
	rq.watch = &p.watch;
	r = purge_run(&rq, ret, e);
	progress_end(&p, r == 0);
	return r;
}

int
cmd_cache_purge(struct options_args *a)
{
	struct store s = STORE_NONE;
	struct purge_result result;
	struct buf out = BUF_INIT;
	struct err e = {0};
	int r;

	if (a->operands.n != 1)
		return report_usage("one image's id is needed, %u are given",
			a->operands.n);
	r = run(a, &s, &result, &e);
	store_close(&s);
	if (r)
		return report_error(&e);
	if (a->quiet)
		return REPORT_OK;
	buf_fmt(&out, "removed %u files, %" PRIu64 " bytes\n", result.files,
		result.bytes);
	return report_output(&out);
}
