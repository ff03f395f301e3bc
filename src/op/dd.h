/* SPDX-License-Identifier: MIT */
/* A piece of an image, block by block, into a new one: qemu-img dd. Every byte
 * is written, zeros too. */
#ifndef OP_DD_H
#define OP_DD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "op/source.h"

#define DD_BLOCK 512          /* the default */
#define DD_BLOCK_MAX INT32_MAX

struct dd_request {
	const struct source *source;
	const struct gate *gate;
	int target_dirfd;
	const char *target;
	enum format target_format; /* RAW or QCOW2, with create's defaults */
	uint64_t block;            /* 1 .. DD_BLOCK_MAX */
	uint64_t count;            /* blocks of the source at most, from its
				    * start; UINT64_MAX: all */
	uint64_t skip;             /* blocks from its start that are left out */
	const struct watch *watch;
};

struct dd_result {
	uint64_t size;  /* bytes copied; the new image is rounded up to 512 */
	bool skips_all; /* there is nothing behind what is left out */
};

enum dd_stage {
	DD_OPEN,   /* of the source */
	DD_CREATE, /* of the target */
	DD_READ,
	DD_WRITE,
};

/* A new name appears when the image is whole and on the disk; an existing file
 * is emptied first. *ret_stage: what failed (NULL: not asked). */
int dd_run(const struct dd_request *rq, struct dd_result *ret,
	enum dd_stage *ret_stage, struct err *e);

#endif
