/* SPDX-License-Identifier: MIT */
/* From the options of `bitmap`, in their order, to what is to be done. */
#ifndef CLI_STEPS_H
#define CLI_STEPS_H

#include "cli/options.h"
#include "op/bitmap.h"

#define STEPS_MAX 256u /* on one command line */

/* Returns how many there are; more than STEPS_MAX are counted only. */
unsigned steps_bitmap(const struct options_list *l, struct bitmap_step *out,
	bool *ret_add, bool *ret_merge);
const char *steps_name(enum bitmap_action a);

#endif
