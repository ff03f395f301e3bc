/* SPDX-License-Identifier: MIT */
/* byre map: the texts of qemu-img 7.2's, under the safe policy. */
#include "config.h"

#include "cli/cmd.h"

#include "base/parse.h"
#include "cli/map_text.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sandbox.h"

static int
number(const char *text, const char *what, uint64_t *ret, struct err *e)
{
	if (text && parse_size(text, ret, e))
		return err_prefix(e, "%s", what);
	return 0;
}

static int
run(const struct options_args *a, struct name *n, struct map_text *t,
	bool *ret_opened, struct err *e)
{
	struct map_request rq = {.length = UINT64_MAX};
	struct progress p;
	struct source s;
	struct gate g;

	if (number(a->start, "--start-offset", &rq.start, e) ||
		number(a->length, "--max-length", &rq.length, e) ||
		native_output(a, &t->json, e) ||
		native_source(a, a->operands.v[0], n, &s, e) ||
		policy_native(a, &g, e))
		return -1;
	sandbox_read_only(&s.path, 1, g.allow_dirs, g.n_allow, g.trusted);
	progress_start(&p, "map", false, false, false, -1, report_warning);
	report_started();
	rq.source = &s;
	rq.gate = &g;
	rq.watch = &p.watch;
	return map_run(&rq, map_text_put, t, ret_opened, e);
}

int
cmd_map(struct options_args *a)
{
	struct map_text t = {0};
	struct name n = {0};
	struct err e = {0}, after = {0};
	bool opened = false;
	int r;

	if (a->operands.n != 1)
		return report_usage("one image is needed, %u are given",
			a->operands.n);
	r = run(a, &n, &t, &opened, &e);
	if (map_text_end(&t, opened, &after) && r == 0) {
		e = after;
		r = -1;
	} else if (r && opened && !t.failed) {
		err_file(&e, a->operands.v[0]);
	}
	name_free(&n);
	return r ? report_error(&e) : REPORT_OK;
}
