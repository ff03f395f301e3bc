/* SPDX-License-Identifier: MIT */
/* What record.c and record_leaves.c share. */
#ifndef CACHE_RECORD_INT_H
#define CACHE_RECORD_INT_H

#include "cache/record.h"
#include "io/file.h"

#define RECORD_JSON ".json"
#define RECORD_LVS ".leaves"
#define RECORD_NAME (LAYOUT_NAME + 8)

/* The file of a record into ret, RECORD_NAME bytes. */
int record_name(const char *name, const char *suffix, char *ret,
	struct err *e);
/* Opens it; *ret NULL where there is none. Longer than max is ERR_LIMIT. */
int record_open(const struct store *s, const char *file, uint64_t max,
	struct file **ret, struct err *e);
/* A written stage takes the place of the file, its name not yet durably. */
int record_replace(const struct store *s, struct store_stage *st,
	const char *file, struct err *e);
void record_note(const char *name, const char *suffix, const char *why,
	const struct watch *w);

#endif
