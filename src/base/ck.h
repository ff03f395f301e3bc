/* SPDX-License-Identifier: MIT */
/* Checked arithmetic for every number that an image or a caller gave. All
 * return true when the result fits, false (result undefined) otherwise. */
#ifndef BASE_CK_H
#define BASE_CK_H

#include <stdbool.h>
#include <stdint.h>

static inline bool
ck_add(uint64_t a, uint64_t b, uint64_t *ret)
{
	return !__builtin_add_overflow(a, b, ret);
}

static inline bool
ck_mul(uint64_t a, uint64_t b, uint64_t *ret)
{
	return !__builtin_mul_overflow(a, b, ret);
}

/* Rounds a up to a multiple of unit, a power of two. */
static inline bool
ck_align_up(uint64_t a, uint64_t unit, uint64_t *ret)
{
	if (!ck_add(a, unit - 1, ret))
		return false;
	*ret &= ~(unit - 1);
	return true;
}

#endif
