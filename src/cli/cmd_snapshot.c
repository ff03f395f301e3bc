/* SPDX-License-Identifier: MIT */
/* byre snapshot: one action on the internal snapshots of a qcow2, durable. The
 * files below the image are not opened: snapshots are of the image alone. */
#include "config.h"

#include "cli/cmd.h"

#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/info.h"
#include "op/snapshot.h"

static int
list(const struct source *s, const struct gate *g, struct err *e)
{
	struct info_result r = {0};
	struct buf out = BUF_INIT;

	report_started();
	if (info_run(s, g, false, NULL, &r, e))
		return -1;
	if (r.v[0].i.n_snapshots)
		info_snapshots(&r.v[0].i, true, &out);
	info_result_free(&r);
	return report_output(&out) ? err_set(e, ERR_IO,
		"cannot write the output") : 0;
}

static int
change(const struct options_args *a, const struct source *s,
	const struct gate *g, struct err *e)
{
	struct snapshot_request rq = {
		.image = inplace_of(s, g),
		.name = a->steps.v[1],
		.durable = true,
	};
	struct snapshot_result result;
	struct timespec now;
	struct progress p;
	int r;

	if (s->force_share)
		return err_set(e, ERR_USAGE, "-U is for --list only");
	clock_gettime(CLOCK_REALTIME, &now);
	rq.date_sec = (uint32_t)now.tv_sec;
	rq.date_nsec = (uint32_t)now.tv_nsec / 1000 * 1000;
	rq.action = strcmp(a->steps.v[0], "create") == 0 ? SNAPSHOT_CREATE
		: strcmp(a->steps.v[0], "apply") == 0 ? SNAPSHOT_APPLY
		: SNAPSHOT_DELETE;
	progress_start(&p, "snapshot", false, false, a->quiet, -1,
		report_warning);
	rq.image.no_backing = true;
	rq.image.watch = &p.watch;
	report_started();
	r = snapshot_run(&rq, &result, e);
	progress_end(&p, r == 0);
	return r;
}

static int
run(const struct options_args *a, struct err *e)
{
	CLEANUP(name_free) struct name n = {0};
	struct source s;
	struct gate g;
	bool lists = strcmp(a->steps.v[0], "list") == 0;
	int r;

	if (policy_native(a, &g, e) ||
		(lists ? native_source : native_inplace_source)(a,
			a->operands.v[0], &n, &s, e))
		return -1;
	r = lists ? list(&s, &g, e) : change(a, &s, &g, e);
	return r ? err_file(e, s.path) : 0;
}

int
cmd_snapshot(struct options_args *a)
{
	struct err e = {0};

	if (a->operands.n != 1)
		return report_usage("one FILE is needed, %u operands are given",
			a->operands.n);
	if (a->steps.n == 0)
		return report_usage("one of --list, --create, --apply and "
			"--delete is needed");
	if (a->steps.n != (strcmp(a->steps.v[0], "list") == 0 ? 1 : 2))
		return report_usage("--list, --create, --apply and --delete "
			"exclude each other");
	if (run(a, &e))
		return report_error(&e);
	return REPORT_OK;
}
