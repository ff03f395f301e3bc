/* SPDX-License-Identifier: MIT */
/* The home of libdeflate. When to use it is codec_zlib.c's decision. */
#include "config.h"

#include "format/codec_fast.h"

#ifdef HAVE_LIBDEFLATE

#include <libdeflate.h>
#include <stdlib.h>

/* Of the levels that make smaller output than zlib's 6 with a 4 KiB window,
 * one with a margin: 2 wins by 3 % on file system content, and might lose
 * elsewhere; 6 takes 1.6 times the time of 2. */
#define LEVEL_DEFAULT 4

struct codec_fast {
	struct libdeflate_decompressor *d;
	struct libdeflate_compressor *c; /* NULL: unpacking only */
};

struct codec_fast *
codec_fast_open(int level)
{
	struct codec_fast *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->d = libdeflate_alloc_decompressor();
	if (level >= 0)
		c->c = libdeflate_alloc_compressor(level ? level :
			LEVEL_DEFAULT);
	if (!c->d || (level >= 0 && !c->c)) {
		codec_fast_close(c);
		return NULL;
	}
	return c;
}

bool
codec_fast_unpack(struct codec_fast *c, const void *in, size_t in_len,
	void *out, size_t out_len)
{
	size_t used;

	/* without a place for the real length, a short stream is an error */
	return libdeflate_deflate_decompress_ex(c->d, in, in_len, out, out_len,
		&used, NULL) == LIBDEFLATE_SUCCESS;
}

bool
codec_fast_packs(const struct codec_fast *c)
{
	return c->c != NULL;
}

size_t
codec_fast_pack(struct codec_fast *c, const void *in, size_t in_len,
	void *out, size_t out_cap)
{
	return libdeflate_deflate_compress(c->c, in, in_len, out, out_cap);
}

void
codec_fast_close(struct codec_fast *c)
{
	if (!c)
		return;
	if (c->d)
		libdeflate_free_decompressor(c->d);
	if (c->c)
		libdeflate_free_compressor(c->c);
	free(c);
}

#else

struct codec_fast *
codec_fast_open(int level)
{
	(void)level;
	return NULL;
}

bool
codec_fast_unpack(struct codec_fast *c, const void *in, size_t in_len,
	void *out, size_t out_len)
{
	(void)c;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_len;
	return false;
}

bool
codec_fast_packs(const struct codec_fast *c)
{
	(void)c;
	return false;
}

size_t
codec_fast_pack(struct codec_fast *c, const void *in, size_t in_len,
	void *out, size_t out_cap)
{
	(void)c;
	(void)in;
	(void)in_len;
	(void)out;
	(void)out_cap;
	return 0;
}

void
codec_fast_close(struct codec_fast *c)
{
	(void)c;
}

#endif
