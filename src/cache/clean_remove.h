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
/* Staged files that nobody holds a lock on, and the first search's strays that
 * nobody has open. */
int clean_remove_staging(const struct clean_request *rq,
	struct clean_result *r, struct err *e);
/* What has been in quarantine for CLEAN_QUARANTINE_AGE, or for the least age
 * where that is longer, and nobody has open by the kernel's word. */
int clean_remove_quarantine(const struct clean_request *rq,
	struct clean_result *r, struct err *e);
/* Records of bases that are not there, under their locks. */
int clean_remove_records(const struct clean_request *rq,
	struct clean_result *r, struct err *e);
/* When the inode was made, seconds since the epoch; 0 where not told. */
int64_t clean_remove_born(int dirfd, const char *name);

#endif
