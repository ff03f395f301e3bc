/* SPDX-License-Identifier: MIT */
/*
 * Host clusters of an image that is being written for the first time: who
 * gets which, and the refcounts that say so. The order in which clusters,
 * refcount blocks and refcount tables come to lie is QEMU's (block/qcow2-
 * refcount.c, 7.2), so that images equal qemu-img's byte for byte.
 *
 * Memory is bounded: the refcount table (at most 8 MiB), and about 1 MiB of
 * refcount blocks, but at least 4 (of at most 2 MiB each).
 */
#ifndef FORMAT_QCOW2_ALLOC_H
#define FORMAT_QCOW2_ALLOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/file.h"

struct qcow2_alloc_block {
	uint64_t hoff; /* 0: empty */
	uint8_t *p;
	bool dirty;
	bool virgin;   /* was never written to the file */
};

struct qcow2_alloc_range {
	uint64_t hoff, len;
};

struct qcow2_alloc {
	struct file *f;
	bool fresh;          /* what was never written reads as zeros */
	unsigned bits;       /* log2 of the cluster size */
	unsigned order;      /* log2 of the refcount width in bits */
	unsigned block_bits; /* log2 of the refcounts in a block */
	uint64_t *table;     /* host offsets of blocks; 0: none */
	uint64_t entries;
	uint64_t table_hoff;
	bool table_virgin;
	uint64_t next;       /* the cluster at which the search goes on */
	uint64_t packed;     /* where the next packed bytes may go; or 0 */
	uint64_t end;        /* length of the file when all is written */
	struct qcow2_alloc_block *blocks; /* by table index modulo n_blocks */
	unsigned n_blocks;
	/* old refcount tables: their clusters are given out again and have
	 * bytes in them */
	struct qcow2_alloc_range *stale;
	unsigned n_stale;
};

/* The state of an image that has a header cluster, a refcount table of one
 * cluster and one refcount block, all three counted. */
int qcow2_alloc_open(struct qcow2_alloc *a, struct file *f, bool fresh,
	unsigned bits, unsigned order, struct err *e);
void qcow2_alloc_close(struct qcow2_alloc *a);

/* n contiguous clusters, anywhere. */
int qcow2_alloc_take(struct qcow2_alloc *a, uint64_t n, uint64_t *ret_hoff,
	struct err *e);
/* Up to n clusters at hoff; *ret_n of them were free and are taken (maybe
 * none). */
int qcow2_alloc_take_at(struct qcow2_alloc *a, uint64_t hoff, uint64_t n,
	uint64_t *ret_n, struct err *e);
/* len <= one cluster of bytes behind the last ones; hoff_max is the largest
 * offset that a compressed descriptor can hold. */
int qcow2_alloc_take_bytes(struct qcow2_alloc *a, uint64_t len,
	uint64_t hoff_max, uint64_t *ret_hoff, struct err *e);
int qcow2_alloc_release(struct qcow2_alloc *a, uint64_t hoff, uint64_t n,
	struct err *e);
/* A new refcount table and new blocks at start, behind all that is used, to
 * cover themselves and `more` clusters behind; *ret_hoff is where those
 * begin. exact: no room to grow. */
int qcow2_alloc_area(struct qcow2_alloc *a, uint64_t start, uint64_t more,
	bool exact, uint64_t *ret_hoff, struct err *e);
/* The first byte behind the last cluster in use. */
int qcow2_alloc_used(struct qcow2_alloc *a, uint64_t *ret_hoff,
	struct err *e);

/* The file reaches to end at least. */
void qcow2_alloc_reach(struct qcow2_alloc *a, uint64_t end);
/* May bytes that were written before lie in [hoff, hoff+len)? */
bool qcow2_alloc_stale(const struct qcow2_alloc *a, uint64_t hoff,
	uint64_t len);
/* Writes len bytes of metadata; the zeros at its end stay a hole if virgin (it
 * was never written) and the place reads as zeros. */
int qcow2_alloc_write(struct qcow2_alloc *a, const void *p, uint64_t len,
	uint64_t hoff, bool virgin, struct err *e);
/* Everything that is still in memory goes to the file. */
int qcow2_alloc_flush(struct qcow2_alloc *a, struct err *e);

#endif
