/* SPDX-License-Identifier: MIT */
/*
 * Packed clusters for the golden images: raw deflate and zstd streams in all
 * the shapes that a reader meets or must refuse. The streams come from zlib
 * and libzstd themselves, or are hand-made (stored blocks, frame headers).
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "mkimage.h"

/* RFC 1951 3.2.4, by hand: blocks of at most 65535 bytes. */
static size_t
stored(const uint8_t *in, size_t len, uint8_t *out)
{
	size_t at = 0;

	while (len) {
		size_t n = len < 65535 ? len : 65535;

		out[at] = n == len;
		out[at + 1] = (uint8_t)n;
		out[at + 2] = (uint8_t)(n >> 8);
		out[at + 3] = (uint8_t)~n;
		out[at + 4] = (uint8_t)(~n >> 8);
		memcpy(out + at + 5, in, n);
		at += 5 + n;
		in += n;
		len -= n;
	}
	return at;
}

static size_t
deflated(struct image *im, const struct line *l, const uint8_t *in,
	size_t len, uint8_t *out, size_t cap)
{
	int window = (int)mkimage_option_number(im, l, "window", 12);
	bool unfinished = mkimage_flag(l, "unfinished");
	z_stream z = {0};
	int r;

	if (deflateInit2(&z, 6, Z_DEFLATED,
			mkimage_flag(l, "zlibheader") ? window : -window,
			9, Z_DEFAULT_STRATEGY) != Z_OK)
		mkimage_die(im, "deflateInit2");
	z.next_in = (uint8_t *)in;
	z.avail_in = (unsigned)len;
	z.next_out = out;
	z.avail_out = (unsigned)cap;
	/* a flushed stream holds every byte but has no last block */
	r = deflate(&z, unfinished ? Z_SYNC_FLUSH : Z_FINISH);
	if (r != (unfinished ? Z_OK : Z_STREAM_END))
		mkimage_die(im, "deflate");
	cap -= z.avail_out;
	deflateEnd(&z);
	return cap;
}

/* One zstd frame of len bytes. */
static size_t
frame(struct image *im, const struct line *l, const uint8_t *in, size_t len,
	uint8_t *out, size_t cap)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	ZSTD_inBuffer ib = {in, len, 0};
	ZSTD_outBuffer ob = {out, cap, 0};
	uint64_t window = mkimage_option_number(im, l, "windowlog", 0);
	size_t r;

	if (window) {
		ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, (int)window);
		ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	}
	if (mkimage_flag(l, "nosize"))
		ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	if (mkimage_flag(l, "checksum"))
		ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	if (window || mkimage_flag(l, "nosize")) {
		/* in two calls, or the frame is single-segment after all */
		ZSTD_inBuffer none = {in, 0, 0};

		ZSTD_compressStream2(c, &ob, &none, ZSTD_e_continue);
		ZSTD_compressStream2(c, &ob, &ib, ZSTD_e_continue);
	}
	r = ZSTD_compressStream2(c, &ob, &ib, mkimage_flag(l, "unfinished") ?
		ZSTD_e_flush : ZSTD_e_end);
	if (ZSTD_isError(r) || r)
		mkimage_die(im, "zstd: %s", ZSTD_getErrorName(r));
	ZSTD_freeCCtx(c);
	return ob.pos;
}

static size_t
zstandard(struct image *im, const struct line *l, const uint8_t *in,
	size_t len, uint8_t *out, size_t cap)
{
	uint64_t frames = mkimage_option_number(im, l, "frames", 1);
	uint64_t skip = mkimage_option_number(im, l, "skippable", 0);
	uint64_t empty = mkimage_option_number(im, l, "empty", 0);
	size_t at = 0, done = 0;

	/* RFC 8878 3.1.2: magic 0x184D2A50, little-endian length, data */
	for (uint64_t i = 0; i < skip; i++, at += 12)
		memcpy(out + at, "\x50\x2a\x4d\x18\x04\0\0\0skip", 12);
	for (uint64_t i = 0; i < empty; i++)
		at += frame(im, l, in, 0, out + at, cap - at);
	for (uint64_t i = 0; i < frames; i++) {
		size_t n = i + 1 == frames ? len - done :
			len / frames;

		at += frame(im, l, in + done, n, out + at, cap - at);
		done += n;
	}
	if (mkimage_flag(l, "dict")) {
		/* a frame header with a dictionary id that nobody has:
		 * descriptor 0x21 = single segment, 1 byte of dictionary */
		memmove(out + 6, out + 5, at - 5);
		out[4] |= 1;
		out[5] = 0x2a;
		at++;
	}
	return at;
}

size_t
mkpack(struct image *im, const struct line *l, const uint8_t *in,
	uint8_t *out, size_t out_cap)
{
	size_t len = im->cluster, n;
	uint64_t trail = mkimage_option_number(im, l, "trail", 0);
	uint64_t cut = mkimage_option_number(im, l, "cut", 0);
	uint8_t *more = mkimage_alloc(1, im->cluster * 2);
	const char *how = l->w[2].p;

	memcpy(more, in, len);
	memset(more + len, 0x5a, len);
	len -= mkimage_option_number(im, l, "short", 0);
	len += mkimage_option_number(im, l, "long", 0);
	if (!strcmp(how, "stored"))
		n = stored(more, len, out);
	else if (!strcmp(how, "deflate"))
		n = deflated(im, l, more, len, out, out_cap);
	else if (!strcmp(how, "zstd"))
		n = zstandard(im, l, more, len, out, out_cap);
	else if (!strcmp(how, "as-is")) /* the pattern's bytes, unpacked */
		memcpy(out, more, n = len);
	else
		mkimage_die(im, "packed as what?");
	free(more);
	n -= cut;
	memset(out + n, 0xee, trail);
	return n + trail;
}
