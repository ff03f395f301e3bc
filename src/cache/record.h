/* SPDX-License-Identifier: MIT */
/*
 * What is known of a base: _base/.byre/records/<name>.json, and the leaves of
 * its content digest in <name>.leaves. Written whole or not at all. A record
 * that is missing, torn or hostile means that nothing is known; no image
 * depends on it.
 *
 * Layout of a .leaves file (big-endian):
 *   0  8  "byrelvs1"
 *   8  8  size of a block, DIGEST_BLOCK
 *  16  8  n, number of leaves
 *  24  8  digest_xxh64 of bytes 0-23 and (8 bytes) digest_xxh64 of the leaves
 *  32  16n  leaves of blocks 0 .. n-1, where block n-1 is the last that is not
 *           all zeros (as in base/digest.h)
 */
#ifndef CACHE_RECORD_H
#define CACHE_RECORD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/watch.h"
#include "cache/store.h"
#include "format/probe.h"

#define RECORD_VERSION 1
#define RECORD_TEXT_MAX (64 * 1024)  /* bytes of a .json */
/* A sidecar of 64 MiB, a content of 4 TiB; a longer one has no leaves. */
#define RECORD_LEAVES_MAX (UINT64_C(4) << 20)
#define RECORD_HEX 129               /* sha512's digits and NUL */

enum record_kind {
	RECORD_IMAGE,
	RECORD_KERNEL,  /* a kernel or ramdisk, as it came */
	RECORD_SIZED,   /* an extended copy of an image */
	RECORD_BLANK,   /* swap, ephemeral */
	RECORD_ADOPTED, /* found without a record; what it came from is not
			 * known */
};

struct record {
	enum record_kind kind;
	char *id;           /* the image's, "" if not known; owned */
	char *source;       /* its name as given, "" if not known; owned */
	uint64_t source_size;
	enum format source_format;
	char md5[33];       /* of the source's bytes, hex; "" if not asked */
	char sha256[65];
	char sha512[RECORD_HEX];
	enum format format; /* of the base: RAW or QCOW2 */
	uint64_t virtual_size;
	bool has_digest;
	struct digest_value digest; /* of what a guest reads; see digest.h */
	/* the file that this is about. The identity is size and inode; device
	 * numbers change with a boot, times with each use */
	uint64_t file_size;
	uint64_t ino, dev;
	int64_t mtime_nsec;  /* at birth */
	/* when the inode was made; 0: the file system does not tell. Inode
	 * numbers are used again soon: record_store looks it up, and a record
	 * whose inode has another time comes out of record_load with ino 0 */
	int64_t born_nsec;
	char *policy;       /* "safe" (deep), "none" ...; owned */
	char *version;      /* of byre that wrote it; owned */
	/* seconds since the epoch; 0: never */
	int64_t created, verified;
	/* last used, as far as byre was asked; the base's own mtime, which
	 * Nova keeps up too, may be later */
	int64_t used;
	/* verify: a pass that was interrupted goes on at this guest byte */
	uint64_t verify_at;
	/* blocks that were found changed since the last pass without any (1:
	 * perhaps not known which); 0: none */
	uint64_t rotten;
	bool pinned;
};

/* Frees the strings and zeroes it; a zeroed one is fine. */
void record_free(struct record *r);

/*
 * The record of the base `name`: *ret_there false where there is none that can
 * be used (a note on w says why, if one is there and broken). -1 only where
 * the disk fails. On success with *ret_there, r is to be freed; otherwise it
 * is zeroed.
 */
int record_load(const struct store *s, const char *name, struct record *ret,
	bool *ret_there, const struct watch *w, struct err *e);
/* Writes or replaces it: temporary, fsync, rename, fsync of the directory.
 * The caller holds the lock of the base. */
int record_store(const struct store *s, const char *name,
	const struct record *r, struct err *e);
/* Removes the record and its leaves; what is not there is fine. */
int record_remove(const struct store *s, const char *name, struct err *e);
/* The same, durably: another file is about to get that name. */
int record_forget(const struct store *s, const char *name, struct err *e);
/* Whether the file is the one that was recorded: size and inode. */
bool record_matches(const struct record *r, const struct stat *st);
/* Whether that very file was found rotten, or is not as long as recorded. */
bool record_is_rotten(const struct record *r, const struct stat *st);
/* The identity of an open or just published base into r. */
void record_identify(struct record *r, const struct stat *st);

const char *record_kind_name(enum record_kind k);

struct record_leaves {
	struct digest_value *v; /* owned */
	uint64_t n;
};

/* *ret_there as above; leaves that do not add up to the record's digest are a
 * note, and as none. */
int record_leaves_load(const struct store *s, const char *name,
	const struct digest_value *root, struct record_leaves *ret,
	bool *ret_there, const struct watch *w, struct err *e);
/* Durable with the record that is stored next: one without leaves is as good,
 * and gets them when it is verified. */
int record_leaves_store(const struct store *s, const char *name,
	const struct record_leaves *l, struct err *e);
void record_leaves_free(struct record_leaves *l);

/* Writes what is known of a base that was published just now; leaves may be
 * NULL. Not to be able to is a note on w, and no fault: the base is as good
 * without, and is adopted some day. */
void record_renew(const struct store *s, const char *name,
	const struct record *r, const struct record_leaves *leaves,
	const struct watch *w);

/* Collects leaves as a digest makes them (base/digest.h's tap). */
struct record_tap {
	struct record_leaves leaves;
	uint64_t cap;
	uint64_t zeros;  /* zero blocks seen since the last other one */
	bool overflow;   /* too many, or no memory: there will be none */
};

/* digest_tap's function; arg is a struct record_tap. */
void record_tap_leaf(void *arg, const struct digest_value *leaf,
	uint64_t zeros);

#endif
