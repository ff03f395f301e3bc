/* SPDX-License-Identifier: MIT */
/*
 * The bitmaps of an image that is changed in place: all changes are made in
 * memory, and stored at once. Messages are QEMU's.
 */
#ifndef FORMAT_QCOW2_BITMAP_EDIT_H
#define FORMAT_QCOW2_BITMAP_EDIT_H

#include "format/qcow2_bits.h"
#include "format/qcow2_edit.h"

struct qcow2_bitmap {
	char *name;
	unsigned granularity; /* log2 of bytes */
	bool in_use;          /* inconsistent: may only be removed */
	bool is_auto;         /* enabled */
	uint64_t table_hoff;  /* on disk; 0: none yet */
	uint32_t table_entries;
	bool loaded;          /* bits hold the content */
	struct qcow2_bits bits;
};

struct qcow2_bitmaps {
	uint64_t size;     /* of the guest's disk, bytes */
	uint64_t old_size; /* what those on disk are for */
	struct qcow2_bitmap *v;
	size_t n, cap;
	/* the store adds this to the enabled ones; borrowed, may be NULL */
	const struct qcow2_bits *log;
	/* tables whose content is nobody's when the header has changed */
	struct qcow2_bitmap_gone {
		uint64_t hoff;
		uint32_t entries;
	} *gone;
	size_t n_gone, gone_cap;
};

/* The directory of an image, open for reading or for writing. */
int qcow2_bitmaps_load(struct qcow2_bitmaps *b, struct file *f,
	const struct qcow2_header *h, uint64_t size, struct err *e);
void qcow2_bitmaps_free(struct qcow2_bitmaps *b); /* a zeroed one is fine */

/* "Dirty bitmap 'x' not found": ERR_USAGE. */
struct qcow2_bitmap *qcow2_bitmaps_find(struct qcow2_bitmaps *b,
	const char *name, struct err *e);
/* The same, and its content is in memory; ERR_MISMATCH if it is in use. */
struct qcow2_bitmap *qcow2_bitmaps_read(struct qcow2_bitmaps *b,
	const char *name, struct file *f, const struct qcow2_header *h,
	struct err *e);

/* granularity in bytes; 0: the default. ERR_USAGE for what cannot be;
 * ERR_UNSUPPORTED and ERR_LIMIT for what this image cannot hold. */
int qcow2_bitmaps_add(struct qcow2_bitmaps *b, const struct qcow2_header *h,
	const char *name, uint64_t granularity, bool is_auto, struct err *e);
int qcow2_bitmaps_remove(struct qcow2_bitmaps *b, const char *name,
	struct err *e);
int qcow2_bitmaps_clear(struct qcow2_bitmaps *b, const struct qcow2_header *h,
	const char *name, struct err *e);
int qcow2_bitmaps_enable(struct qcow2_bitmaps *b, const char *name, bool on,
	struct err *e);
/* src is left as it is; f and h are those of the image that b is of. */
int qcow2_bitmaps_merge(struct qcow2_bitmaps *b, struct file *f,
	const struct qcow2_header *h, const char *name,
	const struct qcow2_bitmap *src, struct err *e);
/* All of them follow the disk; ERR_MISMATCH if one is in use. */
int qcow2_bitmaps_resize(struct qcow2_bitmaps *b, uint64_t size,
	struct err *e);
/* Its content is in memory, one that is not in use. */
int qcow2_bitmaps_need(struct qcow2_bitmaps *b, struct qcow2_bitmap *x,
	struct file *f, const struct qcow2_header *h, struct err *e);
/* Its table on disk will be nobody's. */
int qcow2_bitmaps_leave(struct qcow2_bitmaps *b, struct qcow2_bitmap *x,
	struct err *e);

/* The disk's size, together with d->bitmaps where these change with it. */
int qcow2_bitmaps_set_size(struct qcow2_edit *d, uint64_t size,
	struct err *e);

/*
 * Writes every bitmap that is not in use anew, where QEMU's close would put
 * it, and turns the header to them, in one step with want's other fields (a
 * changed size); drops what is gone at the next settle. A bitmap that was
 * removed goes first, in a step of its own. Those that are not in memory are
 * read and written one at a time. ERR_LIMIT if there is much more of them than
 * the file could hold.
 */
int qcow2_bitmaps_store(struct qcow2_bitmaps *b, struct qcow2_edit *d,
	const struct qcow2_header *want, struct err *e);

#endif
