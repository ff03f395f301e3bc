/* SPDX-License-Identifier: MIT */
/*
 * A plan as text, one operation a line:
 *   write FILE HOFF HEX | clear|fill|allocate FILE HOFF LEN |
 *   truncate FILE LEN | barrier NAME
 * FILE 0 is the image, 1 its data file. tests/crash/plans.py reads it.
 */
#ifndef CRASH_PLAN_LOG_H
#define CRASH_PLAN_LOG_H

#include <inttypes.h>
#include <stdio.h>

#include "format/plan.h"

/* A plan's tap; arg is a FILE. */
static inline void
plan_log(void *arg, const struct plan_op *op)
{
	static const char *const name[] = {
		"write", "clear", "fill", "allocate", "truncate", "barrier",
	};
	FILE *f = arg;

	fprintf(f, "%s ", name[op->kind]);
	if (op->kind == PLAN_BARRIER) {
		fprintf(f, "%s\n", op->why);
		return;
	}
	fprintf(f, "%u %" PRIu64, op->file, op->hoff);
	if (op->kind == PLAN_WRITE) {
		fputc(' ', f);
		for (uint64_t i = 0; i < op->len; i++)
			fprintf(f, "%02x", op->data[i]);
	} else if (op->kind != PLAN_TRUNCATE) {
		fprintf(f, " %" PRIu64, op->len);
	}
	fputc('\n', f);
}

#endif
