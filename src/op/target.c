/* SPDX-License-Identifier: MIT */
#include "op/target.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "io/lock.h"

static int
open_existing(struct target *t, int dirfd, const char *path, bool direct,
	bool prefer_direct, struct err *e)
{
	unsigned flags = FILE_WRITE;
	int r = -1;

	if (direct || prefer_direct)
		r = file_open(&t->file, dirfd, path, flags | FILE_DIRECT, e);
	if (r && !direct)
		r = file_open(&t->file, dirfd, path, flags, e);
	if (r)
		return -1;
	return lock_image(t->file, LOCK_WRITER_USE, LOCK_WRITER_KEEP, e);
}

static int
begin_new(struct target *t, int dirfd, const char *path, bool direct,
	bool prefer_direct, struct err *e)
{
	int r = -1;

	if (direct || prefer_direct)
		r = publish_begin(&t->publish, dirfd, path, FILE_DIRECT, 0644,
			e);
	if (r && !direct)
		r = publish_begin(&t->publish, dirfd, path, 0, 0644, e);
	if (r)
		return -1;
	t->file = publish_file(t->publish);
	return 0;
}

int
target_open(struct target *t, int dirfd, const char *path, int fd,
	bool must_exist, bool direct, bool prefer_direct, struct err *e)
{
	struct stat st;

	*t = (struct target){0};
	if (!path) {
		if (file_from_fd(&t->file, fd, "target", e))
			return -1;
		return lock_image(t->file, LOCK_WRITER_USE, LOCK_WRITER_KEEP,
			e);
	}
	if (must_exist || fstatat(dirfd, path, &st, 0) == 0)
		return open_existing(t, dirfd, path, direct, prefer_direct,
			e);
	return begin_new(t, dirfd, path, direct, prefer_direct, e);
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
