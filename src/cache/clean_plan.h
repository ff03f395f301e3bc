/* SPDX-License-Identifier: MIT */
/*
 * What becomes of every file beneath _base, decided from what is known of it.
 * Pure: the caller looks, and acts.
 */
#ifndef CACHE_CLEAN_PLAN_H
#define CACHE_CLEAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "cache/layout.h"
#include "cache/users.h"

#define CLEAN_PLAN_WHY 256
#define CLEAN_PLAN_NEVER INT64_MAX /* an age that nothing reaches */

enum clean_plan_verdict {
	CLEAN_PLAN_KEEP,
	CLEAN_PLAN_TOUCH,  /* in use: its time becomes now */
	CLEAN_PLAN_REMOVE,
};

struct clean_plan_file {
	const char *name;
	enum layout_kind kind;
	bool regular;
	uint64_t bytes;        /* on disk */
	struct timespec mtime; /* the last use, by Nova's rule */
	int64_t born;          /* when something of its name came to be, seconds:
				* of its inode, or earlier; 0: not known */
	bool pinned;
	bool listed_used;      /* the caller says so, both; unused: of other
				* hosts */
	bool listed_unused;
	struct users_answer users;
	int64_t holder;        /* a process that has it open; 0: none */
	/* the answer */
	enum clean_plan_verdict verdict;
	bool for_room;         /* REMOVE because of budget or watermarks, not
				* of age */
	char why[CLEAN_PLAN_WHY]; /* one line; names in it are escaped */
};

struct clean_plan_limits {
	/* when the search for users began, by the clock of _base's file
	 * system: what was touched since is in use */
	struct timespec start;
	int64_t min_age, min_age_resized; /* seconds */
	bool has_budget;
	uint64_t budget;       /* bytes on disk that may be used by _base */
	/* of the file system, percent used: above high, bases go until low is
	 * reached. high 0: no watermarks */
	unsigned low, high;
	uint64_t fs_size, fs_used; /* bytes */
	const char *shared;    /* a host that may use anything, or "" */
	const struct users_dark *dark;
	size_t n_dark;
};

struct clean_plan_sums {
	uint64_t bytes;   /* of all files, before */
	uint64_t removed; /* bytes that go */
	uint64_t needed;  /* bytes that budget or watermarks want to go */
	uint64_t lacking; /* bytes more that should have gone for budget or
			   * watermarks, and may not */
};

/* Fills in the answers of v. */
void clean_plan_make(struct clean_plan_file *v, size_t n,
	const struct clean_plan_limits *l, struct clean_plan_sums *ret);
/* Whether it may go, all but its age considered; else its verdict and why are
 * set. For a look under the lock. */
bool clean_plan_spare(struct clean_plan_file *f,
	const struct clean_plan_limits *l);
/* Whether it is as old as its kind must be. */
bool clean_plan_aged(const struct clean_plan_file *f,
	const struct clean_plan_limits *l);

#endif
