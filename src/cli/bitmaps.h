/* SPDX-License-Identifier: MIT */
/* convert --bitmaps: bitmaps are not copied, so it is refused when the source
 * has any. */
#ifndef CLI_BITMAPS_H
#define CLI_BITMAPS_H

#include "base/err.h"
#include "op/convert.h"

/* Messages are qemu-img's where it refuses too. */
int bitmaps_check(const struct convert_request *rq, bool skip_broken,
	struct err *e);

#endif
