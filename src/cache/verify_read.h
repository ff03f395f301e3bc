/* SPDX-License-Identifier: MIT */
/* One pass over a base's content: which of its blocks are not what they were?
 * Knows files and leaves; records are verify.c's. */
#ifndef CACHE_VERIFY_READ_H
#define CACHE_VERIFY_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/watch.h"
#include "cache/record.h"
#include "format/probe.h"

#define VERIFY_RANGES_MAX 4096 /* that are told; all blocks are counted */
/* Blocks that the disk does not give: each costs its time-outs. */
#define VERIFY_UNREADABLE_MAX 1024

struct verify_range {
	uint64_t from, to; /* guest bytes, whole blocks but at the end */
};

struct verify_blocks {
	struct verify_range *v; /* neighbours joined; owned */
	size_t n;
	uint64_t count;      /* of blocks */
	uint64_t unreadable; /* of them */
	uint64_t first;      /* number of the first; of use if count > 0 */
};

void verify_blocks_free(struct verify_blocks *b); /* zeroed is fine */

struct verify_read_request {
	int fd;                    /* with O_DIRECT, or to be read through the
				    * page cache */
	enum format format;
	uint64_t from;             /* a multiple of DIGEST_BLOCK; 0 without
				    * leaves */
	/* what to compare with, blocks behind the last being zeros; NULL:
	 * nothing, and leaves are collected */
	const struct record_leaves *leaves;
	uint64_t rate;             /* bytes read per second, 0: no limit */
	unsigned workers;
	/* told now and then, never twice at a time: blocks before guest byte
	 * `at` are as they were; may be NULL */
	void (*mark)(void *arg, uint64_t at, uint64_t rotten);
	void *mark_arg;
	const struct watch *watch;
};

struct verify_read_result {
	uint64_t at;                /* where the pass ended */
	uint64_t bytes_read;
	bool has_digest;            /* the whole was read, in one go */
	struct digest_value digest;
	struct record_tap made;     /* without leaves to compare with */
	struct verify_blocks rotten;
	char why[256];              /* the first fault of reading, or "" */
};

/*
 * Holes are not read. A block that cannot be read, or unpacked, is rotten and
 * the pass goes on behind it. -1 for other faults and when it is cancelled;
 * ret is filled in then too (and to be freed) as far as it came.
 */
int verify_read(const struct verify_read_request *rq,
	struct verify_read_result *ret, struct err *e);
void verify_read_free(struct verify_read_result *r);

#endif
