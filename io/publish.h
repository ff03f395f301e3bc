/* SPDX-License-Identifier: MIT */
/*
 * A new file that appears under its name only when it is whole: an unnamed
 * O_TMPFILE (or, where the file system has none, a random named temporary in
 * the same directory) -> fdatasync -> link() -> fsync of the directory. A name
 * that exists meanwhile is an error (EEXIST), never clobbered.
 */
#ifndef IO_PUBLISH_H
#define IO_PUBLISH_H

#include <stdbool.h>

#include "io/file.h"

struct publish;

/* Opens the temporary for path (relative to dirfd). flags: FILE_DIRECT. The
 * file belongs to the publish. mode is subject to the umask. */
int publish_begin(struct publish **ret, int dirfd, const char *path,
	unsigned flags, unsigned mode, struct err *e);
struct file *publish_file(struct publish *p);
/* durable: file and directory are synced. On success p is freed; on failure
 * it still belongs to the caller, who abandons it. */
int publish_commit(struct publish *p, bool durable, struct err *e);
/* Removes the temporary, closes, frees; NULL is fine. */
void publish_abandon(struct publish *p);
void publish_abandon_p(struct publish **p);

#endif
