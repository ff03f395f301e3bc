/* SPDX-License-Identifier: MIT */
/*
 * Random access to what the guest sees. The chain says where bytes are; here
 * they are read and unpacked, one extent at a time. Whole images go through
 * the pipeline instead.
 */
#include "op/read.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/units.h"

#define EXTENTS 64

void
read_open(struct reader *r, struct chain *chain)
{
	*r = (struct reader){.chain = chain};
}

void
read_close(struct reader *r)
{
	unsigned i;

	for (i = 0; i < CODEC_COUNT; i++)
		codec_close(&r->unpack[i]);
	free(r->in);
	free(r->cluster);
	*r = (struct reader){0};
}

/* A file may end within the last cluster that it holds: zeros follow. What
 * lies wholly behind its end was refused when it was described. */
static int
read_host(struct file *f, void *buf, size_t len, uint64_t hoff, struct err *e)
{
	size_t there = hoff < f->size ? units_min(len, f->size - hoff) : 0;

	memset((uint8_t *)buf + there, 0, len - there);
	if (there == 0)
		return 0;
	return file_read(f, buf, there, hoff, e);
}

static int
read_packed(struct reader *r, struct file *f, const struct extent *x,
	uint8_t *out, size_t len, struct err *e)
{
	struct codec *codec = &r->unpack[x->codec];
	uint64_t there = x->hoff < f->size ?
		units_min(x->hlen, f->size - x->hoff) : 0;

	if (r->file != f || r->hoff != x->hoff || r->plen != x->plen) {
		r->file = NULL;
		if (!codec->ops && codec_open(codec, x->codec, NULL, e))
			return -1;
		if (buf_ensure_aligned(&r->in, &r->in_cap, x->hlen, e) ||
			buf_ensure_aligned(&r->cluster, &r->cluster_cap, x->plen, e))
			return -1;
		if (read_host(f, r->in, there, x->hoff, e))
			return -1;
		if (codec_unpack(codec, r->in, there, r->cluster, x->plen,
			    e)) {
			err_prefix(e, "compressed cluster at %" PRIu64,
				x->hoff);
			return err_file(e, f->name);
		}
		r->file = f;
		r->hoff = x->hoff;
		r->plen = x->plen;
	}
	memcpy(out, r->cluster + x->poff, len);
	return 0;
}

int
read_at(struct reader *r, void *buf, size_t len, uint64_t voff, struct err *e)
{
	struct extent ext[EXTENTS];
	uint8_t *out = buf;

	if (voff > r->chain->size || len > r->chain->size - voff)
		return err_set(e, ERR_USAGE, "%zu bytes at %" PRIu64
			" leave the image of %" PRIu64 " bytes", len, voff,
			r->chain->size);
	while (len > 0) {
		size_t n, i;

		if (chain_describe(r->chain, UINT32_MAX, voff, len, ext,
			    EXTENTS, &n, e))
			return -1;
		for (i = 0; i < n; i++) {
			const struct extent *x = &ext[i];
			size_t part = units_min(x->len, len);
			struct file *f = r->chain->files[x->file];
			int bad = 0;

			if (x->kind == EXTENT_DATA)
				bad = read_host(f, out, part, x->hoff, e);
			else if (x->kind == EXTENT_PACKED)
				bad = read_packed(r, f, x, out, part, e);
			else
				memset(out, 0, part);
			if (bad)
				return -1;
			out += part;
			voff += part;
			len -= part;
		}
	}
	return 0;
}
