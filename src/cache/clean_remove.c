/* SPDX-License-Identifier: MIT */
/*
 * Removal. Between a plan and its execution anything may happen: a file goes
 * only if, under the lock of its name, it still is the file of the plan, no
 * disk names it in a second search, nobody has it open, and nobody has touched
 * it since the first search began.
 */
#include "config.h"

#include "cache/clean_remove.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cache/holders.h"
#include "cache/record.h"
#include "cache/store_lock.h"
#include "cache/withdraw.h"

#define BATCH 128 /* files between two searches; at most two locks each */

struct held {
	const char *name;
	struct store_lock lock;
};

struct batch {
	const struct clean_request *rq;
	struct clean_result *r;
	struct clean_plan_limits l; /* with the second search's dark ones */
	size_t v[BATCH];            /* indices of r->v */
	size_t n;
	size_t gone[BATCH];         /* of those whose name went */
	size_t n_gone;
	struct held locks[2 * BATCH];
	size_t n_locks;
	struct users users;
	struct holders holders;     /* looked for when first needed */
	bool holders_known;
	struct holders_gone lost;   /* lock files, once the locks are held */
};

int64_t
clean_remove_born(int dirfd, const char *name)
{
	struct statx sx;

	if (statx(dirfd, name, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC,
		    STATX_BTIME, &sx) || !(sx.stx_mask & STATX_BTIME))
		return 0;
	return sx.stx_btime.tv_sec;
}

static void
keep(struct clean_plan_file *f, const char *why)
{
	f->verdict = CLEAN_PLAN_KEEP;
	snprintf(f->why, sizeof(f->why), "%s", why);
}

static void
keep_err(struct clean_plan_file *f, const struct err *e)
{
	char line[sizeof(e->file) + sizeof(e->msg) + 128];

	keep(f, err_text(e, line, sizeof(line)));
}

/* Without waiting: who holds it is about to use the base. */
static int
take_lock(struct batch *b, const char *name, struct err *e)
{
	struct store_lock l;
	size_t i;

	for (i = 0; i < b->n_locks; i++)
		if (strcmp(b->locks[i].name, name) == 0)
			return 0;
	if (store_lock(b->rq->store, name, false, b->rq->watch, &l, NULL, e))
		return -1;
	b->locks[b->n_locks++] = (struct held){name, l};
	return 0;
}

/* An image's name guards all that is made of the image. */
static bool
lock_file(struct batch *b, size_t i)
{
	struct clean_plan_file *f = &b->r->v[i];
	const struct layout_name *l = &b->r->entries.v[i].layout;
	struct err e = {0};

	if (l->image[0] && take_lock(b, l->image, &e)) {
		keep_err(f, &e);
		return false;
	}
	if (layout_is_base(f->kind) && take_lock(b, f->name, &e)) {
		keep_err(f, &e);
		return false;
	}
	return true;
}

/* NULL: none of that name is held. */
static const struct store_lock *
held_lock(const struct batch *b, const char *name)
{
	size_t i;

	for (i = 0; i < b->n_locks; i++)
		if (strcmp(b->locks[i].name, name) == 0)
			return &b->locks[i].lock;
	return NULL;
}

static int
is_pinned(struct batch *b, struct clean_plan_file *f, struct err *e)
{
	struct record rec;
	bool there;

	if (!layout_is_base(f->kind))
		return 0;
	if (record_load(b->rq->store, f->name, &rec, &there, NULL, e))
		return -1;
	f->pinned = there && rec.pinned;
	record_free(&rec);
	return 0;
}

/* The file as it is now, judged again; true if it may go. */
static bool
judge(struct batch *b, size_t i, int fd, struct stat *ret_st, struct err *e)
{
	const struct stat *planned = &b->r->entries.v[i].st;
	struct clean_plan_file *f = &b->r->v[i];
	struct stat st;

	if (withdraw_blocked(&b->lost, f->name)) {
		keep(f, "a process has a lock file of it open that was "
			"removed");
		return false;
	}
	if (is_pinned(b, f, e)) {
		keep_err(f, e);
		return false;
	}
	f->holder = 0;
	switch (holders_ask(fd)) {
	case HOLDERS_HELD:
		keep(f, "open or locked in another process");
		/* in use, though /proc did not show it */
		if (layout_is_base(f->kind))
			f->verdict = CLEAN_PLAN_TOUCH;
		return false;
	case HOLDERS_UNTOLD:
		if (!b->holders_known &&
			holders_scan(b->rq->store->base_dev, b->rq->watch,
				&b->holders, e)) {
			keep_err(f, e);
			return false;
		}
		b->holders_known = true;
		f->holder = holders_of(&b->holders, planned->st_ino);
		break;
	case HOLDERS_FREE:
		break;
	}
	/* last, for Nova touches a base and only then takes its lock */
	if (fstat(fd, &st)) {
		err_sys(e, errno, "cannot look at");
		keep_err(f, e);
		return false;
	}
	if (st.st_ino != planned->st_ino || st.st_dev != planned->st_dev) {
		keep(f, "it is another file by now");
		return false;
	}
	f->mtime = st.st_mtim;
	f->users = users_of(&b->users, f->name, &st);
	if (!clean_plan_spare(f, &b->l))
		return false;
	if (!f->for_room && !clean_plan_aged(f, &b->l)) {
		keep(f, "touched meanwhile");
		return false;
	}
	*ret_st = st;
	return true;
}

static void
note_err(struct batch *b, const struct err *e)
{
	char line[sizeof(e->file) + sizeof(e->msg) + 128];

	watch_note(b->rq->watch, err_text(e, line, sizeof(line)));
}

/* Found in use only now. */
static void
touch_late(struct batch *b, const struct clean_plan_file *f)
{
	const struct clean_request *rq = b->rq;
	struct err e = {0};

	if (store_touch(rq->store, f->name, rq->watch, &e)) {
		note_err(b, &e);
		return;
	}
	b->r->touched++;
	journal_tell(rq->journal, (struct journal_event){.what = "touched",
		.name = f->name, .why = f->why, .bytes = f->bytes});
}

static void
remove_file(struct batch *b, size_t i)
{
	const struct clean_request *rq = b->rq;
	const struct layout_name *l = &b->r->entries.v[i].layout;
	struct clean_plan_file *f = &b->r->v[i];
	/* what is left of a base's making has no lock but the image's */
	const char *own = layout_is_base(f->kind) ? f->name : l->image;
	char why[CLEAN_PLAN_WHY];
	CLEANUP_FD int fd = -1;
	struct err e = {0};
	struct stat st;
	bool away;

	if (store_file(rq->store->base_fd, f->name, O_RDONLY, &fd, NULL, &e)) {
		keep_err(f, &e);
		return;
	}
	if (fd < 0) {
		keep(f, "gone already");
		f->bytes = 0;
		return;
	}
	memcpy(why, f->why, sizeof(why));
	if (!judge(b, i, fd, &st, &e)) {
		if (f->verdict == CLEAN_PLAN_TOUCH)
			touch_late(b, f);
		return;
	}
	if (withdraw_base(rq->store, f->name, &st, held_lock(b, own),
		    held_lock(b, l->image), &away, &e)) {
		keep_err(f, &e);
		note_err(b, &e);
		return;
	}
	if (!away) {
		keep(f, "touched, replaced, or its lock file removed");
		return;
	}
	f->verdict = CLEAN_PLAN_REMOVE;
	memcpy(f->why, why, sizeof(why));
	journal_tell(rq->journal, (struct journal_event){.what = "removed",
		.name = f->name, .why = f->why, .bytes = f->bytes});
	b->gone[b->n_gone++] = i;
}

/* Power may fail, and a base that comes back must have its record: of a qcow2
 * nothing else tells what it is. One that is left over goes another time. */
static void
remove_records(struct batch *b)
{
	const struct store *s = b->rq->store;
	struct err e = {0};
	size_t i;

	if (b->n_gone == 0)
		return;
	if (store_sync_dir(s->base_fd, &e)) {
		note_err(b, &e);
		return;
	}
	for (i = 0; i < b->n_gone; i++) {
		const struct clean_plan_file *f = &b->r->v[b->gone[i]];

		if (layout_is_base(f->kind) && record_remove(s, f->name, &e))
			note_err(b, &e);
	}
}

static void
close_batch(struct batch *b)
{
	size_t i;

	for (i = 0; i < b->n_locks; i++)
		store_lock_release(&b->locks[i].lock);
	holders_free(&b->holders);
	holders_gone_free(&b->lost);
	b->holders_known = false;
	b->n_locks = 0;
	b->n = b->n_gone = 0;
}

static int
run_batch(struct batch *b, const struct clean_plan_limits *l, struct err *e)
{
	const struct clean_request *rq = b->rq;
	const struct users_request u = {
		.store = rq->store,
		.roots = rq->roots.v,
		.n_roots = rq->roots.n,
		.ignore = rq->ignore.v,
		.n_ignore = rq->ignore.n,
		.watch = rq->watch,
	};
	bool cancelled = false;
	size_t i, k = 0;
	struct users later;

	for (i = 0; i < b->n; i++)
		if (lock_file(b, b->v[i]))
			b->v[k++] = b->v[i];
	b->n = k;
	if (k == 0)
		return 0;
	if (withdraw_look(rq->store, rq->watch, &b->lost, e) ||
		users_scan(&u, &later, e))
		return -1;
	/* a disk's name in a plan that was told stays valid: what the first
	 * search found is the result's */
	b->users = later;
	b->l = *l;
	b->l.dark = later.dark;
	b->l.n_dark = later.n_dark;
	for (i = 0; i < k && !cancelled; i++) {
		cancelled = watch_cancelled(rq->watch);
		if (!cancelled)
			remove_file(b, b->v[i]);
	}
	remove_records(b);
	for (i = 0; i < k; i++)
		b->r->v[b->v[i]].users.disk = NULL;
	users_free(&later);
	return cancelled ? err_set(e, ERR_CANCELLED, "cancelled") : 0;
}

int
clean_remove_bases(const struct clean_request *rq, struct clean_result *r,
	const struct clean_plan_limits *l, struct err *e)
{
	CLEANUP_FREE struct batch *b = calloc(1, sizeof(*b));
	size_t i = 0;
	int rc = 0;

	if (!b)
		return err_sys(e, ENOMEM, "cannot remove bases");
	b->rq = rq;
	b->r = r;
	while (i < r->n && rc == 0) {
		for (; i < r->n && b->n < BATCH; i++)
			if (r->v[i].verdict == CLEAN_PLAN_REMOVE)
				b->v[b->n++] = i;
		rc = run_batch(b, l, e);
		close_batch(b);
	}
	return rc;
}
