/* SPDX-License-Identifier: MIT */
/* byre digest: what a guest reads, as one short text per image. */
#include "config.h"

#include "cli/cmd.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sandbox.h"
#include "op/convert.h"

struct job {
	const struct options_args *a;
	struct gate gate;
	enum engine_kind engine;
	unsigned workers;
	int progress_fd;
	bool json;
	struct json_out j;
};

static void
print(struct job *job, const char *name, const struct convert_result *r,
	struct buf *out)
{
	char text[DIGEST_TEXT], q[4096];

	digest_text(&r->digest, text);
	if (job->json) {
		json_open_object(&job->j, NULL);
		json_str(&job->j, "filename", name);
		json_str(&job->j, "digest", text);
		json_u64(&job->j, "virtual-size", r->virtual_size);
		json_close_object(&job->j);
		return;
	}
	err_quote(q, sizeof(q), name, (unsigned)strlen(name));
	buf_fmt(out, "%s  %" PRIu64 "  %s\n", text, r->virtual_size, q);
}

static int
one(struct job *job, struct source *s, const char *shown, struct buf *out,
	struct err *e)
{
	struct convert_result result;
	struct progress p;
	int r;

	progress_start(&p, "digest", job->a->progress, true, job->a->quiet,
		job->progress_fd, report_warning);
	report_started();
	r = convert_digest(s, &job->gate, job->workers, job->engine, NULL,
		&p.watch, &result, e);
	progress_end(&p, r == 0);
	if (r)
		return err_file(e, shown);
	print(job, shown, &result, out);
	return 0;
}

static int
all(struct job *job, struct name *names, struct source *sources,
	const char **paths, struct buf *out, struct err *e)
{
	const struct options_args *a = job->a;
	unsigned i;

	if (native_output(a, &job->json, e) || policy_native(a, &job->gate, e) ||
		native_engine(a, &job->engine, &job->workers, e) ||
		native_progress_fd(a, &job->progress_fd, e))
		return -1;
	for (i = 0; i < a->operands.n; i++) {
		if (native_source(a, a->operands.v[i], &names[i], &sources[i],
			    e))
			return -1;
		paths[i] = sources[i].path;
	}
	sandbox_read_only(paths, a->operands.n, job->gate.allow_dirs,
		job->gate.n_allow, job->gate.trusted);
	job->j = (struct json_out){.out = out, .pretty = true};
	if (job->json)
		json_open_array(&job->j, NULL);
	for (i = 0; i < a->operands.n; i++)
		if (one(job, &sources[i], a->operands.v[i], out, e))
			return -1;
	if (job->json) {
		json_close_array(&job->j);
		buf_char(out, '\n');
	}
	return 0;
}

int
cmd_digest(struct options_args *a)
{
	struct job job = {.a = a};
	struct buf out = BUF_INIT;
	struct err e = {0};
	struct name *names;
	struct source *sources;
	const char **paths;
	unsigned i;
	int r;

	if (a->operands.n == 0)
		return report_usage("an image is needed");
	names = calloc(a->operands.n, sizeof(*names));
	sources = calloc(a->operands.n, sizeof(*sources));
	paths = calloc(a->operands.n, sizeof(*paths));
	if (names && sources && paths)
		r = all(&job, names, sources, paths, &out, &e);
	else
		r = err_set(&e, ERR_NOMEM, "no memory for the names");
	for (i = 0; names && i < a->operands.n; i++)
		name_free(&names[i]);
	free(names);
	free(sources);
	free(paths);
	if (r == 0)
		return report_output(&out);
	/* what was digested before is said; the rest is an error */
	if (job.json)
		buf_free(&out);
	else
		report_output(&out);
	return report_error(&e);
}
