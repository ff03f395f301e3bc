/* SPDX-License-Identifier: MIT */
/* Reads, changes and writes a record under the base's lock. */
#include "config.h"

#include "cache/pin.h"

#include <errno.h>

#include "cache/record.h"
#include "cache/store_lock.h"

static int
set(const struct pin_request *rq, const char *name, struct err *e)
{
	struct record r;
	struct stat st;
	bool there;
	int bad;

	if (store_stat(rq->store->base_fd, name, &there, &st, e))
		return -1;
	if (!there)
		return err_sys(e, ENOENT, "there is no base of that image");
	if (record_load(rq->store, name, &r, &there, rq->watch, e))
		return -1;
	if (!there || !record_matches(&r, &st)) {
		record_free(&r);
		return err_set(e, ERR_USAGE, "no record describes the base, "
			"and only a record can be pinned");
	}
	bad = 0;
	if (r.pinned != rq->pinned) {
		r.pinned = rq->pinned;
		bad = record_store(rq->store, name, &r, e);
	}
	record_free(&r);
	return bad;
}

int
pin_set(const struct pin_request *rq, struct err *e)
{
	struct store_lock lock = STORE_LOCK_NONE;
	char name[LAYOUT_NAME];
	int bad;

	if (layout_image(rq->id, name, e) ||
		store_lock(rq->store, name, rq->wait, rq->watch, &lock, NULL,
			e))
		return -1;
	bad = set(rq, name, e);
	store_lock_release(&lock);
	if (bad)
		return err_file(e, name);
	journal_tell(rq->journal, (struct journal_event){
		.what = rq->pinned ? "pinned" : "unpinned", .name = name,
		.id = rq->id});
	return 0;
}
