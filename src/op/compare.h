/* SPDX-License-Identifier: MIT */
/*
 * Do two images hold the same? Holes, and what both keep in the same place of
 * the same file, are not read. The verdict is that of qemu-img compare, and
 * the first difference is the first one, for any number of workers.
 */
#ifndef OP_COMPARE_H
#define OP_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "op/source.h"

struct compare_request {
	struct source source[2];
	struct gate gate[2];
	/* sizes and what is allocated must agree, too, as QEMU 7.2 tells it */
	bool strict;
	/* progress comes in the steps that qemu-img compare takes, from 0 on
	 * once both are open; the sources are verbatim */
	bool steps;
	/* with steps, may be NULL: the sizes differ, and the shorter one has
	 * been passed; what comes is compare_result's `behind` */
	void (*on_behind)(void *arg);
	void *arg;
	unsigned workers; /* 0: one per CPU */
	const struct watch *watch;
};

enum compare_verdict {
	COMPARE_SAME,
	COMPARE_DIFFERENT, /* voff: first sector of 512 bytes that differs */
	COMPARE_SIZES,     /* strict: they differ */
	COMPARE_STATUS,    /* strict: voff is data in one, or its run ends
			    * with the image, and the other one not so */
	/* no verdict; side and why: */
	COMPARE_NO_OPEN,
	COMPARE_NO_TABLE,  /* voff cannot be described */
	COMPARE_NO_READ,   /* voff cannot be read */
};

struct compare_result {
	enum compare_verdict verdict;
	uint64_t voff;
	unsigned side;    /* 0 or 1 */
	struct err why;
	uint64_t size[2]; /* unless COMPARE_NO_OPEN */
	/* not strict: the sizes differ, the shorter one's are the same; the
	 * verdict is about what the longer one has behind them */
	bool behind;
};

/* 0 with a verdict; -1 without memory or when cancelled. An image that is
 * shorter reads as zeros behind its end. */
int compare_run(const struct compare_request *rq, struct compare_result *ret,
	struct err *e);

#endif
