/* SPDX-License-Identifier: MIT */
/* <sha1>_<GiB>: a base copied and extended, as Nova made them until Grizzly. */
#ifndef CACHE_SIZED_H
#define CACHE_SIZED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "cache/base.h"
#include "cache/journal.h"
#include "cache/store.h"

struct sized_request {
	const struct store *store;
	const char *image;       /* the base's name; its lock is held */
	const struct base *base;
	uint64_t size;           /* whole GiB */
	int (*grow)(void *arg, int fd, struct err *e); /* or NULL */
	void *grow_arg;
	const struct watch *watch;
	const struct journal *journal;
};

/* The copy's name into ret; it is made if it is not there, else checked by
 * its record and length, and touched. */
int sized_make(const struct sized_request *rq, char ret[static LAYOUT_NAME],
	bool *ret_grown, struct err *e);

/* Whether the file holds nothing but an ext file system: that alone is resized
 * when a copy is extended, by Nova too. fd: without O_DIRECT. */
bool sized_is_bare_ext(int fd);

/* Calls grow if the file in fd is nothing but an ext file system; else a note,
 * and *ret_grown false. */
int sized_grow(int fd, int (*grow)(void *arg, int fd, struct err *e),
	void *arg, const struct watch *w, bool *ret_grown, struct err *e);

#endif
