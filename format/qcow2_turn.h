/* SPDX-License-Identifier: MIT */
/*
 * Many counts and the COPIED flags that go with them, changed as one.
 *
 * A flag is set exactly where the count is 1, and flags and counts lie in
 * different sectors: changed in place, a crash would leave one without the
 * other. So copies are made behind the end of the file of every refcount
 * block and active L2 table that changes; one sector, the header's, turns to
 * them; what lies in the old places is brought up to date unseen; the same
 * sector turns back, and the copies are cut off. The final layout is the one
 * that QEMU's changes in place have.
 */
#ifndef FORMAT_QCOW2_TURN_H
#define FORMAT_QCOW2_TURN_H

#include "format/qcow2_edit.h"

struct qcow2_turn {
	struct qcow2_edit *d;
	struct qcow2_refs next; /* the counts as they will be */
	uint64_t file_end;      /* bytes; what is behind goes in the end */
	uint64_t first, end;    /* clusters of the copies */
	uint64_t table_hoff;    /* of next's table */
	bool turned;
	uint8_t *table;         /* one L2 */
};

/* Runs what is planned: what was allocated before is counted in the file. */
int qcow2_turn_begin(struct qcow2_turn *t, struct qcow2_edit *d,
	struct err *e);
void qcow2_turn_end(struct qcow2_turn *t); /* also after a failure */

/* `step` (+1, or any number less) for each cluster that [hoff, hoff+len)
 * touches. A count that is too low is ERR_CORRUPT, as is 0; one that has no
 * room for more is ERR_LIMIT with EINVAL. */
int qcow2_turn_range(struct qcow2_turn *t, uint64_t hoff, uint64_t len,
	int64_t step, struct err *e);
/* The same for all L2 tables of an L1 (big endian) and what they refer to.
 * An L1 that leads to one table twice is ERR_CORRUPT. */
int qcow2_turn_tree(struct qcow2_turn *t, const uint8_t *l1, uint64_t entries,
	int step, struct err *e);

/*
 * Carries it out. The active L1 becomes l1 (big endian; flags are set here) at
 * l1_hoff, which is the place it has or a fresh one. What else of the header
 * changes at the same time is in d->head.
 */
int qcow2_turn_run(struct qcow2_turn *t, const uint8_t *l1, uint64_t entries,
	uint64_t l1_hoff, struct err *e);

#endif
