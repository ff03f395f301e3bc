/* SPDX-License-Identifier: MIT */
/*
 * A new file under its name only when it is whole. Knows nameless and named
 * temporaries and the ways to give a file a name that must not exist. All
 * steps go through one directory fd, so that a directory renamed meanwhile
 * does no harm. Cancellation is the caller's: he abandons.
 */
#include "config.h"

#include "io/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "io/clone.h"
#include "io/sparse.h"

#define TEMP_TRIES 16
#define TEMP_SUFFIX sizeof(".byre-XXXXXXXX") /* with the leading dot of NAME */
#define COPY_CHUNK MIB

struct publish {
	struct file *file;
	int dirfd;
	char *path;     /* as given, for messages */
	const char *base; /* the last part of path */
	unsigned flags;
	unsigned mode;
	char temp[NAME_MAX + 1]; /* "" for a nameless temporary */
};

static int
fault(const struct publish *p, int eno, const char *what, struct err *e)
{
	err_sys(e, eno, "%s", what);
	return err_file(e, p->path);
}

/* "a/b" is b in a; "b" is b in the directory itself. */
static int
open_dir(struct publish *p, int dirfd, struct err *e)
{
	CLEANUP_FREE char *dir = strdup(p->path);
	char *slash;

	if (!dir)
		return fault(p, ENOMEM, "cannot create", e);
	slash = strrchr(dir, '/');
	p->base = slash ? p->path + (slash - dir) + 1 : p->path;
	if (!*p->base || !strcmp(p->base, ".") || !strcmp(p->base, ".."))
		return fault(p, *p->path ? EISDIR : ENOENT, "cannot create", e);
	if (slash)
		slash[slash == dir] = '\0';
	p->dirfd = openat(dirfd, slash ? dir : ".",
		O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Write and search permission is enough for all but fsync. */
	if (p->dirfd < 0 && errno == EACCES)
		p->dirfd = openat(dirfd, slash ? dir : ".",
			O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (p->dirfd < 0)
		return fault(p, errno, "cannot open the directory of", e);
	return 0;
}

/* True if a nameless file can get a name later: through /proc. */
static bool
can_name(int fd)
{
	char link[sizeof("/proc/self/fd/") + 12];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return access(link, F_OK) == 0;
}

static int
open_named(struct publish *p)
{
	char name[sizeof(p->temp)];
	uint32_t r;
	int fd, i;

	for (i = 0; i < TEMP_TRIES; i++) {
		if (getrandom(&r, sizeof(r), 0) != sizeof(r))
			return -1;
		snprintf(name, sizeof(name), ".%.*s.byre-%08x",
			(int)(NAME_MAX - TEMP_SUFFIX), p->base, r);
		fd = openat(p->dirfd, name,
			O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			p->mode);
		if (fd >= 0)
			memcpy(p->temp, name, sizeof(name));
		if (fd >= 0 || errno != EEXIST)
			return fd;
	}
	return -1;
}

/* Takes fd over, also on failure. */
static int
adopt(struct publish *p, int fd, struct err *e)
{
	CLEANUP_FD int own = fd;
	int fl;

	if (p->flags & FILE_DIRECT) {
		fl = fcntl(fd, F_GETFL);
		if (fl < 0 || fcntl(fd, F_SETFL, fl | O_DIRECT)) {
			err_set(e, ERR_UNSUPPORTED,
				"the file system does not support O_DIRECT");
			return err_file(e, p->path);
		}
	}
	if (file_from_fd(&p->file, fd, p->path, e))
		return -1;
	p->file->own_fd = true;
	own = -1;
	return 0;
}

static int
open_temp(struct publish *p, struct err *e)
{
	int fd = openat(p->dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC,
		p->mode);

	if (fd >= 0 && !can_name(fd)) {
		close(fd);
		fd = -1;
		errno = EOPNOTSUPP;
	}
	/* Kernels and file systems without it say one of these. */
	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR ||
			errno == ENOENT || errno == EINVAL))
		fd = open_named(p);
	if (fd < 0)
		return fault(p, errno, "cannot create", e);
	return adopt(p, fd, e);
}

int
publish_begin(struct publish **ret, int dirfd, const char *path,
	unsigned flags, unsigned mode, struct err *e)
{
	CLEANUP(publish_abandon_p) struct publish *p = calloc(1, sizeof(*p));
	struct stat st;

	if (!p)
		return err_sys(e, ENOMEM, "cannot create");
	p->dirfd = -1;
	p->flags = flags;
	p->mode = mode;
	p->path = strdup(path);
	if (!p->path)
		return err_sys(e, ENOMEM, "cannot create");
	if (open_dir(p, dirfd, e))
		return -1;
	/* The name is tested again at the end; this spares the work. */
	if (fstatat(p->dirfd, p->base, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return fault(p, EEXIST, "cannot create", e);
	if (open_temp(p, e))
		return -1;
	*ret = TAKE_PTR(p);
	return 0;
}

struct file *
publish_file(struct publish *p)
{
	return p->file;
}

static int
copy_run(struct file *from, struct file *to, uint64_t off, uint64_t len,
	struct err *e)
{
	CLEANUP_FREE void *buf = NULL;
	uint64_t done;
	size_t n;

	if (clone_copy(from, off, to, off, len, &done, e))
		return -1;
	if (done < len && posix_memalign(&buf, 4096, COPY_CHUNK))
		return err_sys(e, ENOMEM, "cannot copy");
	for (; done < len; done += n) {
		n = (size_t)units_min(len - done, COPY_CHUNK);
		if (file_read(from, buf, n, off + done, e) ||
			file_write(to, buf, n, off + done, e))
			return -1;
	}
	return 0;
}

/* The nameless file cannot be linked here: its content moves to a named one. */
static int
rename_by_copy(struct publish *p, struct err *e)
{
	CLEANUP(file_close_p) struct file *old = p->file;
	uint64_t size, off, len;
	bool data;
	int fd;

	p->file = NULL;
	fd = open_named(p);
	if (fd < 0)
		return fault(p, errno, "cannot create", e);
	if (adopt(p, fd, e) || file_size(old, &size, e) ||
		file_truncate(p->file, size, e))
		return -1;
	for (off = 0; off < size; off += len) {
		if (sparse_next(old, off, &len, &data, e) ||
			(data && copy_run(old, p->file, off, len, e)))
			return -1;
	}
	return 0;
}

/* Answers of those who will not link a nameless file, where another way may
 * work; all others are about the name or the disk. */
static bool
refused(int eno)
{
	return eno == EOPNOTSUPP || eno == EPERM || eno == ENOENT ||
		eno == EACCES || eno == ENOSYS;
}

/* 0, or why the nameless file did not get its name. */
static int
link_nameless(struct publish *p)
{
	char from[sizeof("/proc/self/fd/") + 12];
	int eno;

	snprintf(from, sizeof(from), "/proc/self/fd/%d", p->file->fd);
	if (linkat(AT_FDCWD, from, p->dirfd, p->base, AT_SYMLINK_FOLLOW) == 0)
		return 0;
	eno = errno;
	/* needs a privilege, but no /proc */
	if (refused(eno) &&
		linkat(p->file->fd, "", p->dirfd, p->base, AT_EMPTY_PATH) == 0)
		return 0;
	return eno;
}

/* Whether the name is this very file's. */
static bool
is_ours(const struct publish *p)
{
	struct stat named, own;

	return fstatat(p->dirfd, p->base, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		fstat(p->file->fd, &own) == 0 && named.st_dev == own.st_dev &&
		named.st_ino == own.st_ino;
}

static int
link_named(struct publish *p)
{
	int eno = 0;

	if (linkat(p->dirfd, p->temp, p->dirfd, p->base, 0))
		eno = errno;
	/* NFS: the answer got lost, and the client asked again */
	if (!eno || (eno == EEXIST && is_ours(p))) {
		unlinkat(p->dirfd, p->temp, 0);
		p->temp[0] = '\0';
		return 0;
	}
	if (eno != EPERM && eno != EOPNOTSUPP && eno != ENOSYS && eno != EMLINK)
		return eno;
	/* A file system without hard links. */
	if (renameat2(p->dirfd, p->temp, p->dirfd, p->base, RENAME_NOREPLACE))
		return errno == EEXIST ? EEXIST : eno;
	p->temp[0] = '\0';
	return 0;
}

static int
sync_dir(struct publish *p)
{
	if (fsync(p->dirfd) == 0)
		return 0;
	/* A directory that may not be read has no fd to sync; some file
	 * systems do not sync directories at all. */
	if (errno == EBADF || errno == EINVAL)
		return syncfs(p->file->fd);
	return -1;
}

int
publish_commit(struct publish *p, bool durable, struct err *e)
{
	int eno;

	if (durable && file_sync(p->file, e))
		return -1;
	eno = p->temp[0] ? link_named(p) : link_nameless(p);
	if (!p->temp[0] && refused(eno)) {
		if (rename_by_copy(p, e) || (durable && file_sync(p->file, e)))
			return -1;
		eno = link_named(p);
	}
	if (eno)
		return fault(p, eno, "cannot create", e);
	if (durable && sync_dir(p)) {
		eno = errno;
		if (is_ours(p))
			unlinkat(p->dirfd, p->base, 0);
		return fault(p, eno, "cannot flush the directory of", e);
	}
	publish_abandon(p); /* nothing is left to be taken back */
	return 0;
}

void
publish_abandon(struct publish *p)
{
	if (!p)
		return;
	if (p->temp[0])
		unlinkat(p->dirfd, p->temp, 0);
	file_close(p->file);
	if (p->dirfd >= 0)
		close(p->dirfd);
	free(p->path);
	free(p);
}

void
publish_abandon_p(struct publish **p)
{
	publish_abandon(*p);
	*p = NULL;
}
