/* SPDX-License-Identifier: MIT */
/* Why a base must not go, asked under its lock. */
#ifndef CACHE_IN_USE_H
#define CACHE_IN_USE_H

#include <sys/stat.h>

#include "base/watch.h"
#include "cache/store.h"
#include "cache/users.h"

/* ERR_BUSY if a disk is built on it, another process of this host has it open
 * or locked, or works under a lock of it that is none any more (withdraw.h), or
 * it was touched or replaced since st was taken, before the search for users
 * began: Nova touches a base before it takes the lock. This process must not
 * have it open. */
int in_use_refuse(const struct store *s, const struct users *u,
	const char *name, const struct stat *st, const struct watch *w,
	struct err *e);
/* ERR_BUSY if there is a disk that could not be read. When the base was made
 * tells nothing: anybody's may be copied back in time. */
int in_use_refuse_dark(const struct users *u, const char *name,
	struct err *e);
/* ERR_BUSY if another host shares the storage (hosts_scan), known: those whose
 * instances are all seen here. The store was opened with create. */
int in_use_refuse_shared(const struct store *s, const char *const *known,
	size_t n, const char *name, struct err *e);

#endif
