/* SPDX-License-Identifier: MIT */
/*
 * The reserve is for images that are larger than anybody thought, not for
 * accounts: whoever writes looks once, or now and then, and others write too.
 */
#include "config.h"

#include "cache/room.h"

#include <stdbool.h>
#include <sys/statvfs.h>

/* No blocks at all are a tmpfs without a limit, or somebody who does not say:
 * nothing is known then. */
static bool
look(int fd, struct statvfs *ret)
{
	return fstatvfs(fd, ret) == 0 && ret->f_blocks > 0;
}

uint64_t
room_reserve(int fd)
{
	struct statvfs fs;

	if (!look(fd, &fs))
		return 0;
	return units_min((uint64_t)fs.f_blocks / ROOM_PART * fs.f_frsize,
		ROOM_RESERVE);
}

uint64_t
room_spare(int fd)
{
	uint64_t left, keep = room_reserve(fd);
	struct statvfs fs;

	if (!look(fd, &fs))
		return UINT64_MAX;
	left = (uint64_t)fs.f_bavail * fs.f_frsize;
	return left - units_min(left, keep);
}
