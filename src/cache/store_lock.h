/* SPDX-License-Identifier: MIT */
/*
 * Locks that Nova understands: an OFD write lock on the whole of
 * <locks>/nova-<name>, which conflicts with the lockf() of its fasteners (and
 * of another host, on NFS). A lock file is made where there is none and never
 * removed by us; Nova removes some, so that what was locked is compared with
 * what the name stands for, and tried again.
 *
 * Order: the scan lock before names; names in strcmp order when two are
 * needed (a sized base: the image's first). Not reentrant: a second take by
 * the same process waits for itself.
 */
#ifndef CACHE_STORE_LOCK_H
#define CACHE_STORE_LOCK_H

#include <stdbool.h>

#include "cache/store.h"

/* Names of our own, no file of Nova's: one clean (or scan) at a time. */
#define STORE_LOCK_SCAN "byre-scan"
/* What Nova puts before a base's name. */
#define STORE_LOCK_PREFIX "nova-"
#define STORE_LOCK_FILE (sizeof(STORE_LOCK_PREFIX) + LAYOUT_NAME)

struct store_lock {
	int fd; /* -1: not held */
	char file[STORE_LOCK_FILE];
};

#define STORE_LOCK_NONE ((struct store_lock){.fd = -1})

/*
 * Takes the lock of the base `name` (the file nova-<name>). wait false: a lock
 * that is held is ERR_BUSY at once. wait: asks again after 1 ms, then longer,
 * at most 100 ms, until the watch is cancelled (ERR_CANCELLED); *ret_waited
 * (may be NULL) tells that somebody else had it; the watch gets a note after
 * one second.
 */
int store_lock(const struct store *s, const char *name, bool wait,
	const struct watch *w, struct store_lock *ret, bool *ret_waited,
	struct err *e);
/* The same of a lock file by its whole name. */
int store_lock_own(const struct store *s, const char *file, bool wait,
	const struct watch *w, struct store_lock *ret, bool *ret_waited,
	struct err *e);
/* Whether it still is the lock that others take: its file has its name. False
 * where that cannot be told. */
bool store_lock_stands(const struct store *s, const struct store_lock *l);
void store_lock_release(struct store_lock *l); /* twice is fine */

#endif
