/* SPDX-License-Identifier: MIT */
/* A new, empty image: raw, qcow2, or an overlay on a base. */
#ifndef OP_CREATE_H
#define OP_CREATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "format/gate.h"
#include "format/qcow2_write.h"

struct create_request {
	int dirfd;
	const char *path;
	enum format format;         /* RAW or QCOW2 */
	struct qcow2_options qcow2; /* size included, when has_size */
	enum preallocation raw_preallocation;
	bool has_size;
	uint64_t size;              /* bytes; rounded up to 512 */
	bool unsafe_backing;        /* -u: do not open the backing file */
	bool exclusive;             /* a target that exists is an error
				     * (native); else it is overwritten in
				     * place, as qemu-img does */
	bool durable;               /* fsync file and directory */
	bool qemu_raw_block;        /* raw: really write the first 4 KiB, as
				     * qemu-img does */
	const struct gate *gate;    /* for the backing file */
	const struct watch *watch;
};

struct create_result {
	uint64_t virtual_size;
};

int create_run(const struct create_request *rq, struct create_result *ret,
	struct err *e);

#endif
