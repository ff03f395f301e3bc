/* SPDX-License-Identifier: MIT */
/*
 * Changing a qcow2 in place: a plan of writes and barriers (plan.h), made and
 * run. Order: new clusters and their refcounts, barrier, the reference,
 * barrier, old refcounts down. Crash model: any subset of the 512-byte sectors
 * written since the last completed barrier may be lost; the image is then
 * clean or has leaks only.
 */
#ifndef FORMAT_QCOW2_UPDATE_H
#define FORMAT_QCOW2_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "format/chain.h"
#include "format/plan.h"
#include "format/qcow2_write.h"

struct qcow2_resize {
	uint64_t new_size; /* bytes, a multiple of 512 */
	bool shrink;       /* shrinking is meant */
	enum preallocation preallocation;
	bool durable;      /* barriers reach the disk */
	/* the external data file, open for writing; NULL if there is none */
	struct file *data_file;
	const struct watch *watch; /* for cancellation; may be NULL */
	/* sees every operation of the plan before it is run; may be NULL */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

/*
 * Resizes the top of the chain, whose file is open for writing and locked by
 * the caller. The backing files are needed for what they would show in the
 * new area (it reads as zeros, as QEMU makes it) and are only read.
 * Afterwards the chain is stale: close it.
 *
 * new_size not a multiple of 512 is ERR_USAGE "The new size must be a multiple
 * of 512"; shrinking without `shrink`, and preallocation without growing, are
 * ERR_USAGE. Refused by name (ERR_UNSUPPORTED): a dirty or corrupt image, one
 * with encryption, version 2 with snapshots, version 2 where zeros must hide
 * the backing file. ERR_MISMATCH: one with an inconsistent bitmap.
 */
int qcow2_resize(struct chain *c, const struct qcow2_resize *rq,
	struct err *e);

#endif
