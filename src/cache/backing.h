/* SPDX-License-Identifier: MIT */
/*
 * What a file on a host says of the files that it is built on: the few fields
 * of a qcow2 header that tell, one read of it, none of its tables. Broken
 * elsewhere or not, an image that names a base uses it.
 */
#ifndef CACHE_BACKING_H
#define CACHE_BACKING_H

#include <stdint.h>

#include "base/bytes.h"

#define BACKING_NAME 1024 /* with the NUL; the format's limit is 1023 */

enum backing_kind {
	BACKING_NONE,   /* no qcow2 (raw, anything), or one that names nothing */
	BACKING_NAMED,
	BACKING_UNTOLD, /* a qcow2 that may name any file: `why` */
};

struct backing {
	enum backing_kind kind;
	/* NAMED: where the name lies in the file */
	uint64_t at;
	uint32_t len;
	char name[BACKING_NAME]; /* NAMED, as stored, up to a NUL */
	/* of its external data file, whatever kind says, or "" */
	char data[BACKING_NAME];
	const char *why;         /* UNTOLD; static */
};

/* Pure: the first bytes of the file (fewer only if it ends there). The backing
 * file's name is not filled in. qcow version 1 has the same fields. */
void backing_decode(struct span head, struct backing *ret);
/* Reads it, by pread alone. Returns 0, or the errno of the disk's fault. */
int backing_read(int fd, struct backing *ret);

#endif
