/* SPDX-License-Identifier: MIT */
/*
 * <instance>/disk.info, Nova's note of which format each disk has (a JSON
 * object, path to format): what guards a raw disk against a guest who makes it
 * look like a qcow2.
 */
#ifndef CACHE_DISK_INFO_H
#define CACHE_DISK_INFO_H

#include "base/buf.h"
#include "base/err.h"
#include "base/watch.h"
#include "cache/store.h"

#define DISK_INFO_FILE "disk.info"
#define DISK_INFO_MAX (64 * 1024) /* bytes */

/*
 * In the directory dirfd: notes that the disk of that absolute path has this
 * format, or (format NULL) takes the note away; other disks' entries stay. The
 * file is replaced as a whole, and synced; with no entry left it goes. One at a
 * time per directory.
 * ret_old (may be NULL): what was noted, to be freed; NULL if nothing was.
 */
int disk_info_put(const struct store *s, int dirfd, const char *disk,
	const char *format, char **ret_old, const struct watch *w,
	struct err *e);
/* The text with that change; pure. An empty text is an empty object. */
int disk_info_edit(const char *text, const char *disk, const char *format,
	struct buf *out, char **ret_old, struct err *e);

#endif
