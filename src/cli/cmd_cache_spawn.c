/* SPDX-License-Identifier: MIT */
/* byre cache spawn: a disk from a base, which is ensured before where a source
 * is given. */
#include "config.h"

#include "cli/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/parse.h"
#include "cache/spawn.h"
#include "cli/cache.h"
#include "cli/cache_source.h"
#include "cli/native.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/tool.h"

#define ENSURE_TRIES 4

/* As Nova's extend does it: a check that may mend, then the growth. */
static int
grow(void *arg, int fd, struct err *e)
{
	static const char *const check[] = {"e2fsck", "-fp", TOOL_FILE, NULL};
	static const char *const resize[] = {"resize2fs", TOOL_FILE, NULL};

	if (tool_run(check, fd, 1 << 0 | 1 << 1 | 1 << 2, arg, e))
		return -1;
	return tool_run(resize, fd, 1 << 0, arg, e);
}

static int
options(const struct options_args *a, struct spawn_request *rq,
	struct journal *j, struct err *e)
{
	if (a->flat + a->sized_base + a->overlay > 1)
		return err_set(e, ERR_USAGE, "--overlay, --sized-base and "
			"--flat exclude each other");
	rq->id = a->operands.v[0];
	rq->target = a->operands.v[1];
	rq->mode = a->flat ? SPAWN_FLAT
		: a->sized_base ? SPAWN_SIZED : SPAWN_OVERLAY;
	if (a->size && parse_size(a->size, &rq->size, e))
		return err_prefix(e, "--size");
	if (a->resize_fs && rq->mode == SPAWN_OVERLAY)
		return err_set(e, ERR_USAGE,
			"--resize-fs needs --flat or --sized-base");
	rq->preallocate = a->preallocate;
	rq->verify = a->verify;
	rq->grow = a->resize_fs ? grow : NULL;
	if (cache_journal(a, j, e))
		return -1;
	rq->journal = j;
	return 0;
}

static int
say(const struct options_args *a, const struct spawn_result *r)
{
	struct buf out = BUF_INIT;
	struct json_out j = {.out = &out, .pretty = true};

	if (!a->json)
		return REPORT_OK;
	json_open_object(&j, NULL);
	json_str(&j, "path", a->operands.v[1]);
	json_str(&j, "image-id", a->operands.v[0]);
	json_str(&j, "format", probe_format_name(r->format));
	json_u64(&j, "virtual-size", r->size);
	json_str(&j, "base", r->base);
	json_bool(&j, "file-system-resized", r->grown);
	json_close_object(&j);
	buf_char(&out, '\n');
	return report_output(&out);
}

/* Between the two the base is nobody's: a clean that knows no age may take it,
 * and then it is made again. */
static int
ensure_and_spawn(const struct options_args *a, struct ensure_request *er,
	const struct spawn_request *rq, struct spawn_result *ret,
	struct err *e)
{
	bool once = strcmp(a->from, "-") == 0;
	struct ensure_result made;
	unsigned i;

	for (i = 1;; i++) {
		if (ensure_run(er, &made, e))
			return -1;
		if (spawn_run(rq, ret, e) == 0)
			return 0;
		if (once || i == ENSURE_TRIES || e->eno != ENOENT ||
			strcmp(e->file, made.name) != 0)
			return -1;
	}
}

static int
run(struct options_args *a, struct store *s, struct spawn_result *ret,
	struct err *e)
{
	struct ensure_request er = {.store = s};
	struct spawn_request rq = {.store = s};
	struct fetch f = {0};
	struct journal journal;
	struct progress p;
	int r;

	if (options(a, &rq, &journal, e) ||
		(a->from && cache_source(a, &er, &f, e)))
		return -1;
	if (!a->from && (a->expected.n || a->format || a->max_size ||
			a->keep_qcow2))
		return err_set(e, ERR_USAGE, "--expect, -f, --max-size and "
			"--keep-qcow2 need --from");
	report_started();
	if (cache_open(a, true, s, e))
		return -1;
	progress_start(&p, "cache spawn", a->progress, true, a->quiet, -1,
		report_warning);
	rq.watch = er.watch = f.watch = &p.watch;
	rq.grow_arg = &p.watch;
	er.journal = &journal;
	r = a->from ? ensure_and_spawn(a, &er, &rq, ret, e)
		: spawn_run(&rq, ret, e);
	progress_end(&p, r == 0);
	return r;
}

int
cmd_cache_spawn(struct options_args *a)
{
	struct spawn_result result;
	struct store s = STORE_NONE;
	struct err e = {0};
	int r;

	if (a->operands.n != 2)
		return report_usage("an image's id and the disk's path are "
			"needed, %u operands are given", a->operands.n);
	r = run(a, &s, &result, &e) ? report_error(&e) : say(a, &result);
	store_close(&s);
	return r;
}
