/* SPDX-License-Identifier: MIT */
/* The act of cleaning on files; for clean.c alone. */
#ifndef CACHE_CLEAN_REMOVE_H
#define CACHE_CLEAN_REMOVE_H

#include "cache/clean.h"

/*
 * Unlinks what the plan lets go, in batches: their locks are taken without
 * waiting, the users are searched for once more, and every file is judged
 * again by what it is now. A file that stays gets another verdict.
 */
int clean_remove_bases(const struct clean_request *rq, struct clean_result *r,
	const struct clean_plan_limits *l, struct err *e);
/* When the inode was made, seconds since the epoch; 0 where not told. */
int64_t clean_remove_born(int dirfd, const char *name);

#endif
