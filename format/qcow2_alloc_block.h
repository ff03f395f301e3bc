/* SPDX-License-Identifier: MIT */
/* Refcount blocks and the refcount table of a qcow2_alloc, in memory and in
 * the file. For qcow2_alloc.c alone. */
#ifndef FORMAT_QCOW2_ALLOC_BLOCK_H
#define FORMAT_QCOW2_ALLOC_BLOCK_H

#include "format/qcow2_alloc.h"

/* What a change returns when it was taken back. */
#define QCOW2_ALLOC_AGAIN 1

/* Memory for the table of one cluster and for the blocks. */
int qcow2_alloc_block_open(struct qcow2_alloc *a, struct err *e);
/* Block rx (the table has it). Valid until the next load or new. */
int qcow2_alloc_block_load(struct qcow2_alloc *a, uint64_t rx,
	struct qcow2_alloc_block **ret, struct err *e);
/* An empty block at hoff that is going to be number rx. */
int qcow2_alloc_block_new(struct qcow2_alloc *a, uint64_t rx, uint64_t hoff,
	struct qcow2_alloc_block **ret, struct err *e);
/* The table gets `entries` entries: the old one goes to the file as it is,
 * and its place becomes stale. */
int qcow2_alloc_block_table(struct qcow2_alloc *a, uint64_t entries,
	struct err *e);

#endif
