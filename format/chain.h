/* SPDX-License-Identifier: MIT */
/* An image with its backing chain: extents are resolved down the chain. */
#ifndef FORMAT_CHAIN_H
#define FORMAT_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "format/gate.h"
#include "format/image.h"

struct chain {
	struct image **im; /* [0] the top; owned */
	unsigned n;
	struct file **files; /* what extent.file indexes; borrowed of the images */
	unsigned n_files;
	unsigned *first; /* files[first[d]] is image d's; owned */
	uint64_t size; /* virtual size of the top, bytes */
};

struct chain_request {
	enum format format;    /* of the top; FORMAT_PROBE detects */
	const char *snapshot;  /* internal snapshot (id or name) to read, or NULL */
	/* with snapshot: it is the one of this id and of this name (either may
	 * be NULL), and snapshot is what messages call it */
	const char *snapshot_id;
	const char *snapshot_name;
	const char *data_path; /* the top's data file as the caller names it,
				* which needs no leave; or NULL */
	bool no_backing;       /* open the top only */
	bool force_share;      /* take no locks */
	bool no_locks;         /* none of the top alone */
	bool share_raw;        /* others may write to raw images: lock.h */
	bool check;            /* the top with IMAGE_CHECK */
	bool no_data_file;     /* an external data file is not opened */
	bool direct;           /* open backing files with O_DIRECT */
	bool verbatim;         /* see IMAGE_VERBATIM */
	const struct gate *gate;
	const struct watch *watch;
};

/* top is taken (also on failure). Takes the reader's image locks unless
 * force_share. Loops (by device and inode) and depth are ERR_LIMIT. */
int chain_open(struct chain **ret, struct file *top,
	const struct chain_request *rq, struct err *e);
/*
 * As image_describe, over the whole chain: HOLE appears only where depth
 * would reach `base` (number of images to look into; UINT32_MAX: all) - at
 * the chain's end it is ZERO, with depth of the last image that was asked.
 * A backing that is shorter reads as zeros behind its end.
 */
int chain_describe(struct chain *c, uint32_t base, uint64_t voff,
	uint64_t len, struct extent *ret, size_t cap, size_t *ret_n,
	struct err *e);
/* How many bytes the next one of chain_describes in a row asks for. Starts as
 * {0}. */
struct chain_pace {
	uint64_t ask; /* bytes; 0: not known yet */
};
/*
 * chain_describe for who asks in a row: of the len bytes only so many are
 * looked at that the overlays' tables are not walked far past what the answer's
 * extents can hold. What is looked at ends on a multiple of unit (a power of
 * two), or with len; a chain of one image is looked at as a whole.
 */
int chain_describe_next(struct chain *c, uint32_t base, struct chain_pace *p,
	uint64_t unit, uint64_t voff, uint64_t len, struct extent *ret,
	size_t cap, size_t *ret_n, struct err *e);
void chain_close(struct chain *c);
void chain_close_p(struct chain **c);

/* The name that a backing reference resolves to, as qemu-img prints it in
 * full-backing-filename: relative ones against the overlay's directory. To
 * be freed. NULL when out of memory. */
char *chain_full_name(const char *overlay, const char *backing);

#endif
