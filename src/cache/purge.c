/* SPDX-License-Identifier: MIT */
/*
 * The locks of all names first, then the search for users, so that nobody can
 * build on a base in between; then everything goes, or nothing. A sized copy
 * that comes up while its lock is waited for stays.
 */
#include "config.h"

#include "cache/purge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/entries.h"
#include "cache/in_use.h"
#include "cache/record.h"
#include "cache/store_lock.h"
#include "cache/users.h"
#include "cache/withdraw.h"

struct job {
	const struct purge_request *rq;
	char image[LAYOUT_NAME];
	struct entries entries;
	const struct entry **v; /* the image's; in strcmp order */
	size_t n;
	struct store_lock image_lock;
	struct store_lock *locks; /* of the others */
	size_t n_locks;
};

/* Of what has none of its own: the image's. */
static const struct store_lock *
lock_of(const struct job *j, const char *name)
{
	const size_t p = strlen(STORE_LOCK_PREFIX);
	size_t i;

	for (i = 0; i < j->n_locks; i++)
		if (strcmp(j->locks[i].file + p, name) == 0)
			return &j->locks[i];
	return &j->image_lock;
}

static int
choose(struct job *j, struct err *e)
{
	const struct purge_request *rq = j->rq;
	size_t i;

	if (entries_load(rq->store, false, rq->watch, &j->entries, e))
		return -1;
	j->v = calloc(j->entries.n + 1, sizeof(*j->v));
	j->locks = calloc(j->entries.n + 1, sizeof(*j->locks));
	if (!j->v || !j->locks)
		return err_sys(e, ENOMEM, "cannot list an image's bases");
	for (i = 0; i < j->entries.n; i++)
		if (strcmp(j->entries.v[i].layout.image, j->image) == 0)
			j->v[j->n++] = &j->entries.v[i];
	if (j->n)
		return 0;
	err_sys(e, ENOENT, "there is no base of that image");
	return err_file(e, j->image);
}

/* The image's is held, and guards what is on the way to become its base. */
static int
take_locks(struct job *j, struct err *e)
{
	const struct purge_request *rq = j->rq;
	size_t i;

	for (i = 0; i < j->n; i++) {
		const struct entry *n = j->v[i];

		if (strcmp(n->name, j->image) == 0 ||
			!layout_is_base(n->layout.kind))
			continue;
		if (store_lock(rq->store, n->name, rq->wait, rq->watch,
			    &j->locks[j->n_locks], NULL, e))
			return -1;
		j->n_locks++;
	}
	return 0;
}

static int
check_users(const struct job *j, const struct users *u, struct err *e)
{
	size_t i;

	for (i = 0; i < j->n; i++)
		if (in_use_refuse(j->rq->store, u, j->v[i]->name, &j->v[i]->st,
			    j->rq->watch, e))
			return -1;
	return in_use_refuse_dark(u, j->image, e) ||
		in_use_refuse_shared(j->rq->store, j->rq->hosts, j->rq->n_hosts,
			j->image, e) ? -1 : 0;
}

static int
check(struct job *j, struct err *e)
{
	const struct users_request rq = {
		.store = j->rq->store,
		.roots = j->rq->roots,
		.n_roots = j->rq->n_roots,
		.ignore = j->rq->ignore,
		.n_ignore = j->rq->n_ignore,
		.watch = j->rq->watch,
	};
	struct users u;
	int bad;

	if (users_scan(&rq, &u, e))
		return -1;
	bad = check_users(j, &u, e);
	users_free(&u);
	return bad;
}

static int
remove_all(struct job *j, struct purge_result *ret, struct err *e)
{
	const struct purge_request *rq = j->rq;
	size_t i;

	for (i = 0; i < j->n; i++) {
		const struct entry *n = j->v[i];
		uint64_t bytes = (uint64_t)n->st.st_blocks * 512;
		struct err why = {0};
		bool away;

		if (!n->regular)
			continue;
		if (withdraw_base(rq->store, n->name, &n->st,
			    lock_of(j, n->name), &j->image_lock, &away, &why)) {
			if (why.eno == ENOENT)
				continue;
			if (e)
				*e = why;
			return -1;
		}
		if (!away) {
			err_set(e, ERR_BUSY,
				"touched, replaced, or its lock file removed");
			return err_file(e, n->name);
		}
		ret->files++;
		ret->bytes += bytes;
		journal_tell(rq->journal, (struct journal_event){
			.what = "removed", .name = n->name, .id = rq->id,
			.why = "purged", .bytes = bytes});
	}
	return 0;
}

/* When the names are gone for good: a base that came back with the power would
 * have to have its record. */
static int
remove_records(const struct job *j, struct err *e)
{
	const struct store *s = j->rq->store;
	size_t i;

	if (store_sync_dir(s->base_fd, e))
		return -1;
	for (i = 0; i < j->n; i++)
		if (j->v[i]->regular && layout_is_base(j->v[i]->layout.kind) &&
			record_remove(s, j->v[i]->name, e))
			return -1;
	return 0;
}

int
purge_run(const struct purge_request *rq, struct purge_result *ret,
	struct err *e)
{
	struct purge_result result = {0};
	struct job j = {.rq = rq, .image_lock = STORE_LOCK_NONE};
	int bad;

	if (rq->store->apart && rq->n_roots == 0)
		return err_set(e, ERR_USAGE, "%s is on another device than the "
			"instances: directories of instances must be given",
			rq->store->base);
	if (layout_image(rq->id, j.image, e) ||
		store_lock(rq->store, j.image, rq->wait, rq->watch,
			&j.image_lock, NULL, e))
		return -1;
	bad = choose(&j, e) || take_locks(&j, e) || check(&j, e) ||
		remove_all(&j, &result, e) || remove_records(&j, e);
	while (j.n_locks > 0)
		store_lock_release(&j.locks[--j.n_locks]);
	store_lock_release(&j.image_lock);
	free(j.locks);
	free(j.v);
	entries_free(&j.entries);
	if (bad)
		return -1;
	*ret = result;
	return 0;
}
