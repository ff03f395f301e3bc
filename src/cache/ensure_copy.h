/* SPDX-License-Identifier: MIT */
/* A whole file into an empty one: shared blocks where the file system can,
 * else its data and not its holes. */
#ifndef CACHE_ENSURE_COPY_H
#define CACHE_ENSURE_COPY_H

#include "base/err.h"
#include "base/watch.h"

/* to: open for writing, empty. Nothing is synced. */
int ensure_copy(int from, int to, const struct watch *w, struct err *e);

#endif
