/* SPDX-License-Identifier: MIT */
/*
 * How a base goes although Nova's cache manager removes lock files: one that
 * somebody waits for, or works under, so that he and we each hold "the" lock
 * of a base. Who has such a file open keeps its base; and a base loses its name
 * first, and its file only if our own lock was the right one all the time.
 */
#ifndef CACHE_WITHDRAW_H
#define CACHE_WITHDRAW_H

#include <stdbool.h>
#include <sys/stat.h>

#include "base/watch.h"
#include "cache/holders.h"
#include "cache/store.h"
#include "cache/store_lock.h"

/* Which lock files that were removed other processes have open. To be asked
 * when the locks of what is to go are held: who comes later finds ours. */
int withdraw_look(const struct store *s, const struct watch *w,
	struct holders_gone *ret, struct err *e);
/* Whether one of them is that of the base `name`, or of its image. */
bool withdraw_blocked(const struct holders_gone *g, const char *name);

/*
 * Removes _base/<name>, which has to be the file of st, not touched since.
 * lock, and image (NULL, or that of its image) are held; a staged name makes
 * what a kill leaves a case for the next cleaning. *ret_gone false, with 0: it
 * was not, or a lock was not the right one any more; the name stands as before.
 */
int withdraw_base(const struct store *s, const char *name,
	const struct stat *st, const struct store_lock *lock,
	const struct store_lock *image, bool *ret_gone, struct err *e);

#endif
