/* SPDX-License-Identifier: MIT */
/* byre cache ensure: an image becomes a base, once. */
#include "config.h"

#include "cli/cmd.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/parse.h"
#include "base/units.h"
#include "cache/ensure.h"
#include "cli/cache.h"
#include "cli/fetch.h"
#include "cli/native.h"
#include "cli/progress.h"
#include "cli/report.h"

/* What a transfer may be long at most: an image's file is little longer than
 * its disk. */
static uint64_t
transfer_limit(uint64_t max_size)
{
	if (max_size == 0 || max_size > INT64_MAX / 2)
		return 0;
	return max_size + max_size / 4 + 64 * MIB;
}

/* A file whose digests nobody asked for is read where it is; all else goes
 * through byre-fetch. */
static int
source(const struct options_args *a, struct ensure_request *rq,
	struct fetch *f, struct err *e)
{
	bool from_stdin = strcmp(a->from, "-") == 0;
	struct stat st;

	if (fetch_expect(&a->expected, &f->expect, e))
		return -1;
	rq->source_name = from_stdin ? "standard input" : a->from;
	rq->source_fd = -1;
	if (a->expected.n == 0 && !from_stdin) {
		rq->source_path = a->from;
		return 0;
	}
	if (a->expected.n == 0 && fstat(STDIN_FILENO, &st) == 0 &&
		S_ISREG(st.st_mode) &&
		lseek(STDIN_FILENO, 0, SEEK_CUR) == 0) {
		rq->source_fd = STDIN_FILENO;
		return 0;
	}
	f->source = a->from;
	f->limit = transfer_limit(rq->max_size);
	rq->fetch = fetch_run;
	rq->fetch_arg = f;
	return 0;
}

static int
options(const struct options_args *a, struct ensure_request *rq,
	struct journal *j, int *ret_fd, struct err *e)
{
	enum engine_kind engine;

	if (a->kernel && a->keep_qcow2)
		return err_set(e, ERR_USAGE,
			"--kernel and --keep-qcow2 exclude each other");
	if (a->kernel && a->format)
		return err_set(e, ERR_USAGE,
			"--kernel and -f exclude each other");
	if (!a->from)
		return err_set(e, ERR_USAGE, "--from is needed");
	if (native_format(a->format, "-f", &rq->format, e) ||
		native_engine(a, &engine, &rq->workers, e) ||
		native_progress_fd(a, ret_fd, e) || cache_journal(a, j, e))
		return -1;
	if (a->max_size && parse_size(a->max_size, &rq->max_size, e))
		return err_prefix(e, "--max-size");
	rq->id = a->operands.v[0];
	rq->kernel = a->kernel;
	rq->keep_qcow2 = a->keep_qcow2;
	rq->wait = !a->no_wait;
	rq->journal = j;
	return 0;
}

static int
say(const struct options_args *a, const struct store *s,
	const struct ensure_result *r)
{
	struct buf out = BUF_INIT, path = BUF_INIT;
	struct json_out j = {.out = &out, .pretty = true};
	char text[DIGEST_TEXT], q[4096];

	buf_fmt(&path, "%s/%s", s->base, r->name);
	if (buf_failed(&path)) {
		out.failed = true;
	} else if (!a->json) {
		err_quote(q, sizeof(q), path.p, (unsigned)path.len);
		buf_fmt(&out, "%s\n", q);
	} else {
		json_open_object(&j, NULL);
		json_str(&j, "path", path.p);
		json_str(&j, "image-id", a->operands.v[0]);
		json_bool(&j, "added", r->added);
		json_bool(&j, "waited", r->waited);
		json_u64(&j, "file-size", r->file_size);
		if (r->recorded) {
			json_str(&j, "format", probe_format_name(r->format));
			json_u64(&j, "virtual-size", r->virtual_size);
		}
		if (r->has_digest)
			json_str(&j, "content-digest",
				digest_text(&r->digest, text));
		json_close_object(&j);
		buf_char(&out, '\n');
	}
	buf_free(&path);
	return report_output(&out);
}

static int
run(const struct options_args *a, struct store *s, struct ensure_result *ret,
	struct err *e)
{
	struct ensure_request rq = {.store = s};
	struct fetch f = {0};
	struct journal journal;
	struct progress p;
	int fd, r;

	if (options(a, &rq, &journal, &fd, e) || source(a, &rq, &f, e))
		return -1;
	report_started();
	if (cache_open(a, true, s, e))
		return -1;
	progress_start(&p, "cache ensure", a->progress, true, a->quiet, fd,
		report_warning);
	rq.watch = f.watch = &p.watch;
	r = ensure_run(&rq, ret, e);
	progress_end(&p, r == 0);
	return r;
}

int
cmd_cache_ensure(struct options_args *a)
{
	struct ensure_result result;
	struct store s = STORE_NONE;
	struct err e = {0};
	int r;

	if (a->operands.n != 1)
		return report_usage("one image's id is needed, %u are given",
			a->operands.n);
	if (run(a, &s, &result, &e))
		r = report_error(&e);
	else
		r = a->quiet ? REPORT_OK : say(a, &s, &result);
	store_close(&s);
	return r;
}
