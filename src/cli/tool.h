/* SPDX-License-Identifier: MIT */
/* Programs of the system that the cache lets work on a file: mkswap, mkfs,
 * e2fsck, resize2fs. */
#ifndef CLI_TOOL_H
#define CLI_TOOL_H

#include "base/err.h"
#include "base/watch.h"

#define TOOL_FILE "/proc/self/fd/3" /* how a tool is to name the file */

/*
 * Runs argv (found on $PATH, and in the sbin directories), the file fd being
 * its descriptor 3, and waits. Its words are kept back; if it ends otherwise
 * than with a status of which the bit is set in ok, its last line is in the
 * message. A program that is not there is ERR_UNSUPPORTED. When w is cancelled
 * it is killed, and that is ERR_CANCELLED.
 */
int tool_run(const char *const argv[], int fd, unsigned ok,
	const struct watch *w, struct err *e);

#endif
