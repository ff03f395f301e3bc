/* SPDX-License-Identifier: MIT */
/*
 * Two hashes of the Merkle-Damgard kind over blocks of 64 bytes: they differ
 * in byte order, state and rounds. Everything is done in one call; there is no
 * streaming form, since only names are hashed.
 */
#include "base/name_hash.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"

#define BLOCK 64

static uint32_t
rol(uint32_t v, unsigned n)
{
	return v << n | v >> (32 - n);
}

static void
store_le32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	p[2] = (uint8_t)(v >> 16);
	p[3] = (uint8_t)(v >> 24);
}

/* FIPS 180-4, 6.1.2 */
static void
sha1_block(uint32_t h[5], const uint8_t *p)
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
	uint32_t f, k, t;
	unsigned i;

	for (i = 0; i < 16; i++)
		w[i] = load_be32(p + 4 * i);
	for (; i < 80; i++)
		w[i] = rol(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (i = 0; i < 80; i++) {
		if (i < 20) {
			f = (b & c) | (~b & d);
			k = 0x5a827999;
		} else if (i < 40) {
			f = b ^ c ^ d;
			k = 0x6ed9eba1;
		} else if (i < 60) {
			f = (b & c) | (b & d) | (c & d);
			k = 0x8f1bbcdc;
		} else {
			f = b ^ c ^ d;
			k = 0xca62c1d6;
		}
		t = rol(a, 5) + f + e + k + w[i];
		e = d;
		d = c;
		c = rol(b, 30);
		b = a;
		a = t;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

/* floor(2^32 * |sin(i + 1)|), RFC 1321, 3.4 */
static const uint32_t md5_k[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a,
	0xa8304613, 0xfd469501, 0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be,
	0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821, 0xf61e2562, 0xc040b340,
	0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
	0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8,
	0x676f02d9, 0x8d2a4c8a, 0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c,
	0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70, 0x289b7ec6, 0xeaa127fa,
	0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
	0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92,
	0xffeff47d, 0x85845dd1, 0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1,
	0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391
};

static void
md5_block(uint32_t h[4], const uint8_t *p)
{
	static const uint8_t shift[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20},
		{4, 11, 16, 23}, {6, 10, 15, 21}};
	uint32_t a = h[0], b = h[1], c = h[2], d = h[3], f, t;
	unsigned i, g;

	for (i = 0; i < 64; i++) {
		if (i < 16) {
			f = (b & c) | (~b & d);
			g = i;
		} else if (i < 32) {
			f = (d & b) | (~d & c);
			g = (5 * i + 1) % 16;
		} else if (i < 48) {
			f = b ^ c ^ d;
			g = (3 * i + 5) % 16;
		} else {
			f = c ^ (b | ~d);
			g = 7 * i % 16;
		}
		t = a + f + md5_k[i] + load_le32(p + (size_t)4 * g);
		a = d;
		d = c;
		c = b;
		b += rol(t, shift[i / 16][i % 4]);
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
}

/* All blocks of the text and of its padding: a bit, zeros, its length in
 * bits. */
static void
digest(uint32_t *h, bool sha1, const uint8_t *p, size_t len)
{
	uint8_t last[2 * BLOCK] = {0};
	uint64_t bits = (uint64_t)len * 8;
	size_t left, i;

	for (left = len; left >= BLOCK; left -= BLOCK, p += BLOCK) {
		if (sha1)
			sha1_block(h, p);
		else
			md5_block(h, p);
	}
	if (left)
		memcpy(last, p, left);
	last[left] = 0x80;
	left = left < BLOCK - 8 ? BLOCK : 2 * BLOCK;
	if (sha1) {
		store_be64(last + left - 8, bits);
	} else {
		store_le32(last + left - 8, (uint32_t)bits);
		store_le32(last + left - 4, (uint32_t)(bits >> 32));
	}
	for (i = 0; i < left; i += BLOCK) {
		if (sha1)
			sha1_block(h, last + i);
		else
			md5_block(h, last + i);
	}
}

static char *
hex(const uint8_t *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t i;

	for (i = 0; i < n; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n] = '\0';
	return out;
}

char *
name_hash_sha1(const void *p, size_t len, char *out)
{
	uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476,
		0xc3d2e1f0};
	uint8_t bytes[20];
	unsigned i;

	digest(h, true, p, len);
	for (i = 0; i < 5; i++)
		store_be32(bytes + 4 * i, h[i]);
	return hex(bytes, sizeof(bytes), out);
}

char *
name_hash_md5(const void *p, size_t len, char *out)
{
	uint32_t h[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
	uint8_t bytes[16];
	unsigned i;

	digest(h, false, p, len);
	for (i = 0; i < 4; i++)
		store_le32(bytes + 4 * i, h[i]);
	return hex(bytes, sizeof(bytes), out);
}
