/* SPDX-License-Identifier: MIT */
/*
 * The file that an operation writes: a new name that appears only when it is
 * whole, or an existing file that is the caller's and keeps its inode.
 */
#ifndef OP_TARGET_H
#define OP_TARGET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "format/qcow2_write.h"
#include "io/file.h"
#include "io/publish.h"

struct target {
	struct file *file;       /* to write to */
	struct publish *publish; /* NULL when the file exists */
	bool changed;            /* existing: a byte was changed */
};

enum target_flags {
	TARGET_NEW = 0,
	TARGET_MUST_EXIST = 1 << 0,    /* -n */
	TARGET_DIRECT = 1 << 1,        /* O_DIRECT */
	TARGET_PREFER_DIRECT = 1 << 2, /* where the file system lets us */
	TARGET_NO_LOCKS = 1 << 3,      /* locking=off */
};

/*
 * path (relative to dirfd), or fd when path is NULL.
 * A symbolic link to nothing means the name behind it.
 * An existing file gets QEMU's writer locks and is not changed yet.
 */
int target_open(struct target *t, int dirfd, const char *path, int fd,
	unsigned flags, struct err *e);
/* A device has the size that it has: ERR_UNSUPPORTED if that is less. */
int target_fits(const struct target *t, uint64_t size, struct err *e);
/* Before the first byte: empties an existing regular file. */
int target_clear(struct target *t, struct err *e);
/* Whole: synced when durable, and published when new. *ret_nsec: time that
 * it took. */
int target_commit(struct target *t, bool durable, uint64_t *ret_nsec,
	struct err *e);
/* Takes away again what was new at path and is committed. */
void target_retract(int dirfd, const char *path);
/* Closes; a new file vanishes. With *e set and an existing file changed, the
 * message says that it may be partial. Fine after commit. */
void target_close(struct target *t, struct err *e);

#endif
