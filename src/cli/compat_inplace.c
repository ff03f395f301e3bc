/* SPDX-License-Identifier: MIT */
/* What the front's commands that change an image in place have in common. */
#include "config.h"

#include "cli/compat.h"

#include <string.h>

int
compat_inplace_writable(const char *operand, const struct name *n,
	const struct source *s, const struct gate *g)
{
	struct chain *c;
	struct err e = {0};

	if (!n->read_only)
		return 0;
	/* QEMU finds it out when it has opened the image */
	if (source_open(s, g, false, NULL, &c, &e))
		return compat_open_failed(operand, n->path, &e);
	chain_close(c);
	return compat_fail("Could not open '%s': Block node is read-only",
		operand);
}

int
compat_inplace_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *s, struct gate *g)
{
	if (compat_source(a, operand, n, s, g))
		return 1;
	if (compat_inplace_writable(operand, n, s, g))
		return 1;
	if (n->force_share)
		return compat_fail("Could not open '%s': force-share=on can "
			"only be used with read-only images", operand);
	return 0;
}

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
