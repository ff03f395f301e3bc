/* SPDX-License-Identifier: MIT */
/* qemu-img resize. The last word is the size, whatever it looks like. */
#include "config.h"

#include "cli/compat.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "cli/compat_file.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "op/info.h"
#include "op/resize.h"

/* -1: the message was given */
static int
size_of(const char *text, struct resize_request *rq)
{
	struct err e;

	rq->relative = 0;
	if (*text == '+' || *text == '-')
		rq->relative = *text++ == '+' ? 1 : -1;
	if (compat_size(text, &rq->size, &e) == 0)
		return 0;
	if (e.kind == ERR_LIMIT)
		compat_fail("New image size must be positive");
	else {
		compat_fail("Parameter 'size' expects a non-negative number "
			"below 2^64");
		fputs("Optional suffix k, M, G, T, P or E means kilo-, mega-, "
		      "giga-, tera-, peta-\nand exabytes, respectively.\n",
			stderr);
	}
	return -1;
}

static int
mode_of(const char *text, enum preallocation *ret)
{
	static const char *const modes[] = {"off", "metadata", "falloc",
		"full"};
	unsigned i;

	for (i = 0; i < COUNT_OF(modes); i++) {
		if (strcmp(modes[i], text) == 0) {
			*ret = (enum preallocation)i;
			return 0;
		}
	}
	compat_fail("Invalid preallocation mode '%s'", text);
	return -1;
}

/* Was a file that could not be resized at least opened, and as raw? */
static bool
probes_raw(const struct source *s, const struct gate *g)
{
	struct info_result r = {0};
	struct source t = *s;
	struct err e;
	bool raw;

	t.force_share = true;
	if (s->format != FORMAT_PROBE || info_run(&t, g, false, NULL, &r, &e))
		return false;
	raw = r.v[0].i.format == FORMAT_RAW;
	info_result_free(&r);
	return raw;
}

static int
failed(const char *shown, const struct source *s, const struct gate *g,
	const struct err *e)
{
	bool bitmaps = strncmp(e->msg, "bitmaps_ext: ", 13) == 0 ||
		strncmp(e->msg, "Bitmap extra data ", 18) == 0;
	bool opening = bitmaps || e->kind == ERR_BUSY || e->kind == ERR_FORMAT ||
		e->kind == ERR_CORRUPT || e->kind == ERR_DENIED ||
		(e->kind == ERR_UNSUPPORTED &&
			strstr(e->msg, ": not supported")) ||
		strncmp(e->msg, "Could not open backing", 22) == 0 ||
		(e->eno && strncmp(e->msg, "cannot open", 11) == 0);

	if (compat_marked(e))
		return 1;
	if (opening || strncmp(e->msg, "is a directory", 14) == 0)
		return compat_inplace_failed(shown, s->path, e);
	if (probes_raw(s, g))
		compat_file_probed_raw(shown);
	if (strcmp(e->msg, RESIZE_NEEDS_SHRINK) == 0) {
		compat_fail("%s", RESIZE_NEEDS_SHRINK);
		return compat_fail("warning: Shrinking an image will delete "
			"all data beyond the shrunken image's end. Before "
			"performing such an operation, make sure there is no "
			"important data there.");
	}
	compat_fault("", e, false);
	if (e->kind == ERR_MISMATCH)
		fputs("Try block-dirty-bitmap-remove to delete this bitmap "
		      "from disk\n", stderr);
	return 1;
}

static int
resize(const struct options_args *a, struct resize_request *rq)
{
	const char *shown = a->operands.v[0];
	struct resize_result result;
	struct name n = {0};
	struct progress p;
	struct err e = {0};
	struct source s;
	struct gate g;
	int status = 0;

	if (compat_inplace_source(a, shown, &n, &s, &g)) {
		name_free(&n);
		return 1;
	}
	rq->dirfd = s.dirfd;
	rq->path = s.path;
	rq->data_path = s.data_path;
	rq->no_locks = s.no_locks;
	rq->format = s.format;
	rq->allow_probed = !g.safe;
	rq->gate = &g;
	rq->shrink = a->shrink;
	/* qemu-img flushes when it closes a writeback image */
	rq->durable = true;
	progress_start(&p, "resize", false, false, a->quiet, -1, compat_warn);
	rq->watch = &p.watch;
	if (resize_run(rq, &result, &e)) {
		status = failed(shown, &s, &g, &e);
	} else {
		if (s.format == FORMAT_PROBE && result.format == FORMAT_RAW)
			compat_file_probed_raw(shown);
		if (!a->quiet)
			puts("Image resized.");
	}
	name_free(&n);
	return status;
}

static int
run(const struct options_args *a, const char *size)
{
	struct resize_request rq = {0};

	if (a->preallocation && mode_of(a->preallocation, &rq.preallocation))
		return 1;
	if (a->operands.n != 1)
		return compat_try("Expecting image file name and size");
	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	if (size_of(size, &rq))
		return 1;
	return resize(a, &rq);
}

int
compat_resize(int argc, char **argv)
{
	struct options_args a = {0};
	int status;

	if (argc < 3)
		return compat_try("Not enough arguments");
	if (compat_parse(&table_resize, argc - 1, argv, &a, &status) == 0)
		status = run(&a, argv[argc - 1]);
	options_free(&a);
	return status;
}
