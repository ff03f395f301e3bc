/* SPDX-License-Identifier: MIT */
/*
 * The tree against a second implementation that lays the whole of it out in
 * memory, as digest.h words it, with libxxhash itself; and fixed vectors, so
 * that neither may drift.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/digest.h"

struct leaf {
	uint8_t b[16];
};

static struct leaf
hash(const void *p, size_t len, uint64_t seed)
{
	XXH128_hash_t h = XXH3_128bits_withSeed(p, len, seed);
	struct leaf v;
	unsigned i;

	for (i = 0; i < 8; i++) {
		v.b[i] = (uint8_t)(h.high64 >> (56 - 8 * i));
		v.b[8 + i] = (uint8_t)(h.low64 >> (56 - 8 * i));
	}
	return v;
}

static struct leaf
naive_root(const struct leaf *leaves, uint64_t n, const struct leaf *zero)
{
	uint64_t width = 1, h = 0, i;
	uint8_t in[40] = {'b', 'y', 'r', 'e', '1', 0, 0, 0,
		0, 0, 0, 0, 0, 0x10, 0, 0};
	struct leaf *v;

	while (n && memcmp(&leaves[n - 1], zero, 16) == 0)
		n--;
	while (width < n) {
		width *= 64;
		h++;
	}
	v = malloc(width * sizeof(*v));
	for (i = 0; i < width; i++)
		v[i] = i < n ? leaves[i] : *zero;
	for (uint64_t k = 1; k <= h; k++) {
		width /= 64;
		for (i = 0; i < width; i++)
			v[i] = hash(v + 64 * i, 64 * 16, k);
	}
	for (i = 0; i < 8; i++)
		in[16 + i] = (uint8_t)(n >> (56 - 8 * i));
	if (n)
		memcpy(in + 24, v, 16);
	free(v);
	return hash(in, 40, 0);
}

static struct leaf
zero_leaf(void)
{
	void *block = calloc(1, 1 << 20);
	struct leaf v = hash(block, 1 << 20, 0);

	free(block);
	return v;
}

START_TEST(leaf_is_padded)
{
	uint8_t *block = calloc(1, DIGEST_BLOCK);
	static const uint64_t lens[] = {0, 1, 512, 4096, 4097, 1000000,
		DIGEST_BLOCK - 1, DIGEST_BLOCK};
	struct digest_value v;
	struct leaf w;
	unsigned i;

	for (i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		memset(block, 0xa5, lens[i]);
		v = digest_leaf(block, lens[i]);
		w = hash(block, DIGEST_BLOCK, 0);
		ck_assert_int_eq(memcmp(v.b, w.b, 16), 0);
	}
	free(block);
}
END_TEST

/* Sequences around every power of the fan-out, with zero runs inside, before
 * and behind, fed leaf by leaf or as runs. */
START_TEST(equals_the_tree_in_memory)
{
	static const uint64_t counts[] = {0, 1, 2, 3, 63, 64, 65, 127, 128,
		129, 4095, 4096, 4097, 4160, 8192, 10000, 262143, 262144,
		262145};
	struct leaf zero = zero_leaf(), want, *v = malloc(300000 * sizeof(*v));
	struct digest d;
	struct digest_value one, got;
	uint64_t i, n, run, seed = 1;
	unsigned c, style;

	for (c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		for (style = 0; style < 4; style++) {
			n = counts[c];
			for (i = 0; i < n; i++) {
				seed = seed * UINT64_C(6364136223846793005) + 1;
				v[i] = hash(&seed, 8, 0);
				/* style 1: mostly zero; 2: long zero runs */
				if ((style == 1 && (seed >> 60) != 0) ||
					(style == 2 && (i >> 9) % 3 == 1) ||
					(style == 3 && i + 1 < n))
					v[i] = zero;
			}
			digest_init(&d);
			for (i = 0; i < n; i += run) {
				for (run = 0; i + run < n && memcmp(&v[i + run],
					&zero, 16) == 0; run++)
					;
				if (run) {
					digest_add_zeros(&d, run);
					continue;
				}
				memcpy(one.b, v[i].b, 16);
				digest_add_leaf(&d, &one);
				run = 1;
			}
			ck_assert_uint_eq(d.count, n);
			want = naive_root(v, n, &zero);
			got = digest_root(&d);
			ck_assert_msg(memcmp(got.b, want.b, 16) == 0,
				"n %llu style %u", (unsigned long long)n, style);
			/* zero leaves given one by one, and a tail of zeros */
			digest_init(&d);
			for (i = 0; i < n; i++) {
				memcpy(one.b, v[i].b, 16);
				digest_add_leaf(&d, &one);
			}
			digest_add_zeros(&d, UINT64_C(1) << 40);
			got = digest_root(&d);
			ck_assert_int_eq(memcmp(got.b, want.b, 16), 0);
		}
	}
	free(v);
}
END_TEST

static void
text_is(const struct digest *d, const char *want)
{
	struct digest_value v = digest_root(d);
	char text[DIGEST_TEXT];

	ck_assert_str_eq(digest_text(&v, text), want);
}

/* node(k, i) by the definition, over a few leaves that are not zero. */
static struct leaf
sparse_node(unsigned k, uint64_t i, const uint64_t *at, const struct leaf *v,
	unsigned n, const struct leaf *zero)
{
	struct leaf child[64];
	unsigned j, any = 0;

	for (j = 0; j < n; j++) {
		if (at[j] >> (6 * k) != i)
			continue;
		if (k == 0)
			return v[j];
		any++;
	}
	if (!any)
		return zero[k];
	for (j = 0; j < 64; j++)
		child[j] = sparse_node(k - 1, 64 * i + j, at, v, n, zero);
	return hash(child, sizeof(child), k);
}

START_TEST(far_leaves_equal_the_definition)
{
	static const uint64_t at[] = {0, 5, 63, 64, 4095, 262144, 262145,
		(UINT64_C(1) << 30) - 1, (UINT64_C(1) << 36) + 7,
		(UINT64_C(1) << 42) - 1};
	struct leaf v[10], zero[9], child[64], top, want;
	uint8_t in[40] = {'b', 'y', 'r', 'e', '1', 0, 0, 0,
		0, 0, 0, 0, 0, 0x10, 0, 0};
	struct digest d;
	struct digest_value got, one;
	unsigned i, j, k, h;

	zero[0] = zero_leaf();
	for (k = 1; k <= 8; k++) {
		for (j = 0; j < 64; j++)
			child[j] = zero[k - 1];
		zero[k] = hash(child, sizeof(child), k);
	}
	digest_init(&d);
	for (i = 0; i < 10; i++) {
		digest_add_zeros(&d, at[i] - d.count);
		v[i] = hash(&i, sizeof(i), 0);
		memcpy(one.b, v[i].b, 16);
		digest_add_leaf(&d, &one);
		for (h = 0; at[i] >> (6 * h); h++)
			;
		top = sparse_node(h, 0, at, v, i + 1, zero);
		for (j = 0; j < 8; j++)
			in[16 + j] = (uint8_t)((at[i] + 1) >> (56 - 8 * j));
		memcpy(in + 24, top.b, 16);
		want = hash(in, 40, 0);
		got = digest_root(&d);
		ck_assert_msg(memcmp(got.b, want.b, 16) == 0, "leaf %u", i);
	}
}
END_TEST

/* Written down once; another implementation must give the same. */
START_TEST(fixed_vectors)
{
	struct digest d;
	struct digest_value v;
	uint8_t *block = calloc(1, DIGEST_BLOCK);
	unsigned i;

	digest_init(&d);
	text_is(&d, "byre1:24f857276eed461d150ce46255fe50f6");
	digest_add_zeros(&d, 1000);
	text_is(&d, "byre1:24f857276eed461d150ce46255fe50f6");

	/* one byte */
	digest_init(&d);
	block[0] = 'x';
	v = digest_leaf(block, 1);
	digest_add_leaf(&d, &v);
	text_is(&d, "byre1:495c45482ec76604cebc8ed388b3ccd6");
	/* one block of counting bytes behind it, then a hole of 2^40 blocks,
	 * then the first block again */
	for (i = 0; i < DIGEST_BLOCK; i++)
		block[i] = (uint8_t)i;
	v = digest_leaf(block, DIGEST_BLOCK);
	digest_add_leaf(&d, &v);
	text_is(&d, "byre1:e783c4971e8d5f2e5dc9b409c5a7836c");
	digest_add_zeros(&d, UINT64_C(1) << 40);
	v = digest_leaf("x", 1);
	digest_add_leaf(&d, &v);
	text_is(&d, "byre1:0bb651d4ac3a746de8fa3de4425f67de");
	/* 64 + 1 equal blocks: two levels */
	digest_init(&d);
	v = digest_leaf(block, DIGEST_BLOCK);
	for (i = 0; i < 65; i++)
		digest_add_leaf(&d, &v);
	text_is(&d, "byre1:09ec1477fc90b55528ac907e9489e674");
	free(block);
}
END_TEST

/* 2^63 bytes of guest are 2^43 blocks: the last level there is. */
START_TEST(pieces_equal_leaves)
{
	static uint8_t bytes[5 * DIGEST_BLOCK / 2];
	uint64_t at = 0, n, seed = 1, i;
	struct digest a, b;
	struct digest_value leaf, x, y;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	memset(bytes + DIGEST_BLOCK / 2, 0, DIGEST_BLOCK / 2);
	digest_init(&a);
	digest_init(&b);
	/* zeros before, at odd lengths; a far hole behind; a tail */
	digest_feed_zeros(&a, 3 * DIGEST_BLOCK);
	digest_add_zeros(&b, 3);
	for (i = 0; i < 3; i++) {
		n = i < 2 ? DIGEST_BLOCK : DIGEST_BLOCK / 2;
		leaf = digest_leaf(bytes + i * DIGEST_BLOCK, n);
		digest_add_leaf(&b, &leaf);
	}
	while (at < sizeof(bytes)) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		n = 1 + (seed >> 40) % 700000;
		if (n > sizeof(bytes) - at)
			n = sizeof(bytes) - at;
		if (at >= DIGEST_BLOCK / 2 && at + n <= DIGEST_BLOCK)
			digest_feed_zeros(&a, n);
		else
			digest_feed(&a, bytes + at, n);
		at += n;
	}
	digest_feed_zeros(&a, DIGEST_BLOCK / 2 + 7 * DIGEST_BLOCK);
	digest_feed(&a, "x", 1);
	digest_feed_end(&a);
	digest_add_zeros(&b, 7);
	leaf = digest_leaf("x", 1);
	digest_add_leaf(&b, &leaf);
	x = digest_root(&a);
	y = digest_root(&b);
	ck_assert_mem_eq(x.b, y.b, 16);
}
END_TEST

START_TEST(largest_guest)
{
	struct digest a, b;
	struct digest_value v = digest_leaf("x", 1), ra, rb;

	digest_init(&a);
	digest_add_zeros(&a, (UINT64_C(1) << 43) - 1);
	digest_add_leaf(&a, &v);
	digest_init(&b);
	digest_add_zeros(&b, UINT64_C(1) << 42);
	digest_add_zeros(&b, (UINT64_C(1) << 42) - 1);
	digest_add_leaf(&b, &v);
	ra = digest_root(&a);
	rb = digest_root(&b);
	ck_assert_int_eq(memcmp(ra.b, rb.b, 16), 0);
	ck_assert_uint_eq(a.kept, UINT64_C(1) << 43);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("digest");
	TCase *t = tcase_create("digest");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 120);
	tcase_add_test(t, leaf_is_padded);
	tcase_add_test(t, equals_the_tree_in_memory);
	tcase_add_test(t, far_leaves_equal_the_definition);
	tcase_add_test(t, fixed_vectors);
	tcase_add_test(t, pieces_equal_leaves);
	tcase_add_test(t, largest_guest);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
