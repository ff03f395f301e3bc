/* SPDX-License-Identifier: MIT */
/*
 * Room for an image's bytes. Both ways go in pieces, so that somebody who
 * gives up waits for one piece and not for a terabyte: a file system may take
 * minutes for a single large fallocate.
 */
#include "config.h"

#include "format/preallocate.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"

#define FILL_STEP (256 * KIB)
#define ALLOCATE_STEP (1 * GIB)

static int
go_on(const struct watch *w, struct err *e)
{
	return watch_cancelled(w)
		? err_set(e, ERR_CANCELLED, "interrupted") : 0;
}

static int
fill(struct file *f, uint64_t from, uint64_t to, const struct watch *w,
	bool tell, struct err *e)
{
	size_t step = units_min(to - from, FILL_STEP);
	/* aligned: the file may be open for direct I/O */
	CLEANUP_FREE void *zeros = buf_alloc_aligned(step);
	uint64_t at, n;

	if (!zeros)
		return err_set(e, ERR_NOMEM, "out of memory");
	memset(zeros, 0, step);
	for (at = from; at < to; at += n) {
		n = units_min(to - at, step);
		if (go_on(w, e) || file_write(f, zeros, n, at, e))
			return -1;
		if (tell)
			watch_progress(w, at + n - from, to - from);
	}
	return 0;
}

int
preallocate_range(struct file *f, uint64_t from, uint64_t to,
	enum preallocation how, const struct watch *w, bool tell,
	struct err *e)
{
	uint64_t n;

	if (from >= to || how == PREALLOC_OFF || how == PREALLOC_METADATA)
		return 0;
	if (how == PREALLOC_FULL)
		return fill(f, from, to, w, tell, e);
	for (; from < to; from += n) {
		n = units_min(to - from, ALLOCATE_STEP);
		if (go_on(w, e) || file_allocate(f, from, n, e))
			return -1;
	}
	return 0;
}
