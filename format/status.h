/* SPDX-License-Identifier: MIT */
/*
 * What QEMU 7.2's block layer says of guest bytes, run by run: the words of
 * qemu-img map, measure and compare -s. How long a run is shows in what these
 * print, so runs end where QEMU's do: with an extent, with an L2 slice, with a
 * layer. Nothing is read but tables, and holes asked of the kernel.
 */
#ifndef FORMAT_STATUS_H
#define FORMAT_STATUS_H

#include <stdint.h>

#include "format/chain.h"

enum status_flags {
	STATUS_DATA = 1 << 0,    /* to be read */
	STATUS_ZERO = 1 << 1,    /* reads as zeros */
	STATUS_PLACED = 1 << 2,  /* at hoff of file, where a guest byte is one
				  * host byte */
	STATUS_PRESENT = 1 << 3, /* this layer has it, not one below */
	STATUS_END = 1 << 4,     /* the run ends with the image */
	STATUS_PACKED = 1 << 5,  /* compressed; QEMU 7.2 does not say so */
};

struct status {
	uint64_t len;
	uint64_t hoff;
	const struct file *file; /* NULL unless PLACED */
	unsigned depth;
	unsigned flags;
};

/* One walk belongs to one thread; cheap when guest bytes are asked for in
 * rising order. chain (borrowed) was opened verbatim. Not exact: runs without
 * data end with their extent only, so that an empty exabyte costs nothing; they
 * are the same but for their number. */
struct status_walk;
int status_open(struct status_walk **ret, struct chain *chain, bool exact,
	struct err *e);
void status_close(struct status_walk *w); /* NULL is fine */
void status_close_p(struct status_walk **w);

/*
 * The run at voff, at most len bytes; 0 < len, voff + len <= chain's size.
 * status_map: of the first layer that has data or zeros there, as qemu-img map
 * asks; zeros because a backing file is too short belong to the layer above it.
 * status_above: of the whole chain at once, as all others ask (QEMU's
 * bdrv_block_status_above without a base); depth, hoff and file are not told.
 */
int status_map(struct status_walk *w, uint64_t voff, uint64_t len,
	struct status *ret, struct err *e);
int status_above(struct status_walk *w, uint64_t voff, uint64_t len,
	struct status *ret, struct err *e);

#endif
