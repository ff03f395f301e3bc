/* SPDX-License-Identifier: MIT */
/* One or more images into one new (or existing) raw or qcow2 image. */
#ifndef OP_CONVERT_H
#define OP_CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/watch.h"
#include "format/qcow2_write.h"
#include "io/engine.h"
#include "op/source.h"

enum cache_mode {
	CACHE_AUTO,         /* O_DIRECT where it pays, else buffered with bounded
			     * dirty data; durable at exit */
	CACHE_UNSAFE,       /* buffered, no flush */
	CACHE_WRITEBACK,    /* buffered, one flush at the end */
	CACHE_WRITETHROUGH, /* as writeback: durable at the end */
	CACHE_NONE,         /* O_DIRECT, one flush at the end */
	CACHE_DIRECTSYNC,   /* as none */
};

#define CONVERT_SPARSE_DEFAULT 4096
#define CONVERT_SPARSE_MAX (16u << 20)

struct convert_request {
	const struct source *sources; /* concatenated */
	unsigned n_sources;
	const struct gate *gate;

	int target_dirfd;
	const char *target;           /* or NULL with target_fd */
	int target_fd;
	enum format target_format;    /* RAW or QCOW2 */
	struct qcow2_options qcow2;   /* size is filled in by convert */
	enum preallocation raw_preallocation;
	bool no_create;               /* -n: exists, big enough, keep inode */
	bool target_is_zero;          /* with no_create */
	bool target_no_locks;         /* locking=off */
	bool target_shared;           /* force-share=on; not with no_create */
	bool compress;                /* -c */
	struct codec_params codec;
	uint64_t sparse_size;         /* -S; 0 writes every byte */
	bool sparse_given;            /* -S was given (no clones then) */
	bool copy_range;              /* -C */
	/* no_create into a qcow2: what is zero is said to be zero even where
	 * nothing was allocated, as qemu-img leaves it */
	bool explicit_zeros;
	bool salvage;                 /* --salvage: bad ranges become zeros */
	uint64_t rate_limit;          /* bytes per second, 0: none */
	uint64_t max_size;            /* most bytes to write; 0: no limit */
	const char *max_what;         /* which limit that is, or NULL */
	bool digest;                  /* compute the content digest */
	const struct digest_tap *digest_tap; /* and hear of its leaves; or
					      * NULL */

	enum cache_mode cache;        /* -t */
	bool caller_syncs;            /* target_fd: the caller flushes it, and
				       * drops it after an error */
	enum engine_kind engine;
	unsigned workers;             /* 0: pool_cpus() */
	/* progress in bytes of data, counted first, not in the disk's bytes;
	 * not with -S 0, salvage or no_create into a qcow2 */
	bool count_data;
	const struct watch *watch;
};

struct convert_result {
	uint64_t virtual_size;
	uint64_t bytes_data;     /* guest bytes written as data */
	uint64_t bytes_zero;     /* guest bytes that read as zeros */
	uint64_t bytes_read;     /* host bytes read */
	uint64_t sync_nsec;      /* time spent in fsync */
	bool has_digest;
	struct digest_value digest;
};

/* A new target appears under its name only when whole; an existing one is
 * written in place: every refusal comes before its first changed byte, and an
 * error after that says that it may be partial. */
int convert_run(const struct convert_request *rq, struct convert_result *ret,
	struct err *e);

/* A source that is read from some place on, for its leaves. */
struct convert_read_request {
	const struct source *source;
	const struct gate *gate;
	/* guest byte to begin at, a multiple of DIGEST_BLOCK; other than 0,
	 * the digest of the whole is not known */
	uint64_t from;
	uint64_t rate_limit;           /* bytes read per second, 0: none */
	const struct digest_tap *tap;  /* or NULL */
	unsigned workers;
	enum engine_kind engine;
	const struct watch *watch;
};

int convert_read(const struct convert_read_request *rq,
	struct convert_result *ret, struct err *e);
/* Reads a source and digests what the guest sees. tap hears of the leaves; it
 * may be NULL. */
int convert_digest(const struct source *s, const struct gate *g,
	unsigned workers, enum engine_kind engine,
	const struct digest_tap *tap, const struct watch *w,
	struct convert_result *ret, struct err *e);

#endif
