/* SPDX-License-Identifier: MIT */
/* One file of an instance: what it is built on, or why that is not to be
 * known. For users.c alone. */
#ifndef CACHE_USERS_DISK_H
#define CACHE_USERS_DISK_H

#include "cache/users_named.h"

/* By its name no guest's disk. */
bool users_disk_is_none(const char *name);
/* The name of one of io/publish's temporaries, or disk_info's. */
bool users_disk_is_stray(const char *name);
/*
 * The file `name` in dirfd, whose path is path. base: it is one of _base, and
 * what cannot be read there is no disk of anybody. *ret_gone: it went
 * meanwhile.
 */
int users_disk_look(struct users_named *t, const char *path, int dirfd,
	const char *name, bool base, bool *ret_gone, struct err *e);

#endif
