/* SPDX-License-Identifier: MIT */
/* Changing an image's virtual size in place. */
#ifndef OP_RESIZE_H
#define OP_RESIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "format/gate.h"
#include "format/plan.h"
#include "format/probe.h"
#include "format/qcow2_write.h"

/* The message (ERR_USAGE) where qemu-img adds a second one, a warning:
 * "Shrinking an image will delete all data beyond the shrunken image's end.
 * Before performing such an operation, make sure there is no important data
 * there." */
#define RESIZE_NEEDS_SHRINK \
	"Use the --shrink option to perform a shrink operation."

struct resize_request {
	int dirfd;
	const char *path;
	/* FORMAT_PROBE: a file that looks like anything but raw is opened as
	 * what it looks like only if allow_probed; raw content that looks like
	 * qcow2 is otherwise ERR_DENIED */
	enum format format;
	bool allow_probed;
	int relative;          /* 0 absolute, +1 grow by, -1 shrink by size */
	uint64_t size;         /* bytes */
	bool shrink;           /* shrinking is meant */
	enum preallocation preallocation;
	bool durable;
	const char *data_path; /* as inplace_request's; or NULL */
	bool no_locks;         /* locking=off */
	/* for the backing and data files, which a qcow2 needs: where the
	 * backing file is longer, zeros must hide it. NULL: neither is
	 * opened, and an image that has one is refused */
	const struct gate *gate;
	const struct watch *watch;
	/* qcow2: sees the plan's operations; for tests; may be NULL */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

struct resize_result {
	enum format format;
	uint64_t old_size, new_size; /* bytes */
};

/* Takes QEMU's writer locks. Every refusal comes before the first changed
 * byte. */
int resize_run(const struct resize_request *rq, struct resize_result *ret,
	struct err *e);

#endif
