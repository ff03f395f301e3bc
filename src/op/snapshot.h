/* SPDX-License-Identifier: MIT */
/* Internal snapshots of a qcow2: made, applied, deleted. (Listing them is
 * info's: op/info.h.) */
#ifndef OP_SNAPSHOT_H
#define OP_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "format/plan.h"
#include "op/inplace.h"

enum snapshot_action {
	SNAPSHOT_CREATE,
	SNAPSHOT_APPLY, /* by id, else by name */
	SNAPSHOT_DELETE, /* the first of that name */
};

/* The message (ERR_USAGE) where there is none of that name. */
#define SNAPSHOT_NONE "there is no such snapshot"

struct snapshot_request {
	struct inplace_request image;
	enum snapshot_action action;
	const char *name;
	uint32_t date_sec, date_nsec; /* CREATE */
	bool durable;
	/* sees the plan's operations; for tests; may be NULL */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

struct snapshot_result {
	enum format format;
	bool opened; /* set also on failure: what failed came afterwards */
};

/* Takes QEMU's writer locks. After a failure the image is as it was; a crash
 * leaves it as it was or with the whole change. ERR_UNSUPPORTED with ENOTSUP
 * for a raw image; ERR_BUSY with EBUSY where bitmaps forbid an APPLY. */
int snapshot_run(const struct snapshot_request *rq,
	struct snapshot_result *ret, struct err *e);

#endif
