/* SPDX-License-Identifier: MIT */
/* Sizes in bytes, and the small arithmetic on trusted numbers. */
#ifndef BASE_UNITS_H
#define BASE_UNITS_H

#include <stdint.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
#define TIB (GIB * 1024)

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static inline uint64_t
units_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static inline uint64_t
units_max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static inline uint64_t
units_div_up(uint64_t a, uint64_t b)
{
	return a / b + (a % b != 0);
}

/* unit is a power of two; the caller knows that a + unit does not wrap. */
static inline uint64_t
units_align_up(uint64_t a, uint64_t unit)
{
	return (a + unit - 1) & ~(unit - 1);
}

static inline uint64_t
units_align_down(uint64_t a, uint64_t unit)
{
	return a & ~(unit - 1);
}

#endif
