/* SPDX-License-Identifier: MIT */
/* byre dd: words of dd(1), a source under the safe policy, a durable target. */
#include "config.h"

#include "cli/cmd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/parse.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/dd.h"

static int
number(const char *what, const char *text, uint64_t min, uint64_t max,
	uint64_t *ret, struct err *e)
{
	uint64_t v;

	if (parse_size(text, &v, e))
		return err_prefix(e, "%s=", what);
	if (v < min || v > max)
		return err_set(e, ERR_USAGE, "%s=: %" PRIu64 " is not between %"
			PRIu64 " and %" PRIu64, what, v, min, max);
	*ret = v;
	return 0;
}

static int
word(const char *text, struct dd_request *rq, const char **in,
	struct err *e)
{
	size_t n = strcspn(text, "=");
	const char *value = text + n + 1;
	char q[128];

	if (strncmp(text, "if=", 3) == 0)
		*in = value;
	else if (strncmp(text, "of=", 3) == 0)
		rq->target = value;
	else if (strncmp(text, "bs=", 3) == 0)
		return number("bs", value, 1, DD_BLOCK_MAX, &rq->block, e);
	else if (strncmp(text, "count=", 6) == 0)
		return number("count", value, 0, INT64_MAX, &rq->count, e);
	else if (strncmp(text, "skip=", 5) == 0)
		return number("skip", value, 0, INT64_MAX, &rq->skip, e);
	else
		return err_set(e, ERR_USAGE, "unknown operand '%s'",
			err_quote(q, sizeof(q), text, (unsigned)strlen(text)));
	return 0;
}

static int
run(const struct options_args *a, struct name *n, struct err *e)
{
	struct dd_request rq = {
		.target_dirfd = AT_FDCWD,
		.target_format = FORMAT_RAW,
		.block = DD_BLOCK,
		.count = UINT64_MAX,
	};
	struct dd_result result;
	const char *in = NULL;
	enum dd_stage stage = DD_OPEN;
	struct progress p;
	struct source s;
	struct gate g;
	unsigned i;
	int fd, r;

	for (i = 0; i < a->operands.n; i++)
		if (word(a->operands.v[i], &rq, &in, e))
			return -1;
	if (!in || !rq.target)
		return err_set(e, ERR_USAGE, "if=FILE and of=FILE are needed");
	if (native_format(a->output_format, "-O", &rq.target_format, e) ||
		native_progress_fd(a, &fd, e) ||
		native_source(a, in, n, &s, e) || policy_native(a, &g, e))
		return -1;
	if (rq.target_format == FORMAT_PROBE)
		rq.target_format = FORMAT_RAW;
	rq.source = &s;
	rq.gate = &g;
	progress_start(&p, "dd", a->progress, true, a->quiet, fd,
		report_warning);
	rq.watch = &p.watch;
	report_started();
	r = dd_run(&rq, &result, &stage, e);
	progress_end(&p, r == 0);
	if (r)
		return err_file(e, stage == DD_CREATE || stage == DD_WRITE
				? rq.target : in);
	if (result.skips_all)
		report_warning("there is nothing behind the blocks to skip");
	return 0;
}

int
cmd_dd(struct options_args *a)
{
	struct name n = {0};
	struct err e = {0};
	int r = run(a, &n, &e);

	name_free(&n);
	return r ? report_error(&e) : REPORT_OK;
}
