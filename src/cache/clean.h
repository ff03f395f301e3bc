/* SPDX-License-Identifier: MIT */
/*
 * Cleaning: unused bases go, used ones are touched, what broke off is removed.
 * A base is unlinked only under its lock, after a second search for its users
 * made under that lock.
 */
#ifndef CACHE_CLEAN_H
#define CACHE_CLEAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/watch.h"
#include "cache/clean_plan.h"
#include "cache/entries.h"
#include "cache/hosts.h"
#include "cache/journal.h"
#include "cache/store.h"
#include "cache/users.h"

#define CLEAN_MIN_AGE (24 * 3600)  /* seconds; Nova's defaults */
#define CLEAN_MIN_AGE_RESIZED 3600
#define CLEAN_QUARANTINE_AGE (30 * 24 * 3600) /* time to look at rot */

struct clean_list {
	const char *const *v;
	size_t n;
};

struct clean_request {
	const struct store *store; /* opened with create, unless dry_run */
	/* more directories of instances; needed (their list may be that of
	 * the store alone) where _base is on another device */
	struct clean_list roots;
	struct clean_list ignore;  /* disks: users_request's */
	/* images' ids, or names beneath _base; an image's stands for its
	 * sized copies too */
	struct clean_list used, unused;
	struct clean_list hosts;   /* hosts_scan's known ones */
	int64_t min_age, min_age_resized; /* seconds, CLEAN_PLAN_NEVER */
	bool has_budget;
	uint64_t budget;
	unsigned low, high;        /* percent; 0: none */
	bool dry_run;              /* nothing is touched, no lock is taken */
	const struct watch *watch; /* notes: what could not be read or done */
	const struct journal *journal; /* touched, removed */
};

struct clean_result {
	struct clean_plan_file *v; /* by name; owned. After the pass the
				    * verdict is what was done */
	size_t n;
	struct clean_plan_sums sums;
	uint64_t removed_files, removed_bytes; /* bases and leftovers; with
						* dry_run those that would go */
	uint64_t touched;
	uint64_t staging;  /* staged files of nobody alive */
	uint64_t quarantine; /* what was there long enough */
	uint64_t records;  /* of bases that are gone */
	char shared[HOSTS_NAME];
	struct users users;
	struct entries entries; /* what v's names are of */
};

/*
 * One pass; another one on the same directory is waited for. What cannot be
 * done for one file is a note, and the pass goes on. ERR_USAGE where _base is
 * on another device and no root is given.
 */
int clean_run(const struct clean_request *rq, struct clean_result *ret,
	struct err *e);
void clean_free(struct clean_result *r); /* a zeroed one is fine */

#endif
