/* SPDX-License-Identifier: MIT */
/* Less power for commands that only read. */
#ifndef CLI_SANDBOX_H
#define CLI_SANDBOX_H

#include <stdbool.h>

/*
 * From here on the process may open nothing for writing, and for reading only
 * the n named files and what lies beneath the n_dirs directories (anywhere:
 * everything). A kernel without Landlock leaves all as it was.
 */
void sandbox_read_only(const char *const *files, unsigned n,
	const char *const *dirs, unsigned n_dirs, bool anywhere);

#endif
