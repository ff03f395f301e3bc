/* SPDX-License-Identifier: MIT */
/* What lies in _base: every name with what it means, its inode and its
 * record. One look at each; nothing is opened but records. */
#ifndef CACHE_ENTRIES_H
#define CACHE_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "cache/layout.h"
#include "cache/record.h"
#include "cache/store.h"

/* More than any _base that was seen; a directory that holds more is refused
 * (ERR_LIMIT) before memory runs out. */
#define ENTRIES_MAX 1000000

struct entry {
	char *name; /* as readdir gave it: any bytes; owned */
	struct layout_name layout;
	struct stat st; /* lstat */
	bool regular;   /* else: a planted link, a directory ... */
	bool recorded;  /* a record was there, and describes this file */
	struct record record;
};

struct entries {
	struct entry *v; /* by name, as strcmp has it; owned */
	size_t n;
};

/* with_records: load those too. .byre itself is no entry. */
int entries_load(const struct store *s, bool with_records,
	const struct watch *w, struct entries *ret, struct err *e);
/* NULL if there is none. */
const struct entry *entries_find(const struct entries *l, const char *name);
void entries_free(struct entries *l);

#endif
