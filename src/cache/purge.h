/* SPDX-License-Identifier: MIT */
/* Removing one image's bases because somebody says so. */
#ifndef CACHE_PURGE_H
#define CACHE_PURGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/watch.h"
#include "cache/journal.h"
#include "cache/store.h"

struct purge_request {
	const struct store *store; /* opened with create */
	const char *id;
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

struct purge_result {
	unsigned files;
	uint64_t bytes; /* on disk */
};

/*
 * Unlinks <sha1>, what Nova left of its making, and its sized copies, with
 * their records, each under its lock. Age and pins do not count. If any of
 * them is used by a disk, held by a process, or may be used by a disk that
 * cannot be read or by another host, none goes: ERR_BUSY. An image of which there is nothing is
 * ERR_IO ENOENT.
 */
int purge_run(const struct purge_request *rq, struct purge_result *ret,
	struct err *e);

#endif
