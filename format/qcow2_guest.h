/* SPDX-License-Identifier: MIT */
/*
 * Guest data into an existing qcow2, in place. Clusters that are the image's
 * alone are overwritten; for all others (holes, shared, packed, zero) there
 * are new ones, filled up with what the guest saw around the data.
 *
 * Work goes in segments: runs are placed, the caller writes what was placed,
 * and qcow2_guest_settle makes it visible: data and counts, barrier,
 * references, barrier, old counts down. Until then the guest sees the old
 * content of all that is not overwritten in place. Memory: the L2 tables of a
 * segment (QCOW2_GUEST_TABLES and a little), what they give up, and the note
 * for bitmaps that record (qcow2_record.h).
 */
#ifndef FORMAT_QCOW2_GUEST_H
#define FORMAT_QCOW2_GUEST_H

#include "format/qcow2_edit.h"
#include "format/qcow2_write.h"

/* Bytes of L2 tables after which a segment is full. */
#define QCOW2_GUEST_TABLES (8u << 20)
/* Guest bytes that one zero call should not exceed: more tables than this
 * cannot come at once. */
#define QCOW2_GUEST_ZERO_CLUSTERS (1u << 18)

struct qcow2_guest;

struct qcow2_guest_request {
	struct qcow2_edit_request edit;
	/* zeros over what is not allocated, with no backing file below, stay
	 * unallocated; otherwise they become zero clusters, as in QEMU */
	bool keep_holes;
	/* the guest reads the same bytes afterwards, whatever lies below by
	 * then: zeros are never left to a hole */
	bool same_content;
	/* bitmaps note whole units of this many bytes; a power of two, 0: what
	 * is written and no more */
	uint64_t note_unit;
};

/* The chain's top is changed; its backing files are read for what surrounds
 * the data. Refuses what qcow2_edit_open refuses. */
int qcow2_guest_open(struct qcow2_guest **ret, struct chain *c,
	const struct qcow2_guest_request *rq, struct err *e);
/* For what is changed beside the data, after a settle. */
struct qcow2_edit *qcow2_guest_edit(struct qcow2_guest *g);
/* The unit in which zeros cost nothing: a cluster, or a subcluster. */
uint64_t qcow2_guest_unit(const struct qcow2_guest *g);
/* Calls in guest order, no byte twice in a segment, from one thread at a time;
 * voff+len within the image. What is appended to out must be written before
 * the next settle, and buf live until then. */
int qcow2_guest_data(struct qcow2_guest *g, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e);
/* One compressed cluster, len bytes packed. Where the guest's cluster has a
 * place already, be it for zeros, that is EIO, as in QEMU; with an external
 * data file ENOTSUP. */
int qcow2_guest_packed(struct qcow2_guest *g, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e);
/* Whole units become zeros without bytes (version 3), the rest is written. */
int qcow2_guest_zero(struct qcow2_guest *g, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e);
/* The segment is to be settled soon. */
bool qcow2_guest_full(const struct qcow2_guest *g);
/* All that was placed is written. Runs the plan. */
int qcow2_guest_settle(struct qcow2_guest *g, struct err *e);
/* After the last settle: counts and the last barrier. The chain is stale. */
int qcow2_guest_finish(struct qcow2_guest *g, struct err *e);
/* Without a finish: what was settled stays, and bitmaps that record are stored
 * with all that may have been written, but after a barrier that failed they
 * stay in use. Counts of what was not settled that are in the file already are
 * taken back. NULL is fine. */
void qcow2_guest_close(struct qcow2_guest *g);

#endif
