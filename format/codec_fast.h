/* SPDX-License-Identifier: MIT */
/*
 * Deflate at full speed with libdeflate, for codec_zlib.c only. A build
 * without libdeflate has the same functions: open gives NULL, and zlib does it
 * all.
 */
#ifndef FORMAT_CODEC_FAST_H
#define FORMAT_CODEC_FAST_H

#include <stdbool.h>
#include <stddef.h>

struct codec_fast;

/* level < 0: for unpacking only; 0: the default. NULL when there is no
 * libdeflate or no memory. */
struct codec_fast *codec_fast_open(int level);
/* True when the stream ended and filled out exactly. False says nothing. */
bool codec_fast_unpack(struct codec_fast *c, const void *in, size_t in_len,
	void *out, size_t out_len);
/* Whether it can pack (libdeflate knows the 32 KiB window only). */
bool codec_fast_packs(const struct codec_fast *c);
/* 0: does not fit. */
size_t codec_fast_pack(struct codec_fast *c, const void *in, size_t in_len,
	void *out, size_t out_cap);
void codec_fast_close(struct codec_fast *c); /* NULL is fine */

#endif
