/* SPDX-License-Identifier: MIT */
/* A whole file into an empty one: shared blocks where the file system can,
 * else its data and not its holes. */
#ifndef CACHE_ENSURE_COPY_H
#define CACHE_ENSURE_COPY_H

#include <stdint.h>

#include "base/err.h"
#include "base/watch.h"

/* Which limit the room is. */
#define ENSURE_COPY_ROOM "the room that the file system has to spare"

/* to: open for writing, empty. Nothing is synced. More than room bytes that are
 * not shared: ERR_LIMIT. */
int ensure_copy(int from, int to, uint64_t room, const struct watch *w,
	struct err *e);

#endif
