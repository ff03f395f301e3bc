/* SPDX-License-Identifier: MIT */
/* byre.h for checking an image. */
#include "byre.h"

#include "src/api_int.h"
#include "op/check.h"

static void
on_progress(void *arg, uint64_t done, uint64_t total)
{
	watch_progress(arg, done, total);
}

static void
on_note(void *arg, const char *line)
{
	watch_note(arg, line);
}

/* byre.h has one kind of line. */
static void
on_found(void *arg, const char *line, bool named)
{
	(void)named;
	watch_note(arg, line);
}

static int
give(struct byre_check_result *ret, const struct check_result *r,
	struct byre_error *e)
{
	struct err err = {0};

	if (r->format != FORMAT_QCOW2) {
		err_set(&err, ERR_UNSUPPORTED,
			"a raw image has nothing to check");
		return api_fail(e, &err);
	}
	if (r->r.eno) {
		err_sys(&err, r->r.eno, "the check came to no end");
		return api_fail(e, &err);
	}
	*ret = (struct byre_check_result){
		.errors = r->r.corruptions,
		.leaks = r->r.leaks,
		.unseen = r->r.errors,
		.errors_mended = r->r.corruptions_fixed,
		.leaks_mended = r->r.leaks_fixed,
		.end = r->r.image_end,
	};
	return 0;
}

int
byre_check(const struct byre_source *source, int repair,
	const struct byre_policy *policy, const struct byre_watch *watch,
	struct byre_check_result *ret, struct byre_error *e)
{
	static const unsigned fixes[] = {
		[BYRE_REPAIR_NOTHING] = 0,
		[BYRE_REPAIR_LEAKS] = QCOW2_FIX_LEAKS,
		[BYRE_REPAIR_ALL] = QCOW2_FIX_ALL,
	};
	struct watch theirs, w = {
		.progress = on_progress, .note = on_note, .found = on_found,
		.arg = &theirs,
	};
	struct check_request rq = {.durable = true, .watch = &w};
	struct check_result r;
	struct api_policy p;
	struct err err = {0};

	if (repair < 0 || repair > BYRE_REPAIR_ALL) {
		err_set(&err, ERR_USAGE, "unknown way to repair: %d", repair);
		return api_fail(e, &err);
	}
	if (api_take_source(&rq.source, NULL, source, e) ||
		api_take_policy(&p, policy, e) ||
		api_take_watch(&theirs, watch, e))
		return -1;
	w.cancel = theirs.cancel;
	rq.fix = fixes[repair];
	rq.gate = &p.gate;
	if (check_run(&rq, &r, &err))
		return api_fail(e, &err);
	return give(ret, &r, e);
}
