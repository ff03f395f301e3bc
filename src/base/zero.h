/* SPDX-License-Identifier: MIT */
/* Zero detection at memory speed. */
#ifndef BASE_ZERO_H
#define BASE_ZERO_H

#include <stdbool.h>
#include <stddef.h>

/* True if all len bytes are zero; any alignment; len 0 is true. */
bool zero_is(const void *p, size_t len);

/* Length of the run at p in whole units (the last one may be short) that is
 * all zero (*ret_zero true) or has no all-zero unit (false). unit > 0. */
size_t zero_run(const void *p, size_t len, size_t unit, bool *ret_zero);

#endif
