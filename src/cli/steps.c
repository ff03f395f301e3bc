/* SPDX-License-Identifier: MIT */
/* The options of `bitmap` that are actions: names, and one with a value. */
#include "config.h"

#include "cli/steps.h"

#include <string.h>

#include "base/units.h"

static const char *const names[] = {"add", "remove", "clear", "enable",
	"disable", "merge"};

const char *
steps_name(enum bitmap_action a)
{
	return names[a];
}

unsigned
steps_bitmap(const struct options_list *l, struct bitmap_step *out,
	bool *ret_add, bool *ret_merge)
{
	unsigned n = 0;

	for (unsigned i = 0; i < l->n; i++) {
		struct bitmap_step s = {0};

		for (unsigned k = 0; k < COUNT_OF(names); k++) {
			if (strcmp(l->v[i], names[k]) == 0)
				s.action = (enum bitmap_action)k;
		}
		*ret_add |= s.action == BITMAP_ADD;
		*ret_merge |= s.action == BITMAP_MERGE;
		if (s.action == BITMAP_MERGE)
			s.from = l->v[++i];
		if (n < STEPS_MAX)
			out[n] = s;
		n++;
	}
	return n;
}
