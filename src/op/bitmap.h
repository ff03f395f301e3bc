/* SPDX-License-Identifier: MIT */
/* Dirty bitmaps inside a qcow2: made, removed, changed, copied. */
#ifndef OP_BITMAP_H
#define OP_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#include "format/plan.h"
#include "op/inplace.h"
#include "op/source.h"

enum bitmap_action {
	BITMAP_ADD,
	BITMAP_REMOVE,
	BITMAP_CLEAR,
	BITMAP_ENABLE,
	BITMAP_DISABLE,
	BITMAP_MERGE,
};

struct bitmap_step {
	enum bitmap_action action;
	const char *from; /* MERGE: the bitmap whose bits are added */
};

struct bitmap_request {
	struct inplace_request image;
	const char *name;
	const struct bitmap_step *steps; /* done in this order */
	unsigned n_steps;
	uint64_t granularity; /* ADD: bytes; 0: the default */
	/* MERGE: the image that has the other bitmaps; NULL: the same one */
	const struct source *source;
	const struct gate *source_gate;
	/* what was done before a step that fails is kept, as qemu-img does */
	bool keep_partial;
	bool durable;
	/* sees the plan's operations; for tests; may be NULL */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

struct bitmap_result {
	enum format format;
	/* how far it came, set also on failure */
	enum { BITMAP_OPENING, BITMAP_OPENING_SOURCE, BITMAP_STEPS,
		BITMAP_STORING } stage;
	unsigned step; /* STEPS: the one that failed */
};

/*
 * Takes QEMU's writer locks. A crash leaves all bitmaps as they were or as
 * they are to be; or, when one is removed, without it and the others as they
 * were. Faults of a step: ERR_USAGE; ERR_MISMATCH for a bitmap that
 * is inconsistent; for ADD ERR_UNSUPPORTED and ERR_LIMIT where this image
 * cannot hold it. A raw image holds none.
 */
int bitmap_run(const struct bitmap_request *rq, struct bitmap_result *ret,
	struct err *e);

/* The bitmaps of a source, before it is converted with them: ERR_UNSUPPORTED
 * if its format has none, ERR_MISMATCH for one that is inconsistent, unless
 * skip_broken. */
int bitmap_check_source(const struct source *s, const struct gate *g,
	bool skip_broken, struct err *e);
/* All bitmaps of a source into the qcow2 target, which has the same size.
 * Inconsistent ones are left out with a note. */
int bitmap_copy(const struct source *s, const struct gate *g,
	const struct inplace_request *target, bool durable, struct err *e);

#endif
