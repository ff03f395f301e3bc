/* SPDX-License-Identifier: MIT */
/*
 * References counted in memory: a byte for each host cluster of the file, in
 * pages that exist where something is counted. A count that does not fit in
 * the byte lies in an index beside. No count exceeds what the image's refcounts
 * can hold.
 *
 * The two upper bits of a byte note how the active tables refer to the
 * cluster: with the COPIED flag, without it.
 */
#ifndef FORMAT_QCOW2_COUNTS_H
#define FORMAT_QCOW2_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

#include "format/qcow2_index.h"

#define QCOW2_COUNTS_PAGE_BITS 10
#define QCOW2_COUNTS_PAGE (1u << QCOW2_COUNTS_PAGE_BITS)
#define QCOW2_COUNTS_VALUE 0x3fu /* of a byte; all ones: see the index */
#define QCOW2_COUNTS_COPIED 0x40u
#define QCOW2_COUNTS_SHARED 0x80u

struct qcow2_counts {
	uint64_t n;     /* clusters */
	uint64_t max;   /* the largest count */
	unsigned limit; /* a byte below this may just be incremented */
	uint8_t **page; /* owned; NULL: all zeros */
	uint64_t n_pages;
	struct qcow2_index wide;
};

/* order: log2 of the width of the image's refcounts. */
int qcow2_counts_open(struct qcow2_counts *c, uint64_t n, unsigned order,
	struct err *e);
void qcow2_counts_close(struct qcow2_counts *c); /* a zeroed one is fine */
/* All to zero; n stays. */
void qcow2_counts_reset(struct qcow2_counts *c);
int qcow2_counts_grow(struct qcow2_counts *c, uint64_t n, struct err *e);

uint64_t qcow2_counts_get(const struct qcow2_counts *c, uint64_t clu);
/* The byte as it is, 0 where there is no page. */
static inline unsigned
qcow2_counts_byte(const struct qcow2_counts *c, uint64_t clu)
{
	const uint8_t *p = c->page[clu >> QCOW2_COUNTS_PAGE_BITS];

	return p ? p[clu & (QCOW2_COUNTS_PAGE - 1)] : 0;
}

/* Keeps the flags. */
int qcow2_counts_set(struct qcow2_counts *c, uint64_t clu, uint64_t value,
	struct err *e);
/* `times` references more, and flags noted; *ret_over of them did not fit. */
int qcow2_counts_add(struct qcow2_counts *c, uint64_t clu, uint64_t times,
	unsigned flags, uint64_t *ret_over, struct err *e);

/* One more where that is easy; false: nothing was done, use add. */
static inline bool
qcow2_counts_bump(struct qcow2_counts *c, uint64_t clu, unsigned flags)
{
	uint8_t *p = c->page[clu >> QCOW2_COUNTS_PAGE_BITS];

	if (!p)
		return false;
	p += clu & (QCOW2_COUNTS_PAGE - 1);
	if ((*p & QCOW2_COUNTS_VALUE) >= c->limit)
		return false;
	*p = (uint8_t)((*p + 1u) | flags);
	return true;
}

#endif
