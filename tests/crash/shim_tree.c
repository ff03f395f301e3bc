/* SPDX-License-Identifier: MIT */
/*
 * The record of a whole tree: every name and every byte beneath the shim's
 * directory that a program changes, and every flush, in order. What was
 * written where the shim does not see (by a program without it) shows when the
 * file is flushed or named: its content is told then.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/shim.h"

#define CHUNK (1 << 20)

static int tree_fd = -1;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void
shim_tree_start(int fd)
{
	tree_fd = fd;
}

bool
shim_tree_on(void)
{
	return tree_fd >= 0;
}

static void
put(const char *kind, uint64_t ino, uint64_t a, uint64_t b, const char *path,
	const void *data)
{
	char line[2 * PATH_MAX + 128];
	int n = snprintf(line, sizeof(line), "%s %llu %llu %llu %s\n", kind,
		(unsigned long long)ino, (unsigned long long)a,
		(unsigned long long)b, path);
	struct iovec v[2] = {{line, (size_t)n},
		{(void *)(uintptr_t)data, data ? (size_t)b : 0}};

	pthread_mutex_lock(&mutex);
	syscall(SYS_writev, tree_fd, v, 2);
	pthread_mutex_unlock(&mutex);
}

static uint64_t
ino_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_ino : 0;
}

void
shim_tree_data(enum shim_record rec, int fd, uint64_t off, uint64_t len,
	const void *data)
{
	static const char *const kinds[] = {
		[SHIM_REC_WRITE] = "write",
		[SHIM_REC_ZERO] = "zero",
		[SHIM_REC_SIZE] = "size",
	};
	int saved = errno;

	if (tree_fd >= 0 && rec != SHIM_REC_BARRIER)
		put(kinds[rec], ino_of(fd), off, len, "-", data);
	errno = saved;
}

/* What is in the file: its length, and what is no hole. */
static void
tell_content(int from)
{
	void *buf = malloc(CHUNK);
	off_t at = 0, end;
	char link[64];
	struct stat st;
	int fd;

	/* another one: the position of `from` is the program's */
	snprintf(link, sizeof(link), "/proc/self/fd/%d", from);
	fd = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
	if (buf && fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		put("state", st.st_ino, 0, (uint64_t)st.st_size, "-", NULL);
		while ((at = syscall(SYS_lseek, fd, at, SEEK_DATA)) >= 0 &&
			(end = syscall(SYS_lseek, fd, at, SEEK_HOLE)) > at) {
			for (; at < end; at += CHUNK) {
				size_t n = end - at < CHUNK
					? (size_t)(end - at) : CHUNK;

				if (syscall(SYS_pread64, fd, buf, n, at) !=
					(ssize_t)n)
					break;
				put("have", st.st_ino, (uint64_t)at, n, "-",
					buf);
			}
			at = end;
		}
		put("stated", st.st_ino, 0, 0, "-", NULL);
	}
	free(buf);
	if (fd >= 0)
		syscall(SYS_close, fd);
}

void
shim_tree_sync(int fd)
{
	char path[PATH_MAX];
	int saved = errno;
	struct stat st;

	if (tree_fd < 0 || fstat(fd, &st))
		return;
	if (S_ISDIR(st.st_mode)) {
		shim_where(fd, ".", path, sizeof(path));
		put("syncdir", st.st_ino, 0, 0, path, NULL);
	} else {
		tell_content(fd);
		put("sync", st.st_ino, 0, 0, "-", NULL);
	}
	errno = saved;
}

void
shim_tree_open(int dirfd, const char *path, int flags, bool there, int fd)
{
	char where[PATH_MAX];
	int saved = errno;

	if (tree_fd < 0)
		return;
	if ((flags & O_TMPFILE) == O_TMPFILE) {
		put("nameless", ino_of(fd), 0, 0, "-", NULL);
	} else if (!there) {
		shim_where(dirfd, path, where, sizeof(where));
		put("create", ino_of(fd), 0, 0, where, NULL);
	} else if (flags & O_TRUNC) {
		put("size", ino_of(fd), 0, 0, "-", NULL);
	}
	errno = saved;
}

void
shim_tree_name(const char *kind, int dirfd, const char *path)
{
	char where[PATH_MAX];
	int saved = errno;
	struct stat st = {0};

	if (tree_fd < 0)
		return;
	shim_where(dirfd, path, where, sizeof(where));
	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		S_ISREG(st.st_mode)) {
		int fd = (int)syscall(SYS_openat, dirfd, path,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

		tell_content(fd);
		syscall(SYS_close, fd);
	}
	put(kind, st.st_ino, 0, 0, where, NULL);
	errno = saved;
}

void
shim_tree_rename(int ofd, const char *from, int nfd, const char *to)
{
	char where[PATH_MAX];

	if (tree_fd < 0)
		return;
	/* the name that it had comes first, and then the one that it has */
	shim_where(ofd, from, where, sizeof(where));
	put("from", 0, 0, 0, where, NULL);
	shim_tree_name("rename", nfd, to);
}
