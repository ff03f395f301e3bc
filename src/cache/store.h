/* SPDX-License-Identifier: MIT */
/*
 * An instances directory as Nova lays it out, opened: file descriptors of the
 * directories that the cache works in, and the few ways to touch a file there.
 * Everything beneath goes by name relative to one of these and is never
 * followed through a symbolic link.
 *
 *   <instances>/_base/            the bases
 *   <instances>/_base/.byre/      ours: staging/ records/ quarantine/ clock
 *   <instances>/locks/            nova-<name>, shared with Nova
 */
#ifndef CACHE_STORE_H
#define CACHE_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "base/err.h"
#include "base/watch.h"
#include "cache/layout.h"

struct store_request {
	const char *instances; /* a path; links are followed: it is the
				* caller's word */
	/* the bases' directory: a name or path relative to instances (a
	 * symbolic link is refused), or an absolute path; NULL: _base */
	const char *base;
	const char *locks;     /* a path; NULL: <instances>/locks */
	/* make what is missing beneath instances (the directory itself must
	 * exist); else a missing _base is ERR_IO ENOENT, and where .byre or
	 * locks are missing their fds are -1 */
	bool create;
};

struct store {
	char *instances;  /* as given, made absolute, without slashes at its
			   * end; owned */
	char *base;       /* path of the bases' directory; owned. Backing
			   * names are made of it: <base>/<name> */
	int instances_fd;
	int base_fd;
	int locks_fd;
	int state_fd;      /* _base/.byre */
	int staging_fd;
	int records_fd;
	int quarantine_fd;
	dev_t instances_dev, base_dev;
	bool apart;        /* _base is on another device than instances */
	uid_t uid;         /* the owner of _base, who is to own new files */
	gid_t gid;
	bool give;         /* we are root and he is somebody else */
};

/* What may be closed though it was never opened. */
#define STORE_NONE                                                             \
	((struct store){.instances_fd = -1, .base_fd = -1, .locks_fd = -1,     \
		.state_fd = -1, .staging_fd = -1, .records_fd = -1,            \
		.quarantine_fd = -1})

int store_open(struct store *ret, const struct store_request *rq,
	struct err *e);
void store_close(struct store *s); /* twice is fine */

/*
 * Opens the regular file `name` in dirfd. flags: O_RDONLY, O_RDWR or O_WRONLY.
 * What is absent gives 0 with *ret_fd -1; a symbolic link, a directory or
 * anything else that is no regular file is ERR_DENIED and is neither followed
 * nor waited on. st may be NULL.
 */
int store_file(int dirfd, const char *name, int flags, int *ret_fd,
	struct stat *ret_st, struct err *e);
/* The same, O_RDWR; where there is none an empty one is made, 0644 but for the
 * umask, that belongs to _base's owner. */
int store_file_or_new(const struct store *s, int dirfd, const char *name,
	int *ret_fd, struct err *e);
/* store_file without opening it: *ret_there false where there is none. */
int store_stat(int dirfd, const char *name, bool *ret_there,
	struct stat *ret_st, struct err *e);
/* A new file is to be owned by the owner of _base: one that was made by the
 * caller just now, and none that was found (root would give away what a hard
 * link leads to). */
int store_give(const struct store *s, int fd, struct err *e);

/*
 * A file in staging: a random name that begins with `name`, empty, 0644, owned
 * by _base's owner, with an OFD write lock on its first byte as long as the fd
 * is open: where that can be locked it belongs to nobody alive.
 */
struct store_stage {
	int fd;
	char name[LAYOUT_NAME + 24];
};

int store_stage_open(const struct store *s, const char *name,
	struct store_stage *ret, struct err *e);
/*
 * fsync of the file, link() under _base/<name> (a name that exists is never
 * replaced: *ret_taken is true then, with 0, and nothing has changed), fsync
 * of _base. Else the stage's name is gone and its fd stays open.
 */
int store_stage_publish(const struct store *s, struct store_stage *st,
	const char *name, bool *ret_taken, struct err *e);
/* Removes the name if it is still there, closes. {.fd = -1} is fine. */
void store_stage_drop(const struct store *s, struct store_stage *st);

/* mtime and atime of a file beneath _base become now, as Nova does with bases
 * that are in use. Without the right to do so (NFS: EACCES, EPERM, EROFS) it
 * is a note on w, and 0. */
int store_touch(const struct store *s, const char *name, const struct watch *w,
	struct err *e);
/* What the file system of _base says is now, by touching .byre/clock: its
 * clock may be a server's. Needs a store opened with create. */
int store_now(const struct store *s, struct timespec *ret, struct err *e);
#define STORE_QUARANTINED (LAYOUT_NAME + 40) /* a name there, with its NUL */

/* Moves _base/<name> to quarantine/<name>.<seconds>.<random>; both directories
 * are synced. The caller holds its lock. ret_as (STORE_QUARANTINED bytes) may
 * be NULL. */
int store_quarantine(const struct store *s, const char *name, char *ret_as,
	struct err *e);
/* The staged file takes the place of _base/<name>, durably and at once; what
 * was there goes on living in quarantine, as ret_as (STORE_QUARANTINED bytes)
 * says. After a failure the name is one or the other. The caller holds its
 * lock. */
int store_stage_replace(const struct store *s, struct store_stage *st,
	const char *name, char *ret_as, struct err *e);
/* The file in fd, which is _base/<name>, and that name, durably: who made it may
 * have had no time for that, or does not do it (Nova). What a record tells of
 * has been settled before the record was written. */
int store_settle(const struct store *s, const char *name, int fd,
	struct err *e);
/* fsync of a directory; file systems that cannot are passed over. */
int store_sync_dir(int dirfd, struct err *e);

#endif
