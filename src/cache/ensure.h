/* SPDX-License-Identifier: MIT */
/*
 * An image becomes a base: staged, inspected, converted, digested, durable,
 * and only then under its name. Whoever comes meanwhile waits for its lock and
 * finds it there.
 */
#ifndef CACHE_ENSURE_H
#define CACHE_ENSURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/watch.h"
#include "cache/journal.h"
#include "cache/record.h"
#include "cache/store.h"
#include "format/probe.h"

/* Digests of the source's bytes, hex, "" where not computed. */
struct ensure_digests {
	char md5[33];
	char sha256[65];
	char sha512[RECORD_HEX];
};

struct ensure_request {
	const struct store *store; /* opened with create */
	const char *id;
	/*
	 * The source, in one of three ways; it is asked for under the image's
	 * lock, once, and only when the image is not there. A file that can
	 * be read now, by its path or as an fd of the caller's, nothing about
	 * its bytes being checked. Or a function that puts the source's bytes
	 * into fd, an empty file in staging, and has checked what the caller
	 * expects of them when it returns 0. Its runs of zeros may be holes.
	 */
	const char *source_path; /* or NULL */
	int source_fd;           /* or -1 */
	int (*fetch)(void *arg, int fd, struct ensure_digests *ret,
		struct err *e);
	void *fetch_arg;
	/* or NULL: what the source of a base that is there must have had, as
	 * far as its record tells; else ERR_MISMATCH */
	const struct ensure_digests *expect;
	/* a source that is no fetch's: the caller has checked its bytes */
	bool checked;
	const char *source_name;  /* for messages and the record */
	enum format format;       /* FORMAT_PROBE: detect */
	uint64_t max_size;        /* of the virtual size; 0: no limit */
	bool kernel;     /* cached byte by byte, whatever it looks like */
	bool keep_qcow2; /* a qcow2 is cached as it is, after a full check */
	/*
	 * Or NULL: the record of the base `name`, which was found rotten. It
	 * is made anew, and what is there goes into quarantine. id, kernel and
	 * keep_qcow2 have to be the record's; an extended copy is extended.
	 * What comes out must have the recorded digest (and, raw, the length),
	 * else ERR_MISMATCH and nothing has changed.
	 */
	const struct record *replaces;
	const char *name;
	bool wait;       /* for others who make it; else ERR_BUSY */
	unsigned workers; /* 0: as many as there are CPUs */
	const struct watch *watch;
	const struct journal *journal;
};

struct ensure_result {
	bool added;              /* else it was there */
	bool waited;             /* for somebody else's work */
	char name[LAYOUT_NAME];  /* beneath _base */
	uint64_t file_size;
	/* from here on: known of what has a record that describes it, or was
	 * added now; of a base that Nova made they are not read */
	bool recorded;
	enum format format;
	uint64_t virtual_size;
	bool has_digest;
	struct digest_value digest;
	/* its name in quarantine, if it replaced something */
	char quarantined[STORE_QUARANTINED];
	uint64_t bytes_data;     /* added: written as data */
};

/*
 * Safe to repeat. A base that is there is touched, and not read if it is the
 * file that its record tells of; another one is judged as base_open does, and
 * one that spawn would refuse is refused here. A kernel where a disk is asked
 * for, by its record, or the other way round, is ERR_MISMATCH; keep_qcow2 does
 * not matter, ret->format tells how it is kept. Without a record only an empty
 * one is (ERR_CORRUPT); it is flushed, and with keep_qcow2 a qcow2 is checked
 * and adopted: it could not be built on otherwise. The source must pass the
 * safe policy (deep), else ERR_DENIED and nothing is left. Unless fetch gives
 * a digest, the caller has checked one, or a recorded one is to be met, it must
 * be `whole`, too (gate.h).
 * What does not fit beside room.h's reserve is ERR_LIMIT.
 * It is read and written through the page cache: the first spawns find the
 * base there.
 */
int ensure_run(const struct ensure_request *rq, struct ensure_result *ret,
	struct err *e);

#endif
