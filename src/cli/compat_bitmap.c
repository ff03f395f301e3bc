/* SPDX-License-Identifier: MIT */
/* qemu-img bitmap. What was done before a step that fails is kept. */
#include "config.h"

#include "cli/compat.h"

#include <stdio.h>
#include <string.h>

#include "cli/compat_file.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/steps.h"

/* QEMU numbers its nodes as it goes; nobody can count on the number. */
#define NODE "#block100"

static int
failed(const struct bitmap_request *rq, const struct bitmap_result *r,
	const char *shown, const char *source, const struct err *e)
{
	const struct bitmap_step *s = &rq->steps[r->step];
	bool adds = s->action == BITMAP_ADD;
	struct buf text = BUF_INIT;

	switch (r->stage) {
	case BITMAP_OPENING:
		return compat_inplace_failed(shown, rq->image.path, e);
	case BITMAP_OPENING_SOURCE:
		return compat_open_failed(source, rq->source->path, e);
	case BITMAP_STORING:
		return compat_fault("", e, false);
	case BITMAP_STEPS:
		break;
	}
	if (adds && r->format == FORMAT_RAW)
		buf_str(&text, "Can't store persistent bitmaps to " NODE
			": Operation not supported");
	else if (adds && (e->kind == ERR_UNSUPPORTED || e->kind == ERR_LIMIT))
		buf_fmt(&text, "Can't make bitmap '%s' persistent in '" NODE
			"': %s", rq->name, e->msg);
	else
		compat_text(e, false, &text);
	compat_fail("Operation %s on bitmap %s failed: %s",
		steps_name(s->action), rq->name,
		buf_failed(&text) ? "out of memory" : text.p);
	if (e->kind == ERR_MISMATCH)
		fputs("Try block-dirty-bitmap-remove to delete this bitmap "
		      "from disk\n", stderr);
	buf_free(&text);
	return 1;
}

static int
change(const struct options_args *a, struct bitmap_request *rq,
	const struct source *s, const struct gate *g)
{
	const char *shown = a->operands.v[0];
	struct options_args b = {.format = a->source_format};
	struct bitmap_result r;
	struct name other = {0};
	struct source from;
	struct gate other_gate;
	struct progress p;
	struct err e = {0};
	int status;

	rq->image = (struct inplace_request){
		.dirfd = s->dirfd,
		.path = s->path,
		.data_path = s->data_path,
		.no_locks = s->no_locks,
		.format = s->format,
		.allow_probed = !g->safe,
		.no_backing = true,
		.gate = g,
	};
	if (a->source_file) {
		if (compat_source(&b, a->source_file, &other, &from,
			    &other_gate)) {
			name_free(&other);
			return 1;
		}
		rq->source = &from;
		rq->source_gate = &other_gate;
	}
	progress_start(&p, "bitmap", false, false, false, -1, compat_warn);
	rq->image.watch = &p.watch;
	status = bitmap_run(rq, &r, &e);
	if (r.stage != BITMAP_OPENING && s->format == FORMAT_PROBE &&
		r.format == FORMAT_RAW)
		compat_file_probed_raw(shown);
	if (status)
		status = failed(rq, &r, shown, a->source_file, &e);
	name_free(&other);
	return status;
}

int
compat_bitmap(const struct options_args *a)
{
	struct bitmap_step steps[STEPS_MAX];
	struct bitmap_request rq = {
		.steps = steps,
		.keep_partial = true,
		/* qemu-img flushes when it closes a writeback image */
		.durable = true,
	};
	bool add = false, merge = false;
	struct name n = {0};
	struct source s;
	struct gate g;
	int status;

	if (compat_number("granularity", a->granularity, 0, INT64_MAX,
		&rq.granularity))
		return 1;
	rq.n_steps = steps_bitmap(&a->steps, steps, &add, &merge);
	if (rq.n_steps == 0)
		return compat_fail("Need at least one of --add, --remove, "
			"--clear, --enable, --disable, or --merge");
	if (rq.n_steps > STEPS_MAX)
		return compat_fail("more than %u actions", STEPS_MAX);
	if (rq.granularity && !add)
		return compat_fail("granularity only supported with --add");
	if (a->source_format && !a->source_file)
		return compat_fail("-F only supported with -b");
	if (a->source_file && !merge)
		return compat_fail("Merge bitmap source file only supported "
			"with --merge");
	if (a->operands.n != 2)
		return compat_fail("Expecting filename and bitmap name");
	rq.name = a->operands.v[1];
	status = compat_inplace_source(a, a->operands.v[0], &n, &s, &g) ? 1
		: change(a, &rq, &s, &g);
	name_free(&n);
	return status;
}
