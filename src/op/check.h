/* SPDX-License-Identifier: MIT */
/* Checking an image, and mending it. */
#ifndef OP_CHECK_H
#define OP_CHECK_H

#include <stdbool.h>

#include "base/buf.h"
#include "format/qcow2_check.h"
#include "op/source.h"

struct check_request {
	struct source source; /* a path, if something is to be mended */
	unsigned fix;         /* enum qcow2_fix */
	/* see inplace_request; of what is mended only */
	bool allow_probed;
	/* open the files that the image names too, as qemu-img check does,
	 * though nothing in them is looked at */
	bool whole_chain;
	bool durable;
	const struct gate *gate;
	const struct watch *watch; /* found: every message */
	/* see qcow2_check_request; for tests */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

struct check_result {
	enum format format; /* RAW: it has nothing that could be checked */
	/* as it is at the end; what was mended is told by the fixed ones */
	struct qcow2_check_result r;
	bool mended; /* something was, and the image was checked again */
};

enum check_verdict {
	CHECK_CLEAN = 0,
	CHECK_FAILED = 1, /* it did not come to an end, or not everywhere */
	CHECK_CORRUPT = 2,
	CHECK_LEAKS = 3,
	CHECK_UNSUPPORTED = 63,
};

/* Fails where the image cannot be opened; what cannot be read later is in
 * ret->r.eno and r.errors. */
int check_run(const struct check_request *rq, struct check_result *ret,
	struct err *e);
/* What qemu-img's exit status says. */
enum check_verdict check_verdict(const struct check_result *r);
/* What qemu-img prints; nothing is printed of a check that did not come to
 * its end, but for what was mended before. */
void check_human(const struct check_result *r, struct buf *out);
void check_json(const struct check_result *r, const char *name,
	struct buf *out);

#endif
