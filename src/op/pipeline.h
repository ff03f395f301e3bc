/* SPDX-License-Identifier: MIT */
/*
 * The one road of guest bytes: workers take windows in order, describe them,
 * read and decode, find zeros, let the sink place the runs, and write.
 */
#ifndef OP_PIPELINE_H
#define OP_PIPELINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/watch.h"
#include "format/chain.h"
#include "format/qcow2_write.h"
#include "io/engine.h"

#define PIPELINE_WINDOW (UINT64_C(1) << 20) /* guest bytes, at least */

struct sink;

/* One guest run, in guest order within a window. */
struct sink_ops {
	const char *name;
	/* Runs go to data/zero/packed in guest order over the whole image,
	 * one thread at a time. Not ordered: any order, any thread. */
	bool ordered;
	/* Zeros in a run shorter than unit are left in the data; a multiple of
	 * 512. Clusters for qcow2. */
	uint64_t unit;
	int (*data)(struct sink *s, uint64_t voff, const void *buf, size_t len,
		struct placed_list *out, struct err *e);
	int (*zero)(struct sink *s, uint64_t voff, uint64_t len,
		struct placed_list *out, struct err *e);
	int (*packed)(struct sink *s, uint64_t voff, const void *buf,
		size_t len, struct placed_list *out, struct err *e);
	/* A run that stays unallocated (the backing has it). */
	int (*hole)(struct sink *s, uint64_t voff, uint64_t len,
		struct err *e);
	/* All runs were written: metadata, final size. */
	int (*finish)(struct sink *s, struct err *e);
	void (*abandon)(struct sink *s);
};

struct sink {
	const struct sink_ops *ops;
	struct file *file;      /* placed data goes here */
	struct file *data_file; /* or here, when to_data_file */
	uint64_t unit;          /* overrides ops->unit when not 0 */
	void *priv;
};

#endif
