/* SPDX-License-Identifier: MIT */
/*
 * Has a base rotted? What a guest reads of it is compared, block by block,
 * with the digest of its birth.
 */
#ifndef CACHE_VERIFY_H
#define CACHE_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/watch.h"
#include "cache/entries.h"
#include "cache/journal.h"
#include "cache/store.h"
#include "cache/verify_read.h"

#define VERIFY_MARK_SECONDS 30 /* between two notes of how far a pass is */

struct verify_request {
	const struct store *store; /* opened with create */
	const char *name;  /* beneath _base */
	const char *id;    /* the image's, as far as the caller knows it, for
			    * the record of a base that has none; or NULL */
	bool cached;       /* what the page cache has will do; such a pass
			    * always begins at the beginning. What was found
			    * rotten is read from the disk nonetheless */
	uint64_t rate;     /* bytes read per second; 0: no limit */
	unsigned workers;  /* 0: as many as there are CPUs */
	bool wait;         /* for the lock, which is held for moments only */
	const struct watch *watch;
	const struct journal *journal;
};

enum verify_state {
	VERIFY_GOOD,
	VERIFY_ADOPTED, /* there was no digest, now there is one */
	VERIFY_ROTTEN,
	VERIFY_GONE,    /* or not this file any more: nothing was recorded */
};

struct verify_result {
	enum verify_state state;
	uint64_t virtual_size;
	uint64_t from;        /* a pass was taken up at this guest byte */
	uint64_t bytes_read;
	struct verify_blocks rotten; /* count 0: it is not known which */
	char why[256];        /* of rot, where blocks do not tell it, or "" */
};

/*
 * The lock is not held while the base is read: what has its name does not
 * change. Reads with O_DIRECT; where the file system has none, after its clean
 * pages were dropped. The record is told the outcome; a pass that is cancelled
 * (ERR_CANCELLED) leaves in it where to go on. A base without a record, or one
 * whose record has no digest, is given that, if it looks raw (else
 * ERR_DENIED), is not empty (ERR_CORRUPT) and nobody is writing it (ERR_BUSY);
 * an extended copy without one is compared with its image. Where another file
 * has taken the place of the recorded one it has to hold the same, but for
 * blank bases and copies whose file system has grown: these are adopted.
 */
int verify_run(const struct verify_request *rq, struct verify_result *ret,
	struct err *e);
void verify_free(struct verify_result *r); /* a zeroed one is fine */

/*
 * Which entries are meant, in the order in which to look at them: passes that
 * were interrupted first, then those that were verified longest ago. words:
 * names of bases, or images' ids (which stand for their extended copies too);
 * none: all bases. One that is neither is ERR_IO ENOENT. *ret: owned; the
 * entries are l's.
 */
int verify_choose(const struct entries *l, const char *const *words,
	size_t n_words, const struct entry ***ret, size_t *ret_n,
	struct err *e);

#endif
