/* SPDX-License-Identifier: MIT */
/* How large a new image would be, as qemu-img measure tells it. */
#ifndef OP_MEASURE_H
#define OP_MEASURE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/watch.h"
#include "op/source.h"

struct measure_request {
	/* the image to be copied; NULL: an empty one of `size` guest bytes */
	const struct source *source;
	const struct gate *gate;
	uint64_t size;
	enum format target;     /* RAW or QCOW2; the rest is for QCOW2: */
	uint32_t cluster_size;  /* 0: 64 KiB */
	unsigned version;       /* 0: 3 */
	unsigned refcount_bits; /* 0: 16 */
	bool extended_l2;
	bool all;               /* preallocation of data */
	bool backing;           /* over a backing file: how much of the source
				 * is in it is not known */
	const struct watch *watch;
};

struct measure_result {
	uint64_t required;
	uint64_t full;
	bool has_bitmaps; /* both images may have some */
	uint64_t bitmaps;
};

/* The options against each other, with qemu-img's messages; touches nothing. */
int measure_check(const struct measure_request *rq, struct err *e);
/* ret_opened (may be NULL): the image could be opened, so that an error is
 * about its tables. */
int measure_run(const struct measure_request *rq, struct measure_result *ret,
	bool *ret_opened, struct err *e);

/* qemu-img's two texts, appended. */
void measure_text(const struct measure_result *r, bool json, struct buf *out);

#endif
