/* SPDX-License-Identifier: MIT */
/* An overlay after its data went into the backing file: nothing is allocated
 * any more, the guest sees the backing file alone. Snapshots stay. */
#ifndef FORMAT_QCOW2_EMPTY_H
#define FORMAT_QCOW2_EMPTY_H

#include "format/qcow2_edit.h"

/* The chain's top. What it held must be durable below. Where QEMU makes the
 * file as small as a new one, so do we. The chain is stale afterwards. */
int qcow2_empty(struct chain *c, const struct qcow2_edit_request *rq,
	struct err *e);

#endif
