/* SPDX-License-Identifier: MIT */
/* Waiting for somebody else's work, with an eye on how far it is. */
#ifndef CACHE_ENSURE_WAIT_H
#define CACHE_ENSURE_WAIT_H

#include "cache/store_lock.h"

/* As store_lock with wait; while it waits the watch hears how much of the
 * file that is staged for `name` is there, by its blocks and its length. */
int ensure_wait(const struct store *s, const char *name,
	const struct watch *w, struct store_lock *ret, bool *ret_waited,
	struct err *e);

#endif
