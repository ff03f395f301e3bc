/* SPDX-License-Identifier: MIT */
/* The entries of map on stdout, while they are found. */
#ifndef CLI_MAP_TEXT_H
#define CLI_MAP_TEXT_H

#include <stdbool.h>

#include "op/map.h"

struct map_text {
	bool json;
	bool packed; /* "compressed" is a member */
	bool begun;
	bool failed; /* the fault is in what is printed, not in the image */
	struct buf out;
};

/* A map_put; arg is a struct map_text. */
int map_text_put(void *arg, const struct map_entry *x, bool last,
	struct err *e);
/* What comes before the first entry, for an image that was opened and has
 * none that could be found, and writes what is not written yet. Frees. */
int map_text_end(struct map_text *t, bool opened, struct err *e);

#endif
