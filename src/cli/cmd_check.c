/* SPDX-License-Identifier: MIT */
/*
 * byre check: qemu-img's texts and exit statuses. It opens the one file: what
 * that names is none of its business, so that the policy has nothing to say.
 */
#include "config.h"

#include "cli/cmd.h"

#include <string.h>

#include "cli/native.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sandbox.h"
#include "op/check.h"

static int
options(const struct options_args *a, struct check_request *rq, bool *ret_json,
	struct err *e)
{
	static const char *const what[] = {"", "leaks", "all", NULL};
	static const char *const modes[] = {"writeback", "none",
		"writethrough", "directsync", "unsafe", NULL};
	unsigned fix = 0, mode = 0;

	if (a->repair && a->repair[0] == '\0')
		return err_set(e, ERR_USAGE, "--repair: leaks or all");
	if (native_output(a, ret_json, e) ||
		native_word(a->repair, "--repair", what, &fix, e) ||
		native_word(a->source_cache, "--cache", modes, &mode, e))
		return -1;
	rq->fix = fix == 2 ? QCOW2_FIX_ALL : fix;
	rq->durable = mode != 4;
	return 0;
}

static int
run(const struct options_args *a, struct name *n, struct buf *out,
	enum check_verdict *ret, struct err *e)
{
	const struct gate nothing = {0};
	struct check_request rq = {.gate = &nothing};
	struct check_result r;
	struct progress p;
	bool json;
	int status;

	if (options(a, &rq, &json, e) ||
		(rq.fix ? native_inplace_source : native_source)(a,
			a->operands.v[0], n, &rq.source, e))
		return -1;
	if (rq.fix == 0)
		sandbox_read_only(&rq.source.path, 1, NULL, 0, false);
	progress_start(&p, "check", false, false, a->quiet, -1,
		report_warning);
	rq.watch = &p.watch;
	report_started();
	status = check_run(&rq, &r, e);
	progress_end(&p, status == 0);
	if (status)
		return -1;
	*ret = check_verdict(&r);
	if (*ret == CHECK_UNSUPPORTED) {
		err_set(e, ERR_UNSUPPORTED,
			"a raw image has nothing to be checked");
		return err_file(e, rq.source.path);
	}
	if (json)
		check_json(&r, a->operands.v[0], out);
	else if (!a->quiet)
		check_human(&r, out);
	if (*ret != CHECK_FAILED)
		return 0;
	if (r.r.eno)
		err_sys(e, r.r.eno, "the check did not come to its end");
	else
		err_set(e, ERR_CORRUPT, "parts could not be checked");
	return err_file(e, rq.source.path);
}

int
cmd_check(struct options_args *a)
{
	enum check_verdict verdict = CHECK_FAILED;
	struct buf out = BUF_INIT;
	struct name n = {0};
	struct err e = {0};
	int r, written;

	if (a->operands.n != 1)
		return report_usage("one image is needed, %u are given",
			a->operands.n);
	r = run(a, &n, &out, &verdict, &e);
	name_free(&n);
	written = report_output(&out);
	if (r)
		r = report_error(&e);
	if (written != REPORT_OK)
		return written;
	/* a fault of the command line has a status of its own */
	return r && verdict == CHECK_FAILED ? r : (int)verdict;
}
