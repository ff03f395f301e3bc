/* SPDX-License-Identifier: MIT */
/* Between qcow2_turn.c and qcow2_turn_run.c only. */
#ifndef FORMAT_QCOW2_TURN_INT_H
#define FORMAT_QCOW2_TURN_INT_H

#include "format/qcow2_turn.h"

/* The error of a count that has no room for one more. */
int qcow2_turn_no_room(const struct qcow2_refs *r, uint64_t cluster,
	struct err *e);
/* n clusters in a row for copies, behind the end of the file. */
int qcow2_turn_place(struct qcow2_turn *t, uint64_t n, uint64_t *ret,
	struct err *e);
/* Plans the new blocks and their table; nothing is placed afterwards. */
int qcow2_turn_counts(struct qcow2_turn *t, struct err *e);
/* The old blocks become what the new ones are, without the copies. */
int qcow2_turn_renew_counts(struct qcow2_turn *t, struct err *e);

#endif
