/* SPDX-License-Identifier: MIT */
/*
 * zstd, and its home. A cluster may be several frames one after the other,
 * empty ones among them, followed by bytes of others.
 *
 * Frames are decoded whole, straight into the cluster: so the window that a
 * frame asks for costs no memory (a streaming decoder would allocate up to 128
 * MiB for it). Windows that QEMU's streaming decoder refuses are refused.
 */
#include "format/codec.h"

#include <stdbool.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/bytes.h"

/* zstd's own limit for streaming decoders, which is QEMU's: 128 MiB */
#define WINDOW_MAX (UINT64_C(1) << 27)

struct zstd {
	ZSTD_DCtx *d; /* made when first needed */
	ZSTD_CCtx *c; /* NULL: unpacking only */
};

static void
zstd_close(void *ctx)
{
	struct zstd *z = ctx;

	ZSTD_freeDCtx(z->d);
	ZSTD_freeCCtx(z->c);
	free(z);
}

static int
zstd_open(void **ret, const struct codec_params *p, struct err *e)
{
	struct zstd *z = calloc(1, sizeof(*z));

	if (!z)
		return err_set(e, ERR_NOMEM, "no memory for zstd");
	if (p && p->level > ZSTD_maxCLevel()) {
		free(z);
		return err_set(e, ERR_USAGE, "compression level %d is above %d",
			p->level, ZSTD_maxCLevel());
	}
	if (p) {
		z->c = ZSTD_createCCtx();
		if (!z->c) {
			free(z);
			return err_set(e, ERR_NOMEM, "no memory for zstd");
		}
		if (p->level)
			ZSTD_CCtx_setParameter(z->c, ZSTD_c_compressionLevel,
				p->level);
	}
	*ret = z;
	return 0;
}

/* RFC 8878, 3.1.1.1: a frame that does not state its content's size has a
 * window descriptor behind magic and frame header descriptor. */
static bool
window_is_allowed(const uint8_t *p, size_t len)
{
	uint64_t base;

	if (len < 6 || load_le32(p) != ZSTD_MAGICNUMBER ||
		ZSTD_getFrameContentSize(p, len) != ZSTD_CONTENTSIZE_UNKNOWN)
		return true;
	base = UINT64_C(1) << (10 + (p[5] >> 3));
	return base + base / 8 * (p[5] & 7) <= WINDOW_MAX;
}

static int
zstd_unpack(void *ctx, const void *in, size_t in_len, void *out,
	size_t out_len, struct err *e)
{
	struct zstd *z = ctx;
	const uint8_t *p = in;
	size_t used = 0, done = 0;

	if (!z->d) {
		z->d = ZSTD_createDCtx();
		if (!z->d)
			return err_set(e, ERR_NOMEM, "no memory for zstd");
	}
	/* every frame takes input, so this ends */
	while (done < out_len) {
		size_t n, r;

		n = ZSTD_findFrameCompressedSize(p + used, in_len - used);
		if (ZSTD_isError(n))
			return err_set(e, ERR_CORRUPT, "a compressed cluster "
				"gives %zu of %zu bytes (%s)", done, out_len,
				ZSTD_getErrorName(n));
		if (!window_is_allowed(p + used, n))
			return err_set(e, ERR_LIMIT, "a zstd frame asks for a "
				"window over 128 MiB");
		r = ZSTD_decompressDCtx(z->d, (uint8_t *)out + done,
			out_len - done, p + used, n);
		if (ZSTD_isError(r))
			return err_set(e, ERR_CORRUPT, "a compressed cluster "
				"is damaged after %zu of %zu bytes (%s)", done,
				out_len, ZSTD_getErrorName(r));
		done += r;
		used += n;
	}
	return 0;
}

static int
zstd_pack(void *ctx, const void *in, size_t in_len, void *out,
	size_t out_cap, size_t *ret_len, struct err *e)
{
	struct zstd *z = ctx;
	ZSTD_inBuffer i = {.src = in, .size = in_len};
	ZSTD_outBuffer o = {.dst = out, .size = out_cap};
	size_t r;

	/* one call that ends the frame: zstd then knows the size, and writes
	 * the single-segment frame that QEMU writes */
	ZSTD_CCtx_reset(z->c, ZSTD_reset_session_only);
	r = ZSTD_compressStream2(z->c, &o, &i, ZSTD_e_end);
	if (ZSTD_isError(r))
		return err_set(e, ERR_NOMEM, "zstd: %s", ZSTD_getErrorName(r));
	*ret_len = r == 0 ? o.pos : 0;
	return 0;
}

const struct codec_ops codec_zstd_ops = {
	.name = "zstd",
	.open = zstd_open,
	.unpack = zstd_unpack,
	.pack = zstd_pack,
	.close = zstd_close,
};
