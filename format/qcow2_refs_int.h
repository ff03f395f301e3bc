/* SPDX-License-Identifier: MIT */
/* Between qcow2_refs.c and qcow2_refs_area.c only. */
#ifndef FORMAT_QCOW2_REFS_INT_H
#define FORMAT_QCOW2_REFS_INT_H

#include "format/qcow2_refs.h"

/* Blocks that may have to be made for one another: a new one lies in the
 * range of a block that is missing too, and so on. */
#define QCOW2_REFS_DEPTH 4u

/* The block of table index ti; *ret NULL if there is none. */
int qcow2_refs_block_at(struct qcow2_refs *r, uint64_t ti,
	struct qcow2_refs_block **ret, struct err *e);
/* A zeroed, dirty block at hoff. */
int qcow2_refs_block_new(struct qcow2_refs *r, uint64_t hoff,
	struct qcow2_refs_block **ret, struct err *e);
/* Sets count i of block b. */
void qcow2_refs_put(struct qcow2_refs *r, struct qcow2_refs_block *b,
	uint64_t i, uint64_t value);
/* n free clusters in a row, not yet counted. */
int qcow2_refs_find(struct qcow2_refs *r, uint64_t n, uint64_t *ret,
	struct err *e);
/* 0 becomes 1 for n clusters. *ret_again: blocks had to be made, which may lie
 * where the caller wanted to go: nothing is counted, he searches again. */
int qcow2_refs_add(struct qcow2_refs *r, uint64_t first, uint64_t n,
	unsigned depth, bool *ret_again, struct err *e);
/* Makes the missing block that counts `cluster`. */
int qcow2_refs_cover(struct qcow2_refs *r, uint64_t cluster, unsigned depth,
	struct err *e);

#endif
