/* SPDX-License-Identifier: MIT */
/* The directory in which a disk is to appear, made where it is missing. */
#ifndef CACHE_SPAWN_DIR_H
#define CACHE_SPAWN_DIR_H

#include "base/err.h"
#include "cache/store.h"

struct spawn_dir {
	int fd;
	char *path;     /* of the directory; owned */
	size_t made_at; /* parts of path from here on were made by us; 0: none */
};

#define SPAWN_DIR_NONE ((struct spawn_dir){.fd = -1})

/* path made absolute, no link resolved; NULL with errno. To be freed. */
char *spawn_dir_absolute(const char *path);
/* disk: an absolute path. New directories are 0755, of _base's owner, and
 * durable. */
int spawn_dir_make(struct spawn_dir *d, const struct store *s,
	const char *disk, struct err *e);
/* Removes the directories that were made, as far as they are empty. */
void spawn_dir_unmake(const struct spawn_dir *d);
void spawn_dir_close(struct spawn_dir *d);

#endif
