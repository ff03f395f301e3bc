/* SPDX-License-Identifier: MIT */
/* byre cache clean: what nobody uses goes. */
#include "config.h"

#include "cli/cmd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/parse.h"
#include "cache/clean.h"
#include "cli/cache.h"
#include "cli/native.h"
#include "cli/progress.h"
#include "cli/report.h"

static const char *const verdicts[] = {
	[CLEAN_PLAN_KEEP] = "keep",
	[CLEAN_PLAN_TOUCH] = "touch",
	[CLEAN_PLAN_REMOVE] = "remove",
};

/* Seconds, or a number with s, m, h or d; "never". */
static int
age(const char *text, const char *what, int64_t *ret, struct err *e)
{
	static const char letters[] = "smhd";
	static const int64_t units[] = {1, 60, 3600, 86400};
	size_t n = text ? strlen(text) : 0;
	const char *l = n ? strchr(letters, text[n - 1]) : NULL;
	char digits[24];
	uint64_t v;

	if (!text)
		return 0;
	if (strcmp(text, "never") == 0) {
		*ret = CLEAN_PLAN_NEVER;
		return 0;
	}
	n -= l != NULL;
	if (n >= sizeof(digits))
		n = 0;
	memcpy(digits, text, n);
	digits[n] = '\0';
	if (parse_u64(digits, 0, INT64_MAX / 86400, &v, e))
		return err_prefix(e, "%s", what);
	*ret = (int64_t)v * units[l ? l - letters : 0];
	return 0;
}

static int
percent(const char *text, const char *what, unsigned *ret, struct err *e)
{
	uint64_t v = 0;

	if (!text)
		return 0;
	if (native_number(text, what, 1, 100, &v, e))
		return -1;
	*ret = (unsigned)v;
	return 0;
}

static struct clean_list
list_of(const struct options_list *l)
{
	return (struct clean_list){.v = l->v, .n = l->n};
}

static int
options(const struct options_args *a, struct clean_request *rq,
	struct journal *j, struct err *e)
{
	rq->min_age = CLEAN_MIN_AGE;
	rq->min_age_resized = CLEAN_MIN_AGE_RESIZED;
	if (age(a->min_age, "--min-age", &rq->min_age, e) ||
		age(a->min_age_resized, "--min-age-resized",
			&rq->min_age_resized, e) ||
		percent(a->low, "--low", &rq->low, e) ||
		percent(a->high, "--high", &rq->high, e) ||
		cache_journal(a, j, e))
		return -1;
	if (!a->low != !a->high || rq->low > rq->high)
		return err_set(e, ERR_USAGE, "--low and --high go together, "
			"the low one first");
	if (a->budget && parse_size(a->budget, &rq->budget, e))
		return err_prefix(e, "--budget");
	rq->has_budget = a->budget != NULL;
	rq->roots = list_of(&a->roots);
	rq->ignore = list_of(&a->ignore_disks);
	rq->used = list_of(&a->used);
	rq->unused = list_of(&a->unused);
	rq->hosts = list_of(&a->hosts);
	rq->dry_run = a->dry_run;
	rq->journal = j;
	return 0;
}

static void
put_json(const struct options_args *a, const struct clean_result *r,
	struct buf *out)
{
	struct json_out j = {.out = out, .pretty = true};
	size_t i;

	json_open_object(&j, NULL);
	json_bool(&j, "dry-run", a->dry_run);
	json_u64(&j, "instances", r->users.instances);
	json_u64(&j, "disks", r->users.disks);
	json_u64(&j, "actual-size", r->sums.bytes);
	json_u64(&j, "removed", r->removed_files);
	json_u64(&j, "removed-size", r->removed_bytes);
	json_u64(&j, "lacking-size", r->sums.lacking);
	json_u64(&j, "touched", r->touched);
	json_u64(&j, "removed-staging", r->staging);
	json_u64(&j, "removed-quarantined", r->quarantine);
	json_u64(&j, "removed-records", r->records);
	if (*r->shared)
		json_str(&j, "shared-with", r->shared);
	json_open_array(&j, "unreadable");
	for (i = 0; i < r->users.n_dark; i++) {
		json_open_object(&j, NULL);
		json_str(&j, "path", r->users.dark[i].disk);
		json_str(&j, "why", r->users.dark[i].why);
		json_close_object(&j);
	}
	json_close_array(&j);
	json_open_array(&j, "files");
	for (i = 0; i < r->n; i++) {
		json_open_object(&j, NULL);
		json_str(&j, "name", r->v[i].name);
		json_str(&j, "verdict", verdicts[r->v[i].verdict]);
		json_str(&j, "why", r->v[i].why);
		json_u64(&j, "actual-size", r->v[i].bytes);
		json_u64(&j, "users", r->v[i].users.disks);
		json_close_object(&j);
	}
	json_close_array(&j);
	json_close_object(&j);
	buf_char(out, '\n');
}

/* A line for every file with --dry-run, for what was done without. */
static void
put_text(const struct options_args *a, const struct clean_result *r,
	struct buf *out)
{
	char q[1024];
	size_t i;

	for (i = 0; i < r->n; i++) {
		const struct clean_plan_file *f = &r->v[i];

		if (!a->dry_run && f->verdict != CLEAN_PLAN_REMOVE)
			continue;
		err_quote(q, sizeof(q), f->name, (unsigned)strlen(f->name));
		buf_fmt(out, "%-6s %s: %s\n", verdicts[f->verdict], q, f->why);
	}
	buf_fmt(out, "%s %" PRIu64 " files, %" PRIu64 " bytes\n",
		a->dry_run ? "would remove" : "removed", r->removed_files,
		r->removed_bytes);
	if (*r->shared)
		buf_fmt(out, "host %s shares the storage, so that bases stay "
			"(if its instances are seen here: --host)\n",
			r->shared);
	if (r->sums.lacking)
		buf_fmt(out, "%" PRIu64 " bytes more are wanted, and nothing "
			"else may go\n", r->sums.lacking);
}

static int
run(const struct options_args *a, struct store *s, struct clean_result *ret,
	struct err *e)
{
	struct clean_request rq = {.store = s};
	struct journal journal;
	struct progress p;
	int r;

	if (options(a, &rq, &journal, e))
		return -1;
	if (cache_open(a, !a->dry_run, s, e))
		return -1;
	progress_start(&p, "cache clean", false, false, false, -1,
		report_warning);
	rq.watch = &p.watch;
	r = clean_run(&rq, ret, e);
	progress_end(&p, r == 0);
	return r;
}

int
cmd_cache_clean(struct options_args *a)
{
	struct clean_result result = {0};
	struct buf out = BUF_INIT;
	struct store s = STORE_NONE;
	struct err e = {0};
	int r;

	if (a->operands.n)
		return report_usage("no argument is taken");
	if (run(a, &s, &result, &e)) {
		r = report_error(&e);
	} else {
		if (a->json)
			put_json(a, &result, &out);
		else if (!a->quiet)
			put_text(a, &result, &out);
		r = report_output(&out);
	}
	clean_free(&result);
	store_close(&s);
	return r;
}
