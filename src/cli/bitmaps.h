/* SPDX-License-Identifier: MIT */
/* convert --bitmaps: what is looked at before, and what is done after. */
#ifndef CLI_BITMAPS_H
#define CLI_BITMAPS_H

#include "base/err.h"
#include "op/convert.h"

/* Before anything is written. Messages are qemu-img's. */
int bitmaps_check(const struct convert_request *rq, bool skip_broken,
	struct err *e);
/* Into the target that convert has made. */
int bitmaps_copy(const struct convert_request *rq, struct err *e);

#endif
