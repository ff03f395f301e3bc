/* SPDX-License-Identifier: MIT */
/*
 * Checking and repairing a qcow2: messages, their order, what is counted as
 * what, and what a repair does are those of QEMU 7.2.
 *
 * Time is linear in what the file holds, and memory a byte for each cluster
 * that is counted: an L2 table that is met again is read again only while that
 * is cheap (CHECK_AGAIN), else its references are counted several times in one
 * go, and its messages come once. Tables that overlap each other beyond that
 * are corruption and are not followed.
 */
#ifndef FORMAT_QCOW2_CHECK_H
#define FORMAT_QCOW2_CHECK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "format/plan.h"
#include "format/qcow2.h"

/* L2 entries that are looked at again where a table is met again: enough for
 * all that is not made to keep us busy; tens of milliseconds. */
#define QCOW2_CHECK_AGAIN (UINT64_C(4) << 20)
/* Messages; the counts go on. */
#define QCOW2_CHECK_MESSAGES (UINT64_C(1) << 20)

enum qcow2_fix {
	QCOW2_FIX_LEAKS = 1 << 0,
	QCOW2_FIX_ERRORS = 1 << 1,
	QCOW2_FIX_ALL = 3,
};

struct qcow2_check_request {
	unsigned fix; /* enum qcow2_fix */
	bool durable; /* barriers reach the disk */
	/* found: every message; cancel */
	const struct watch *watch;
	/* sees every operation of the plan before it is run; may be NULL */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

struct qcow2_check_result {
	int eno; /* the check did not come to an end, and why; else 0 */
	uint64_t errors; /* that kept the check from looking at something */
	uint64_t corruptions, leaks; /* that are there now */
	uint64_t corruptions_fixed, leaks_fixed;
	uint64_t image_end; /* bytes; behind the last cluster in use */
	/* of the active image; clusters */
	uint64_t total, allocated, fragmented, packed;
	/* the image was marked corrupt while it was repaired: QEMU will not
	 * touch it again before it is opened anew */
	bool marked_corrupt;
};

/*
 * f is open (for writing, if there is something to fix); h was decoded with
 * QCOW2_DECODE_CHECK, and follows what the repair does to the header's fixed
 * fields. -1 only when the check was cancelled, or for what QEMU would find
 * when it opens the image; what cannot be read is in ret->eno.
 */
int qcow2_check(struct file *f, struct qcow2_header *h,
	const struct qcow2_check_request *rq, struct qcow2_check_result *ret,
	struct err *e);

#endif
