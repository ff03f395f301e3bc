/* SPDX-License-Identifier: MIT */
/* The bitmaps of convert's source, which must not be lost silently, into its
 * target. */
#include "config.h"

#include "cli/bitmaps.h"

#include "op/bitmap.h"

int
bitmaps_check(const struct convert_request *rq, bool skip_broken,
	struct err *e)
{
	if (rq->n_sources != 1)
		return err_set(e, ERR_USAGE,
			"Copying bitmaps only possible with single source");
	if (bitmap_check_source(&rq->sources[0], rq->gate, skip_broken, e))
		return -1;
	if (rq->target_format != FORMAT_QCOW2)
		return err_set(e, ERR_USAGE,
			"Format driver 'raw' does not support bitmaps");
	if (!rq->no_create && rq->qcow2.version == 2)
		return err_set(e, ERR_USAGE,
			"Format driver 'qcow2' does not support bitmaps");
	return 0;
}

int
bitmaps_copy(const struct convert_request *rq, struct err *e)
{
	/* the caller named this target, and what it refers to */
	struct gate g = *rq->gate;
	const struct inplace_request target = {
		.dirfd = rq->target_dirfd,
		.path = rq->target,
		.format = FORMAT_QCOW2,
		.no_backing = true,
		.no_locks = rq->target_no_locks,
		.gate = &g,
		.watch = rq->watch,
	};

	return bitmap_copy(&rq->sources[0], rq->gate, &target,
		rq->cache != CACHE_UNSAFE, e);
}
