/* SPDX-License-Identifier: MIT */
/* byre.h for the image cache: requests are filled in, and passed on. */
#include "byre.h"

#include <stdlib.h>
#include <string.h>

#include "cache/clean.h"
#include "cache/ensure.h"
#include "cache/pin.h"
#include "cache/purge.h"
#include "cache/spawn.h"
#include "cache/verify.h"
#include "src/api_int.h"

struct byre_cache {
	struct store store;
};

int
byre_cache_open(struct byre_cache **ret, const char *instances,
	const char *base_dir, const char *locks_dir, struct byre_error *e)
{
	const struct store_request rq = {
		.instances = instances,
		.base = base_dir,
		.locks = locks_dir,
		.create = true,
	};
	struct byre_cache *c = calloc(1, sizeof(*c));
	struct err err = {0};

	if (!c) {
		err_set(&err, ERR_NOMEM, "no memory for a cache");
		return api_fail(e, &err);
	}
	if (store_open(&c->store, &rq, &err)) {
		free(c);
		return api_fail(e, &err);
	}
	*ret = c;
	return 0;
}

void
byre_cache_close(struct byre_cache *c)
{
	if (!c)
		return;
	store_close(&c->store);
	free(c);
}

static int
take_format(const char *name, enum format *ret, struct byre_error *e)
{
	struct err err = {0};

	*ret = name ? probe_format_from_name(name) : FORMAT_PROBE;
	if (!name || *ret != FORMAT_PROBE)
		return 0;
	err_set(&err, ERR_USAGE, "unknown format of the source");
	return api_fail(e, &err);
}

static void
give_base(struct byre_cache_base *ret, const struct ensure_result *r)
{
	*ret = (struct byre_cache_base){
		.added = r->added,
		.virtual_size = r->virtual_size,
	};
	memcpy(ret->name, r->name, sizeof(ret->name));
	if (r->has_digest)
		digest_text(&r->digest, ret->digest);
}

_Static_assert(BYRE_CACHE_NAME == LAYOUT_NAME, "one name fits the other");

int
byre_cache_ensure(struct byre_cache *c, const char *id,
	const struct byre_cache_ensure_options *o,
	struct byre_cache_base *ret, struct byre_error *e)
{
	struct byre_cache_ensure_options a = BYRE_CACHE_ENSURE_INIT;
	struct ensure_request rq = {.store = &c->store, .id = id};
	struct ensure_result r;
	struct watch w = {0};
	struct err err = {0};

	if (api_take_options(&a, sizeof(a), o, "struct "
		    "byre_cache_ensure_options is of a newer version", e) ||
		api_take_watch(&w, a.watch, e) ||
		take_format(a.format, &rq.format, e))
		return -1;
	if (!a.path && a.fd < 0) {
		err_set(&err, ERR_USAGE,
			"a source needs a path or a descriptor");
		return api_fail(e, &err);
	}
	rq.source_path = a.path;
	rq.source_fd = a.fd;
	rq.checked = a.checked != 0;
	rq.source_name = a.path ? a.path : "(descriptor)";
	rq.max_size = a.max_size;
	rq.kernel = a.kernel != 0;
	rq.keep_qcow2 = a.keep_qcow2 != 0;
	rq.wait = !a.no_wait;
	rq.workers = a.workers;
	rq.watch = &w;
	if (ensure_run(&rq, &r, &err))
		return api_fail(e, &err);
	if (ret)
		give_base(ret, &r);
	return 0;
}

int
byre_cache_spawn(struct byre_cache *c, const char *id, const char *target,
	const struct byre_cache_spawn_options *o, struct byre_error *e)
{
	struct byre_cache_spawn_options a = BYRE_CACHE_SPAWN_INIT;
	struct spawn_request rq = {
		.store = &c->store, .id = id, .target = target};
	struct spawn_result r;
	struct watch w = {0};
	struct err err = {0};

	if (api_take_options(&a, sizeof(a), o, "struct "
		    "byre_cache_spawn_options is of a newer version", e) ||
		api_take_watch(&w, a.watch, e))
		return -1;
	switch (a.disk) {
	case BYRE_CACHE_OVERLAY:
		rq.mode = SPAWN_OVERLAY;
		break;
	case BYRE_CACHE_SIZED:
		rq.mode = SPAWN_SIZED;
		break;
	case BYRE_CACHE_FLAT:
		rq.mode = SPAWN_FLAT;
		break;
	default:
		err_set(&err, ERR_USAGE, "unknown kind of disk");
		return api_fail(e, &err);
	}
	rq.size = a.virtual_size;
	rq.preallocate = a.preallocate != 0;
	rq.verify = a.verify != 0;
	rq.watch = &w;
	if (spawn_run(&rq, &r, &err))
		return api_fail(e, &err);
	return 0;
}

int
byre_cache_pin(struct byre_cache *c, const char *id, int pinned,
	struct byre_error *e)
{
	const struct pin_request rq = {
		.store = &c->store,
		.id = id,
		.pinned = pinned != 0,
		.wait = true,
	};
	struct err err = {0};

	if (pin_set(&rq, &err))
		return api_fail(e, &err);
	return 0;
}

int
byre_cache_purge(struct byre_cache *c, const char *id,
	const struct byre_watch *watch, struct byre_error *e)
{
	struct purge_request rq = {
		.store = &c->store, .id = id, .wait = true};
	struct purge_result r;
	struct watch w = {0};
	struct err err = {0};

	if (api_take_watch(&w, watch, e))
		return -1;
	rq.watch = &w;
	if (purge_run(&rq, &r, &err))
		return api_fail(e, &err);
	return 0;
}

int
byre_cache_clean(struct byre_cache *c,
	const struct byre_cache_clean_options *o,
	struct byre_cache_cleaned *ret, struct byre_error *e)
{
	struct byre_cache_clean_options a = BYRE_CACHE_CLEAN_INIT;
	struct clean_request rq = {.store = &c->store};
	struct clean_result r = {0};
	struct watch w = {0};
	struct err err = {0};

	if (api_take_options(&a, sizeof(a), o, "struct "
		    "byre_cache_clean_options is of a newer version", e) ||
		api_take_watch(&w, a.watch, e))
		return -1;
	rq.min_age = a.min_age < 0 ? CLEAN_MIN_AGE : a.min_age;
	rq.min_age_resized = a.min_age_resized < 0 ? CLEAN_MIN_AGE_RESIZED
		: a.min_age_resized;
	rq.has_budget = a.budget != UINT64_MAX;
	rq.budget = a.budget;
	rq.roots = (struct clean_list){.v = a.roots, .n = a.n_roots};
	rq.dry_run = a.dry_run != 0;
	rq.watch = &w;
	if (clean_run(&rq, &r, &err))
		return api_fail(e, &err);
	if (ret)
		*ret = (struct byre_cache_cleaned){
			.files = r.removed_files, .bytes = r.removed_bytes};
	clean_free(&r);
	return 0;
}

static int
state_of(enum verify_state s)
{
	switch (s) {
	case VERIFY_GOOD:
		return BYRE_CACHE_GOOD;
	case VERIFY_ADOPTED:
		return BYRE_CACHE_ADOPTED;
	case VERIFY_ROTTEN:
		return BYRE_CACHE_ROTTEN;
	default:
		return BYRE_CACHE_GONE;
	}
}

int
byre_cache_verify(struct byre_cache *c, const char *name,
	const struct byre_cache_verify_options *o, int *ret_state,
	struct byre_error *e)
{
	struct byre_cache_verify_options a = BYRE_CACHE_VERIFY_INIT;
	struct verify_request rq = {.store = &c->store, .name = name};
	struct verify_result r;
	struct watch w = {0};
	struct err err = {0};
	size_t i;

	if (api_take_options(&a, sizeof(a), o, "struct "
		    "byre_cache_verify_options is of a newer version", e) ||
		api_take_watch(&w, a.watch, e))
		return -1;
	rq.cached = a.cached != 0;
	rq.rate = a.rate;
	rq.workers = a.workers;
	rq.wait = !a.no_wait;
	rq.watch = &w;
	if (verify_run(&rq, &r, &err))
		return api_fail(e, &err);
	for (i = 0; a.rot && i < r.rotten.n; i++)
		a.rot(a.arg, r.rotten.v[i].from,
			r.rotten.v[i].to - r.rotten.v[i].from);
	*ret_state = state_of(r.state);
	verify_free(&r);
	return 0;
}
