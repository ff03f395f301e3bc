/* SPDX-License-Identifier: MIT */
/* The half of users.c that knows no directories: the table of files that are
 * named, the way down a chain, and what stays dark. For users.c alone. */
#ifndef CACHE_USERS_NAMED_H
#define CACHE_USERS_NAMED_H

#include "cache/backing.h"
#include "cache/users.h"

struct users_named {
	const struct users_request *rq;
	struct users *u;
	size_t *slots;   /* u->files by a hash of their paths: index + 1, 0 is
			  * free; owned */
	size_t n_slots;  /* a power of two, or 0 */
	size_t cap;      /* of u->files */
};

/* disk, of which st (or NULL) is known, is built on what b says: that file and
 * all below it, and their data files. b: BACKING_NONE afterwards. */
int users_named_follow(struct users_named *t, const char *disk,
	const struct stat *st, struct backing *b, struct err *e);
/* path cannot be read. st: what is known of its times, or NULL. */
int users_named_dark(struct users_named *t, const char *path,
	const struct stat *st, const char *why, int eno, struct err *e);
/* Takes back those of u->dark from n on. */
void users_named_lighten(struct users_named *t, size_t n);
/* Opens for reading what an O_PATH fd stands for; -1 with errno. */
int users_named_reopen(int place);
void users_named_close(struct users_named *t);

#endif
