/* SPDX-License-Identifier: MIT */
/* Changing an image's virtual size in place. */
#ifndef OP_RESIZE_H
#define OP_RESIZE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "format/probe.h"
#include "format/qcow2_write.h"

struct resize_request {
	int dirfd;
	const char *path;
	/* FORMAT_PROBE: a file that looks like anything but raw is opened as
	 * what it looks like only if allow_probed; raw content that looks like
	 * qcow2 is otherwise ERR_DENIED */
	enum format format;
	bool allow_probed;
	int relative;          /* 0 absolute, +1 grow by, -1 shrink by size */
	uint64_t size;         /* bytes */
	bool shrink;           /* shrinking is meant */
	enum preallocation preallocation;
	bool durable;
	const struct watch *watch;
};

struct resize_result {
	enum format format;
	uint64_t old_size, new_size; /* bytes */
};

int resize_run(const struct resize_request *rq, struct resize_result *ret,
	struct err *e);

#endif
