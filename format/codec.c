/* SPDX-License-Identifier: MIT */
/* Total dispatch to the codecs; the contract is asserted here. */
#include "format/codec.h"

#include <assert.h>

int
codec_open(struct codec *c, enum codec_kind kind,
	const struct codec_params *params, struct err *e)
{
	static const struct codec_ops *const all[CODEC_COUNT] = {
		[CODEC_DEFLATE] = &codec_deflate_ops,
		[CODEC_ZSTD] = &codec_zstd_ops,
	};
	void *ctx;

	assert((unsigned)kind < CODEC_COUNT);
	assert(!params || kind != CODEC_DEFLATE || params->window_bits == 12 ||
		params->window_bits == 15);
	if (all[kind]->open(&ctx, params, e))
		return -1;
	*c = (struct codec){.ops = all[kind], .ctx = ctx};
	return 0;
}

int
codec_unpack(struct codec *c, const void *in, size_t in_len, void *out,
	size_t out_len, struct err *e)
{
	assert(out_len > 0);
	return c->ops->unpack(c->ctx, in, in_len, out, out_len, e);
}

int
codec_pack(struct codec *c, const void *in, size_t in_len, void *out,
	size_t out_cap, size_t *ret_len, struct err *e)
{
	size_t len = 0;

	assert(in_len > 0);
	if (c->ops->pack(c->ctx, in, in_len, out, out_cap, &len, e))
		return -1;
	assert(len <= out_cap);
	*ret_len = len;
	return 0;
}

void
codec_close(struct codec *c)
{
	if (c->ops)
		c->ops->close(c->ctx);
	*c = (struct codec){0};
}
