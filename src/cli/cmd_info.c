/* SPDX-License-Identifier: MIT */
/* byre info: the same texts as qemu-img's, under the safe policy's gate. */
#include "config.h"

#include "cli/cmd.h"

#include "cli/native.h"
#include "cli/policy.h"
#include "cli/report.h"
#include "cli/sandbox.h"
#include "op/info.h"

static int
run(const struct options_args *a, struct name *n, struct buf *out,
	struct err *e)
{
	struct info_result r = {0};
	struct source s;
	struct gate g;
	bool json;

	if (native_output(a, &json, e) ||
		native_source(a, a->operands.v[0], n, &s, e) ||
		policy_native(a, &g, e))
		return -1;
	sandbox_read_only(&s.path, 1, g.allow_dirs, g.n_allow,
		g.trusted && a->backing_chain);
	report_started();
	if (info_run(&s, &g, a->backing_chain, NULL, &r, e))
		return -1;
	if (json)
		info_json(&r, a->backing_chain, out);
	else
		info_human(&r, a->backing_chain, out);
	info_result_free(&r);
	return 0;
}

int
cmd_info(struct options_args *a)
{
	struct buf out = BUF_INIT;
	struct name n = {0};
	struct err e = {0};
	int r;

	if (a->operands.n != 1)
		return report_usage("one image is needed, %u are given",
			a->operands.n);
	r = run(a, &n, &out, &e);
	name_free(&n);
	if (r) {
		buf_free(&out);
		return report_error(&e);
	}
	return report_output(&out);
}
