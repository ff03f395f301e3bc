/* SPDX-License-Identifier: MIT */
/*
 * Untrusted bytes: big- and little-endian loads and stores, and a cursor with
 * a sticky overrun flag. Decode a whole record, test the flag once, then
 * validate.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t
load_be16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap16(v);
}

static inline uint32_t
load_be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static inline uint64_t
load_be64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return __builtin_bswap64(v);
}

static inline uint16_t
load_le16(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t
load_le32(const void *p)
{
	return (uint32_t)load_le16(p) |
		(uint32_t)load_le16((const uint8_t *)p + 2) << 16;
}

static inline uint64_t
load_le64(const void *p)
{
	return (uint64_t)load_le32(p) |
		(uint64_t)load_le32((const uint8_t *)p + 4) << 32;
}

static inline void
store_be16(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void
store_be32(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void
store_be64(void *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof(v));
}

struct span {
	const uint8_t *p;
	size_t len;
};

struct cursor {
	const uint8_t *p;
	size_t left;
	bool overrun; /* sticky: something was asked for past the end */
};

static inline struct cursor
cursor_over(struct span s)
{
	return (struct cursor){.p = s.p, .left = s.len};
}

/* n bytes at the cursor, or NULL (and the flag) past the end. */
static inline const uint8_t *
cursor_take(struct cursor *c, size_t n)
{
	const uint8_t *p = c->p;

	if (c->overrun || n > c->left) {
		c->overrun = true;
		return NULL;
	}
	c->p += n;
	c->left -= n;
	return p;
}

/* Past the end these give 0 and set the flag. */
static inline uint8_t
cursor_u8(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 1);

	return p ? *p : 0;
}

static inline uint16_t
cursor_be16(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 2);

	return p ? load_be16(p) : 0;
}

static inline uint32_t
cursor_be32(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 4);

	return p ? load_be32(p) : 0;
}

static inline uint64_t
cursor_be64(struct cursor *c)
{
	const uint8_t *p = cursor_take(c, 8);

	return p ? load_be64(p) : 0;
}

static inline bool
cursor_skip(struct cursor *c, size_t n)
{
	return cursor_take(c, n) != NULL;
}

#endif
