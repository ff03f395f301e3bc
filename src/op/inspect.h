/* SPDX-License-Identifier: MIT */
/* The safe policy's report on one file. */
#ifndef OP_INSPECT_H
#define OP_INSPECT_H

#include <stdbool.h>

#include "base/buf.h"
#include "format/gate.h"
#include "op/source.h"

/* Never opens another file than the source. */
int inspect_run(const struct source *s, const struct gate *g, bool deep,
	const struct watch *w, struct gate_report *ret, struct err *e);
void inspect_json(const char *name, const struct gate_report *r,
	struct buf *out);
void inspect_text(const char *name, const struct gate_report *r,
	struct buf *out);

#endif
