/* SPDX-License-Identifier: MIT */
/* byre compare: exit status and verdict of qemu-img's, one line for a fault. */
#include "config.h"

#include "cli/cmd.h"

#include <inttypes.h>

#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sandbox.h"
#include "op/compare.h"

enum status {
	NO_OPEN = 2,
	NO_TABLE = 3,
	NO_READ = 4,
};

static int
request(const struct options_args *a, struct name name[2],
	struct compare_request *rq, int *ret_fd, struct err *e)
{
	static const char *const modes[] = {"auto", "unsafe", "writeback",
		"writethrough", "none", "directsync", NULL};
	struct options_args each = *a;
	const char *paths[2];
	unsigned mode = 0, k;
	enum engine_kind engine;

	if (native_word(a->source_cache, "--cache", modes, &mode, e) ||
		native_engine(a, &engine, &rq->workers, e) ||
		native_progress_fd(a, ret_fd, e))
		return -1;
	for (k = 0; k < 2; k++) {
		if (k == 1)
			each.format = a->second_format;
		if (native_source(&each, a->operands.v[k], &name[k],
			    &rq->source[k], e) ||
			policy_native(a, &rq->gate[k], e))
			return -1;
		rq->source[k].direct |= mode >= 4;
		paths[k] = rq->source[k].path;
	}
	sandbox_read_only(paths, 2, rq->gate[0].allow_dirs,
		rq->gate[0].n_allow, rq->gate[0].trusted);
	rq->strict = a->strict;
	return 0;
}

static int
tell(const struct options_args *a, const struct compare_result *r)
{
	struct buf out = BUF_INIT;
	struct err why = r->why;
	int status = 1;

	if (r->behind)
		buf_str(&out, "Warning: Image size mismatch!\n");
	switch (r->verdict) {
	case COMPARE_SAME:
		buf_str(&out, "Images are identical.\n");
		status = 0;
		break;
	case COMPARE_DIFFERENT:
		buf_fmt(&out, "Content mismatch at offset %" PRIu64 "!\n",
			r->voff);
		break;
	case COMPARE_SIZES:
		buf_str(&out, "Strict mode: Image size mismatch!\n");
		break;
	case COMPARE_STATUS:
		buf_fmt(&out, "Strict mode: Offset %" PRIu64
			" block status mismatch!\n", r->voff);
		break;
	case COMPARE_NO_OPEN:
		status = NO_OPEN;
		break;
	case COMPARE_NO_TABLE:
		status = NO_TABLE;
		break;
	case COMPARE_NO_READ:
		status = NO_READ;
		break;
	}
	if (a->quiet)
		buf_clear(&out);
	if (report_output(&out))
		return NO_READ;
	if (status > 1) {
		err_file(&why, a->operands.v[r->side]);
		report_error(&why);
	}
	return status;
}

int
cmd_compare(struct options_args *a)
{
	struct compare_request rq = {0};
	struct compare_result result;
	struct name name[2] = {{0}, {0}};
	struct progress p;
	struct err e = {0};
	int fd = -1, status;

	if (a->operands.n != 2)
		return report_usage("two images are needed, %u are given",
			a->operands.n);
	if (request(a, name, &rq, &fd, &e)) {
		report_error(&e);
		status = REPORT_USAGE;
	} else {
		progress_start(&p, "compare", a->progress, true, a->quiet, fd,
			report_warning);
		rq.watch = &p.watch;
		report_started();
		status = compare_run(&rq, &result, &e);
		progress_end(&p, status == 0);
		if (status) {
			report_error(&e);
			status = NO_READ;
		} else {
			status = tell(a, &result);
		}
	}
	name_free(&name[0]);
	name_free(&name[1]);
	return status;
}
