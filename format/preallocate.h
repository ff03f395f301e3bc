/* SPDX-License-Identifier: MIT */
/*
 * Room for an image's bytes before they are written, as `-o preallocation`
 * and resize's --preallocation ask for it.
 */
#ifndef FORMAT_PREALLOCATE_H
#define FORMAT_PREALLOCATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/watch.h"
#include "io/file.h"

enum preallocation {
	PREALLOC_OFF,
	PREALLOC_METADATA,
	PREALLOC_FALLOC,
	PREALLOC_FULL,
};

/*
 * Bytes [from, to) of f get room: falloc reserves blocks, and leaves what is
 * there; full writes zeros, and tells w how far it is if tell is set; nothing
 * happens for off and metadata. The file grows to `to` where it is shorter,
 * piece by piece: after a fault it may be longer than before. ERR_CANCELLED
 * when w says so, ERR_NOMEM, ERR_IO.
 */
int preallocate_range(struct file *f, uint64_t from, uint64_t to,
	enum preallocation how, const struct watch *w, bool tell,
	struct err *e);

#endif
