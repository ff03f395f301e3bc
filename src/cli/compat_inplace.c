/* SPDX-License-Identifier: MIT */
/* What the front's commands that change an image in place have in common. */
#include "config.h"

#include "cli/compat.h"

#include <string.h>

int
compat_inplace_failed(const char *shown, const char *path,
	const struct err *e)
{
	/* opened for writing, a directory has an errno of its own */
	if (strncmp(e->msg, "is a directory", 14) == 0)
		return compat_fail("Could not open '%s': Could not open '%s': "
			"Is a directory", shown, path);
	return compat_open_failed(shown, path, e);
}
