/* SPDX-License-Identifier: MIT */
/*
 * Enabled bitmaps of an image that guest data is written into. Before the
 * first byte they are marked as in use on disk, so that a crash leaves them
 * inconsistent and nobody believes them; what is written is noted in memory,
 * once for all of them in the finest granularity; at the end all bitmaps are
 * stored anew. Memory: QCOW2_BITS_MAX for the note, as much for the one
 * bitmap that is being stored.
 */
#ifndef FORMAT_QCOW2_RECORD_H
#define FORMAT_QCOW2_RECORD_H

#include "format/qcow2_bitmap_edit.h"

struct qcow2_record {
	struct qcow2_bitmaps list; /* empty where none is enabled */
	struct qcow2_bits log;
	bool marked; /* on disk, and no store was tried since */
};

/* Reads which ones there are; writes nothing. */
int qcow2_record_open(struct qcow2_record *r, struct qcow2_edit *d,
	struct err *e);
/* Before guest bytes [voff, voff+len) change. Runs the plan if it has to mark
 * the bitmaps first. */
int qcow2_record_note(struct qcow2_record *r, struct qcow2_edit *d,
	uint64_t voff, uint64_t len, struct err *e);
/* If they were marked: all that changed is settled; stores them, and drops
 * what they gave up. The last counts and the last barrier are the caller's.
 * From here on d's plan is not asked whether to go on. */
int qcow2_record_store(struct qcow2_record *r, struct qcow2_edit *d,
	struct err *e);
void qcow2_record_close(struct qcow2_record *r); /* a zeroed one is fine */

#endif
