/* SPDX-License-Identifier: MIT */
/* qemu-img map. */
#include "config.h"

#include "cli/compat.h"

#include <stdio.h>
#include <string.h>

#include "cli/map_text.h"
#include "cli/progress.h"

static int
failed(const char *shown, const struct source *s, bool opened,
	const struct map_text *t, const struct err *e)
{
	if (!opened)
		return compat_open_failed(shown, s->path, e);
	if (t->failed || e->kind == ERR_CANCELLED)
		return compat_fault("", e, false);
	return compat_bad_table("Could not read file metadata", e);
}

static int
map(const struct options_args *a, struct map_request *rq, bool json)
{
	const char *shown = a->operands.v[0];
	struct map_text t = {.json = json, .packed = compat_newer()};
	struct name n = {0};
	struct progress p;
	struct err e = {0}, after = {0};
	struct source s;
	struct gate g;
	bool opened = false;
	int r, status;

	if (compat_source(a, shown, &n, &s, &g)) {
		name_free(&n);
		return 1;
	}
	progress_start(&p, "map", false, false, false, -1, compat_warn);
	s.share_raw = true;
	rq->source = &s;
	rq->gate = &g;
	rq->split_packed = t.packed;
	rq->watch = &p.watch;
	r = map_run(rq, map_text_put, &t, &opened, &e);
	status = map_text_end(&t, opened, &after);
	if (r)
		status = failed(shown, &s, opened, &t, &e);
	else if (status)
		status = compat_fault("", &after, false);
	name_free(&n);
	return status;
}

int
compat_map(const struct options_args *a)
{
	struct map_request rq = {.length = UINT64_MAX};
	bool json = false;

	if (compat_number("start offset", a->start, 0, INT64_MAX, &rq.start) ||
		compat_number("max length", a->length, 0, INT64_MAX,
			&rq.length))
		return 1;
	if (a->operands.n != 1)
		return compat_try("Expecting one image file name");
	if (compat_json(a, &json))
		return 1;
	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	return map(a, &rq, json);
}
