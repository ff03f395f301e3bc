/* SPDX-License-Identifier: MIT */
/*
 * One OFD write lock on a whole lock file. Nova's fasteners polls with lockf
 * and removes some lock files after releasing them, without looking again
 * before it works; we look: a lock on a file that has lost its name excludes
 * nobody.
 */
#include "config.h"

#include "cache/store_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

#define NAP_FIRST 1000000 /* ns */
#define NAP_MAX 100000000
#define NOTE_AFTER 1000000000

/* Whether the name still stands for what is open. */
static int
still_named(const struct store *s, const char *file, int fd, bool *ret,
	struct err *e)
{
	struct stat named, own;

	*ret = false;
	if (fstatat(s->locks_fd, file, &named, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return 0;
		err_sys(e, errno, "cannot look at");
		return err_file(e, file);
	}
	if (fstat(fd, &own)) {
		/* removed on another host, by now there is a new one */
		if (errno == ESTALE)
			return 0;
		err_sys(e, errno, "cannot look at");
		return err_file(e, file);
	}
	*ret = named.st_ino == own.st_ino && named.st_dev == own.st_dev;
	return 0;
}

/* *ret_fd -1: somebody else holds it. */
static int
try_lock(const struct store *s, const char *file, int *ret_fd, struct err *e)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	bool named;
	int fd = -1, bad;

	for (;;) {
		if (store_file_or_new(s, s->locks_fd, file, &fd, e))
			return -1;
		if (fcntl(fd, F_OFD_SETLK, &whole)) {
			int eno = errno;

			close(fd);
			if (eno == EAGAIN || eno == EACCES) {
				*ret_fd = -1;
				return 0;
			}
			err_sys(e, eno, "cannot lock");
			return err_file(e, file);
		}
		bad = still_named(s, file, fd, &named, e);
		if (!bad && named) {
			*ret_fd = fd;
			return 0;
		}
		close(fd);
		if (bad)
			return -1;
	}
}

static int
wait_lock(const struct store *s, const char *file, const struct watch *w,
	int *ret_fd, struct err *e)
{
	struct timespec nap = {.tv_nsec = NAP_FIRST};
	long long slept = 0;
	char line[LAYOUT_NAME + 64];

	for (*ret_fd = -1; *ret_fd < 0;) {
		if (watch_cancelled(w))
			return err_set(e, ERR_CANCELLED, "interrupted");
		nanosleep(&nap, NULL);
		if (slept < NOTE_AFTER && slept + nap.tv_nsec >= NOTE_AFTER) {
			snprintf(line, sizeof(line), "%.*s: waits for another "
				"process", LAYOUT_NAME, file);
			watch_note(w, line);
		}
		slept += nap.tv_nsec;
		nap.tv_nsec = nap.tv_nsec * 2 < NAP_MAX ? nap.tv_nsec * 2
							: NAP_MAX;
		if (try_lock(s, file, ret_fd, e))
			return -1;
	}
	return 0;
}

int
store_lock_own(const struct store *s, const char *file, bool wait,
	const struct watch *w, struct store_lock *ret, bool *ret_waited,
	struct err *e)
{
	bool waited = false;
	int fd;

	if (s->locks_fd < 0)
		return err_sys(e, ENOENT, "there is no directory of locks");
	if (try_lock(s, file, &fd, e))
		return -1;
	if (fd < 0) {
		if (!wait) {
			err_set(e, ERR_BUSY, "another process holds the lock");
			return err_file(e, file);
		}
		waited = true;
		if (wait_lock(s, file, w, &fd, e))
			return -1;
	}
	ret->fd = fd;
	snprintf(ret->file, sizeof(ret->file), "%s", file);
	if (ret_waited)
		*ret_waited = waited;
	return 0;
}

int
store_lock(const struct store *s, const char *name, bool wait,
	const struct watch *w, struct store_lock *ret, bool *ret_waited,
	struct err *e)
{
	char file[STORE_LOCK_FILE];
	int n = snprintf(file, sizeof(file), STORE_LOCK_PREFIX "%s", name);

	if (n < 0 || (size_t)n >= sizeof(file)) {
		err_set(e, ERR_USAGE, "a base's name is longer than %d bytes",
			LAYOUT_NAME - 1);
		return err_file(e, name);
	}
	return store_lock_own(s, file, wait, w, ret, ret_waited, e);
}

bool
store_lock_stands(const struct store *s, const struct store_lock *l)
{
	bool named;

	return still_named(s, l->file, l->fd, &named, NULL) == 0 && named;
}

void
store_lock_release(struct store_lock *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
