/* SPDX-License-Identifier: MIT */
/* Bases with no image behind them: swap_<MiB> and ephemeral_<GiB>_<7 digits>,
 * sparse raw files with an empty swap area or file system in them. */
#ifndef CACHE_BLANK_H
#define CACHE_BLANK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "cache/journal.h"
#include "cache/layout.h"
#include "cache/store.h"

struct blank_request {
	const struct store *store; /* opened with create */
	enum layout_kind kind;     /* SWAP or EPHEMERAL */
	uint64_t size;             /* MiB of a SWAP, GiB of an EPHEMERAL; > 0 */
	const char *mkfs;          /* EPHEMERAL: layout_ephemeral's */
	/* formats the file of that size in fd, which has no name in _base yet;
	 * called under the lock of the name, only if it is not there */
	int (*format)(void *arg, int fd, struct err *e);
	void *format_arg;
	const struct watch *watch;
	const struct journal *journal;
};

struct blank_result {
	char name[LAYOUT_NAME]; /* beneath _base */
	bool added;             /* else it was there, and was touched */
	uint64_t size;          /* bytes */
};

/* One that is there with another length, or was found rotten, is
 * ERR_CORRUPT. */
int blank_run(const struct blank_request *rq, struct blank_result *ret,
	struct err *e);

#endif
