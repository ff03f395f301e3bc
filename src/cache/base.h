/* SPDX-License-Identifier: MIT */
/* A base opened to be built on: is it the one that its record tells of? */
#ifndef CACHE_BASE_H
#define CACHE_BASE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/watch.h"
#include "cache/record.h"
#include "cache/store.h"

struct base {
	int fd;              /* for reading; -1: not open */
	struct stat st;
	enum format format;  /* RAW or QCOW2 */
	uint64_t size;       /* virtual, bytes, whole sectors */
	bool recorded;
	struct record record; /* if recorded */
};

#define BASE_NONE ((struct base){.fd = -1})

/*
 * Opens _base/<name>; the caller holds its lock. No table is read, unless the
 * file is another one than was recorded (Nova may have fetched it anew): then,
 * and with verify, the whole of it is compared with the digest, and a record
 * that proves right is given the new file, and its length: zeros at the end do
 * not count. Absent: ERR_IO ENOENT. Empty, of another length or content, or
 * rotten by its last verification: ERR_CORRUPT. Another file that cannot be it:
 * ERR_MISMATCH. Without a record (or with one of another file that has no
 * digest) it must look raw, as all that Nova converts does: ERR_DENIED. What no
 * record vouches for is flushed first: whatever is built on it will be durable.
 */
int base_open(const struct store *s, const char *name, bool verify,
	const struct watch *w, struct base *ret, struct err *e);
/* The same judgement for one that is there and not to be read now: fd is -1,
 * as a rule. Without a record its format is not looked at, and not known, and
 * it is not flushed. */
int base_known(const struct store *s, const char *name, const struct watch *w,
	struct base *ret, struct err *e);
void base_close(struct base *b); /* BASE_NONE is fine */
/* Copies what a guest reads of it into fd, an empty file, as raw; the caller
 * flushes that. */
int base_copy(const struct base *b, int fd, const struct watch *w,
	struct err *e);

#endif
