/* SPDX-License-Identifier: MIT */
/* The steps in which qemu-img compare goes through two images, for those who
 * show its progress. Nothing but tables is read; one thread at a time. */
#ifndef OP_COMPARE_STEPS_H
#define OP_COMPARE_STEPS_H

#include "format/chain.h"
#include "format/status.h"

/* What qemu-img reads at once, and so where its runs of data are cut. */
#define COMPARE_READ_MAX (UINT64_C(2) << 20)

struct compare_steps {
	struct status_walk *walk[2]; /* owned */
	uint64_t size[2];            /* guest bytes, whole sectors */
	uint64_t at;                 /* where the next step begins */
	uint64_t end;                /* and ends; at: not known yet */
	unsigned left;               /* that are looked for one by one */
};

/* The chains were opened verbatim. */
int compare_steps_open(struct compare_steps *s, struct chain *first,
	struct chain *second, struct err *e);
void compare_steps_close(struct compare_steps *s); /* zeroed: fine */
/* Passes over the next step if it ends at upto or before. Where tables are
 * bad there are no more steps. */
bool compare_steps_next(struct compare_steps *s, uint64_t upto);

#endif
