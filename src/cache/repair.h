/* SPDX-License-Identifier: MIT */
/* What becomes of a base that was found rotten. */
#ifndef CACHE_REPAIR_H
#define CACHE_REPAIR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/watch.h"
#include "cache/ensure.h"
#include "cache/journal.h"
#include "cache/store.h"

struct repair_request {
	const struct store *store; /* opened with create */
	const char *name;          /* beneath _base */
	/* where it comes from: its source_*, fetch*, format, workers and wait
	 * are taken, the rest is the record's; NULL: there is no source */
	const struct ensure_request *source;
	const char *const *roots;  /* users_request's, both lists */
	size_t n_roots;
	const char *const *ignore;
	size_t n_ignore;
	const char *const *hosts;  /* hosts_scan's known ones */
	size_t n_hosts;
	bool wait;
	const struct watch *watch;
	const struct journal *journal;
};

struct repair_result {
	bool replaced;                       /* else it is gone */
	char quarantined[STORE_QUARANTINED]; /* its name there */
};

/*
 * Only what its record calls rotten. With a source the base is made anew and
 * takes the place of the rotten one at once, whoever uses that: running guests
 * keep the file that they have, in quarantine. Another content than the
 * recorded one is ERR_MISMATCH. Without a source it is put into quarantine,
 * unless anybody uses it (as purge has it) or another host may: ERR_BUSY.
 */
int repair_run(const struct repair_request *rq, struct repair_result *ret,
	struct err *e);

#endif
