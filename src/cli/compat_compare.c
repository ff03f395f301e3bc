/* SPDX-License-Identifier: MIT */
/* qemu-img compare: 0 the same, 1 not, 2 cannot be opened, 3 bad tables, 4
 * cannot be read. */
#include "config.h"

#include "cli/compat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/progress.h"
#include "cli/table.h"
#include "op/compare.h"

enum status {
	DIFFERENT = 1,
	NO_OPEN = 2,
	NO_TABLE = 3,
	NO_READ = 4,
};

/* Percent between two lines of progress. */
#define SKIP 2.0f

struct job {
	const struct options_args *a;
	struct compare_request rq;
	struct name name[2];
	bool warned; /* of the sizes */
};

static int
sources(struct job *j)
{
	struct options_args a = *j->a;
	bool direct;
	unsigned k;

	if (compat_cache(a.source_cache, &direct)) {
		compat_fail("Invalid source cache option: %s", a.source_cache);
		return -1;
	}
	for (k = 0; k < 2; k++) {
		if (k == 1)
			a.format = j->a->second_format;
		if (a.image_opts && a.format) {
			compat_fail("--image-opts and --format are mutually "
				"exclusive");
			return -1;
		}
		if (compat_source(&a, a.operands.v[k], &j->name[k],
			    &j->rq.source[k], &j->rq.gate[k]))
			return -1;
		j->rq.source[k].direct |= direct;
		j->rq.source[k].share_raw = true;
		/* zeros past the end of a file, without a word; where the
		 * safe policy applies, it has refused such images before */
		j->rq.source[k].verbatim = true;
	}
	return 0;
}

static int
cannot_read(const struct job *j, const struct compare_result *r)
{
	const struct err *e = &r->why;

	/* what unpacks to nothing good is QEMU's I/O error */
	return compat_fail("Error while reading offset %" PRIu64 " of %s: %s",
		r->voff, j->a->operands.v[r->side],
		strerror(e->eno ? e->eno : EIO));
}

static void
warn_sizes(void *arg)
{
	struct job *j = arg;

	if (!j->warned && !j->a->quiet)
		puts("Warning: Image size mismatch!");
	j->warned = true;
}

/* The verdict on stdout, faults on stderr. */
static int
tell(struct job *j, const struct compare_result *r)
{
	const char *name = j->a->operands.v[r->side];
	bool quiet = j->a->quiet;

	if (r->behind)
		warn_sizes(j);
	switch (r->verdict) {
	case COMPARE_SAME:
		if (!quiet)
			puts("Images are identical.");
		return 0;
	case COMPARE_DIFFERENT:
		if (!quiet)
			printf("Content mismatch at offset %" PRIu64 "!\n",
				r->voff);
		return DIFFERENT;
	case COMPARE_SIZES:
		if (!quiet)
			puts("Strict mode: Image size mismatch!");
		return DIFFERENT;
	case COMPARE_STATUS:
		if (!quiet)
			printf("Strict mode: Offset %" PRIu64
				" block status mismatch!\n", r->voff);
		return DIFFERENT;
	case COMPARE_NO_OPEN:
		compat_open_failed(name, j->name[r->side].path, &r->why);
		return NO_OPEN;
	case COMPARE_NO_TABLE:
		compat_corrupt(&r->why);
		compat_fail("Sector allocation test failed for %s", name);
		return NO_TABLE;
	case COMPARE_NO_READ:
		cannot_read(j, r);
		return NO_READ;
	}
	return NO_READ;
}

static int
compare(struct job *j)
{
	const struct options_args *a = j->a;
	struct compare_result result;
	struct progress p;
	struct err e = {0};
	int status, r;

	if (a->operands.n != 2)
		return compat_try("Expecting two image file names");
	progress_start_steps(&p, "compare", a->progress, a->quiet, SKIP);
	if (sources(j)) {
		progress_end(&p, false);
		return NO_OPEN;
	}
	j->rq.strict = a->strict;
	j->rq.steps = p.shown;
	j->rq.on_behind = warn_sizes;
	j->rq.arg = j;
	j->rq.watch = &p.watch;
	r = compare_run(&j->rq, &result, &e);
	if (r) {
		progress_end(&p, false);
		compat_fault("", &e, false);
		return NO_READ;
	}
	status = tell(j, &result);
	/* behind the verdict, as qemu-img has it */
	progress_end(&p, false);
	return fflush(stdout) && status == 0
		? compat_fail("cannot write the output") : status;
}

int
compat_compare(int argc, char **argv)
{
	struct options_args a = {0};
	struct job j = {.a = &a};
	int status;

	if (compat_parse(&table_compare, argc, argv, &a, &status) == 0)
		status = compare(&j);
	name_free(&j.name[0]);
	name_free(&j.name[1]);
	options_free(&a);
	return status;
}
