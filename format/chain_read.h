/* SPDX-License-Identifier: MIT */
/* Guest bytes of a chain, for those who copy a cluster while they change an
 * image. Each call stands alone; streams go through the pipeline. */
#ifndef FORMAT_CHAIN_READ_H
#define FORMAT_CHAIN_READ_H

#include "format/chain.h"

/* [voff, voff+len) as the guest sees it; zeros behind the image's end. */
int chain_read_guest(struct chain *c, uint64_t voff, uint64_t len,
	uint8_t *out, struct err *e);
/* The x->len bytes of a PACKED extent of f. */
int chain_read_packed(struct file *f, const struct extent *x, uint8_t *out,
	struct err *e);

#endif
