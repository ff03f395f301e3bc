/* SPDX-License-Identifier: MIT */
/*
 * Compressed clusters. A codec context belongs to one worker and is reused;
 * it holds no state between calls.
 */
#ifndef FORMAT_CODEC_H
#define FORMAT_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum codec_kind {
	CODEC_DEFLATE, /* qcow2 "zlib": raw deflate */
	CODEC_ZSTD,
	CODEC_COUNT,
};

/* How hard and how: level 0 is the codec's own default; window_bits 12 (what
 * qemu-img writes) or 15 for deflate, ignored for zstd. */
struct codec_params {
	int level;
	int window_bits;
};

struct codec_ops {
	const char *name;
	int (*open)(void **ret, const struct codec_params *p, struct err *e);
	/*
	 * Fills exactly out_len bytes. in may carry trailing bytes of others,
	 * and may end early (it was cut by the end of the file): a stream that
	 * fills the output is good even if it has no end; one that ends short
	 * is ERR_CORRUPT. zstd: several frames until the output is full.
	 */
	int (*unpack)(void *ctx, const void *in, size_t in_len, void *out,
		size_t out_len, struct err *e);
	/* Packs in_len bytes into at most out_cap; *ret_len 0 when it does not
	 * fit (not an error). The same bytes always, for the same params. */
	int (*pack)(void *ctx, const void *in, size_t in_len, void *out,
		size_t out_cap, size_t *ret_len, struct err *e);
	void (*close)(void *ctx);
};

extern const struct codec_ops codec_deflate_ops;
extern const struct codec_ops codec_zstd_ops;

struct codec {
	const struct codec_ops *ops;
	void *ctx;
};

/* codec.c: total dispatch. params NULL: for unpacking only. */
int codec_open(struct codec *c, enum codec_kind kind,
	const struct codec_params *params, struct err *e);
int codec_unpack(struct codec *c, const void *in, size_t in_len, void *out,
	size_t out_len, struct err *e);
int codec_pack(struct codec *c, const void *in, size_t in_len, void *out,
	size_t out_cap, size_t *ret_len, struct err *e);
void codec_close(struct codec *c); /* a zeroed codec is fine */

#endif
