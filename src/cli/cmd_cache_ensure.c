/* SPDX-License-Identifier: MIT */
/* byre cache ensure: an image becomes a base, once. */
#include "config.h"

#include "cli/cmd.h"

#include "base/json.h"
#include "cli/cache.h"
#include "cli/cache_source.h"
#include "cli/native.h"
#include "cli/progress.h"
#include "cli/report.h"

static int
say(const struct options_args *a, const struct store *s,
	const struct ensure_result *r)
{
	struct buf out = BUF_INIT, path = BUF_INIT;
	struct json_out j = {.out = &out, .pretty = true};
	char text[DIGEST_TEXT], q[4096];

	buf_fmt(&path, "%s/%s", s->base, r->name);
	/* its path is what is printed, and others may read it by themselves */
	if (!r->added && r->recorded && r->format == FORMAT_QCOW2 &&
		!a->keep_qcow2)
		report_warning("was kept as a qcow2 (--keep-qcow2) and still "
			"is one");
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

	if (!a->from)
		return err_set(e, ERR_USAGE, "--from is needed");
	if (cache_source(a, &rq, &f, e) || cache_journal(a, &journal, e) ||
		native_progress_fd(a, &fd, e))
		return -1;
	rq.journal = &journal;
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
