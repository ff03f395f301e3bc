/* SPDX-License-Identifier: MIT */
/*
 * libbyre: qcow2 and raw disk images, in-process, on file descriptors.
 *
 *	struct byre_error e;
 *	struct byre_image *im;
 *	char sector[512];
 *
 *	if (byre_image_open_path(&im, "disk.qcow2", NULL, &e))
 *		errx(1, "%s", e.message);
 *	if (byre_image_read(im, sector, sizeof(sector), 0, &e))
 *		errx(1, "%s", e.message);
 *	byre_image_close(im);
 *
 *	cc prog.c $(pkg-config --cflags --libs byre)
 *
 * There is no global state: calls on different handles may run at the same
 * time in any threads. One handle belongs to one thread at a time. The library
 * never prints, exits, forks, changes signals or reads the environment. It
 * never closes a descriptor of the caller's.
 *
 * Functions return 0, or -1 with *e filled (e may be NULL); outputs are
 * untouched on failure. Offsets and sizes are bytes. Structs of options begin
 * with their size: set it with the _INIT macro, which also gives the defaults,
 * and a program stays compatible with later versions that know more.
 *
 * The safe policy is on unless the caller says otherwise: what an image says
 * opens no other file, and encryption, unknown features, references past the
 * end of the file, aliased clusters and guest content that is itself a disk
 * image are refused with BYRE_DENIED.
 */
#ifndef BYRE_H
#define BYRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

enum byre_error_kind {
	BYRE_OK = 0,
	BYRE_IO,          /* the kernel said no: errno_value says why */
	BYRE_NOMEM,
	BYRE_FORMAT,      /* not an image of that format */
	BYRE_CORRUPT,     /* the image's parts contradict each other */
	BYRE_UNSUPPORTED, /* valid, but a feature that is not supported */
	BYRE_LIMIT,       /* a named limit is exceeded */
	BYRE_DENIED,      /* the safe policy refuses it */
	BYRE_BUSY,        /* somebody else (QEMU) holds the image's lock */
	BYRE_MISMATCH,    /* two things that must agree do not */
	BYRE_USAGE,       /* a contradictory or impossible request */
	BYRE_CANCELLED,
};

struct byre_error {
	int kind;          /* enum byre_error_kind */
	int errno_value;   /* 0 if none */
	char message[1016]; /* one line, "FILE: what is wrong"; bytes that a
			     * terminal would act on are escaped */
};

/* "0.1.0". Static. */
const char *byre_version(void);
/* The name of a kind: "corrupt". Static. */
const char *byre_error_kind_name(int kind);

/* What an image may cause. NULL means BYRE_POLICY_INIT. */
struct byre_policy {
	size_t size;
	int trusted;    /* follow references as qemu-img does, no policy */
	/* else a backing file must lie beneath one of these directories */
	const char *const *allow_dirs;
	size_t n_allow_dirs;
	uint32_t max_depth; /* images in a chain; 0: 200 */
	uint64_t max_size;  /* virtual size, bytes; 0: no limit */
	int lenient;        /* past the end of the file are zeros */
};
#define BYRE_POLICY_INIT {.size = sizeof(struct byre_policy)}

/* An image to be read. path, or fd when path is NULL. */
struct byre_source {
	size_t size;
	const char *path;
	int fd;               /* stays open and the caller's */
	const char *format;   /* "raw", "qcow2"; NULL: detect */
	const char *snapshot; /* an internal snapshot's id or name, or NULL */
	int force_share;      /* take no locks */
	int no_backing;       /* the top image alone */
};
#define BYRE_SOURCE_INIT {.size = sizeof(struct byre_source), .fd = -1}

/* Progress and cancellation of a long call. progress may be called from
 * worker threads, one at a time. */
struct byre_watch {
	size_t size;
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	void (*note)(void *arg, const char *line); /* a warning */
	void *arg;
	/* becomes non-zero (by another thread, atomically) to stop the call
	 * with BYRE_CANCELLED; NULL: never */
	const int *cancel;
};
#define BYRE_WATCH_INIT {.size = sizeof(struct byre_watch)}

/* ---- reading ---------------------------------------------------------- */

struct byre_image;

/* policy NULL: the safe one. Detects the format, locks as a reader does. */
int byre_image_open_path(struct byre_image **ret, const char *path,
	const struct byre_policy *policy, struct byre_error *e);
int byre_image_open_fd(struct byre_image **ret, int fd,
	const struct byre_policy *policy, struct byre_error *e);
int byre_image_open(struct byre_image **ret, const struct byre_source *source,
	const struct byre_policy *policy, struct byre_error *e);
void byre_image_close(struct byre_image *im); /* NULL is fine */

/* The virtual size. */
uint64_t byre_image_size(const struct byre_image *im);
/* "raw", "qcow2". Static. */
const char *byre_image_format(const struct byre_image *im);

/* Exactly len bytes of what the guest sees at offset, through the whole
 * chain. A range that leaves the image is BYRE_USAGE. */
int byre_image_read(struct byre_image *im, void *buf, size_t len,
	uint64_t offset, struct byre_error *e);

enum byre_extent_kind {
	BYRE_HOLE,   /* nowhere in the chain: zeros */
	BYRE_ZERO,   /* zeros by decree */
	BYRE_DATA,   /* plain bytes at host_offset of the depth-th image */
	BYRE_PACKED, /* a compressed cluster, or part of one */
};

struct byre_extent {
	uint64_t offset; /* guest bytes [offset, offset + length) */
	uint64_t length;
	uint64_t host_offset; /* BYRE_DATA only */
	uint32_t depth;  /* 0: the image itself, 1: its backing file ... */
	uint32_t kind;
};

/* Extents for a prefix of [offset, offset+length), in order and without gaps:
 * at least one, at most cap. Call again behind the last one for more. */
int byre_image_map(struct byre_image *im, uint64_t offset, uint64_t length,
	struct byre_extent *ret, size_t cap, size_t *ret_n,
	struct byre_error *e);

/* ---- questions -------------------------------------------------------- */

/* What qemu-img info --output=json prints, as text to be given back with
 * byre_text_free. Opens no other file and never reads whole tables. */
int byre_info_json(const struct byre_source *source, char **ret,
	struct byre_error *e);

/* *ret_safe: the safe policy has nothing against the image. deep walks the
 * tables too. *ret_json (may be NULL): every reason. */
int byre_inspect(const struct byre_source *source,
	const struct byre_policy *policy, int deep, int *ret_safe,
	char **ret_json, struct byre_error *e);

void byre_text_free(char *text); /* NULL is fine */

#define BYRE_DIGEST_TEXT 41

/* The content digest of what the guest sees, "byre1:" and 32 hex digits; with
 * the virtual size it is the identity of a content. It finds rot, it does not
 * withstand forgery. */
int byre_digest(const struct byre_source *source,
	const struct byre_policy *policy, const struct byre_watch *watch,
	char ret[BYRE_DIGEST_TEXT], struct byre_error *e);

/* *ret_same: a guest reads the same of both, and of the longer one zeros where
 * the other has ended. Else *ret_offset (may be NULL) is the first sector of
 * 512 bytes that differs. What both keep in the same place of the same file is
 * not read. */
int byre_compare(const struct byre_source *first,
	const struct byre_source *second, const struct byre_policy *policy,
	const struct byre_watch *watch, int *ret_same, uint64_t *ret_offset,
	struct byre_error *e);

enum byre_repair {
	BYRE_REPAIR_NOTHING, /* the file is only read */
	BYRE_REPAIR_LEAKS,   /* clusters that nobody uses are given back */
	BYRE_REPAIR_ALL,
};

/* What is there afterwards, and what was mended. */
struct byre_check_result {
	uint64_t errors; /* where data is at risk */
	uint64_t leaks;  /* clusters that are lost to the image, no more */
	uint64_t unseen; /* places that the check could not look at */
	uint64_t errors_mended, leaks_mended;
	uint64_t end;    /* of the last cluster in use, bytes */
};

/* Checks the tables and counts of a qcow2, as qemu-img check does; a raw image
 * is BYRE_UNSUPPORTED. repair: enum byre_repair; what is mended is named by path
 * and format, under a writer's locks, and on the disk afterwards. Every fault is a line for
 * watch->note. Other files that the image names are not opened. */
int byre_check(const struct byre_source *source, int repair,
	const struct byre_policy *policy, const struct byre_watch *watch,
	struct byre_check_result *ret, struct byre_error *e);

/* ---- making ----------------------------------------------------------- */

/* qcow2's options; 0 and NULL are qemu-img's defaults. */
struct byre_qcow2 {
	size_t size;
	uint32_t cluster_size;      /* bytes, a power of two; 0: 64 KiB */
	uint32_t version;           /* 2 or 3; 0: 3 */
	uint32_t refcount_bits;     /* 1 .. 64; 0: 16 */
	int extended_l2;
	int lazy_refcounts;
	int zstd;                   /* compression type */
	const char *backing;        /* stored as given */
	const char *backing_format; /* needed with backing */
};
#define BYRE_QCOW2_INIT {.size = sizeof(struct byre_qcow2)}

struct byre_convert_options {
	size_t size;
	const struct byre_source *sources; /* concatenated */
	size_t n_sources;
	const struct byre_policy *policy;  /* NULL: safe */
	const char *target;                /* or NULL with target_fd */
	int target_fd;                     /* stays the caller's */
	const char *target_format;         /* NULL: "raw" */
	const struct byre_qcow2 *qcow2;    /* NULL: defaults */
	int compress;                      /* qcow2: pack clusters */
	uint64_t max_size;                 /* most bytes to write; 0: any */
	int with_digest;
	int not_durable;                   /* do not wait for the disk */
	unsigned workers;                  /* threads; 0: one per CPU */
	const struct byre_watch *watch;
};
#define BYRE_CONVERT_INIT                                                      \
	{.size = sizeof(struct byre_convert_options), .target_fd = -1}

struct byre_convert_result {
	uint64_t virtual_size;
	uint64_t bytes_data; /* guest bytes written as data */
	uint64_t bytes_zero; /* guest bytes that read as zeros */
	char digest[BYRE_DIGEST_TEXT]; /* "" unless asked for */
};

/* A target that does not exist appears under its name only when it is whole;
 * one that exists is written in place, after every refusal. On success it is
 * on the disk. ret may be NULL. */
int byre_convert(const struct byre_convert_options *o,
	struct byre_convert_result *ret, struct byre_error *e);

/* A new image of virtual_size bytes at path, which must not exist. qcow2 NULL:
 * defaults; not looked at for "raw". A backing file is opened through policy;
 * virtual_size UINT64_MAX takes its size. */
int byre_create(const char *path, const char *format, uint64_t virtual_size,
	const struct byre_qcow2 *qcow2, const struct byre_policy *policy,
	struct byre_error *e);

/* Sets the virtual size in place. format binds and must not be NULL: what a
 * guest wrote into a raw image may look like a qcow2. shrink: giving up the
 * bytes behind the new end is meant. An overlay's backing file is opened, through
 * policy. */
int byre_resize(const char *path, const char *format, uint64_t virtual_size,
	int shrink, const struct byre_policy *policy, struct byre_error *e);

/* Writes what the overlay at path holds into the image below it, or down to
 * `base` of its chain (NULL: right below), and empties the overlay unless
 * `keep` or a base is given. All is on the disk before that. */
int byre_commit(const char *path, const char *base, int keep,
	const struct byre_policy *policy, struct byre_error *e);

/* Another backing file for the overlay at path, by the name that is stored
 * (NULL: none) and its format; the guest sees the same bytes afterwards.
 * only_header: the name alone is changed, and no backing file is opened. */
int byre_rebase(const char *path, const char *backing,
	const char *backing_format, int only_header,
	const struct byre_policy *policy, struct byre_error *e);

/* ---- the image cache -------------------------------------------------- */

/*
 * Base images in a directory that is laid out and locked as OpenStack Nova's:
 * see byre-cache(1). One handle belongs to one thread at a time; processes and
 * handles exclude each other by locks.
 */
struct byre_cache;

/* The instances directory must exist; what is missing beneath it is made.
 * base_dir: relative to it or absolute, NULL: "_base". locks_dir: a path,
 * NULL: "locks" beneath it. */
int byre_cache_open(struct byre_cache **ret, const char *instances,
	const char *base_dir, const char *locks_dir, struct byre_error *e);
void byre_cache_close(struct byre_cache *c); /* NULL is fine */

#define BYRE_CACHE_NAME 64

struct byre_cache_ensure_options {
	size_t size;
	const char *path;    /* of the source, opened only if needed; or NULL */
	int fd;              /* with fd, which stays the caller's */
	const char *format;  /* "raw", "qcow2"; NULL: detect */
	uint64_t max_size;   /* of what a guest sees; 0: no limit */
	int kernel;          /* kept byte by byte, not looked into */
	int keep_qcow2;      /* a qcow2 stays one, after a full check */
	int no_wait;         /* BYRE_BUSY where another process has the lock */
	unsigned workers;    /* threads; 0: one per CPU */
	const struct byre_watch *watch;
	int checked;         /* the caller has compared a digest of the source:
			      * it is all there */
};
#define BYRE_CACHE_ENSURE_INIT                                                 \
	{.size = sizeof(struct byre_cache_ensure_options), .fd = -1}

struct byre_cache_base {
	int added;                     /* else it was there */
	char name[BYRE_CACHE_NAME];    /* the file in base_dir */
	uint64_t virtual_size;         /* 0: no record tells */
	char digest[BYRE_DIGEST_TEXT]; /* "": no record tells */
};

/* Makes the image a base unless it is one. The safe policy applies with all
 * of its tables; and a qcow2 that ends within a cluster which a guest reads to
 * its end is refused unless it was checked: the rest may be lost. ret may be
 * NULL. */
int byre_cache_ensure(struct byre_cache *c, const char *id,
	const struct byre_cache_ensure_options *o,
	struct byre_cache_base *ret, struct byre_error *e);

enum byre_cache_disk {
	BYRE_CACHE_OVERLAY, /* a qcow2 on the base */
	BYRE_CACHE_SIZED,   /* a qcow2 on an extended copy of the base */
	BYRE_CACHE_FLAT,    /* a raw copy */
};

struct byre_cache_spawn_options {
	size_t size;
	int disk;              /* enum byre_cache_disk */
	uint64_t virtual_size; /* 0: the image's */
	int preallocate;
	int verify;            /* read the base, compare its digest */
	const struct byre_watch *watch;
};
#define BYRE_CACHE_SPAWN_INIT {.size = sizeof(struct byre_cache_spawn_options)}

/* Makes the disk target, which must not exist, from the image's base. */
int byre_cache_spawn(struct byre_cache *c, const char *id, const char *target,
	const struct byre_cache_spawn_options *o, struct byre_error *e);

/* Protects the image's base from cleaning, or (0) no longer. */
int byre_cache_pin(struct byre_cache *c, const char *id, int pinned,
	struct byre_error *e);

/* Removes what there is of the image, unless something uses it, or another
 * host that shares the storage may: BYRE_BUSY. */
int byre_cache_purge(struct byre_cache *c, const char *id,
	const struct byre_watch *watch, struct byre_error *e);

struct byre_cache_clean_options {
	size_t size;
	int64_t min_age;         /* seconds; -1: Nova's day */
	int64_t min_age_resized; /* seconds; -1: Nova's hour */
	uint64_t budget;         /* bytes on disk; UINT64_MAX: any */
	const char *const *roots; /* more directories of instances */
	size_t n_roots;
	int dry_run;
	const struct byre_watch *watch; /* note: what could not be read */
};
#define BYRE_CACHE_CLEAN_INIT                                                  \
	{.size = sizeof(struct byre_cache_clean_options), .min_age = -1,       \
		.min_age_resized = -1, .budget = UINT64_MAX}

struct byre_cache_cleaned {
	uint64_t files; /* removed; with dry_run those that would be */
	uint64_t bytes; /* on disk, of these */
};

/* Removes the bases that nobody uses and what broke off. ret may be NULL. */
int byre_cache_clean(struct byre_cache *c,
	const struct byre_cache_clean_options *o,
	struct byre_cache_cleaned *ret, struct byre_error *e);

struct byre_cache_verify_options {
	size_t size;
	int cached;       /* what the page cache has will do */
	uint64_t rate;    /* bytes read per second; 0: no limit */
	int no_wait;
	unsigned workers; /* threads; 0: one per CPU */
	/* hears of guest bytes in which there is rot; or NULL */
	void (*rot)(void *arg, uint64_t from, uint64_t length);
	void *arg;
	const struct byre_watch *watch;
};
#define BYRE_CACHE_VERIFY_INIT                                                 \
	{.size = sizeof(struct byre_cache_verify_options)}

enum byre_cache_state {
	BYRE_CACHE_GOOD,
	BYRE_CACHE_ADOPTED, /* there was no digest, now there is one */
	BYRE_CACHE_ROTTEN,
	BYRE_CACHE_GONE,    /* or replaced meanwhile */
};

/* Reads the base `name` (struct byre_cache_base has it) from the disk and
 * compares it with the digest of its birth. *ret_state: enum byre_cache_state.
 * A pass that was cancelled goes on the next time. */
int byre_cache_verify(struct byre_cache *c, const char *name,
	const struct byre_cache_verify_options *o, int *ret_state,
	struct byre_error *e);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif

#endif
