/* SPDX-License-Identifier: MIT */
/* byre inspect: is this file safe to use as an image? 0 yes, 1 no. */
#include "config.h"

#include "cli/cmd.h"

#include <fcntl.h>

#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sandbox.h"
#include "op/inspect.h"

/* What it is declared to be may be any format with a name: the report then
 * says that it is not supported. */
static int
declared(const struct options_args *a, enum format *ret, struct err *e)
{
	*ret = FORMAT_PROBE;
	if (!a->format)
		return 0;
	*ret = probe_format_from_name(a->format);
	if (*ret != FORMAT_PROBE)
		return 0;
	return native_format(a->format, "-f", ret, e);
}

static int
run(const struct options_args *a, struct gate_report *report, bool *ret_json,
	struct err *e)
{
	struct progress p;
	struct source s = {.dirfd = AT_FDCWD, .fd = -1,
		.path = a->operands.v[0], .force_share = a->force_share};
	struct gate g;
	int r;

	if (native_output(a, ret_json, e) || declared(a, &s.format, e) ||
		policy_native(a, &g, e))
		return -1;
	sandbox_read_only(&s.path, 1, NULL, 0, false);
	progress_start(&p, "inspect", false, false, false, -1, report_warning);
	report_started();
	r = inspect_run(&s, &g, a->deep, &p.watch, report, e);
	progress_end(&p, r == 0);
	return r;
}

int
cmd_inspect(struct options_args *a)
{
	struct gate_report report = {0};
	struct buf out = BUF_INIT;
	struct err e = {0};
	bool json = false;
	int status;

	if (a->operands.n != 1)
		return report_usage("one image is needed, %u are given",
			a->operands.n);
	if (run(a, &report, &json, &e))
		return report_error(&e);
	if (json)
		inspect_json(a->operands.v[0], &report, &out);
	else
		inspect_text(a->operands.v[0], &report, &out);
	status = report_output(&out);
	return status ? status : report.n_reasons != 0;
}
