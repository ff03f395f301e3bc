/* SPDX-License-Identifier: MIT */
/*
 * Who uses which base: every file beneath the instance directories is looked
 * at, and what a qcow2 is built on is followed down its chain. Nothing is
 * opened as an image; nothing but headers is read.
 */
#ifndef CACHE_USERS_H
#define CACHE_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/watch.h"
#include "cache/store.h"

#define USERS_DEPTH_MAX 200 /* files of one chain, as GATE_DEPTH_MAX */

struct users_request {
	const struct store *store;
	/* more directories of instances, beside the store's own */
	const char *const *roots;
	size_t n_roots;
	/* paths (or "<instance>/<disk>") of files and directories that are
	 * not to count where they cannot be read */
	const char *const *ignore;
	size_t n_ignore;
	const struct watch *watch; /* cancellation */
};

/* A file that something is built on, by one of its names. */
struct users_file {
	char *path;       /* as it would be opened; owned */
	const char *name; /* the last part of it */
	bool there;       /* dev and ino are those that it leads to */
	dev_t dev;
	ino_t ino;
	char *disk;       /* one of those that name it; owned */
	unsigned disks;   /* how many name it themselves */
	/* users.c's own: disks before a pass; index + 1 of the file below
	 * which nothing is to be seen, and that one's last change */
	unsigned before;
	size_t dim;
	int64_t changed;
};

/* A file or directory that could not be read, and may name any base that there
 * was when it was changed last; or that is missing in a chain. */
struct users_dark {
	char *disk;      /* owned */
	int64_t changed; /* seconds since the epoch, rounded up; INT64_MAX when
			  * not known */
	char why[160];
};

struct users {
	struct users_file *files; /* owned, all of these */
	size_t n_files;
	struct users_dark *dark;
	size_t n_dark;
	/* nameless no more and not yet named: what a kill leaves of a disk
	 * where the file system has no O_TMPFILE; no disks */
	char **strays;
	size_t n_strays;
	uint64_t disks;       /* files that were looked at */
	uint64_t instances;   /* directories */
	size_t *by_name, *by_inode, n_inodes; /* users.c's own */
};

/*
 * One pass; where a directory of instances changed meanwhile, once more (a
 * name that moves is missed by a single reading). Files of _base itself that
 * name another one count as users too. What cannot be read, or leads to
 * something that is not there, ends up in `dark`; -1 only if a directory of
 * instances cannot be read at all, without memory, or cancelled.
 */
int users_scan(const struct users_request *rq, struct users *ret,
	struct err *e);
void users_free(struct users *u); /* a zeroed one is fine */

/* Whether users_scan, without more roots, looks at what is in the directory
 * dirfd. */
bool users_come_by(const struct store *s, int dirfd);

struct users_answer {
	unsigned disks;   /* 0: nobody */
	const char *disk; /* one of them */
};

/* Who uses the base of that name and inode: by the last part of a name,
 * wherever that leads, or by what a name leads to. */
struct users_answer users_of(const struct users *u, const char *name,
	const struct stat *st);

#endif
