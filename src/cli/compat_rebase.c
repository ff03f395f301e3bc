/* SPDX-License-Identifier: MIT */
/* qemu-img rebase. */
#include "config.h"

#include "cli/compat.h"

#include <stdio.h>
#include <string.h>

#include "cli/compat_file.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "op/rebase.h"

static int
not_changed(const char *name, const struct err *e)
{
	char q[2048];

	err_quote(q, sizeof(q), name, (unsigned)strlen(name));
	return compat_fail("Could not change the backing file to '%s': %s", q,
		e->eno ? strerror(e->eno)
		: e->kind == ERR_LIMIT ? "No space left in the file header"
		: e->msg);
}

static int
failed(const char *shown, const struct source *s,
	const struct rebase_request *rq, const struct rebase_result *r,
	const struct err *e)
{
	char before[2200], q[2048];

	switch (r->stage) {
	case REBASE_OPEN:
		break;
	case REBASE_NEW:
		err_quote(q, sizeof(q), rq->backing,
			(unsigned)strlen(rq->backing));
		snprintf(before, sizeof(before),
			"Could not open new backing file '%s': ", q);
		return compat_fault(before, e, false);
	case REBASE_COPY:
		if (e->eno && strncmp(e->msg, "cannot write", 12) == 0)
			return compat_fail("Error while writing to COW image: "
				"%s", strerror(e->eno));
		return compat_fault("", e, false);
	case REBASE_HEADER:
		return not_changed(rq->backing ? rq->backing : "(null)", e);
	}
	return compat_open_failed(shown, s->path, e);
}

/* A name that QEMU knows, be it one that is not supported here: a header may
 * say it. */
static bool
known_format(const char *text)
{
	enum format format;
	struct err e;

	return !text || name_format(text, &format, &e) == 0 ||
		e.kind == ERR_UNSUPPORTED || strcmp(text, "file") == 0 ||
		strcmp(text, "host_device") == 0;
}

static int
rebase(const struct options_args *a, struct rebase_request *rq)
{
	const char *shown = a->operands.v[0];
	struct rebase_result result;
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
	progress_start(&p, "rebase", a->progress && !a->quiet, false, a->quiet,
		-1, compat_warn);
	rq->image.watch = &p.watch;
	r = rebase_run(rq, &result, &e);
	progress_end(&p, r == 0);
	if (s.format == FORMAT_PROBE && result.format == FORMAT_RAW)
		compat_file_probed_raw(shown);
	if (r)
		status = failed(shown, &s, rq, &result, &e);
	name_free(&n);
	return status;
}

int
compat_rebase(const struct options_args *a)
{
	struct rebase_request rq = {
		.backing = a->backing,
		.backing_format = a->backing_format,
		.only_header = a->unsafe_backing,
		.force_share = a->force_share,
	};

	if (a->operands.n != 1)
		return compat_try("Expecting one image file name");
	if (!a->unsafe_backing && !a->backing)
		return compat_try("Must specify backing file (-b) or use "
			"unsafe mode (-u)");
	if (compat_file_cache(a->cache, "", &rq.durable) ||
		compat_file_cache(a->source_cache, "source ", NULL))
		return 1;
	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	if (!known_format(a->backing_format))
		return compat_fail("Invalid format name: '%s'",
			a->backing_format);
	return rebase(a, &rq);
}
