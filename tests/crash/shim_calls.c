/* SPDX-License-Identifier: MIT */
/* The calls that the shim stands in for. Each asks shim.c what to do, does it
 * or the real thing, and tells the log. */
#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/crash/shim.h"

#define SHIM __attribute__((visibility("default")))

#define REAL(name, ret, ...)                                                   \
	((ret(*)(__VA_ARGS__))(uintptr_t)dlsym(RTLD_NEXT, name))

static long
real_syscall(long nr, const long *a)
{
	static long (*_Atomic real)(long, ...);

	if (!real)
		real = REAL("syscall", long, long, ...);
	return real(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int
refuse(int eno)
{
	errno = eno;
	return -1;
}

/* ---- transfers ---- */

static ssize_t
transfer(bool write, int fd, void *buf, size_t len, off_t off)
{
	enum shim_call call = write ? SHIM_WRITE : SHIM_READ;
	bool ours = shim_fd(fd);
	const char *name = write ? "write" : "read";
	ssize_t r;
	int eno = ours ? shim_ask(call, &len) : 0;

	if (ours && write && !eno)
		shim_trace(SHIM_REC_WRITE, fd, (uint64_t)off, len, buf);
	r = eno	  ? refuse(eno)
		: write ? syscall(SYS_pwrite64, fd, buf, len, off)
			: syscall(SYS_pread64, fd, buf, len, off);
	if (ours)
		shim_log(name, fd, off, (int64_t)len, r);
	return r;
}

SHIM ssize_t
pread(int fd, void *buf, size_t len, off_t off)
{
	return transfer(false, fd, buf, len, off);
}

SHIM ssize_t
pread64(int fd, void *buf, size_t len, off_t off)
{
	return transfer(false, fd, buf, len, off);
}

SHIM ssize_t
pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return transfer(true, fd, (void *)(uintptr_t)buf, len, off);
}

SHIM ssize_t
pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	return transfer(true, fd, (void *)(uintptr_t)buf, len, off);
}

/* A vector goes as its first part: short, which the caller must be able to
 * take. */
SHIM ssize_t
pwritev(int fd, const struct iovec *v, int n, off_t off)
{
	return n < 1 ? 0 : transfer(true, fd, v[0].iov_base, v[0].iov_len, off);
}

SHIM ssize_t
preadv(int fd, const struct iovec *v, int n, off_t off)
{
	return n < 1 ? 0 : transfer(false, fd, v[0].iov_base, v[0].iov_len, off);
}

/* With the file's own position: for the input and output of the program
 * itself, hence not traced. */
SHIM ssize_t
read(int fd, void *buf, size_t len)
{
	int eno = shim_fd(fd) ? shim_ask(SHIM_READ, &len) : 0;

	return eno ? refuse(eno) : syscall(SYS_read, fd, buf, len);
}

SHIM ssize_t
write(int fd, const void *buf, size_t len)
{
	int eno = shim_fd(fd) ? shim_ask(SHIM_WRITE, &len) : 0;

	return eno ? refuse(eno) : syscall(SYS_write, fd, buf, len);
}

/* ---- opening ---- */

static int
open_any(int dirfd, const char *path, int flags, mode_t mode)
{
	bool ours = shim_path(dirfd, path), there = true;
	struct stat st;
	int fd, eno = 0;

	if (ours && (flags & O_TMPFILE) == O_TMPFILE &&
		shim_denied("otmpfile"))
		eno = EOPNOTSUPP;
	if (ours && flags & O_DIRECT && shim_denied("direct"))
		eno = EINVAL;
	if (ours && !eno)
		eno = shim_ask(SHIM_OPEN, NULL);
	if (ours && flags & O_CREAT && shim_tree_on())
		there = fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0;
	fd = eno ? refuse(eno)
		 : (int)syscall(SYS_openat, dirfd, path, flags, mode);
	if (ours)
		shim_log_path("open", path, fd);
	if (ours && fd >= 0)
		shim_tree_open(dirfd, path, flags, there, fd);
	return fd;
}

static mode_t
mode_arg(int flags, va_list ap)
{
	return flags & (O_CREAT | __O_TMPFILE) ? (mode_t)va_arg(ap, int) : 0;
}

#define OPEN(name)                                                             \
	SHIM int name(const char *path, int flags, ...)                        \
	{                                                                      \
		va_list ap;                                                    \
		mode_t mode;                                                   \
                                                                               \
		va_start(ap, flags);                                           \
		mode = mode_arg(flags, ap);                                    \
		va_end(ap);                                                    \
		return open_any(AT_FDCWD, path, flags, mode);                  \
	}

#define OPENAT(name)                                                           \
	SHIM int name(int dirfd, const char *path, int flags, ...)             \
	{                                                                      \
		va_list ap;                                                    \
		mode_t mode;                                                   \
                                                                               \
		va_start(ap, flags);                                           \
		mode = mode_arg(flags, ap);                                    \
		va_end(ap);                                                    \
		return open_any(dirfd, path, flags, mode);                     \
	}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* openat2 has no function of its own; the shim's own calls come by here too. */
SHIM long
syscall(long nr, ...)
{
	long a[6], fd;
	bool ours;
	va_list ap;
	int i, eno;

	va_start(ap, nr);
	for (i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (nr != SYS_openat2)
		return real_syscall(nr, a);
	ours = shim_path((int)a[0], (const char *)(uintptr_t)a[1]);
	eno = shim_denied("openat2") ? ENOSYS
		: ours ? shim_ask(SHIM_OPEN, NULL) : 0;
	fd = eno ? refuse(eno) : real_syscall(nr, a);
	if (ours)
		shim_log_path("open", (const char *)(uintptr_t)a[1], fd);
	return fd;
}

/* ---- files as a whole ---- */

static int
sync_any(int nr, const char *name, int fd)
{
	bool ours = shim_fd(fd);
	int eno = ours ? shim_ask(SHIM_SYNC, NULL) : 0;
	int r = eno ? refuse(eno) : (int)syscall(nr, fd);

	if (ours)
		shim_log(name, fd, 0, 0, r);
	if (ours && r == 0) {
		shim_trace(SHIM_REC_BARRIER, fd, 0, 0, NULL);
		shim_tree_sync(fd);
	}
	return r;
}

SHIM int
fsync(int fd)
{
	return sync_any(SYS_fsync, "sync", fd);
}

SHIM int
fdatasync(int fd)
{
	return sync_any(SYS_fdatasync, "sync", fd);
}

SHIM int
syncfs(int fd)
{
	return sync_any(SYS_syncfs, "sync", fd);
}

static int
fallocate_any(int fd, int mode, off_t off, off_t len)
{
	bool ours = shim_fd(fd);
	int r, eno = 0;

	if (ours)
		eno = shim_denied("fallocate") ? EOPNOTSUPP
					       : shim_ask(SHIM_FALLOCATE, NULL);
	r = eno ? refuse(eno)
		: (int)syscall(SYS_fallocate, fd, mode, off, len);
	if (ours)
		shim_log(mode & FALLOC_FL_PUNCH_HOLE ? "punch" : "fallocate",
			fd, off, len, r);
	if (ours && !r && mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		shim_trace(SHIM_REC_ZERO, fd, (uint64_t)off, (uint64_t)len,
			NULL);
	return r;
}

SHIM int
fallocate(int fd, int mode, off_t off, off_t len)
{
	return fallocate_any(fd, mode, off, len);
}

SHIM int
fallocate64(int fd, int mode, off_t off, off_t len)
{
	return fallocate_any(fd, mode, off, len);
}

static int
ftruncate_any(int fd, off_t size)
{
	bool ours = shim_fd(fd);
	int eno = ours ? shim_ask(SHIM_FTRUNCATE, NULL) : 0;
	int r = eno ? refuse(eno) : (int)syscall(SYS_ftruncate, fd, size);

	if (ours)
		shim_log("ftruncate", fd, size, 0, r);
	if (ours && !r)
		shim_trace(SHIM_REC_SIZE, fd, 0, (uint64_t)size, NULL);
	return r;
}

SHIM int
ftruncate(int fd, off_t size)
{
	return ftruncate_any(fd, size);
}

SHIM int
ftruncate64(int fd, off_t size)
{
	return ftruncate_any(fd, size);
}

SHIM int
ioctl(int fd, unsigned long request, ...)
{
	bool ours = (request == FICLONERANGE || request == FICLONE) &&
		shim_fd(fd);
	va_list ap;
	void *arg;
	int eno = 0, r;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (ours)
		eno = shim_denied("ficlone") ? EOPNOTSUPP
					     : shim_ask(SHIM_CLONE, NULL);
	r = eno ? refuse(eno) : (int)syscall(SYS_ioctl, fd, request, arg);
	if (ours)
		shim_log("clone", fd, 0, 0, r);
	return r;
}

SHIM ssize_t
copy_file_range(int in, off_t *ioff, int out, off_t *ooff, size_t len,
	unsigned flags)
{
	bool ours = shim_fd(out);
	off_t at = ooff ? *ooff : 0;
	int eno = 0;
	ssize_t r;

	if (ours)
		eno = shim_denied("copy") ? EOPNOTSUPP
					  : shim_ask(SHIM_COPY, &len);
	r = eno ? refuse(eno)
		: syscall(SYS_copy_file_range, in, ioff, out, ooff, len, flags);
	if (ours)
		shim_log("copy", out, at, (int64_t)len, r);
	return r;
}

/* ---- names ---- */

SHIM int
linkat(int ofd, const char *from, int nfd, const char *to, int flags)
{
	bool ours = shim_path(nfd, to);
	int eno = 0, r;

	if (ours && (shim_denied("link") ||
			(flags & (AT_SYMLINK_FOLLOW | AT_EMPTY_PATH) &&
				shim_denied("linktmp"))))
		eno = EPERM;
	else if (ours)
		eno = shim_ask(SHIM_LINK, NULL);
	r = eno && eno != SHIM_LOST ? refuse(eno)
		: (int)syscall(SYS_linkat, ofd, from, nfd, to, flags);
	if (eno == SHIM_LOST && r == 0)
		r = refuse(EEXIST);
	if (ours)
		shim_log_path("link", to, r);
	if (ours && r == 0)
		shim_tree_name("link", nfd, to);
	return r;
}

SHIM int
link(const char *from, const char *to)
{
	return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* Another directory may be on another device. */
static bool
moves(int ofd, const char *from, int nfd, const char *to)
{
	char a[PATH_MAX] = "", b[PATH_MAX] = "";
	const char *p, *q;

	shim_where(ofd, from, a, sizeof(a));
	shim_where(nfd, to, b, sizeof(b));
	p = strrchr(a, '/');
	q = strrchr(b, '/');
	return (p ? p - a : 0) != (q ? q - b : 0) ||
		strncmp(a, b, p ? (size_t)(p - a) : 0) != 0;
}

SHIM int
renameat2(int ofd, const char *from, int nfd, const char *to, unsigned flags)
{
	bool ours = shim_path(nfd, to);
	int eno = 0, r;

	if (ours)
		eno = flags && shim_denied("renameat2")
			? EINVAL
			: shim_denied("xdev") && moves(ofd, from, nfd, to)
			? EXDEV
			: shim_ask(SHIM_RENAME, NULL);
	r = eno ? refuse(eno)
		: (int)syscall(SYS_renameat2, ofd, from, nfd, to, flags);
	if (ours)
		shim_log_path("rename", to, r);
	if (ours && r == 0)
		shim_tree_rename(ofd, from, nfd, to);
	return r;
}

SHIM int
renameat(int ofd, const char *from, int nfd, const char *to)
{
	return renameat2(ofd, from, nfd, to, 0);
}

SHIM int
rename(const char *from, const char *to)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

SHIM int
unlinkat(int dirfd, const char *path, int flags)
{
	bool ours = shim_path(dirfd, path);
	int eno = ours ? shim_ask(SHIM_UNLINK, NULL) : 0;
	int r = eno ? refuse(eno)
		    : (int)syscall(SYS_unlinkat, dirfd, path, flags);

	if (ours)
		shim_log_path("unlink", path, r);
	if (ours && r == 0)
		shim_tree_name(flags & AT_REMOVEDIR ? "rmdir" : "unlink",
			dirfd, path);
	return r;
}

/* Only told: nothing fails these. */
SHIM int
rmdir(const char *path)
{
	int r = (int)syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR);

	if (r == 0 && shim_path(AT_FDCWD, path))
		shim_tree_name("rmdir", AT_FDCWD, path);
	return r;
}

SHIM int
mkdirat(int dirfd, const char *path, mode_t mode)
{
	int r = (int)syscall(SYS_mkdirat, dirfd, path, mode);

	if (r == 0 && shim_path(dirfd, path))
		shim_tree_name("mkdir", dirfd, path);
	return r;
}

SHIM int
mkdir(const char *path, mode_t mode)
{
	return mkdirat(AT_FDCWD, path, mode);
}

SHIM int
unlink(const char *path)
{
	return unlinkat(AT_FDCWD, path, 0);
}
