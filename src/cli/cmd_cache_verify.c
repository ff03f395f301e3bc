/* SPDX-License-Identifier: MIT */
/*
 * byre cache verify: base after base is read and judged, and the verdict is
 * said at once. One that cannot be judged does not keep the others from it.
 */
#include "config.h"

#include "cli/cmd.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/json.h"
#include "base/parse.h"
#include "cache/repair.h"
#include "cache/verify.h"
#include "cli/cache.h"
#include "cli/cache_source.h"
#include "cli/native.h"
#include "cli/progress.h"
#include "cli/report.h"

/* Beside those of report.h. */
enum {
	EXIT_ROTTEN = 3,
	EXIT_MENDED = 4, /* all that was rotten was replaced or taken away */
};

static const char *const states[] = {
	[VERIFY_GOOD] = "good",
	[VERIFY_ADOPTED] = "adopted",
	[VERIFY_ROTTEN] = "rotten",
	[VERIFY_GONE] = "gone",
};

struct job {
	const struct options_args *a;
	struct store s;
	struct entries entries;
	const struct entry **v; /* to be verified; owned */
	size_t n;
	struct verify_request verify;
	struct ensure_request source;
	struct fetch fetch;
	struct repair_request repair;
	struct journal journal;
	struct progress p;
	struct watch watch;     /* progress over all of them */
	uint64_t done, total;   /* bytes of those before, and of all */
	struct buf out;         /* JSON is said at the end */
	struct json_out j;
	bool failed, cancelled, rotten, mended;
};

/* What only disks have to do waits for all who have more to do. */
static void
be_idle(void)
{
	enum { WHO_PROCESS = 1, CLASS_IDLE = 3, CLASS_SHIFT = 13 };

	syscall(SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE << CLASS_SHIFT);
}

static void
on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct job *j = arg;

	(void)total;
	watch_progress(&j->p.watch, j->done + done, j->total);
}

static void
on_note(void *arg, const char *line)
{
	struct job *j = arg;

	watch_note(&j->p.watch, line);
}

static int
options(struct job *j, int *fd, struct err *e)
{
	const struct options_args *a = j->a;
	enum engine_kind engine;

	if (a->from && (!a->mend || a->operands.n != 1))
		return err_set(e, ERR_USAGE,
			"--from needs --repair and one image");
	if (!a->from && (a->expected.n || a->format))
		return err_set(e, ERR_USAGE, "--expect and -f need --from");
	if (a->rate_limit && parse_size(a->rate_limit, &j->verify.rate, e))
		return err_prefix(e, "--rate");
	if (native_engine(a, &engine, &j->verify.workers, e) ||
		native_progress_fd(a, fd, e) ||
		cache_journal(a, &j->journal, e) ||
		(a->from && cache_source(a, &j->source, &j->fetch, e)))
		return -1;
	j->verify.cached = a->cached;
	j->verify.wait = j->repair.wait = !a->no_wait;
	j->repair.source = a->from ? &j->source : NULL;
	j->repair.roots = a->roots.v;
	j->repair.n_roots = a->roots.n;
	j->repair.ignore = a->ignore_disks.v;
	j->repair.n_ignore = a->ignore_disks.n;
	j->repair.hosts = a->hosts.v;
	j->repair.n_hosts = a->hosts.n;
	return 0;
}

static uint64_t
size_of(const struct entry *n)
{
	return n->recorded ? n->record.virtual_size : (uint64_t)n->st.st_size;
}

/* The image's id, where a word of the command line is one. */
static const char *
id_of(const struct options_args *a, const struct entry *n)
{
	char image[LAYOUT_NAME];
	unsigned i;

	for (i = 0; i < a->operands.n; i++)
		if (layout_image(a->operands.v[i], image, NULL) == 0 &&
			strcmp(image, n->layout.image) == 0)
			return a->operands.v[i];
	return NULL;
}

static void
put_json(struct job *j, const struct entry *n, const struct verify_result *r,
	const struct repair_result *mended)
{
	size_t i;

	json_open_object(&j->j, NULL);
	json_str(&j->j, "name", n->name);
	json_str(&j->j, "state", states[r->state]);
	json_u64(&j->j, "virtual-size", r->virtual_size);
	json_u64(&j->j, "from", r->from);
	json_u64(&j->j, "bytes-read", r->bytes_read);
	if (r->state == VERIFY_ROTTEN) {
		json_u64(&j->j, "rotten-blocks", r->rotten.count);
		json_u64(&j->j, "unreadable-blocks", r->rotten.unreadable);
		json_open_array(&j->j, "ranges");
		for (i = 0; i < r->rotten.n; i++) {
			json_open_object(&j->j, NULL);
			json_u64(&j->j, "start", r->rotten.v[i].from);
			json_u64(&j->j, "length", r->rotten.v[i].to -
				r->rotten.v[i].from);
			json_close_object(&j->j);
		}
		json_close_array(&j->j);
	}
	if (*r->why)
		json_str(&j->j, "why", r->why);
	if (mended) {
		json_str(&j->j, "repair",
			mended->replaced ? "replaced" : "quarantined");
		json_str(&j->j, "quarantined-as", mended->quarantined);
	}
	json_close_object(&j->j);
}

static void
put_text(struct buf *out, const struct entry *n, const struct verify_result *r,
	const struct repair_result *mended)
{
	char q[3 * LAYOUT_NAME];
	size_t i;

	err_quote(q, sizeof(q), n->name, (unsigned)strlen(n->name));
	buf_fmt(out, "%-7s %s", states[r->state], q);
	if (r->rotten.count)
		buf_fmt(out, ": %" PRIu64 " blocks", r->rotten.count);
	if (*r->why)
		buf_fmt(out, ": %s", r->why);
	buf_char(out, '\n');
	for (i = 0; i < r->rotten.n; i++)
		buf_fmt(out, "        bytes %" PRIu64 " to %" PRIu64 "\n",
			r->rotten.v[i].from, r->rotten.v[i].to - 1);
	if (r->rotten.n == VERIFY_RANGES_MAX)
		buf_str(out, "        and so on\n");
	if (mended)
		buf_fmt(out, "        %s; what was there is quarantine/%s\n",
			mended->replaced ? "made anew" : "taken away",
			mended->quarantined);
}

static int
say(struct job *j, const struct entry *n, const struct verify_result *r,
	const struct repair_result *mended)
{
	struct buf out = BUF_INIT;

	if (j->a->json) {
		put_json(j, n, r, mended);
		return REPORT_OK;
	}
	if (j->a->quiet && r->state != VERIFY_ROTTEN)
		return REPORT_OK;
	put_text(&out, n, r, mended);
	return report_output(&out);
}

/* False: that is all for now. */
static bool
one(struct job *j, const struct entry *n)
{
	struct repair_result mended;
	struct verify_result r;
	struct err e = {0};
	bool is_mended = false, on;

	j->verify.name = j->repair.name = n->name;
	j->verify.id = id_of(j->a, n);
	if (verify_run(&j->verify, &r, &e)) {
		report_error(&e);
		j->failed = true;
		j->cancelled = e.kind == ERR_CANCELLED;
		return !j->cancelled;
	}
	if (r.state == VERIFY_ROTTEN && j->a->mend) {
		is_mended = repair_run(&j->repair, &mended, &e) == 0;
		if (!is_mended)
			report_error(&e);
	}
	j->mended |= is_mended;
	j->rotten |= r.state == VERIFY_ROTTEN && !is_mended;
	j->cancelled = e.kind == ERR_CANCELLED;
	on = say(j, n, &r, is_mended ? &mended : NULL) == REPORT_OK;
	j->failed |= !on;
	verify_free(&r);
	return on && !j->cancelled;
}

static void
all(struct job *j)
{
	bool on = true;
	size_t i;

	for (i = 0; i < j->n; i++)
		j->total += size_of(j->v[i]);
	if (j->a->json)
		json_open_array(&j->j, NULL);
	for (i = 0; on && i < j->n; i++) {
		on = one(j, j->v[i]);
		j->done += size_of(j->v[i]);
	}
	if (!j->a->json)
		return;
	json_close_array(&j->j);
	buf_char(&j->out, '\n');
	j->failed |= report_output(&j->out) != REPORT_OK;
}

static int
run(struct job *j, struct err *e)
{
	const struct options_args *a = j->a;
	int fd;

	if (options(j, &fd, e))
		return -1;
	report_started();
	if (cache_open(a, true, &j->s, e))
		return -1;
	be_idle();
	progress_start(&j->p, "cache verify", a->progress, true, a->quiet, fd,
		report_warning);
	j->watch = (struct watch){.progress = on_progress, .note = on_note,
		.cancel = j->p.watch.cancel, .arg = j};
	j->verify.watch = &j->watch;
	j->repair.watch = j->fetch.watch = &j->watch;
	j->verify.store = j->repair.store = &j->s;
	j->verify.journal = j->repair.journal = &j->journal;
	j->j = (struct json_out){.out = &j->out, .pretty = true};
	if (entries_load(&j->s, true, &j->watch, &j->entries, e) ||
		verify_choose(&j->entries, a->operands.v, a->operands.n, &j->v,
			&j->n, e))
		return -1;
	all(j);
	progress_end(&j->p, !j->failed);
	return 0;
}

int
cmd_cache_verify(struct options_args *a)
{
	struct job j = {.a = a, .s = STORE_NONE};
	struct err e = {0};
	int r = REPORT_OK;

	if (run(&j, &e))
		r = report_error(&e);
	else if (j.cancelled)
		r = REPORT_FAILED;
	else if (j.rotten)
		r = EXIT_ROTTEN;
	else if (j.failed)
		r = REPORT_FAILED;
	else if (j.mended)
		r = EXIT_MENDED;
	free(j.v);
	entries_free(&j.entries);
	store_close(&j.s);
	return r;
}
