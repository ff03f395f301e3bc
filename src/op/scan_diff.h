/* SPDX-License-Identifier: MIT */
/*
 * The windows of a safe rebase: where an overlay has nothing of its own, and
 * its old backing chain and another are not made of the same bytes of the
 * same file. Called by one thread at a time.
 */
#ifndef OP_SCAN_DIFF_H
#define OP_SCAN_DIFF_H

#include "op/scan.h"

struct scan_diff_side {
	struct chain *chain; /* NULL: nothing but zeros */
	uint32_t base;
	struct extent ext[SCAN_EXTENTS];
	size_t n, at;
	struct chain_pace pace;
};

struct scan_diff {
	/* the overlay alone, the overlay with all below it, the other chain */
	struct scan_diff_side own, old, other;
	uint64_t size;   /* guest bytes of the overlay */
	uint64_t window; /* bytes, a power of two */
	uint64_t cursor, tickets;
};

void scan_diff_init(struct scan_diff *s, struct chain *overlay,
	struct chain *other);
/* After the overlay was written to: its tables may lie elsewhere. */
void scan_diff_again(struct scan_diff *s);
/* The next window twice: the old chain's pieces in a, the other's in b; what
 * is the same in both, and what is the overlay's own, is HOLE. len 0: no more. */
int scan_diff_next(struct scan_diff *s, struct window *a, struct window *b,
	struct err *e);

#endif
