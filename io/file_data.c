/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a host file: whole reads and writes, zeros, allocation,
 * durability. Knows short transfers, EINTR and what O_DIRECT will not take;
 * which of many transfers runs when is the engines' business.
 */
#include "config.h"

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"

#define MOVE_MAX (UINT64_C(1) << 30) /* of one system call; page-aligned */
#define DEVICE_UNIT 4096             /* no sector is larger than that */
#define ZEROS_MAX MIB                /* of one write of zeros */

int
file_piece(const struct file *f, const void *buf, uint64_t off, size_t *len)
{
	uint64_t mask = f->align - 1;

	*len = (size_t)units_min(*len, MOVE_MAX);
	if (!f->direct)
		return f->fd;
	if (off & mask || (uintptr_t)buf & mask || *len < f->align) {
		/* Up to where the direct form can go on. */
		if (!(((uintptr_t)buf ^ off) & mask))
			*len = (size_t)units_min(*len,
				f->align - (off & mask));
		return f->plain_fd;
	}
	*len &= ~(size_t)mask;
	return f->fd;
}

static ssize_t
move_once(int fd, bool write, void *buf, size_t len, uint64_t off)
{
	return write ? pwrite(fd, buf, len, (off_t)off)
		     : pread(fd, buf, len, (off_t)off);
}

size_t
file_move(const struct file *f, bool write, void *buf, size_t len,
	uint64_t off, int *ret_eno)
{
	uint8_t *p = buf;
	size_t done = 0, n;
	ssize_t r;
	int fd;

	*ret_eno = 0;
	while (done < len) {
		n = len - done;
		fd = file_piece(f, p + done, off + done, &n);
		r = move_once(fd, write, p + done, n, off + done);
		/* Some file systems take O_DIRECT and then want more. */
		if (r < 0 && errno == EINVAL && f->direct && fd == f->fd)
			r = move_once(f->plain_fd, write, p + done, n,
				off + done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 || (r == 0 && write)) {
			*ret_eno = r < 0 ? errno : EIO;
			break;
		}
		if (r == 0)
			break;
		done += (size_t)r;
	}
	return done;
}

int
file_read_padded(struct file *f, void *buf, size_t len, uint64_t off,
	size_t *ret_got, struct err *e)
{
	int eno;
	size_t got = file_move(f, false, buf, len, off, &eno);

	if (eno) {
		err_sys(e, eno, "cannot read %zu bytes at %" PRIu64, len, off);
		return err_file(e, f->name);
	}
	memset((uint8_t *)buf + got, 0, len - got);
	if (ret_got)
		*ret_got = got;
	return 0;
}

int
file_read(struct file *f, void *buf, size_t len, uint64_t off, struct err *e)
{
	size_t got;

	if (file_read_padded(f, buf, len, off, &got, e))
		return -1;
	if (got == len)
		return 0;
	err_set(e, ERR_CORRUPT,
		"the file has %zu of the %zu bytes at %" PRIu64, got, len, off);
	return err_file(e, f->name);
}

int
file_write(struct file *f, const void *buf, size_t len, uint64_t off,
	struct err *e)
{
	int eno;

	/* file_move reads through the pointer when it writes */
	file_move(f, true, (void *)(uintptr_t)buf, len, off, &eno);
	if (!eno)
		return 0;
	err_sys(e, eno, "cannot write %zu bytes at %" PRIu64, len, off);
	return err_file(e, f->name);
}

int
file_sync(struct file *f, struct err *e)
{
	/* No second try: the kernel forgets the pages that it failed on. */
	if (fdatasync(f->fd) == 0)
		return 0;
	err_sys(e, errno, "cannot flush");
	return err_file(e, f->name);
}

/* Refusals of a way that leave another way open. */
static bool
refused(int eno)
{
	return eno == EOPNOTSUPP || eno == ENOSYS || eno == EINVAL ||
		eno == ENODEV || eno == ENOTTY || eno == EPERM;
}

static int
allocate(int fd, int mode, uint64_t off, uint64_t len)
{
	int r;

	do
		r = fallocate(fd, mode, (off_t)off, (off_t)len);
	while (r && errno == EINTR);
	return r ? errno : 0;
}

static int
write_zeros(struct file *f, uint64_t off, uint64_t len, struct err *e)
{
	CLEANUP_FREE void *zeros = NULL;
	size_t cap = (size_t)units_align_up(units_min(len, ZEROS_MAX),
		f->direct ? f->align : 4096);
	size_t n;

	if (posix_memalign(&zeros, f->direct ? f->align : 4096, cap)) {
		err_sys(e, ENOMEM, "cannot write zeros");
		return err_file(e, f->name);
	}
	memset(zeros, 0, cap);
	for (; len; off += n, len -= n) {
		n = (size_t)units_min(len, cap);
		/* so that all but the first piece are aligned */
		if (f->direct && off % f->align)
			n = (size_t)units_min(n, f->align - off % f->align);
		if (file_write(f, zeros, n, off, e))
			return -1;
	}
	return 0;
}

/* [off, off+len) exists. A hole, unwritten blocks, or written zeros. */
static int
zero_inside(struct file *f, uint64_t off, uint64_t len, struct err *e)
{
	int eno = allocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		off, len);

	if (refused(eno))
		eno = allocate(f->fd,
			FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, off, len);
	if (refused(eno))
		return write_zeros(f, off, len, e);
	if (!eno)
		return 0;
	err_sys(e, eno, "cannot zero %" PRIu64 " bytes at %" PRIu64, len, off);
	return err_file(e, f->name);
}

/* A device refuses what is not whole sectors, and would have the rest of a
 * long range written, too. */
static int
zero_device(struct file *f, uint64_t off, uint64_t len, struct err *e)
{
	uint64_t first = units_align_up(off, DEVICE_UNIT);
	uint64_t last = units_align_down(off + len, DEVICE_UNIT);

	if (first >= last)
		return write_zeros(f, off, len, e);
	if (zero_inside(f, first, last - first, e) ||
		(first > off && write_zeros(f, off, first - off, e)))
		return -1;
	return last < off + len ? write_zeros(f, last, off + len - last, e) : 0;
}

int
file_zero(struct file *f, uint64_t off, uint64_t len, struct err *e)
{
	uint64_t size;

	if (len == 0)
		return 0;
	if (off > INT64_MAX || len > INT64_MAX - off) {
		err_sys(e, EFBIG, "cannot zero up to %" PRIu64, off + len);
		return err_file(e, f->name);
	}
	if (f->is_block)
		return zero_device(f, off, len, e);
	if (file_size(f, &size, e))
		return -1;
	/* Grows by a write: a truncate could cut off what another thread has
	 * written behind this range since the size was asked for. */
	if (off + len > size && file_write(f, "", 1, off + len - 1, e))
		return -1;
	return zero_inside(f, off, len, e);
}

int
file_reserve(struct file *f, uint64_t off, uint64_t len, bool *ret_done,
	struct err *e)
{
	int eno = len ? allocate(f->fd, FALLOC_FL_KEEP_SIZE, off, len) : 0;

	if (eno && !refused(eno)) {
		err_sys(e, eno, "cannot reserve %" PRIu64 " bytes at %" PRIu64,
			len, off);
		return err_file(e, f->name);
	}
	*ret_done = !eno;
	return 0;
}

bool
file_reserve_pays(const struct file *f)
{
	struct statfs fs;

	return !f->is_block && !f->direct && fstatfs(f->fd, &fs) == 0 &&
		fs.f_type == EXT4_SUPER_MAGIC;
}

int
file_allocate(struct file *f, uint64_t off, uint64_t len, struct err *e)
{
	uint64_t end = off + len;
	int eno;

	if (len == 0)
		return 0;
	if (f->is_block)
		return file_truncate(f, end, e);
	/* The C library's way for file systems that cannot reads and writes a
	 * byte here and there, which O_DIRECT would not take. */
	do
		eno = posix_fallocate(f->direct ? f->plain_fd : f->fd,
			(off_t)off, (off_t)len);
	while (eno == EINTR);
	if (eno) {
		err_sys(e, eno, "cannot allocate %" PRIu64 " bytes at %" PRIu64,
			len, off);
		return err_file(e, f->name);
	}
	if (end > f->size)
		f->size = end;
	return 0;
}
