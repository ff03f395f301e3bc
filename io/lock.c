/* SPDX-License-Identifier: MIT */
/*
 * QEMU's image locks. A lock byte is held with a read lock by all who use (or
 * refuse to share) that permission; the opposite byte is then tested for other
 * holders. Locks first, tests afterwards: of two who come at once, at least
 * one sees the other.
 *
 * A conflict is looked at again for a moment: a QEMU that was killed keeps its
 * locks until the kernel has closed its files, and qemu-img starts so slowly
 * that its callers never met that.
 */
#include "config.h"

#include "io/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#define USE_BASE 100  /* byte of permission 0 when used */
#define KEEP_BASE 200 /* byte of permission 0 when not shared */
#define PERMS 4
/* 5, 10, 20 and 40 ms */
#define NAP_FIRST 5000000
#define NAP_LAST 40000000

static const char *const perm_names[PERMS] = {
	"consistent read",
	"write",
	"write unchanged",
	"resize",
};

static int
ofd(const struct file *f, int cmd, short type, off_t start, off_t len,
	struct flock *ret)
{
	int r;

	*ret = (struct flock){
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = start,
		.l_len = len,
	};
	do
		r = fcntl(f->fd, cmd, ret);
	while (r && errno == EINTR);
	return r ? errno : 0;
}

static int
take(struct file *f, unsigned perms, off_t base, struct err *e)
{
	struct flock fl;
	int i, eno;

	for (i = 0; i < PERMS; i++) {
		if (!(perms & 1U << i))
			continue;
		eno = ofd(f, F_OFD_SETLK, F_RDLCK, base + i, 1, &fl);
		if (eno == EAGAIN || eno == EACCES) {
			err_set(e, ERR_BUSY, "Failed to lock byte %d",
				(int)base + i);
			return err_file(e, f->name);
		}
		if (eno) /* this file system has no locks: nobody has */
			return 0;
	}
	return 0;
}

/* The bytes at base of perms must be held by nobody else. */
static int
test(struct file *f, unsigned perms, off_t base, const char *shared,
	struct err *e)
{
	struct flock fl;
	int i;

	for (i = 0; i < PERMS; i++) {
		if (!(perms & 1U << i) ||
			ofd(f, F_OFD_GETLK, F_WRLCK, base + i, 1, &fl) ||
			fl.l_type == F_UNLCK)
			continue;
		err_set(e, ERR_BUSY, "Failed to get %s\"%s\" lock", shared,
			perm_names[i]);
		return err_file(e, f->name);
	}
	return 0;
}

static int
try_lock(struct file *f, unsigned use, unsigned keep, struct err *e)
{
	if (take(f, use, USE_BASE, e) || take(f, keep, KEEP_BASE, e) ||
		test(f, use, KEEP_BASE, "", e) ||
		test(f, keep, USE_BASE, "shared ", e)) {
		lock_release(f);
		return -1;
	}
	f->locked = true;
	return 0;
}

int
lock_image(struct file *f, unsigned use, unsigned keep, struct err *e)
{
	struct timespec nap = {.tv_nsec = NAP_FIRST};
	struct err why = {0};

	while (try_lock(f, use, keep, &why)) {
		if (why.kind != ERR_BUSY || nap.tv_nsec > NAP_LAST) {
			if (e)
				*e = why;
			return -1;
		}
		nanosleep(&nap, NULL);
		nap.tv_nsec *= 2;
	}
	return 0;
}

void
lock_release(struct file *f)
{
	struct flock fl;

	ofd(f, F_OFD_SETLK, F_UNLCK, USE_BASE, KEEP_BASE + PERMS - USE_BASE,
		&fl);
}
