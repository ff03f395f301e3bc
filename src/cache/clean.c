/* SPDX-License-Identifier: MIT */
/*
 * A pass: look, plan, act. Looking is users.c's, holders.c's and hosts.c's,
 * the rules are clean_plan.c's, and the act on one file is clean_remove.c's;
 * this file brings them together.
 */
#include "config.h"

#include "cache/clean.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

#include "base/units.h"
#include "cache/clean_left.h"
#include "cache/clean_remove.h"
#include "cache/holders.h"
#include "cache/store_lock.h"

/* A name beneath _base, or an image's id. */
static int
name_of(const char *text, char *ret, struct err *e)
{
	struct layout_name l;

	layout_classify(text, &l);
	if (!layout_is_base(l.kind))
		return layout_image(text, ret, e);
	snprintf(ret, LAYOUT_NAME, "%s", text);
	return 0;
}

/* Marks the entries that the list stands for. */
static int
mark(struct clean_result *r, const struct clean_list *l, bool used,
	struct err *e)
{
	char name[LAYOUT_NAME];
	size_t i, k;

	for (i = 0; i < l->n; i++) {
		if (name_of(l->v[i], name, e))
			return -1;
		for (k = 0; k < r->n; k++) {
			if (strcmp(r->v[k].name, name) != 0 &&
				strcmp(r->entries.v[k].layout.image, name) != 0)
				continue;
			if (used)
				r->v[k].listed_used = true;
			else
				r->v[k].listed_unused = true;
		}
	}
	return 0;
}

/* A base that was made anew in the place of another has another inode; a
 * record, also that of the former, tells since when the name has been there. */
static int64_t
born(const struct store *s, const struct entry *en)
{
	int64_t at = en->regular ? clean_remove_born(s->base_fd, en->name) : 0;

	return at && en->record.created > 0
		? (int64_t)units_min((uint64_t)at,
			(uint64_t)en->record.created)
		: at;
}

static int
list_files(const struct clean_request *rq, struct clean_result *r,
	struct err *e)
{
	const struct entry *en;
	size_t i;

	if (entries_load(rq->store, true, rq->watch, &r->entries, e))
		return -1;
	r->v = calloc(r->entries.n + 1, sizeof(*r->v));
	if (!r->v)
		return err_sys(e, ENOMEM, "cannot keep a plan");
	r->n = r->entries.n;
	for (i = 0; i < r->n; i++) {
		en = &r->entries.v[i];
		r->v[i] = (struct clean_plan_file){
			.name = en->name,
			.kind = en->layout.kind,
			.regular = en->regular,
			.bytes = (uint64_t)en->st.st_blocks * 512,
			.mtime = en->st.st_mtim,
			.born = born(rq->store, en),
			.pinned = en->recorded && en->record.pinned,
		};
	}
	return mark(r, &rq->used, true, e) || mark(r, &rq->unused, false, e)
		? -1 : 0;
}

static int
find_users(const struct clean_request *rq, struct clean_result *r,
	struct err *e)
{
	const struct users_request u = {
		.store = rq->store,
		.roots = rq->roots.v,
		.n_roots = rq->roots.n,
		.ignore = rq->ignore.v,
		.n_ignore = rq->ignore.n,
		.watch = rq->watch,
	};
	struct holders h;
	size_t i;

	if (users_scan(&u, &r->users, e))
		return -1;
	if (holders_scan(rq->store->base_dev, rq->watch, &h, e))
		return -1;
	for (i = 0; i < r->n; i++) {
		if (!r->v[i].regular)
			continue;
		r->v[i].users = users_of(&r->users, r->v[i].name,
			&r->entries.v[i].st);
		r->v[i].holder = holders_of(&h, r->entries.v[i].st.st_ino);
	}
	holders_free(&h);
	return 0;
}

static int
clock_now(const struct clean_request *rq, struct timespec *ret, struct err *e)
{
	if (!rq->dry_run)
		return store_now(rq->store, ret, e);
	if (clock_gettime(CLOCK_REALTIME, ret))
		return err_sys(e, errno, "cannot tell the time");
	return 0;
}

static int
set_limits(const struct clean_request *rq, struct clean_result *r,
	struct clean_plan_limits *l, struct err *e)
{
	struct statvfs vfs;

	if (rq->low > rq->high || rq->high > 100)
		return err_set(e, ERR_USAGE, "the low watermark, %u %%, is "
			"above the high one, %u %%", rq->low, rq->high);
	if (fstatvfs(rq->store->base_fd, &vfs)) {
		err_sys(e, errno, "cannot tell the free space");
		return err_file(e, rq->store->base);
	}
	l->min_age = rq->min_age;
	l->min_age_resized = rq->min_age_resized;
	l->has_budget = rq->has_budget;
	l->budget = rq->budget;
	l->low = rq->low;
	l->high = rq->high;
	/* as df has it: what only root may use is neither free nor used */
	l->fs_used = (uint64_t)(vfs.f_blocks - vfs.f_bfree) * vfs.f_frsize;
	l->fs_size = l->fs_used + (uint64_t)vfs.f_bavail * vfs.f_frsize;
	l->shared = r->shared;
	l->dark = r->users.dark;
	l->n_dark = r->users.n_dark;
	return 0;
}

static void
tell_dark(const struct clean_request *rq, const struct clean_result *r)
{
	char line[1024], q[640];
	size_t i;

	for (i = 0; i < r->users.n_dark; i++) {
		const struct users_dark *d = &r->users.dark[i];

		snprintf(line, sizeof(line), "%s: %s; every base that it may "
			"name is kept", err_quote(q, sizeof(q), d->disk,
				(unsigned)strlen(d->disk)), d->why);
		watch_note(rq->watch, line);
	}
}

static int
look(const struct clean_request *rq, struct clean_result *r,
	struct clean_plan_limits *l, struct err *e)
{
	if (clock_now(rq, &l->start, e) || list_files(rq, r, e) ||
		find_users(rq, r, e) ||
		hosts_scan(rq->store, rq->hosts.v, rq->hosts.n,
			(int64_t)l->start.tv_sec, r->shared, e) ||
		set_limits(rq, r, l, e))
		return -1;
	tell_dark(rq, r);
	clean_plan_make(r->v, r->n, l, &r->sums);
	return 0;
}

static int
touch(const struct clean_request *rq, struct clean_result *r, struct err *e)
{
	struct err why = {0};
	size_t i;

	for (i = 0; i < r->n; i++) {
		struct clean_plan_file *f = &r->v[i];

		if (f->verdict != CLEAN_PLAN_TOUCH)
			continue;
		if (watch_cancelled(rq->watch))
			return err_set(e, ERR_CANCELLED, "cancelled");
		if (store_touch(rq->store, f->name, rq->watch, &why)) {
			char line[sizeof(why.file) + sizeof(why.msg) + 128];

			watch_note(rq->watch,
				err_text(&why, line, sizeof(line)));
			continue;
		}
		r->touched++;
		journal_tell(rq->journal, (struct journal_event){
			.what = "touched", .name = f->name, .why = f->why,
			.bytes = f->bytes});
	}
	return 0;
}

static int
act(const struct clean_request *rq, struct clean_result *r,
	const struct clean_plan_limits *l, struct err *e)
{
	return touch(rq, r, e) || clean_remove_bases(rq, r, l, e) ||
		clean_left_staging(rq, r, e) ||
		clean_left_quarantine(rq, r, e) ||
		clean_left_records(rq, r, e) ? -1 : 0;
}

static void
count(struct clean_result *r)
{
	size_t i;

	for (i = 0; i < r->n; i++) {
		if (r->v[i].verdict != CLEAN_PLAN_REMOVE)
			continue;
		r->removed_files++;
		r->removed_bytes += r->v[i].bytes;
	}
	/* what the plan let go may have stayed */
	r->sums.lacking = r->sums.needed > r->removed_bytes
		? r->sums.needed - r->removed_bytes : 0;
}

int
clean_run(const struct clean_request *rq, struct clean_result *ret,
	struct err *e)
{
	struct store_lock scan = STORE_LOCK_NONE;
	struct clean_plan_limits l = {0};
	struct clean_result r = {0};
	int rc = 0;

	if (rq->store->apart && rq->roots.n == 0)
		return err_set(e, ERR_USAGE, "%s is on another device than the "
			"instances: directories of instances must be given",
			rq->store->base);
	if (!rq->dry_run)
		rc = store_lock_own(rq->store, STORE_LOCK_SCAN, true,
			rq->watch, &scan, NULL, e);
	if (rc == 0)
		rc = look(rq, &r, &l, e);
	if (rc == 0 && !rq->dry_run)
		rc = act(rq, &r, &l, e);
	store_lock_release(&scan);
	if (rc) {
		clean_free(&r);
		return -1;
	}
	count(&r);
	*ret = r;
	return 0;
}

void
clean_free(struct clean_result *r)
{
	free(r->v);
	users_free(&r->users);
	entries_free(&r->entries);
	*r = (struct clean_result){0};
}
