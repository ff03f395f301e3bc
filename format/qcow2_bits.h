/* SPDX-License-Identifier: MIT */
/*
 * The bits of a dirty bitmap (section "Bitmaps"), in the pieces in which they
 * are stored: one cluster of bits each. Pieces that are all zeros or all ones
 * take no memory, so that a small file cannot ask for much.
 */
#ifndef FORMAT_QCOW2_BITS_H
#define FORMAT_QCOW2_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "format/qcow2.h"

#define QCOW2_BITS_MAX (UINT64_C(512) << 20) /* bytes of one; QEMU's limit */

struct qcow2_bits {
	uint64_t size;         /* guest bytes */
	unsigned granularity;  /* log2 of guest bytes per bit */
	unsigned cluster_bits; /* of a piece's bytes */
	uint64_t n;            /* pieces */
	struct qcow2_piece {
		uint8_t *p; /* a cluster; owned; NULL: all bits are `ones` */
		bool ones;
	} *v;
};

/* All zeros. */
int qcow2_bits_new(struct qcow2_bits *b, uint64_t size, unsigned granularity,
	unsigned cluster_bits, struct err *e);
/* Reads the table of `entries` at hoff. ERR_CORRUPT with EINVAL where table
 * and size do not go together. */
int qcow2_bits_load(struct qcow2_bits *b, struct file *f,
	const struct qcow2_header *h, uint64_t size, unsigned granularity,
	uint64_t hoff, uint32_t entries, struct err *e);
void qcow2_bits_free(struct qcow2_bits *b); /* a zeroed one is fine */
/* What is set in src is set in dst; both have the same size. */
int qcow2_bits_merge(struct qcow2_bits *dst, const struct qcow2_bits *src,
	struct err *e);
/* The bits of guest bytes [voff, voff+len), as far as the disk reaches. */
int qcow2_bits_mark(struct qcow2_bits *b, uint64_t voff, uint64_t len,
	struct err *e);
/* Another size: new bits are zero, and those behind the end go. */
int qcow2_bits_resize(struct qcow2_bits *b, uint64_t size, struct err *e);

#endif
