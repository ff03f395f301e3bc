/* SPDX-License-Identifier: MIT */
/*
 * Opening host files and asking about them. Knows which kinds of file can be
 * an image, how O_DIRECT is had and how it must be aligned. Moving bytes is
 * file_data.c; which path may be opened at all is decided by format/gate.c.
 */
#include "config.h"

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "io/lock.h"

#define ALIGN_MAX (64 * KIB) /* largest sector or stripe unit asked for */
#define BENEATH_TRIES 8 /* openat2 says EAGAIN when a rename is under way */

static int
open_beneath(int dirfd, const char *path, int oflags, unsigned mode)
{
	struct open_how how = {
		.flags = (uint64_t)oflags,
		.mode = oflags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd, i;

	for (i = 0; i < BENEATH_TRIES; i++) {
		fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd;
}

static int
open_fd(int dirfd, const char *path, unsigned flags)
{
	/* O_NONBLOCK: the open of a fifo must not wait for its other end. */
	int oflags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int fd;

	oflags |= flags & FILE_WRITE ? O_RDWR : O_RDONLY;
	oflags |= flags & FILE_DIRECT ? O_DIRECT : 0;
	oflags |= flags & FILE_NOFOLLOW ? O_NOFOLLOW : 0;
	oflags |= flags & FILE_CREATE ? O_CREAT | O_EXCL : 0;
	if (flags & FILE_BENEATH)
		return open_beneath(dirfd, path, oflags, 0644);
	do
		fd = openat(dirfd, path, oflags, 0644);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static const char *
type_name(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "a directory";
	case S_IFIFO:
		return "a fifo";
	case S_IFSOCK:
		return "a socket";
	case S_IFCHR:
		return "a character device";
	default:
		return "of an unknown type";
	}
}

static int
refuse_type(mode_t mode, struct err *e)
{
	return err_set(e, ERR_FORMAT,
		"is %s; an image is a regular file or a block device",
		type_name(mode));
}

/* Gives an open that failed its meaning: a socket is ENXIO, a directory
 * opened for writing EISDIR, a file system without O_DIRECT EINVAL. */
static int
explain_open(int dirfd, const char *path, unsigned flags, int eno,
	struct err *e)
{
	struct stat st;

	if (eno == EXDEV && flags & FILE_BENEATH)
		return err_set(e, ERR_DENIED,
			"resolves to a place outside the permitted directory");
	if ((eno == ENXIO || eno == EISDIR) && !(flags & FILE_BENEATH) &&
		fstatat(dirfd, path, &st, 0) == 0 && !S_ISREG(st.st_mode) &&
		!S_ISBLK(st.st_mode))
		return refuse_type(st.st_mode, e);
	if (eno == EINVAL && flags & FILE_DIRECT)
		return err_set(e, ERR_UNSUPPORTED,
			"the file system does not support O_DIRECT");
	return err_sys(e, eno, "cannot %s",
		flags & FILE_CREATE ? "create" : "open");
}

static int
reopen(int fd, int oflags)
{
	char path[sizeof("/proc/self/fd/") + 12];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, oflags | O_CLOEXEC | O_NOCTTY);
}

/* What the kernel says O_DIRECT needs here; 0 when it does not say. */
static uint32_t
align_told(const struct file *f)
{
	int sector;
#ifdef STATX_DIOALIGN
	struct statx sx = {0};

	if (syscall(SYS_statx, f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN,
		    &sx) == 0 &&
		sx.stx_mask & STATX_DIOALIGN && sx.stx_dio_offset_align)
		return sx.stx_dio_offset_align > sx.stx_dio_mem_align
			? sx.stx_dio_offset_align
			: sx.stx_dio_mem_align;
#endif
	if (f->is_block && ioctl(f->fd, BLKSSZGET, &sector) == 0 && sector > 0)
		return (uint32_t)sector;
	return 0;
}

/* The smallest length that a direct read takes. */
static uint32_t
align_tried(const struct file *f, uint32_t from)
{
	CLEANUP_FREE void *mem = NULL;
	uint32_t a;

	if (posix_memalign(&mem, ALIGN_MAX, ALIGN_MAX))
		return from;
	for (a = from; a < ALIGN_MAX; a *= 2)
		if (pread(f->fd, mem, a, 0) >= 0 || errno != EINVAL)
			break;
	return a;
}

/*
 * Never less than a page: an unaligned piece is written through the page
 * cache, and a page that is dirty there must not be the neighbour's target of
 * a direct write.
 */
static uint32_t
align_of(const struct file *f)
{
	uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	uint32_t told = align_told(f);

	if (!told)
		return align_tried(f, page);
	if (told & (told - 1) || told < page)
		return page;
	return told;
}

static int
take_size(struct file *f, const struct stat *st, struct err *e)
{
	uint64_t bytes;

	if (!f->is_block) {
		f->size = (uint64_t)st->st_size;
		return 0;
	}
	if (ioctl(f->fd, BLKGETSIZE64, &bytes))
		return err_sys(e, errno, "cannot get the device's size");
	f->size = bytes;
	return 0;
}

/* Fills f from its fd, whose O_DIRECT and access mode are what they are. */
static int
identify(struct file *f, struct err *e)
{
	struct stat st;
	int fl;

	if (fstat(f->fd, &st))
		return err_sys(e, errno, "cannot stat");
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return refuse_type(st.st_mode, e);
	f->is_block = S_ISBLK(st.st_mode);
	f->dev = f->is_block ? st.st_rdev : st.st_dev;
	f->ino = f->is_block ? 0 : st.st_ino;
	fl = fcntl(f->fd, F_GETFL);
	if (fl < 0)
		return err_sys(e, errno, "cannot get the flags");
	f->writable = (fl & O_ACCMODE) != O_RDONLY;
	/* pwrite would put everything at the end, wherever it was meant for */
	if (f->writable && fl & O_APPEND)
		return err_set(e, ERR_USAGE, "is open for appending");
	/* Served its purpose; io_uring would answer EAGAIN because of it. */
	if (f->own_fd && fl & O_NONBLOCK)
		fcntl(f->fd, F_SETFL, fl & ~O_NONBLOCK);
	if (fl & O_DIRECT) {
		f->plain_fd = reopen(f->fd, fl & O_ACCMODE);
		if (f->plain_fd >= 0)
			posix_fadvise(f->plain_fd, 0, 0, POSIX_FADV_RANDOM);
		else if (fcntl(f->fd, F_SETFL, fl & ~(O_DIRECT | O_NONBLOCK)))
			return err_sys(e, errno, "cannot turn O_DIRECT off");
		f->direct = f->plain_fd >= 0;
	}
	f->align = f->direct ? align_of(f) : 1;
	return take_size(f, &st, e);
}

static struct file *
file_new(const char *name)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->fd = -1;
	f->plain_fd = -1;
	f->align = 1;
	f->name = strdup(name);
	if (!f->name) {
		free(f);
		return NULL;
	}
	return f;
}

int
file_open(struct file **ret, int dirfd, const char *path, unsigned flags,
	struct err *e)
{
	CLEANUP(file_close_p) struct file *f = file_new(path);

	if (!f)
		return err_sys(e, ENOMEM, "cannot open");
	f->own_fd = true;
	f->fd = open_fd(dirfd, path, flags);
	if (f->fd < 0) {
		explain_open(dirfd, path, flags, errno, e);
		return err_file(e, path);
	}
	if (identify(f, e))
		return err_file(e, path);
	*ret = TAKE_PTR(f);
	return 0;
}

int
file_from_fd(struct file **ret, int fd, const char *name, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = file_new(name);

	if (!f)
		return err_sys(e, ENOMEM, "cannot open");
	f->fd = fd;
	if (identify(f, e))
		return err_file(e, name);
	*ret = TAKE_PTR(f);
	return 0;
}

void
file_close(struct file *f)
{
	if (!f)
		return;
	if (f->locked && !f->own_fd)
		lock_release(f);
	if (f->own_fd && f->fd >= 0)
		close(f->fd);
	if (f->plain_fd >= 0)
		close(f->plain_fd);
	free(f->name);
	free(f);
}

void
file_close_p(struct file **f)
{
	file_close(*f);
	*f = NULL;
}

int
file_size(struct file *f, uint64_t *ret, struct err *e)
{
	struct stat st;

	if (fstat(f->fd, &st)) {
		err_sys(e, errno, "cannot stat");
		return err_file(e, f->name);
	}
	if (take_size(f, &st, e))
		return err_file(e, f->name);
	*ret = f->size;
	return 0;
}

int
file_allocated(struct file *f, uint64_t *ret, struct err *e)
{
	struct stat st;

	if (fstat(f->fd, &st)) {
		err_sys(e, errno, "cannot stat");
		return err_file(e, f->name);
	}
	*ret = (uint64_t)st.st_blocks * 512;
	return 0;
}

int
file_truncate(struct file *f, uint64_t size, struct err *e)
{
	int r;

	if (f->is_block) {
		/* A device keeps its size; a smaller image fits on it. */
		if (size <= f->size)
			return 0;
		err_set(e, ERR_UNSUPPORTED,
			"a device of %" PRIu64 " bytes cannot grow to %" PRIu64,
			f->size, size);
		return err_file(e, f->name);
	}
	do
		r = size > INT64_MAX ? (errno = EFBIG, -1)
				     : ftruncate(f->fd, (off_t)size);
	while (r && errno == EINTR);
	if (r) {
		err_sys(e, errno, "cannot set the size to %" PRIu64, size);
		return err_file(e, f->name);
	}
	f->size = size;
	return 0;
}

void
file_sequential(struct file *f)
{
	if (!f->direct)
		posix_fadvise(f->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
}

void
file_drop_cache(struct file *f, uint64_t off, uint64_t len)
{
	posix_fadvise(f->fd, (off_t)off, (off_t)len, POSIX_FADV_DONTNEED);
}

/* Only SYNC_FILE_RANGE_WRITE: the waiting forms would consume a write error
 * that file_sync has to report. */
void
file_flush_start(struct file *f)
{
	sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

bool
file_same(const struct file *a, const struct file *b)
{
	return a->is_block == b->is_block && a->dev == b->dev &&
		a->ino == b->ino;
}
