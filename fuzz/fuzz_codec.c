/* SPDX-License-Identifier: MIT */
/* Compressed clusters: the bytes as a stream, and as content to be packed. The
 * first byte chooses codec and cluster size. */
#include "config.h"

#include <string.h>

#include "format/codec.h"
#include "fuzz/fuzz.h"

static void
stream(enum codec_kind kind, const uint8_t *in, size_t len, size_t out_len)
{
	uint8_t *a = malloc(out_len), *b = malloc(out_len);
	struct codec c;
	struct err e;
	int first;

	FUZZ_CHECK(a && b && codec_open(&c, kind, NULL, &e) == 0);
	memset(a, 1, out_len);
	memset(b, 2, out_len);
	first = codec_unpack(&c, in, len, a, out_len, &e);
	FUZZ_CHECK(first == 0 || e.kind == ERR_CORRUPT || e.kind == ERR_LIMIT);
	/* a context has no memory of what it did before */
	FUZZ_CHECK(codec_unpack(&c, in, len, b, out_len, &e) == first);
	if (first == 0)
		FUZZ_CHECK(memcmp(a, b, out_len) == 0);
	codec_close(&c);
	free(a);
	free(b);
}

static void
content(enum codec_kind kind, int window, const uint8_t *in, size_t len)
{
	const struct codec_params p = {.window_bits = window};
	uint8_t *packed = malloc(len), *back = malloc(len);
	struct codec c;
	struct err e;
	size_t n;

	FUZZ_CHECK(packed && back && codec_open(&c, kind, &p, &e) == 0);
	FUZZ_CHECK(codec_pack(&c, in, len, packed, len, &n, &e) == 0);
	if (n) {
		FUZZ_CHECK(codec_unpack(&c, packed, n, back, len, &e) == 0);
		FUZZ_CHECK(memcmp(in, back, len) == 0);
	}
	codec_close(&c);
	free(packed);
	free(back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum codec_kind kind;

	if (size < 2)
		return 0;
	kind = data[0] & 1 ? CODEC_ZSTD : CODEC_DEFLATE;
	stream(kind, data + 1, size - 1, (size_t)512 << (data[0] >> 1) % 9);
	if (data[0] & 0x80)
		content(kind, data[0] & 0x40 ? 15 : 12, data + 1, size - 1);
	return 0;
}
