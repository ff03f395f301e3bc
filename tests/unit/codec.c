/* SPDX-License-Identifier: MIT */
/* Streams here are written by hand (RFC 1951, RFC 8878), so that decoder and
 * encoder do not vouch for each other; those of genuine qemu-img are in
 * qcow2_image.c. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "format/codec.h"

static struct codec codec;
static struct err err;
static uint8_t out[65536];

static int
unpack(enum codec_kind kind, const void *in, size_t len, size_t out_len)
{
	int r;

	memset(out, 0xee, sizeof(out));
	ck_assert_int_eq(codec_open(&codec, kind, NULL, &err), 0);
	r = codec_unpack(&codec, in, len, out, out_len, &err);
	codec_close(&codec);
	return r;
}

/* A stored block of n bytes 'a', n < 256; final or not. */
static size_t
stored(uint8_t *p, bool final, uint8_t n)
{
	memcpy(p, (uint8_t[]){final, n, 0, (uint8_t)~n, 0xff}, 5);
	memset(p + 5, 'a', n);
	return 5u + n;
}

START_TEST(deflate_stored_blocks)
{
	uint8_t in[512];
	size_t len = stored(in, false, 200);

	len += stored(in + len, true, 56);
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 256), 0);
	for (unsigned i = 0; i < 256; i++)
		ck_assert_int_eq(out[i], 'a');
	/* bytes of others behind it */
	memset(in + len, 0xff, 100);
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len + 100, 256), 0);
}
END_TEST

START_TEST(deflate_without_an_end_is_good)
{
	uint8_t in[512];
	size_t len = stored(in, false, 200);

	/* fills the output and goes on: a header of another block */
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 200), 0);
	len += stored(in + len, true, 50);
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 200), 0);
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 220), 0);
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 250), 0);
}
END_TEST

START_TEST(deflate_that_ends_short_is_corrupt)
{
	uint8_t in[512];
	size_t len = stored(in, true, 200);

	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 201), -1);
	ck_assert_int_eq(err.kind, ERR_CORRUPT);
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len - 1, 200), -1);
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, 0, 200), -1);
	in[1] = 7; /* length and its complement disagree */
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 200), -1);
	in[0] = 7; /* block type 3 */
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, len, 200), -1);
}
END_TEST

/* One fixed-code block: a stored one of 8192 distinct-ish bytes first, then a
 * match of length 3 at distance 8192: QEMU's 12-bit window decodes it. */
START_TEST(deflate_distance_beyond_4k)
{
	static uint8_t in[9000];
	uint32_t bits = 0;
	unsigned n = 0, i, o = 5 + 8192;
	/* final, fixed; length code 257 (7 bits 0000001); distance code 25
	 * (5 bits 11001: 6145..8192 is 24+..., base of 25 is 6145, 11 extra
	 * bits 2047 -> 8192) */
	const struct {
		unsigned value, len;
		bool huffman;
	} piece[] = {{1, 1, false}, {1, 2, false}, {1, 7, true},
		{25, 5, true}, {2047, 11, false}, {0, 7, true}};

	memcpy(in, (uint8_t[]){0, 0, 0x20, 0xff, 0xdf}, 5);
	for (i = 0; i < 8192; i++)
		in[5 + i] = (uint8_t)(i * 7 + (i >> 8));
	for (i = 0; i < sizeof(piece) / sizeof(piece[0]); i++)
		for (unsigned b = 0; b < piece[i].len; b++) {
			unsigned at = piece[i].huffman ?
				piece[i].len - 1 - b : b;

			bits |= (piece[i].value >> at & 1) << n++;
			if (n == 8) {
				in[o++] = (uint8_t)bits;
				bits = n = 0;
			}
		}
	in[o++] = (uint8_t)bits;
	ck_assert_int_eq(unpack(CODEC_DEFLATE, in, o, 8195), 0);
	ck_assert_int_eq(memcmp(out, in + 5, 8192), 0);
	ck_assert_int_eq(memcmp(out + 8192, in + 5, 3), 0);
}
END_TEST

/* A frame with one RLE block: single segment, 1-byte content size. */
static size_t
zstd_rle(uint8_t *p, uint8_t byte, uint8_t n)
{
	/* magic, descriptor 0x20, size; block header: last, type 1, size n */
	memcpy(p, (uint8_t[]){0x28, 0xb5, 0x2f, 0xfd, 0x20, n,
		(uint8_t)(1 | 1 << 1 | n << 3), (uint8_t)(n >> 5), 0, byte},
		10);
	return 10;
}

START_TEST(zstd_several_frames)
{
	uint8_t in[256];
	size_t len = zstd_rle(in, 'x', 100);

	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len, 100), 0);
	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len, 101), -1);
	ck_assert_int_eq(err.kind, ERR_CORRUPT);
	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len, 99), -1);
	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len - 1, 100), -1);
	/* a skippable frame and an empty one between two */
	memcpy(in + len, "\x50\x2a\x4d\x18\3\0\0\0abc", 11);
	len += 11;
	len += zstd_rle(in + len, 'q', 0);
	len += zstd_rle(in + len, 'y', 28);
	memset(in + len, 0xff, 50); /* others' bytes */
	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len + 50, 128), 0);
	ck_assert_int_eq(out[99], 'x');
	ck_assert_int_eq(out[100], 'y');
	ck_assert_int_eq(out[127], 'y');
	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len + 50, 129), -1);
}
END_TEST

START_TEST(zstd_window_limit)
{
	/* no content size, window descriptor 17 << 3 = 128 MiB, empty raw
	 * block; then one step more */
	uint8_t in[64] = {0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3, 1, 0, 0};
	size_t len = 9;

	len += zstd_rle(in + len, 'z', 10);
	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len, 10), 0);
	in[5] = 17 << 3 | 1;
	ck_assert_int_eq(unpack(CODEC_ZSTD, in, len, 10), -1);
	ck_assert_int_eq(err.kind, ERR_LIMIT);
}
END_TEST

/* Content that is partly regular, so that every coder has work. */
static void
fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245u + 12345u;
		p[i] = i % 96 < 64 ? "the quick brown fox "[i % 20] :
			(uint8_t)(seed >> 24);
	}
}

START_TEST(pack_is_repeatable_and_fits)
{
	static uint8_t in[65536], a[65536], b[65536];
	const struct codec_params p[] = {{0, 12}, {0, 15}, {1, 12}, {9, 15}};

	for (size_t i = 0; i < 8; i++) {
		enum codec_kind kind = i < 4 ? CODEC_DEFLATE : CODEC_ZSTD;
		size_t len = 0, again = 0, other = 0;
		struct codec fresh;

		ck_assert_int_eq(codec_open(&codec, kind, &p[i % 4], &err), 0);
		ck_assert_int_eq(codec_open(&fresh, kind, &p[i % 4], &err), 0);
		fill(in, sizeof(in), 77);
		ck_assert_int_eq(codec_pack(&codec, in, sizeof(in), a,
			sizeof(a) - 1, &other, &err), 0);
		fill(in, sizeof(in), (unsigned)i);
		ck_assert_int_eq(codec_pack(&codec, in, sizeof(in), a,
			sizeof(a) - 1, &len, &err), 0);
		ck_assert_int_eq(codec_pack(&fresh, in, sizeof(in), b,
			sizeof(b) - 1, &again, &err), 0);
		ck_assert_uint_gt(len, 0);
		ck_assert_uint_eq(len, again);
		ck_assert_int_eq(memcmp(a, b, len), 0);
		ck_assert_int_eq(codec_unpack(&codec, a, len, out, sizeof(in),
			&err), 0);
		ck_assert_int_eq(memcmp(in, out, sizeof(in)), 0);
		ck_assert_int_eq(codec_pack(&codec, in, sizeof(in), a,
			len - 1, &other, &err), 0);
		ck_assert_uint_eq(other, 0);
		codec_close(&codec);
		codec_close(&fresh);
	}
}
END_TEST

START_TEST(noise_does_not_fit)
{
	static uint8_t in[4096], a[4095];
	const struct codec_params p = {0, 12};
	size_t len = 1;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 2654435761u >> 13 ^ i * 40503u >> 5);
	for (int kind = 0; kind < CODEC_COUNT; kind++) {
		ck_assert_int_eq(codec_open(&codec, (enum codec_kind)kind, &p,
			&err), 0);
		ck_assert_int_eq(codec_pack(&codec, in, sizeof(in), a, 16,
			&len, &err), 0);
		ck_assert_uint_eq(len, 0);
		codec_close(&codec);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("codec");
	TCase *t = tcase_create("codec");
	SRunner *r;
	int failed;

	tcase_add_test(t, deflate_stored_blocks);
	tcase_add_test(t, deflate_without_an_end_is_good);
	tcase_add_test(t, deflate_that_ends_short_is_corrupt);
	tcase_add_test(t, deflate_distance_beyond_4k);
	tcase_add_test(t, zstd_several_frames);
	tcase_add_test(t, zstd_window_limit);
	tcase_add_test(t, pack_is_repeatable_and_fits);
	tcase_add_test(t, noise_does_not_fit);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
