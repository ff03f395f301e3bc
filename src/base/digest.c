/* SPDX-License-Identifier: MIT */
/*
 * The tree of digest.h, fed from the left. node[k] holds the children of level
 * k that are not yet folded into their parent; zero blocks wait in `pending`
 * until a non-zero one follows, so that trailing ones never enter the tree.
 */
#include "base/digest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* From the cache XXH3 is bound by computing: unrolled, which GCC's -O2 leaves
 * out, it is half as fast again. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("unroll-loops")
#endif

/* The one user of xxhash; inlined, so no library is linked. On x86 its AVX2
 * form, which is three times as fast, is built too and chosen at run time. */
#if defined(__x86_64__) && !defined(__AVX2__)
#include <immintrin.h>
#define XXH_DISPATCH_AVX2 1
#define XXH_TARGET_AVX2 __attribute__((__target__("avx2")))
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/bytes.h"

_Static_assert(DIGEST_FANOUT == 64, "levels are counted in 6 bits");

static struct digest_value
canonical(XXH128_hash_t h)
{
	XXH128_canonical_t c;
	struct digest_value v;

	XXH128_canonicalFromHash(&c, h);
	memcpy(v.b, c.digest, sizeof(v.b));
	return v;
}

/* The long form with AVX2; its parts are 0.8.1's. */
#if defined(XXH_DISPATCH_AVX2) && XXH_VERSION_NUMBER == 801
XXH_TARGET_AVX2 static XXH128_hash_t
hash_avx2(const void *p, size_t len)
{
	return XXH3_hashLong_128b_internal(p, len, XXH3_kSecret,
		sizeof(XXH3_kSecret), XXH3_accumulate_512_avx2,
		XXH3_scrambleAcc_avx2);
}

static XXH128_hash_t
hash_block(const void *p)
{
	if (__builtin_cpu_supports("avx2"))
		return hash_avx2(p, DIGEST_BLOCK);
	return XXH3_128bits(p, DIGEST_BLOCK);
}
#else
static XXH128_hash_t
hash_block(const void *p)
{
	return XXH3_128bits(p, DIGEST_BLOCK);
}
#endif

struct digest_value
digest_leaf(const void *block, uint64_t len)
{
	static const uint8_t zeros[4096];
	XXH3_state_t st;
	uint64_t n;

	if (len == DIGEST_BLOCK)
		return canonical(hash_block(block));
	XXH3_128bits_reset(&st);
	XXH3_128bits_update(&st, block, len);
	for (; len < DIGEST_BLOCK; len += n) {
		n = DIGEST_BLOCK - len;
		if (n > sizeof(zeros))
			n = sizeof(zeros);
		XXH3_128bits_update(&st, zeros, n);
	}
	return canonical(XXH3_128bits_digest(&st));
}

/* node(k, .) from its 64 children of level k - 1 */
static struct digest_value
parent(const uint8_t child[DIGEST_FANOUT][16], unsigned k)
{
	return canonical(XXH3_128bits_withSeed(child, DIGEST_FANOUT * 16, k));
}

void
digest_init(struct digest *d)
{
	uint8_t child[DIGEST_FANOUT][16];
	unsigned k, i;

	memset(d, 0, sizeof(*d));
	d->zero[0] = digest_leaf("", 0);
	for (k = 1; k <= DIGEST_LEVELS; k++) {
		for (i = 0; i < DIGEST_FANOUT; i++)
			memcpy(child[i], d->zero[k - 1].b, 16);
		d->zero[k] = parent((const uint8_t(*)[16])child, k);
	}
}

/* Appends a node of level k; all lower levels are empty. The top level never
 * fills up: 64^8 blocks are more than a guest's 2^63 bytes. */
static void
push(struct digest *d, unsigned k, struct digest_value v)
{
	for (;; k++) {
		memcpy(d->node[k][d->used[k]++], v.b, 16);
		if (d->used[k] < DIGEST_FANOUT || k + 1 == DIGEST_LEVELS)
			return;
		v = parent((const uint8_t(*)[16])d->node[k], k + 1);
		d->used[k] = 0;
	}
}

/* Puts the waiting zero blocks into the tree, in the largest whole subtrees
 * that begin where it ends: O(fan-out * levels). */
static void
flush(struct digest *d)
{
	uint64_t span;
	unsigned k;

	while (d->pending) {
		k = 0;
		span = 1;
		while (k + 1 < DIGEST_LEVELS &&
			d->kept % (span * DIGEST_FANOUT) == 0 &&
			d->pending >= span * DIGEST_FANOUT) {
			span *= DIGEST_FANOUT;
			k++;
		}
		push(d, k, d->zero[k]);
		d->kept += span;
		d->pending -= span;
	}
}

void
digest_add_leaf(struct digest *d, const struct digest_value *leaf)
{
	if (memcmp(leaf->b, d->zero[0].b, 16) == 0) {
		digest_add_zeros(d, 1);
		return;
	}
	if (d->tap)
		d->tap->leaf(d->tap->arg, leaf, 0);
	flush(d);
	push(d, 0, *leaf);
	d->count++;
	d->kept++;
}

void
digest_add_zeros(struct digest *d, uint64_t nblocks)
{
	if (d->tap && nblocks)
		d->tap->leaf(d->tap->arg, NULL, nblocks);
	d->count += nblocks;
	d->pending += nblocks;
}

_Static_assert(sizeof(XXH3_state_t) <= DIGEST_PART, "room for a state");

static XXH3_state_t *
part_state(struct digest *d)
{
	return (XXH3_state_t *)d->part;
}

void
digest_feed(struct digest *d, const void *bytes, uint64_t len)
{
	const uint8_t *p = bytes;
	struct digest_value leaf;
	uint64_t n;

	for (; len > 0; p += n, len -= n) {
		if (d->part_len == 0 && len >= DIGEST_BLOCK) {
			n = DIGEST_BLOCK;
			leaf = digest_leaf(p, n);
			digest_add_leaf(d, &leaf);
			continue;
		}
		if (d->part_len == 0)
			XXH3_128bits_reset(part_state(d));
		n = DIGEST_BLOCK - d->part_len;
		if (n > len)
			n = len;
		XXH3_128bits_update(part_state(d), p, n);
		d->part_len += n;
		if (d->part_len == DIGEST_BLOCK) {
			leaf = canonical(XXH3_128bits_digest(part_state(d)));
			digest_add_leaf(d, &leaf);
			d->part_len = 0;
		}
	}
}

void
digest_feed_zeros(struct digest *d, uint64_t len)
{
	static const uint8_t zeros[4096];
	uint64_t n;

	while (len > 0) {
		if (d->part_len == 0 && len >= DIGEST_BLOCK) {
			digest_add_zeros(d, len / DIGEST_BLOCK);
			len %= DIGEST_BLOCK;
			continue;
		}
		n = len < sizeof(zeros) ? len : sizeof(zeros);
		if (n > DIGEST_BLOCK - d->part_len)
			n = DIGEST_BLOCK - d->part_len;
		digest_feed(d, zeros, n);
		len -= n;
	}
}

void
digest_feed_end(struct digest *d)
{
	if (d->part_len > 0)
		digest_feed_zeros(d, DIGEST_BLOCK - d->part_len);
}

/* node(h, 0): the waiting children of each level, padded with zero subtrees,
 * carried up. */
static struct digest_value
top(const struct digest *d, unsigned h)
{
	uint8_t child[DIGEST_FANOUT][16];
	struct digest_value carry = {{0}};
	bool have = false;
	uint32_t n, i;
	unsigned k;

	for (k = 0; k < h; k++) {
		n = d->used[k];
		memcpy(child, d->node[k], (size_t)n * 16);
		if (have)
			memcpy(child[n++], carry.b, 16);
		if (n == 0)
			continue;
		for (i = n; i < DIGEST_FANOUT; i++)
			memcpy(child[i], d->zero[k].b, 16);
		carry = parent((const uint8_t(*)[16])child, k + 1);
		have = true;
	}
	/* exactly 64^h blocks: the node is whole already */
	if (!have)
		memcpy(carry.b, d->node[h][0], 16);
	return carry;
}

struct digest_value
digest_root(const struct digest *d)
{
	uint8_t in[8 + 8 + 8 + 16] = "byre1";
	struct digest_value v;
	uint64_t reach = 1;
	unsigned h = 0;

	while (h < DIGEST_LEVELS && reach < d->kept) {
		reach *= DIGEST_FANOUT;
		h++;
	}
	store_be64(in + 8, DIGEST_BLOCK);
	store_be64(in + 16, d->kept);
	if (d->kept) {
		v = top(d, h);
		memcpy(in + 24, v.b, 16);
	}
	return canonical(XXH3_128bits(in, sizeof(in)));
}

char *
digest_text(const struct digest_value *v, char *out)
{
	unsigned i;

	memcpy(out, "byre1:", 6);
	for (i = 0; i < 16; i++)
		snprintf(out + 6 + 2 * i, 3, "%02x", v->b[i]);
	return out;
}

uint64_t
digest_xxh64(const void *p, uint64_t len)
{
	return XXH3_64bits(p, len);
}
