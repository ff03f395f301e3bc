/* SPDX-License-Identifier: MIT */
/*
 * Where an image that is changed has its metadata, so that nothing else is
 * written there: QEMU's overlap checks, its default ("cached") set. Inactive
 * L2 tables are not known, as there.
 */
#ifndef FORMAT_QCOW2_OVERLAP_H
#define FORMAT_QCOW2_OVERLAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* In the order in which QEMU looks for them: where there are several, the first
 * is named. */
enum qcow2_meta {
	QCOW2_META_HEADER,
	QCOW2_META_L1,
	QCOW2_META_REFTABLE,
	QCOW2_META_SNAPSHOTS,
	QCOW2_META_SNAPSHOT_L1,
	QCOW2_META_L2,
	QCOW2_META_REFBLOCK,
	QCOW2_META_BITMAPS,
	QCOW2_METAS,
	QCOW2_META_NONE = QCOW2_METAS, /* guest data */
};

struct qcow2_overlap_range {
	uint64_t first, end; /* clusters; empty when equal */
	uint64_t reach;      /* the largest end up to here, when sorted */
};

/* Clusters by number, hashed: number + 1, 0 is an empty slot. */
struct qcow2_overlap_set {
	uint64_t *slot;
	size_t n, used, cap; /* used counts the deleted ones too */
	uint64_t seed;       /* as qcow2_index's: an image chooses the numbers */
};

struct qcow2_overlap {
	unsigned cluster_bits;
	struct qcow2_overlap_range one[QCOW2_METAS]; /* tables there is one of */
	struct qcow2_overlap_range *l1;  /* of snapshots, sorted by first */
	size_t n_l1, l1_cap;
	struct qcow2_overlap_set blocks, tables;
};

void qcow2_overlap_free(struct qcow2_overlap *o);
/* Bytes [hoff, hoff+len) hold the one table of that kind (from now on). */
void qcow2_overlap_put(struct qcow2_overlap *o, enum qcow2_meta kind,
	uint64_t hoff, uint64_t len);
/* One more L1 of a snapshot; sorted by qcow2_overlap_seal. */
int qcow2_overlap_add_l1(struct qcow2_overlap *o, uint64_t hoff, uint64_t len,
	struct err *e);
void qcow2_overlap_seal(struct qcow2_overlap *o);
/* One more L2 table or refcount block; and one that is none any more. */
int qcow2_overlap_add(struct qcow2_overlap *o, enum qcow2_meta kind,
	uint64_t hoff, struct err *e);
void qcow2_overlap_remove(struct qcow2_overlap *o, enum qcow2_meta kind,
	uint64_t hoff);
/* What other than `own` lies in the clusters of [hoff, hoff+len): the first in
 * the order above, or QCOW2_META_NONE. */
enum qcow2_meta qcow2_overlap_find(const struct qcow2_overlap *o,
	enum qcow2_meta own, uint64_t hoff, uint64_t len);
/* The same, but without tables that there may be many of. */
bool qcow2_overlap_single(const struct qcow2_overlap *o, uint64_t hoff);
const char *qcow2_overlap_name(enum qcow2_meta kind); /* QEMU's word */

#endif
