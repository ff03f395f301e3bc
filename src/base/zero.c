/* SPDX-License-Identifier: MIT */
/*
 * Zero detection. Data is rarely zero at its first, middle and last words, so
 * those are looked at before the wide loop; the loop itself is written with
 * vector types of a fixed width, which every target lowers to what it has.
 */
#include "base/zero.h"

#include <stdint.h>
#include <string.h>

/* One SSE2 or NEON register: two loads per cycle outrun any memory, so wider
 * code chosen at run time would gain nothing. */
typedef uint64_t wide __attribute__((vector_size(16)));

#define STEP (8 * sizeof(wide))

static inline uint64_t
word(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline wide
load(const uint8_t *p)
{
	wide v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint64_t
fold(wide v)
{
	return v[0] | v[1];
}

/* len >= sizeof(wide) */
static bool
zero_wide(const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;
	wide v;

	for (; (size_t)(end - p) >= STEP; p += STEP) {
		v = load(p) | load(p + 16) | load(p + 32) | load(p + 48);
		v |= load(p + 64) | load(p + 80) | load(p + 96) | load(p + 112);
		if (fold(v))
			return false;
	}
	for (; (size_t)(end - p) >= sizeof(wide); p += sizeof(wide))
		if (fold(load(p)))
			return false;
	/* the rest, together with bytes that were seen already */
	return fold(load(end - sizeof(wide))) == 0;
}

bool
zero_is(const void *p, size_t len)
{
	const uint8_t *b = p;
	size_t i;

	if (len < sizeof(wide)) {
		for (i = 0; i < len; i++)
			if (b[i])
				return false;
		return true;
	}
	if (word(b) | word(b + len / 2) | word(b + len - 8))
		return false;
	return zero_wide(b, len);
}

size_t
zero_run(const void *p, size_t len, size_t unit, bool *ret_zero)
{
	const uint8_t *b = p;
	size_t at = 0, n;
	bool first = true, zero;

	for (at = 0; at < len; at += n) {
		n = len - at < unit ? len - at : unit;
		zero = zero_is(b + at, n);
		if (first)
			*ret_zero = zero;
		else if (zero != *ret_zero)
			return at;
		first = false;
	}
	if (first)
		*ret_zero = true;
	return at;
}
