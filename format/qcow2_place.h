/* SPDX-License-Identifier: MIT */
/*
 * Where guest bytes of a new qcow2 image go: the mapping tables of an image
 * that is being written in guest order, on top of qcow2_alloc. For the
 * creation and the streaming writer (qcow2_write.h).
 *
 * Memory: one L2 table (at most 2 MiB) and a window of the L1 table.
 */
#ifndef FORMAT_QCOW2_PLACE_H
#define FORMAT_QCOW2_PLACE_H

#include "format/qcow2.h"
#include "format/qcow2_alloc.h"
#include "format/qcow2_write.h"

/* BDRV_MAX_LENGTH of QEMU: INT64_MAX down to a multiple of 1 GiB. */
#define QCOW2_SIZE_MAX (UINT64_C(0x7fffffffffffffff) & ~UINT64_C(0x3fffffff))

/* What the options say of the header; tables and offsets are left 0. */
int qcow2_options_header(const struct qcow2_options *o,
	struct qcow2_header *ret, struct err *e);
/* Does QEMU write the feature name table? */
bool qcow2_options_features(const struct qcow2_header *h);
uint64_t qcow2_options_l1_entries(const struct qcow2_header *h);

struct qcow2_place {
	struct qcow2_alloc a;
	struct qcow2_header h;
	struct file *f;
	struct file *data;   /* external data file or NULL */
	uint64_t data_end;   /* its length when all is written */
	/* window of the L1 table, as on disk */
	uint8_t *l1;
	uint64_t l1_first;   /* entry */
	bool l1_dirty;
	/* the current L2 table, as on disk */
	uint8_t *l2;
	uint64_t l2_hoff;    /* 0: none */
	uint64_t l1x;        /* its number */
	bool l2_dirty, l2_virgin;
};

/* Guest bytes [voff, voff+len) at hoff of the image or the data file; head and
 * tail bytes around them must read as zeros. */
struct qcow2_run {
	uint64_t voff, hoff, len;
	uint32_t head, tail;
};

/* Everything of an empty image in memory; f reads as zeros if fresh. */
int qcow2_place_open(struct qcow2_place *p, struct file *f, struct file *data,
	const struct qcow2_options *o, struct err *e);
void qcow2_place_close(struct qcow2_place *p);

/*
 * A place for a prefix of [voff, voff+len), which is one write request of a
 * guest; 0 < len. prealloc: the clusters are mapped, but their subclusters
 * (extended L2) stay unallocated.
 */
int qcow2_place_data(struct qcow2_place *p, uint64_t voff, uint64_t len,
	bool prealloc, struct qcow2_run *ret, struct err *e);
/* The file that holds guest data reaches to end at least. */
void qcow2_place_reach(struct qcow2_place *p, uint64_t end);
/* Whole clusters mapped to [hoff, hoff+len), which are counted already. */
int qcow2_place_map(struct qcow2_place *p, uint64_t voff, uint64_t hoff,
	uint64_t len, struct err *e);
/* Whole (sub)clusters become zeros without bytes; the last one of the image
 * may be short. Version 3 only. */
int qcow2_place_zero(struct qcow2_place *p, uint64_t voff, uint64_t len,
	struct err *e);
/* One compressed cluster of len bytes. */
int qcow2_place_packed(struct qcow2_place *p, uint64_t voff, uint64_t len,
	uint64_t *ret_hoff, struct err *e);
/* Tables and refcounts go to the file; the header does not. */
int qcow2_place_flush(struct qcow2_place *p, struct err *e);

#endif
