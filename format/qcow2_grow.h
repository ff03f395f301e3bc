/* SPDX-License-Identifier: MIT */
/* The two directions of a resize, on an open edit: everything up to and with
 * the last barrier is planned, the caller runs it. */
#ifndef FORMAT_QCOW2_GROW_H
#define FORMAT_QCOW2_GROW_H

#include "format/qcow2_edit.h"

int qcow2_grow(struct qcow2_edit *d, struct err *e);
int qcow2_shrink(struct qcow2_edit *d, struct err *e);

/* qcow2_bitmap_fit.c: *ret whether every bitmap could stay as it is in an
 * image of `size` bytes. */
int qcow2_bitmap_fit(struct file *f, const struct qcow2_header *h,
	uint64_t size, bool *ret, struct err *e);

/* qcow2_head.c: the guest's last cluster when the old size ends inside it. */
struct qcow2_head {
	uint8_t *p;    /* a cluster: what the guest saw of it, then zeros;
			* NULL when the old size is a multiple of clusters */
	uint64_t voff; /* guest byte of the cluster */
};

/* Reads it, before anything is planned: the chain's caches would not know. */
int qcow2_head_load(struct qcow2_edit *d, struct qcow2_head *ret,
	struct err *e);
/* allocate: the cluster is to have a place in the file. zero: behind the old
 * size it must read as zeros, whatever lies there or shows through. */
int qcow2_head_fix(struct qcow2_edit *d, struct qcow2_head *head,
	bool allocate, bool zero, struct err *e);
void qcow2_head_free(struct qcow2_head *head);

#endif
