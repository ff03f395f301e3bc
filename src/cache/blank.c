/* SPDX-License-Identifier: MIT */
/* Blank bases: staged, formatted by the caller, published like any base. */
#include "config.h"

#include "cache/blank.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/ck.h"
#include "base/units.h"
#include "cache/record.h"
#include "cache/store_lock.h"

static int
name_it(const struct blank_request *rq, struct blank_result *r, struct err *e)
{
	bool swap = rq->kind == LAYOUT_SWAP;

	if (rq->size == 0 || !ck_mul(rq->size, swap ? MIB : GIB, &r->size) ||
		r->size > INT64_MAX)
		return err_set(e, ERR_LIMIT, "%" PRIu64 " %s is no size of a "
			"disk", rq->size, swap ? "MiB" : "GiB");
	if (swap)
		layout_swap(rq->size, r->name);
	else
		layout_ephemeral(rq->size, rq->mkfs, r->name);
	return 0;
}

static int
make(const struct blank_request *rq, struct blank_result *r, struct err *e)
{
	struct record rec = {
		.kind = RECORD_BLANK,
		.format = FORMAT_RAW,
		.virtual_size = r->size,
		.created = (int64_t)time(NULL),
	};
	struct store_stage stage;
	struct stat st;
	bool taken = false;
	int bad = 0;

	if (store_stage_open(rq->store, r->name, &stage, e))
		return -1;
	if (ftruncate(stage.fd, (off_t)r->size))
		bad = err_sys(e, errno, "cannot make it %" PRIu64 " bytes long",
			r->size);
	if (!bad)
		bad = rq->format(rq->format_arg, stage.fd, e) ||
			record_forget(rq->store, r->name, e) ||
			store_stage_publish(rq->store, &stage, r->name, &taken,
				e);
	if (!bad && taken)
		bad = err_set(e, ERR_BUSY, "appeared meanwhile");
	if (!bad && fstat(stage.fd, &st))
		bad = err_sys(e, errno, "cannot look at it");
	if (!bad) {
		record_identify(&rec, &st);
		record_renew(rq->store, r->name, &rec, NULL, rq->watch);
		r->added = true;
		journal_tell(rq->journal, (struct journal_event){
			.what = "added", .name = r->name, .why = "blank",
			.bytes = (uint64_t)st.st_blocks * 512});
	}
	store_stage_drop(rq->store, &stage);
	return bad ? -1 : 0;
}

static int
run(const struct blank_request *rq, struct blank_result *r, struct err *e)
{
	struct record rec;
	struct stat st;
	bool there, rotten;

	if (store_stat(rq->store->base_fd, r->name, &there, &st, e))
		return -1;
	if (!there)
		return make(rq, r, e);
	if ((uint64_t)st.st_size != r->size)
		return err_set(e, ERR_CORRUPT, "is %" PRIu64 " bytes long, not "
			"%" PRIu64, (uint64_t)st.st_size, r->size);
	if (record_load(rq->store, r->name, &rec, &there, rq->watch, e))
		return -1;
	rotten = there && record_is_rotten(&rec, &st);
	record_free(&rec);
	if (rotten)
		return err_set(e, ERR_CORRUPT,
			"is rotten, the last verification says");
	return store_touch(rq->store, r->name, rq->watch, e);
}

int
blank_run(const struct blank_request *rq, struct blank_result *ret,
	struct err *e)
{
	struct store_lock lock = STORE_LOCK_NONE;
	struct blank_result r = {0};
	int rc;

	if (name_it(rq, &r, e) ||
		store_lock(rq->store, r.name, true, rq->watch, &lock, NULL, e))
		return -1;
	rc = run(rq, &r, e);
	store_lock_release(&lock);
	if (rc)
		return err_file(e, r.name);
	*ret = r;
	return 0;
}
