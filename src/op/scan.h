/* SPDX-License-Identifier: MIT */
/*
 * Cuts the guest's bytes into windows and says what each is made of. One
 * scan is shared by all workers and called by one at a time. Long holes are
 * one window, however long, so that an empty petabyte costs nothing.
 */
#ifndef OP_SCAN_H
#define OP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/chain.h"

/* An extent in the target's guest bytes, with its file resolved. */
struct piece {
	uint64_t voff; /* target's guest byte */
	uint64_t len;
	struct file *file; /* DATA and PACKED */
	uint64_t hoff;
	uint64_t hlen;
	uint32_t poff;
	uint32_t plen;
	uint8_t kind;  /* enum extent_kind; HOLE stays unallocated */
	uint8_t codec;
	/* the fetch's: where the packed bytes are in its input buffer */
	bool fetched;
	size_t in_off;
};

struct window {
	uint64_t ticket;
	uint64_t voff;
	uint64_t len; /* 0: there is no more */
	/* the one piece is HOLE or ZERO; len may exceed the window size */
	bool empty;
	struct piece *v; /* owned */
	size_t n, cap;
};

struct scan_source {
	struct chain *chain;
	uint64_t start; /* guest byte of the target where it begins */
	uint64_t size;  /* bytes it covers */
};

#define SCAN_EXTENTS 512

struct scan {
	const struct scan_source *src;
	unsigned n_src;
	/* images of each chain to look into; what is deeper is HOLE */
	uint32_t base;
	/* where target clusters that are part HOLE get the rest from, or
	 * NULL; unit is the target's cluster size then */
	struct chain *cow;
	uint64_t unit;
	uint64_t size;      /* guest bytes in all */
	uint64_t window;    /* bytes, a power of two */
	bool cut_holes;     /* holes come in plain windows too */
	uint64_t zero_max;  /* longest window of zeros; 0: any */
	/* windows begin and end where qemu-img convert's reads do, not on
	 * multiples of the window (see scan_next) */
	bool as_read;
	bool salvage;       /* what cannot be described reads as zeros */
	const struct watch *watch;
	/* state: */
	uint64_t cursor;
	uint64_t tickets;
	unsigned src_at;
	size_t n, at;
	struct extent ext[SCAN_EXTENTS];
	uint64_t ext_start; /* start of the source that ext is of */
	struct chain *ext_chain;
	struct chain_pace pace;
};

/*
 * The next window; w is reused. With as_read a piece is what qemu-img convert
 * reads at once: an extent, cut every 2 MiB from its start and where an L2
 * slice of the source ends; where a new image's refcount blocks lie depends
 * on it. The window size must be 2 MiB then.
 */
int scan_next(struct scan *s, struct window *w, struct err *e);
/* Plain bytes in a row within one file, from the cursor on: whole windows, at
 * most max bytes. ret->len 0: there are none. They are still to come, unless
 * scan_pass makes them one window without pieces. */
int scan_row(struct scan *s, uint64_t max, struct piece *ret, struct err *e);
void scan_pass(struct scan *s, uint64_t len, struct window *w);
void scan_window_free(struct window *w);

/* Appends to w the part [voff, voff+len) of extent x of chain c, whose guest
 * byte 0 is at start; voff is counted as start is. */
int scan_piece(struct window *w, const struct extent *x, struct chain *c,
	uint64_t start, uint64_t voff, uint64_t len, struct err *e);

#endif
