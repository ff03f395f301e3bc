/* SPDX-License-Identifier: MIT */
/*
 * Raw deflate, the home of zlib. Most streams are decoded by libdeflate
 * (codec_fast.c); whatever that refuses, zlib decides, with QEMU's rule: good
 * is what fills the cluster, whether the stream ends there or not. So a build
 * without libdeflate takes the same images.
 *
 * With a 4 KiB window and the default level the bytes are those of
 * `qemu-img convert -c`.
 */
#include "format/codec.h"

#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "format/codec_fast.h"

#define MEM_LEVEL 9 /* as QEMU; it shapes the output */

struct deflate {
	struct codec_fast *fast; /* or NULL */
	z_stream in, out;
	bool has_in, has_out;    /* the stream was initialised */
	struct codec_params params;
};

static void
deflate_close(void *ctx)
{
	struct deflate *d = ctx;

	if (d->has_in)
		inflateEnd(&d->in);
	if (d->has_out)
		deflateEnd(&d->out);
	codec_fast_close(d->fast);
	free(d);
}

static int
open_packing(struct deflate *d, const struct codec_params *p, struct err *e)
{
	int level = p->level ? p->level : Z_DEFAULT_COMPRESSION;

	if (level > 9)
		return err_set(e, ERR_USAGE, "compression level %d is not in "
			"1..9", p->level);
	if (d->fast && codec_fast_packs(d->fast))
		return 0;
	if (deflateInit2(&d->out, level, Z_DEFLATED, -p->window_bits,
		MEM_LEVEL, Z_DEFAULT_STRATEGY) != Z_OK)
		return err_set(e, ERR_NOMEM, "no memory to deflate");
	d->has_out = true;
	return 0;
}

static int
deflate_open(void **ret, const struct codec_params *p, struct err *e)
{
	struct deflate *d = calloc(1, sizeof(*d));
	bool wide = p && p->window_bits == 15;

	if (!d)
		return err_set(e, ERR_NOMEM, "no memory to deflate");
	d->fast = codec_fast_open(wide && p->level >= 0 ? p->level : -1);
	if (p && open_packing(d, p, e)) {
		deflate_close(d);
		return -1;
	}
	*ret = d;
	return 0;
}

/* The window is the output buffer itself in one call, so that a small one
 * would do for any distance; -15 says so to those who check. */
static int
unpack_zlib(struct deflate *d, const void *in, size_t in_len, void *out,
	size_t out_len, struct err *e)
{
	int r;

	if (in_len > UINT_MAX || out_len > UINT_MAX)
		return err_set(e, ERR_LIMIT, "a cluster of %zu bytes", out_len);
	if (!d->has_in) {
		if (inflateInit2(&d->in, -15) != Z_OK)
			return err_set(e, ERR_NOMEM, "no memory to inflate");
		d->has_in = true;
	} else {
		inflateReset(&d->in);
	}
	d->in.next_in = (z_const Bytef *)in;
	d->in.avail_in = (uInt)in_len;
	d->in.next_out = out;
	d->in.avail_out = (uInt)out_len;
	r = inflate(&d->in, Z_FINISH);
	if (r == Z_MEM_ERROR)
		return err_set(e, ERR_NOMEM, "no memory to inflate");
	if ((r == Z_STREAM_END || r == Z_BUF_ERROR) && d->in.avail_out == 0)
		return 0;
	return err_set(e, ERR_CORRUPT, "a compressed cluster gives %zu of %zu "
		"bytes (%s)", out_len - d->in.avail_out, out_len,
		d->in.msg ? d->in.msg : "the stream ends early");
}

static int
deflate_unpack(void *ctx, const void *in, size_t in_len, void *out,
	size_t out_len, struct err *e)
{
	struct deflate *d = ctx;

	if (d->fast && codec_fast_unpack(d->fast, in, in_len, out, out_len))
		return 0;
	return unpack_zlib(d, in, in_len, out, out_len, e);
}

static int
deflate_pack(void *ctx, const void *in, size_t in_len, void *out,
	size_t out_cap, size_t *ret_len, struct err *e)
{
	struct deflate *d = ctx;

	if (d->fast && codec_fast_packs(d->fast)) {
		*ret_len = codec_fast_pack(d->fast, in, in_len, out, out_cap);
		return 0;
	}
	if (in_len > UINT_MAX || out_cap > UINT_MAX)
		return err_set(e, ERR_LIMIT, "a cluster of %zu bytes", in_len);
	deflateReset(&d->out);
	d->out.next_in = (z_const Bytef *)in;
	d->out.avail_in = (uInt)in_len;
	d->out.next_out = out;
	d->out.avail_out = (uInt)out_cap;
	*ret_len = deflate(&d->out, Z_FINISH) == Z_STREAM_END ?
		out_cap - d->out.avail_out : 0;
	return 0;
}

const struct codec_ops codec_deflate_ops = {
	.name = "zlib",
	.open = deflate_open,
	.unpack = deflate_unpack,
	.pack = deflate_pack,
	.close = deflate_close,
};
