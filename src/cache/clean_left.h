/* SPDX-License-Identifier: MIT */
/* Cleaning away what is no base; for clean.c alone. */
#ifndef CACHE_CLEAN_LEFT_H
#define CACHE_CLEAN_LEFT_H

#include "cache/clean.h"

/* Staged files that nobody holds a lock on, and the first search's strays that
 * nobody has open. */
int clean_left_staging(const struct clean_request *rq,
	struct clean_result *r, struct err *e);
/* What has been in quarantine for CLEAN_QUARANTINE_AGE, or for the least age
 * where that is longer, and nobody has open by the kernel's word. */
int clean_left_quarantine(const struct clean_request *rq,
	struct clean_result *r, struct err *e);
/* Records of bases that are not there, under their locks. */
int clean_left_records(const struct clean_request *rq,
	struct clean_result *r, struct err *e);

#endif
