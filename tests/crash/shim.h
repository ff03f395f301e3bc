/* SPDX-License-Identifier: MIT */
/* What shim.c decides and the calls ask; see the top of shim.c. */
#ifndef CRASH_SHIM_H
#define CRASH_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum shim_call {
	SHIM_READ,
	SHIM_WRITE,
	SHIM_OPEN,
	SHIM_SYNC,
	SHIM_FALLOCATE,
	SHIM_FTRUNCATE,
	SHIM_LINK,
	SHIM_RENAME,
	SHIM_UNLINK,
	SHIM_CLONE,
	SHIM_COPY,
	SHIM_LSEEK,
	SHIM_RINGREAD,
	SHIM_RINGWRITE,
	SHIM_MALLOC,
	SHIM_CALLS,
};

/* No errno: the link is made, and the caller told EEXIST. */
#define SHIM_LOST -1

/* Counts one call. 0: let it go on, with *len (may be NULL) perhaps shorter;
 * else the errno to fail with. Does not return where the rule is to kill. */
int shim_ask(enum shim_call call, size_t *len);

/* True if the feature is to be refused. */
bool shim_denied(const char *feature);

/* True if calls on this fd, or on this path relative to dirfd, count. */
bool shim_fd(int fd);
bool shim_path(int dirfd, const char *path);

/* One line of the log: name, file, two numbers, result. */
void shim_log(const char *name, int fd, int64_t a, int64_t b, int64_t res);
void shim_log_path(const char *name, const char *path, int64_t res);

enum shim_record {
	SHIM_REC_WRITE = 1,
	SHIM_REC_ZERO,
	SHIM_REC_SIZE,
	SHIM_REC_BARRIER,
};

/* One record of the trace, if this is the traced file, and of the tree's. */
void shim_trace(enum shim_record rec, int fd, uint64_t off, uint64_t len,
	const void *data);

/* The path relative to DIR, into out; false if it is not beneath that. */
bool shim_where(int dirfd, const char *path, char *out, size_t cap);

/* shim_tree.c; each does nothing unless the tree is recorded. The calls have
 * succeeded; there: the name was there before. */
void shim_tree_start(int fd);
bool shim_tree_on(void);
void shim_tree_data(enum shim_record rec, int fd, uint64_t off, uint64_t len,
	const void *data);
void shim_tree_sync(int fd);
void shim_tree_open(int dirfd, const char *path, int flags, bool there,
	int fd);
/* kind: mkdir, link, unlink, rmdir */
void shim_tree_name(const char *kind, int dirfd, const char *path);
void shim_tree_rename(int ofd, const char *from, int nfd, const char *to);

#endif
