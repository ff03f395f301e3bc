/* SPDX-License-Identifier: MIT */
/*
 * The way out of one window: finds zeros, digests, packs clusters, lets the
 * sink place the runs and turns what was placed into write requests.
 */
#ifndef OP_EMIT_H
#define OP_EMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "format/codec.h"
#include "op/fetch.h"
#include "op/scan.h"
#include "op/sink.h"

struct pipeline_request;

/* One for all workers. */
struct emit_shared {
	const struct pipeline_request *rq;
	uint64_t window;
	_Atomic uint64_t bytes;      /* guest bytes placed as data */
	_Atomic uint64_t bytes_read;
	_Atomic uint64_t unflushed;  /* host bytes since the last flush */
	_Atomic bool clone, copy;    /* not refused yet */
	_Atomic bool reserve;
};

struct emit_run {
	uint64_t voff;
	uint64_t len;
	enum { RUN_DATA, RUN_ZERO, RUN_PACKED } kind;
	size_t packed_at, packed_len; /* in emit.packed */
};

/* One per slot. */
struct emit {
	struct emit_run *run;
	size_t n, cap;
	struct placed_list placed;
	uint8_t *packed; /* a window's worth of packed clusters */
	struct digest_value *leaf;
	size_t n_leaves;
	const uint8_t *other; /* of a diff: the other side's bytes */
	bool in_kernel;  /* this window was cloned or copied already */
};

void emit_shared_init(struct emit_shared *s,
	const struct pipeline_request *rq, uint64_t window);
uint64_t emit_bytes(struct emit_shared *s);
uint64_t emit_bytes_read(struct emit_shared *s);
void emit_count_read(struct emit_shared *s, uint64_t n);

int emit_open(struct emit *m, struct emit_shared *s, struct err *e);
void emit_close(struct emit *m);

/* May rows be cloned still? */
bool emit_clones(const struct emit_shared *s);
/* Tries to clone a row of plain bytes; true: its window is done. */
bool emit_row(struct emit *m, struct emit_shared *s, const struct piece *row);
/* Tries to move the whole window inside the kernel; true when done. */
bool emit_in_kernel(struct emit *m, struct emit_shared *s, struct window *w);
/* Runs, leaves and packed clusters of a window whose bytes are in buf. Any
 * worker, any order. */
int emit_prepare(struct emit *m, struct emit_shared *s, struct codec *packer,
	const struct window *w, const uint8_t *buf, struct err *e);
/* Hands the runs to the sink; in turn when the sink is ordered. */
int emit_place(struct emit *m, struct emit_shared *s, const struct window *w,
	const uint8_t *buf, struct err *e);
/* What was placed, as requests of f (its reads are done with). */
int emit_requests(struct emit *m, struct emit_shared *s, struct fetch *f,
	struct err *e);
/* All writes of the window are done. */
void emit_written(struct emit *m, struct emit_shared *s,
	const struct fetch *f);

#endif
