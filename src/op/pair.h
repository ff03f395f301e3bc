/* SPDX-License-Identifier: MIT */
/*
 * Two images side by side: cuts what may differ between them into windows and
 * passes over what need not be read, being zeros in both or the same place of
 * the same file. One pair is shared by all workers and called by one at a
 * time.
 */
#ifndef OP_PAIR_H
#define OP_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "op/scan.h"

/* Guest bytes, at least: two windows and their packed input stay in a core's
 * cache. */
#define PAIR_WINDOW (UINT64_C(256) << 10)

/* Which sides hold something; the other one reads as zeros. A range lies within
 * one extent of either side. */
enum pair_kind {
	PAIR_BOTH,
	PAIR_FIRST,
	PAIR_SECOND,
};

struct pair_range {
	uint64_t voff;
	uint64_t len;
	enum pair_kind kind;
};

struct pair_window {
	uint64_t ticket;
	uint64_t voff;
	uint64_t len;    /* 0: there is no more */
	uint64_t passed; /* guest bytes from the end of the one before */
	struct window side[2]; /* pieces of the ranges that a side holds */
	struct pair_range *range; /* owned */
	size_t n, cap;
};

struct pair_side {
	struct chain *chain; /* borrowed; zeros behind its end */
	size_t n, at;
	struct extent ext[SCAN_EXTENTS];
	struct chain_pace pace;
};

struct pair {
	struct pair_side side[2];
	uint64_t size;   /* guest bytes to look at */
	uint64_t window; /* a power of two */
	bool *same;      /* file a of the first is file b of the second; owned */
	uint64_t cursor;
	uint64_t tickets;
	/* asked between extents, for a call may pass over an exabyte; or NULL */
	const struct watch *watch;
};

int pair_open(struct pair *p, struct chain *first, struct chain *second,
	uint64_t size, struct err *e);
void pair_close(struct pair *p); /* a zeroed one is fine */

/* The next window; w is reused. A guest byte that *ret_side (0 or 1) cannot
 * describe fails, when it is p->cursor; what lies before it is given first. */
int pair_next(struct pair *p, struct pair_window *w, unsigned *ret_side,
	struct err *e);
void pair_window_free(struct pair_window *w);

#endif
