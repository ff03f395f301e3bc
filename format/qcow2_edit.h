/* SPDX-License-Identifier: MIT */
/*
 * One change of a qcow2 in place: its plan, its header, its L1 and L2 tables
 * and its refcounts, and the order among them.
 *
 * Everything new (refcounts up, fresh tables, data) may be written at any
 * time. qcow2_edit_link makes it durable and then writes the references. What
 * is to be freed waits in a list until qcow2_edit_settle has put a barrier
 * behind the references that went away.
 */
#ifndef FORMAT_QCOW2_EDIT_H
#define FORMAT_QCOW2_EDIT_H

#include "format/chain.h"
#include "format/plan.h"
#include "format/qcow2.h"
#include "format/qcow2_refs.h"
#include "format/qcow2_update.h"

/* What waits to lose references: so many each. None: it is of the data file,
 * and is cleared. */
struct qcow2_drop {
	uint64_t hoff, len;
	uint64_t times;
};

/* 6 MiB of them: who may give up more than this settles in between. */
#define QCOW2_DROPS_MAX (1u << 18)

struct qcow2_edit_request {
	bool durable; /* barriers reach the disk */
	/* the external data file, open for writing; NULL if there is none */
	struct file *data_file;
	const struct watch *watch; /* for cancellation; may be NULL */
	/* sees every operation of the plan before it is run; may be NULL */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

struct qcow2_edit {
	struct chain *chain; /* [0] is the image; borrowed */
	const struct qcow2_header *h; /* now: what the disk says, or will */
	struct qcow2_header now;
	struct file *data_file; /* the external data file, or NULL; borrowed */
	const struct qcow2_resize *rq; /* of a resize; else NULL */
	struct qcow2_bitmaps *bitmaps; /* to be stored with the size, or NULL */
	struct plan plan;
	struct qcow2_refs refs;
	uint8_t head[QCOW2_V3_HEADER]; /* as it will be on disk */
	size_t head_len;
	/* of the header cluster: unknown fields, then unknown extensions;
	 * NULL until the header is rewritten (qcow2_reheader.h) */
	uint8_t *kept;
	size_t kept_len[2];
	uint64_t old_size; /* what the guest saw, bytes */
	/* the active L1, big endian, and the entries that are to be written */
	uint8_t *l1;
	uint64_t l1_entries, l1_hoff;
	uint64_t l1_lo, l1_hi; /* hi 0: none */
	uint64_t fresh; /* bytes of fresh tables since the last link */
	/* dropped when their references are gone from the disk */
	struct qcow2_drop *drop;
	size_t n_drop, drop_cap;
};

/* One L2 table in memory. */
struct qcow2_l2 {
	uint64_t l1x;
	uint64_t hoff;
	uint8_t *p;      /* a cluster; owned */
	bool fresh;      /* not yet referred to */
	uint64_t lo, hi; /* changed bytes of one that is; hi 0: none */
};

/* ERR_CORRUPT or ERR_UNSUPPORTED for images that must not be changed. */
int qcow2_edit_changeable(const struct qcow2_header *h, struct err *e);
/* Refuses images that must not be changed (dirty, corrupt, encrypted), loads
 * the tables, clears autoclear bits that are not known. */
int qcow2_edit_open(struct qcow2_edit *d, struct chain *c,
	const struct qcow2_edit_request *rq, struct err *e);
void qcow2_edit_close(struct qcow2_edit *d);

/* Writes the header's fixed fields; the caller changed d->head. */
int qcow2_edit_head(struct qcow2_edit *d, struct err *e);

/* Entry l1x of the L1 in memory; 0 beyond the end. */
uint64_t qcow2_edit_l1_get(const struct qcow2_edit *d, uint64_t l1x);
void qcow2_edit_l1_set(struct qcow2_edit *d, uint64_t l1x, uint64_t entry);
/* Checks an L1 entry: *ret_hoff is its table, 0 if none; ERR_CORRUPT for
 * reserved bits, a bad alignment, or a place beyond the file's end. */
int qcow2_edit_l2_at(struct qcow2_edit *d, uint64_t l1x, uint64_t *ret_hoff,
	struct err *e);

/* The table of l1x to be changed: read; made when there is none; copied when
 * a snapshot shares it. *t is zeroed by the callee; close or drop it. */
int qcow2_edit_l2_open(struct qcow2_edit *d, uint64_t l1x, struct qcow2_l2 *t,
	struct err *e);
uint64_t qcow2_edit_l2_get(const struct qcow2_edit *d,
	const struct qcow2_l2 *t, uint64_t l2x, uint64_t *ret_bitmap);
void qcow2_edit_l2_set(const struct qcow2_edit *d, struct qcow2_l2 *t,
	uint64_t l2x, uint64_t entry, uint64_t bitmap);
/* Plans what changed (for a table in use: after a flush) and frees. */
int qcow2_edit_l2_close(struct qcow2_edit *d, struct qcow2_l2 *t,
	struct err *e);
/* Plans what changed, and no more: the flush, and the link of a fresh table,
 * are the caller's. It stays open. */
int qcow2_edit_l2_write(struct qcow2_edit *d, struct qcow2_l2 *t,
	struct err *e);
void qcow2_edit_l2_free(struct qcow2_l2 *t);

/* [hoff, hoff+len) loses one reference at the next settle, or more. */
int qcow2_edit_drop(struct qcow2_edit *d, uint64_t hoff, uint64_t len,
	struct err *e);
int qcow2_edit_drop_times(struct qcow2_edit *d, uint64_t hoff, uint64_t len,
	uint64_t times, struct err *e);
/* Bytes [hoff, hoff+len) of the data file lose their reference at the next
 * settle: they read as zeros then, as after a discard of QEMU's. */
int qcow2_edit_drop_data(struct qcow2_edit *d, uint64_t hoff, uint64_t len,
	struct err *e);

/* All that is new reaches the disk, then the changed L1 entries are written. */
int qcow2_edit_link(struct qcow2_edit *d, struct err *e);
/* A barrier behind the references, then the drops. */
int qcow2_edit_settle(struct qcow2_edit *d, struct err *e);

#endif
