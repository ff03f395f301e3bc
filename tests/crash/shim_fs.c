/* SPDX-License-Identifier: MIT */
/*
 * Calls whose answer is another one on another file system: locks, leases,
 * holes, times, reservations. What is denied is refused as the kernel does it
 * there, or done in the C library's own way.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "tests/crash/shim.h"

#define SHIM __attribute__((visibility("default")))
#define BLOCK 4096

static int
refuse(int eno)
{
	errno = eno;
	return -1;
}

/* ---- locks, leases, O_DIRECT ---- */

static bool
is_lock(int cmd)
{
	return cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW ||
		cmd == F_OFD_GETLK || cmd == F_SETLK || cmd == F_SETLKW ||
		cmd == F_GETLK;
}

static int
fcntl_any(int fd, int cmd, void *arg)
{
	if (cmd == F_SETFL && (intptr_t)arg & O_DIRECT &&
		shim_denied("direct") && shim_fd(fd))
		return refuse(EINVAL);
	if (cmd == F_SETLEASE && shim_denied("lease") && shim_fd(fd))
		return refuse(EINVAL);
	if (is_lock(cmd) && shim_denied("locks") && shim_fd(fd))
		return refuse(ENOLCK);
	return (int)syscall(SYS_fcntl, fd, cmd, arg);
}

#define FCNTL(name)                                                            \
	SHIM int name(int fd, int cmd, ...)                                    \
	{                                                                      \
		va_list ap;                                                    \
		void *arg;                                                     \
                                                                               \
		va_start(ap, cmd);                                             \
		arg = va_arg(ap, void *);                                      \
		va_end(ap);                                                    \
		return fcntl_any(fd, cmd, arg);                                \
	}

FCNTL(fcntl)
FCNTL(fcntl64)

/* ---- holes ---- */

/* What a file system answers that knows of none: all is data up to the end,
 * and there a hole begins. */
static off_t
lseek_without(int fd, off_t off, int whence)
{
	struct stat st;

	if (fstat(fd, &st))
		return -1;
	if (off < 0 || off >= st.st_size)
		return refuse(ENXIO);
	if (whence == SEEK_HOLE)
		off = st.st_size;
	return (off_t)syscall(SYS_lseek, fd, off, SEEK_SET);
}

static off_t
lseek_any(int fd, off_t off, int whence)
{
	bool ours = (whence == SEEK_DATA || whence == SEEK_HOLE) && shim_fd(fd);
	int eno = !ours ? 0
		: shim_denied("seek") ? EINVAL
				      : shim_ask(SHIM_LSEEK, NULL);

	if (!eno && ours && shim_denied("holes"))
		return lseek_without(fd, off, whence);
	return eno ? refuse(eno) : (off_t)syscall(SYS_lseek, fd, off, whence);
}

SHIM off_t
lseek(int fd, off_t off, int whence)
{
	return lseek_any(fd, off, whence);
}

SHIM off_t
lseek64(int fd, off_t off, int whence)
{
	return lseek_any(fd, off, whence);
}

/* ---- times ---- */

SHIM int
statx(int dirfd, const char *restrict path, int flags, unsigned mask,
	struct statx *restrict ret)
{
	int r = (int)syscall(SYS_statx, dirfd, path, flags, mask, ret);

	if (r == 0 && shim_denied("birth") && shim_path(dirfd, path)) {
		ret->stx_mask &= ~STATX_BTIME;
		ret->stx_btime = (struct statx_timestamp){0};
	}
	return r;
}

SHIM int
utimensat(int dirfd, const char *path, const struct timespec times[2],
	int flags)
{
	if (shim_denied("touch") && shim_path(dirfd, path))
		return refuse(EACCES);
	return (int)syscall(SYS_utimensat, dirfd, path, times, flags);
}

SHIM int
futimens(int fd, const struct timespec times[2])
{
	if (shim_denied("touch") && shim_fd(fd))
		return refuse(EACCES);
	return (int)syscall(SYS_utimensat, fd, NULL, times, 0);
}

/* ---- reservations ---- */

/* As the C library does it where the kernel will not: a byte of each block
 * that reads as zero is written as zero. */
static int
allocate_by_writes(int fd, off_t off, off_t len)
{
	off_t end = off + len, at;
	struct stat st;
	char c = 0;

	if (fstat(fd, &st))
		return errno;
	for (at = off; at < end; at += BLOCK) {
		off_t last = at + BLOCK < end ? at + BLOCK - 1 : end - 1;

		if (last < st.st_size &&
			syscall(SYS_pread64, fd, &c, 1, last) == 1 && c)
			continue;
		if (pwrite(fd, "", 1, last) != 1)
			return errno;
	}
	return 0;
}

static int
posix_fallocate_any(int fd, off_t off, off_t len)
{
	int saved = errno, r;
	struct stat st;

	r = fallocate(fd, 0, off, len) ? errno : 0;
	if (r == EOPNOTSUPP)
		r = allocate_by_writes(fd, off, len);
	if (!r && shim_fd(fd) && fstat(fd, &st) == 0)
		shim_trace(SHIM_REC_SIZE, fd, 0, (uint64_t)st.st_size, NULL);
	errno = saved;
	return r;
}

SHIM int
posix_fallocate(int fd, off_t off, off_t len)
{
	return posix_fallocate_any(fd, off, len);
}

SHIM int
posix_fallocate64(int fd, off_t off, off_t len)
{
	return posix_fallocate_any(fd, off, len);
}
