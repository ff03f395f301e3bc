/* SPDX-License-Identifier: MIT */
/* Replacing is ensure's work; taking away is done here, as purge does it. */
#include "config.h"

#include "cache/repair.h"

#include <errno.h>
#include <string.h>

#include "cache/in_use.h"
#include "cache/record.h"
#include "cache/store_lock.h"
#include "cache/users.h"

static int
load_rotten(const struct repair_request *rq, struct record *ret,
	struct stat *ret_st, struct err *e)
{
	bool there;

	if (store_stat(rq->store->base_fd, rq->name, &there, ret_st, e))
		return -1;
	if (!there)
		return err_sys(e, ENOENT, "not in the cache");
	if (record_load(rq->store, rq->name, ret, &there, rq->watch, e))
		return -1;
	if (there && record_is_rotten(ret, ret_st))
		return 0;
	record_free(ret);
	return err_set(e, ERR_BUSY, "is no longer what was found rotten");
}

static int
replace(const struct repair_request *rq, struct repair_result *ret,
	struct err *e)
{
	struct ensure_request er = *rq->source;
	struct ensure_result made;
	struct record r;
	struct stat st;
	int bad;

	if (load_rotten(rq, &r, &st, e))
		return -1;
	er.store = rq->store;
	er.name = rq->name;
	er.replaces = &r;
	er.id = r.id;
	er.kernel = r.kind == RECORD_KERNEL;
	er.keep_qcow2 = r.format == FORMAT_QCOW2;
	er.max_size = 0;
	er.watch = rq->watch;
	er.journal = rq->journal;
	bad = r.has_digest ? ensure_run(&er, &made, e)
		: err_set(e, ERR_MISMATCH, "no digest of it was recorded");
	record_free(&r);
	if (bad)
		return -1;
	ret->replaced = true;
	memcpy(ret->quarantined, made.quarantined, sizeof(made.quarantined));
	return 0;
}

static int
refuse_used(const struct repair_request *rq, const struct stat *st,
	struct err *e)
{
	const struct users_request ur = {
		.store = rq->store,
		.roots = rq->roots,
		.n_roots = rq->n_roots,
		.ignore = rq->ignore,
		.n_ignore = rq->n_ignore,
		.watch = rq->watch,
	};
	struct users u;
	int bad;

	if (users_scan(&ur, &u, e))
		return -1;
	bad = in_use_refuse(rq->store, &u, rq->name, st, rq->watch, e) ||
		in_use_refuse_dark(&u, rq->name, e);
	users_free(&u);
	return bad ? -1 : in_use_refuse_shared(rq->store, rq->hosts,
		rq->n_hosts, rq->name, e);
}

static int
take_away(const struct repair_request *rq, struct repair_result *ret,
	struct err *e)
{
	struct record r;
	struct stat st;

	if (load_rotten(rq, &r, &st, e))
		return -1;
	record_free(&r);
	if (refuse_used(rq, &st, e) ||
		store_quarantine(rq->store, rq->name, ret->quarantined, e))
		return -1;
	journal_tell(rq->journal, (struct journal_event){
		.what = "quarantined", .name = rq->name,
		.why = ret->quarantined});
	return record_remove(rq->store, rq->name, e);
}

int
repair_run(const struct repair_request *rq, struct repair_result *ret,
	struct err *e)
{
	struct store_lock lock = STORE_LOCK_NONE;
	struct repair_result result = {0};
	int bad;

	if (rq->source) {
		bad = replace(rq, &result, e);
	} else if (rq->store->apart && rq->n_roots == 0) {
		return err_set(e, ERR_USAGE, "%s is on another device than the "
			"instances: directories of instances must be given",
			rq->store->base);
	} else {
		if (store_lock(rq->store, rq->name, rq->wait, rq->watch, &lock,
			    NULL, e))
			return -1;
		bad = take_away(rq, &result, e);
		store_lock_release(&lock);
	}
	if (bad)
		return err_file(e, rq->name);
	*ret = result;
	return 0;
}
