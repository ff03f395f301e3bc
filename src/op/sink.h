/* SPDX-License-Identifier: MIT */
/*
 * Where guest runs go. A sink decides places; the pipeline writes. Ordered
 * sinks are called in guest order over the whole image, one call at a time;
 * others from any worker at any time.
 */
#ifndef OP_SINK_H
#define OP_SINK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/chain.h"
#include "format/qcow2_write.h"
#include "io/file.h"

struct sink;

struct sink_ops {
	const char *name;
	/* voff and len are multiples of sink->unit but for the image's last
	 * run. Appends what is to be written. */
	int (*data)(struct sink *s, uint64_t voff, const void *buf, size_t len,
		struct placed_list *out, struct err *e);
	/* Guest bytes that read as zeros. */
	int (*zero)(struct sink *s, uint64_t voff, uint64_t len,
		struct placed_list *out, struct err *e);
	/* One compressed cluster; only called when sink->packs. */
	int (*packed)(struct sink *s, uint64_t voff, const void *buf,
		size_t len, struct placed_list *out, struct err *e);
	/* All placed runs were written: metadata and final size. Syncing is
	 * the caller's. */
	int (*finish)(struct sink *s, struct err *e);
	/* Frees; the files are the caller's. */
	void (*close)(struct sink *s);
};

struct sink {
	const struct sink_ops *ops;
	struct file *file;      /* placed data goes here; NULL: a null sink */
	struct file *data_file; /* or here, when to_data_file */
	bool ordered;
	bool packs;
	/* the file reads as zeros where nothing was written */
	bool fresh;
	/* bytes of file from here on are new, and their blocks are worth
	 * reserving before they are written; UINT64_MAX: none */
	uint64_t reserve_from;
	/* granularity of zero detection and of runs: a power of two >= 512 */
	uint64_t unit;
	/* the layout follows the calls: they are to be those of qemu-img
	 * convert, piece by piece (see scan's as_read); zeros are found in
	 * find_unit then, and unit is 512 */
	bool as_read;
	/* zeros are found in this, if it is not unit: a power of two, aligned
	 * to guest bytes */
	uint64_t zero_unit;
	uint64_t zero_max; /* most bytes of one zero call; 0: any */
	/* no more windows, please: the pipeline ends early */
	atomic_bool full;
	uint64_t size; /* guest bytes */
	uint64_t zero_end; /* explicit zeros are needed below this only */
	void *priv;
};

/* raw: guest byte = host byte. fresh: see above, else zeros are punched.
 * A regular file that is shorter gets that size now. */
int sink_raw_open(struct sink *s, struct file *f, uint64_t size,
	uint64_t unit, bool fresh, struct err *e);
/* o->cluster_size may be 0 for the default. backing_size: virtual size of the
 * backing file (zeros behind its end need no clusters); without one 0. */
int sink_qcow2_open(struct sink *s, struct file *f, struct file *data,
	const struct qcow2_options *o, uint64_t backing_size, bool packs,
	bool durable, struct err *e);
/*
 * Into an existing qcow2 (the chain's top). It fills up: the caller runs the
 * pipeline from where it ended, with sink_inplace_settle in between. unit:
 * zeros are found in this, 0 for what costs nothing. fresh: zeros are there.
 * packs: see sink->packs.
 */
struct qcow2_guest_request;
int sink_inplace_open(struct sink *s, struct chain *c,
	const struct qcow2_guest_request *rq, uint64_t unit, bool fresh,
	bool packs, struct err *e);
int sink_inplace_settle(struct sink *s, struct err *e);
/* Places nothing. */
int sink_null_open(struct sink *s, uint64_t size, struct err *e);

int sink_data(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e);
int sink_zero(struct sink *s, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e);
int sink_packed(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e);
int sink_finish(struct sink *s, struct err *e);
void sink_close(struct sink *s); /* a zeroed sink is fine */

#endif
