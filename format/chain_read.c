/* SPDX-License-Identifier: MIT */
/* Small reads of what the guest sees, without a context that is kept. */
#include "format/chain_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/codec.h"

#define EXTENTS 16

int
chain_read_packed(struct file *f, const struct extent *x, uint8_t *out,
	struct err *e)
{
	CLEANUP_FREE uint8_t *in = malloc(x->hlen);
	CLEANUP_FREE uint8_t *whole = malloc(x->plen);
	CLEANUP(codec_close) struct codec c = {0};

	if (!in || !whole)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (file_read_padded(f, in, x->hlen, x->hoff, NULL, e) < 0 ||
		codec_open(&c, x->codec, NULL, e) < 0 ||
		codec_unpack(&c, in, x->hlen, whole, x->plen, e) < 0)
		return -1;
	memcpy(out, whole + x->poff, x->len);
	return 0;
}

static int
read_extent(struct chain *c, const struct extent *x, uint8_t *out,
	struct err *e)
{
	struct file *f = c->files[x->file];

	if (x->kind == EXTENT_DATA)
		return file_read_padded(f, out, x->len, x->hoff, NULL, e);
	if (x->kind == EXTENT_PACKED)
		return chain_read_packed(f, x, out, e);
	memset(out, 0, x->len);
	return 0;
}

int
chain_read_guest(struct chain *c, uint64_t voff, uint64_t len, uint8_t *out,
	struct err *e)
{
	uint64_t there = voff < c->size ? units_min(len, c->size - voff) : 0;
	struct extent x[EXTENTS];
	size_t n;

	memset(out + there, 0, len - there);
	while (there > 0) {
		if (chain_describe(c, UINT32_MAX, voff, there, x, EXTENTS, &n,
			    e) < 0)
			return -1;
		for (size_t i = 0; i < n; i++) {
			if (read_extent(c, &x[i], out, e) < 0)
				return -1;
			out += x[i].len;
			voff += x[i].len;
			there -= x[i].len;
		}
	}
	return 0;
}
