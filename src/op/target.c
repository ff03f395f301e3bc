/* SPDX-License-Identifier: MIT */
#include "op/target.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/lock.h"

#define LINKS_MAX 40 /* the kernel's */

static int
lock(struct target *t, unsigned flags, struct err *e)
{
	return flags & TARGET_NO_LOCKS ? 0 : lock_image(t->file,
		LOCK_WRITER_USE, LOCK_WRITER_KEEP, e);
}

static int
open_existing(struct target *t, int dirfd, const char *path, unsigned flags,
	struct err *e)
{
	int r = -1;

	if (flags & (TARGET_DIRECT | TARGET_PREFER_DIRECT))
		r = file_open(&t->file, dirfd, path, FILE_WRITE | FILE_DIRECT,
			e);
	if (r && !(flags & TARGET_DIRECT))
		r = file_open(&t->file, dirfd, path, FILE_WRITE, e);
	return r ? -1 : lock(t, flags, e);
}

static int
begin_new(struct target *t, int dirfd, const char *path, unsigned flags,
	struct err *e)
{
	int r = -1;

	if (flags & (TARGET_DIRECT | TARGET_PREFER_DIRECT))
		r = publish_begin(&t->publish, dirfd, path, FILE_DIRECT, 0644,
			e);
	if (r && !(flags & TARGET_DIRECT))
		r = publish_begin(&t->publish, dirfd, path, 0, 0644, e);
	if (r)
		return -1;
	t->file = publish_file(t->publish);
	return 0;
}

/*
 * What open(O_CREAT) would make for path: behind symbolic links that lead to
 * nothing yet. Publishing replaces no name, not even a link's.
 */
static int
behind_links(int dirfd, const char *path, char **ret, struct err *e)
{
	CLEANUP_FREE char *at = strdup(path);
	char link[PATH_MAX], *slash;
	size_t dir, len;
	unsigned i;
	ssize_t n;

	for (i = 0; at && i < LINKS_MAX; i++) {
		n = readlinkat(dirfd, at, link, sizeof(link));
		if (n < 0) {
			*ret = TAKE_PTR(at);
			return 0;
		}
		slash = link[0] == '/' ? NULL : strrchr(at, '/');
		dir = slash ? (size_t)(slash + 1 - at) : 0;
		len = (size_t)n;
		slash = malloc(dir + len + 1);
		if (slash) {
			memcpy(slash, at, dir);
			memcpy(slash + dir, link, len);
			slash[dir + len] = '\0';
		}
		free(at);
		at = slash;
	}
	err_sys(e, at ? ELOOP : ENOMEM, "cannot create");
	return err_file(e, path);
}

int
target_open(struct target *t, int dirfd, const char *path, int fd,
	unsigned flags, struct err *e)
{
	CLEANUP_FREE char *real = NULL;
	struct stat st;

	*t = (struct target){0};
	if (!path) {
		if (file_from_fd(&t->file, fd, "target", e))
			return -1;
		return lock(t, flags, e);
	}
	if ((flags & TARGET_MUST_EXIST) || fstatat(dirfd, path, &st, 0) == 0)
		return open_existing(t, dirfd, path, flags, e);
	if (behind_links(dirfd, path, &real, e))
		return -1;
	if (begin_new(t, dirfd, real, flags, e) == 0)
		return 0;
	/* by the name that the caller knows */
	if (e)
		e->file[0] = '\0';
	return err_file(e, path);
}

int
target_fits(const struct target *t, uint64_t size, struct err *e)
{
	if (!t->file->is_block || size <= t->file->size)
		return 0;
	err_set(e, ERR_UNSUPPORTED, "a device of %" PRIu64
		" bytes cannot grow to %" PRIu64, t->file->size, size);
	return err_file(e, t->file->name);
}

int
target_clear(struct target *t, struct err *e)
{
	if (t->publish || t->file->is_block)
		return 0;
	t->changed = true;
	return file_truncate(t->file, 0, e);
}

int
target_commit(struct target *t, bool durable, uint64_t *ret_nsec,
	struct err *e)
{
	struct timespec a, b;
	int r;

	clock_gettime(CLOCK_MONOTONIC, &a);
	if (t->publish) {
		r = publish_commit(t->publish, durable, e);
		if (r == 0) {
			t->publish = NULL;
			t->file = NULL;
		}
	} else {
		r = durable ? file_sync(t->file, e) : 0;
		if (r == 0)
			t->changed = false;
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	*ret_nsec += (uint64_t)(b.tv_sec - a.tv_sec) * 1000000000u +
		(uint64_t)b.tv_nsec - (uint64_t)a.tv_nsec;
	return r;
}

void
target_retract(int dirfd, const char *path)
{
	CLEANUP_FREE char *real = NULL;

	if (behind_links(dirfd, path, &real, NULL) == 0)
		unlinkat(dirfd, real, 0);
}

void
target_close(struct target *t, struct err *e)
{
	size_t n;

	if (t->changed && e && e->kind != ERR_NONE) {
		n = strlen(e->msg);
		if (n + 40 < sizeof(e->msg))
			strcpy(e->msg + n, " (the target may be partial)");
	}
	if (t->publish)
		publish_abandon(t->publish);
	else
		file_close(t->file);
	*t = (struct target){0};
}
