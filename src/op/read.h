/* SPDX-License-Identifier: MIT */
/* Guest bytes at any offset, for callers who want a piece and not a stream.
 * One reader belongs to one thread at a time. */
#ifndef OP_READ_H
#define OP_READ_H

#include <stddef.h>
#include <stdint.h>

#include "format/chain.h"
#include "format/codec.h"

struct reader {
	struct chain *chain; /* borrowed */
	struct codec unpack[CODEC_COUNT];
	uint8_t *in;         /* packed bytes of one cluster */
	size_t in_cap;
	/* the cluster that was unpacked last, so that small reads in order do
	 * not unpack it again and again */
	uint8_t *cluster;
	size_t cluster_cap;
	const struct file *file; /* NULL: nothing is kept */
	uint64_t hoff;
	uint32_t plen;
};

void read_open(struct reader *r, struct chain *chain);
/* Exactly len bytes at guest byte voff; a range that leaves the image is
 * ERR_USAGE. buf may be partly written on failure. */
int read_at(struct reader *r, void *buf, size_t len, uint64_t voff,
	struct err *e);
void read_close(struct reader *r);

#endif
