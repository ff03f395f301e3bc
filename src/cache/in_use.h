/* SPDX-License-Identifier: MIT */
/* Why a base must not go, asked under its lock. */
#ifndef CACHE_IN_USE_H
#define CACHE_IN_USE_H

#include <sys/stat.h>

#include "base/watch.h"
#include "cache/store.h"
#include "cache/users.h"

/* ERR_BUSY if a disk is built on it, or another process of this host has it
 * open or locked; this process must not have it open. */
int in_use_refuse(const struct store *s, const struct users *u,
	const char *name, const struct stat *st, const struct watch *w,
	struct err *e);
/* ERR_BUSY if there is a disk that could not be read. When the base was made
 * tells nothing: anybody's may be copied back in time. */
int in_use_refuse_dark(const struct users *u, const char *name,
	struct err *e);

#endif
