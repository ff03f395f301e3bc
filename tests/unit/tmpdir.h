/* SPDX-License-Identifier: MIT */
/* A directory of the test's own, gone when the program ends. */
#ifndef UNIT_TMPDIR_H
#define UNIT_TMPDIR_H

#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char tmpdir_path[PATH_MAX];

static inline int
tmpdir_remove_one(const char *path, const struct stat *st, int type,
	struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void
tmpdir_remove(void)
{
	nftw(tmpdir_path, tmpdir_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Makes it and goes there; false when that fails. */
static inline bool
tmpdir_enter(void)
{
	const char *base = getenv("TMPDIR");

	snprintf(tmpdir_path, sizeof(tmpdir_path), "%s/byre-unit-XXXXXX",
		base ? base : "/tmp");
	return mkdtemp(tmpdir_path) && chdir(tmpdir_path) == 0;
}

#endif
