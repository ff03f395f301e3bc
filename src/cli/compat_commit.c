/* SPDX-License-Identifier: MIT */
/* qemu-img commit. */
#include "config.h"

#include "cli/compat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli/compat_file.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "op/commit.h"

static int
failed(const char *shown, const struct source *s,
	const struct commit_result *r, const struct err *e)
{
	/* in the middle of its work qemu-img knows an errno and no more */
	if (r->running && e->eno)
		return compat_fail("Block job failed: %s", strerror(e->eno));
	if (r->running &&
		(e->kind == ERR_UNSUPPORTED || e->kind == ERR_MISMATCH))
		return compat_fail("Block job failed: %s",
			strerror(EOPNOTSUPP));
	if (e->kind == ERR_USAGE && strcmp(e->msg, COMMIT_NO_BACKING) == 0)
		return compat_fail("%s", e->msg);
	if (e->kind == ERR_USAGE && strncmp(e->msg, COMMIT_NOT_FOUND,
			strlen(COMMIT_NOT_FOUND)) == 0)
		return compat_fail("%s", e->msg);
	/* the overlay was opened: it is about the base */
	if (r->format != FORMAT_PROBE && !compat_is_about(e, s->path))
		return compat_fault("", e, false);
	return compat_open_failed(shown, s->path, e);
}

static int
commit(const struct options_args *a, struct commit_request *rq)
{
	const char *shown = a->operands.v[0];
	struct commit_result result;
	struct name n = {0};
	struct progress p;
	struct err e = {0};
	struct source s;
	struct gate g;
	int status = 0, r;

	if (compat_inplace_source(a, shown, &n, &s, &g)) {
		name_free(&n);
		return 1;
	}
	rq->image = inplace_of(&s, &g);
	rq->image.allow_probed = !g.safe;
	progress_start(&p, "commit", a->progress && !a->quiet, false, a->quiet,
		-1, compat_warn);
	rq->image.watch = &p.watch;
	r = commit_run(rq, &result, &e);
	progress_end(&p, r == 0);
	if (s.format == FORMAT_PROBE && result.format == FORMAT_RAW)
		compat_file_probed_raw(shown);
	if (r)
		status = failed(shown, &s, &result, &e);
	else if (!a->quiet)
		puts("Image committed.");
	name_free(&n);
	return status;
}

int
compat_commit(const struct options_args *a)
{
	struct commit_request rq = {
		.base = a->backing,
		.keep = a->drop || a->backing,
	};

	if (compat_file_rate(a->rate_limit, &rq.rate_limit))
		return 1;
	if (a->operands.n != 1)
		return compat_try("Expecting one image file name");
	if (compat_file_cache(a->cache, "", &rq.durable))
		return 1;
	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	return commit(a, &rq);
}
