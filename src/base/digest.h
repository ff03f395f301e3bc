/* SPDX-License-Identifier: MIT */
/*
 * The content digest "byre1": an XXH3-128 tree over what a guest reads.
 *
 *   block size B = 1 MiB; the guest's bytes are cut into blocks, the last one
 *   padded with zeros. leaf(i) = XXH3_128(block i, seed 0) in canonical
 *   (big-endian) form, 16 bytes. n = 1 + index of the last leaf that differs
 *   from the leaf of an all-zero block, or 0 (an image that does not end on a
 *   block ends in a padded one; whether trailing zero blocks are fed at all
 *   makes no difference). Fan-out F = 64: over an infinite sequence of leaves that
 *   is all-zero leaves from n on, node(k, i) = XXH3_128(the 64 children
 *   node(k-1, 64i .. 64i+63), seed k), the children's 16 bytes one behind the
 *   other, 1024 bytes; node(0, i) = leaf(i). h = the smallest h with 64^h >= n
 *   (h = 0 for n <= 1). root = XXH3_128("byre1\0\0\0" | u64be B | u64be n |
 *   node(h, 0) (16 zero bytes when n = 0), seed 0).
 *
 * The identity of a content is (root, virtual size): extending an image with
 * zeros changes the size and not the digest. It finds rot, not forgery:
 * XXH3 is no cryptographic hash.
 *
 * All-zero subtrees are constants, so a hole of any length costs O(log n).
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdint.h>

#define DIGEST_BLOCK (UINT64_C(1) << 20)
#define DIGEST_FANOUT 64
#define DIGEST_LEVELS 8 /* 64^8 blocks of 1 MiB exceed 2^63 bytes */
#define DIGEST_PART 576 /* an XXH3 state */
#define DIGEST_TEXT 41  /* "byre1:" + 32 hex digits + NUL, rounded up */

struct digest_value {
	uint8_t b[16];
};

/* Hears of the blocks in guest order, those at the end that are all zeros
 * included: a leaf that is not the zero block's, or NULL and a number of zero
 * blocks. */
struct digest_tap {
	void (*leaf)(void *arg, const struct digest_value *leaf,
		uint64_t zeros);
	void *arg;
};

/* Feed leaves in guest order. State is about 8 KiB; no allocation. The members
 * are digest.c's own. */
struct digest {
	uint64_t count;   /* blocks fed, zero ones included */
	uint64_t kept;    /* 1 + index of the last non-zero block: n */
	uint8_t node[DIGEST_LEVELS][DIGEST_FANOUT][16];
	uint32_t used[DIGEST_LEVELS]; /* children present per level */
	struct digest_value zero[DIGEST_LEVELS + 1]; /* all-zero subtrees */
	uint64_t pending; /* zero blocks seen since the last non-zero one */
	const struct digest_tap *tap; /* to be set after digest_init; or NULL */
	/* digest_feed: the block that is not complete yet */
	uint64_t part_len;
	_Alignas(64) uint8_t part[DIGEST_PART];
};

/* Digest of one block of len <= DIGEST_BLOCK bytes, zero-padded. */
struct digest_value digest_leaf(const void *block, uint64_t len);

void digest_init(struct digest *d);
void digest_add_leaf(struct digest *d, const struct digest_value *leaf);
void digest_add_zeros(struct digest *d, uint64_t nblocks);
/* Guest bytes in any pieces, instead of leaves; digest_feed_end pads the last
 * block. Not to be mixed with the two above. */
void digest_feed(struct digest *d, const void *bytes, uint64_t len);
void digest_feed_zeros(struct digest *d, uint64_t len);
void digest_feed_end(struct digest *d);
struct digest_value digest_root(const struct digest *d);

/* "byre1:<32 hex digits>" into out[DIGEST_TEXT]. */
char *digest_text(const struct digest_value *v, char *out);

/* Streaming checksum for other uses of XXH3 (records): 64-bit. */
uint64_t digest_xxh64(const void *p, uint64_t len);

#endif
