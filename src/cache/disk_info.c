/* SPDX-License-Identifier: MIT */
/*
 * disk.info, read and replaced under a lock on its directory. What it says is
 * Nova's to read; the formats are the caller's to know.
 */
#include "config.h"

#include "cache/disk_info.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "io/file.h"

#define TEMP ".disk.info.byre"
#define NAP_MAX 50000000 /* ns */

static int
fault(int eno, const char *what, struct err *e)
{
	err_sys(e, eno, "%s", what);
	return err_file(e, DISK_INFO_FILE);
}

int
disk_info_edit(const char *text, const char *disk, const char *format,
	struct buf *out, char **ret_old, struct err *e)
{
	CLEANUP(parse_opts_free) struct parse_opts o = {0};
	CLEANUP_FREE char *old = NULL;
	struct json_out j = {.out = out};
	bool put = false;
	size_t i;

	if (text[strspn(text, " \t\r\n")] && json_members(text, &o, e))
		return -1;
	json_open_object(&j, NULL);
	for (i = 0; i < o.n; i++) {
		bool same = strcmp(o.v[i].key, disk) == 0;

		if (same) {
			old = strdup(o.v[i].value);
			if (!old)
				return err_sys(e, ENOMEM, "cannot keep a name");
			put = true;
		}
		if (!same)
			json_str(&j, o.v[i].key, o.v[i].value);
		else if (format)
			json_str(&j, disk, format);
	}
	if (format && !put)
		json_str(&j, disk, format);
	json_close_object(&j);
	if (buf_failed(out))
		return err_sys(e, ENOMEM, "cannot write");
	if (ret_old)
		*ret_old = TAKE_PTR(old);
	return 0;
}

/* A file system that cannot lock directories: nobody locks them there. */
static int
lock_dir(int dirfd, const struct watch *w, struct err *e)
{
	struct timespec nap = {.tv_nsec = 500000};

	while (flock(dirfd, LOCK_EX | LOCK_NB)) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return 0;
		if (watch_cancelled(w))
			return err_set(e, ERR_CANCELLED, "cancelled");
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < NAP_MAX)
			nap.tv_nsec *= 2;
	}
	return 0;
}

static int
read_text(int dirfd, char **ret, struct err *e)
{
	CLEANUP_FREE char *text = malloc(DISK_INFO_MAX + 2);
	CLEANUP_FD int fd = -1;
	ssize_t n = 0;

	if (!text)
		return fault(ENOMEM, "cannot read", e);
	if (store_file(dirfd, DISK_INFO_FILE, O_RDONLY, &fd, NULL, e))
		return -1;
	if (fd >= 0)
		n = pread(fd, text, DISK_INFO_MAX + 1, 0);
	if (n < 0)
		return fault(errno, "cannot read", e);
	text[n] = '\0';
	if (n > DISK_INFO_MAX) {
		err_set(e, ERR_LIMIT, "is longer than %d bytes", DISK_INFO_MAX);
		return err_file(e, DISK_INFO_FILE);
	}
	if (strlen(text) != (size_t)n) {
		err_set(e, ERR_FORMAT, "has a NUL in it");
		return err_file(e, DISK_INFO_FILE);
	}
	*ret = TAKE_PTR(text);
	return 0;
}

static int
write_text(int fd, const struct buf *out, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;

	if (file_from_fd(&f, fd, DISK_INFO_FILE, e) ||
		file_write(f, out->p, out->len, 0, e) || file_sync(f, e))
		return -1;
	return 0;
}

/* From a directory on another device it cannot be moved: a temporary beside
 * it, of one fixed name, so that what a kill leaves is used up by the next. */
static int
replace_here(const struct store *s, int dirfd, const struct buf *out,
	struct err *e)
{
	CLEANUP_FD int fd = -1;
	int r;

	if (unlinkat(dirfd, TEMP, 0) && errno != ENOENT)
		return fault(errno, "cannot write", e);
	fd = openat(dirfd, TEMP, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW |
			O_CLOEXEC, 0644);
	if (fd < 0)
		return fault(errno, "cannot write", e);
	r = store_give(s, fd, e) || write_text(fd, out, e) ? -1 : 0;
	if (r == 0 && renameat(dirfd, TEMP, dirfd, DISK_INFO_FILE))
		r = err_sys(e, errno, "cannot write");
	if (r)
		unlinkat(dirfd, TEMP, 0);
	return r ? err_file(e, DISK_INFO_FILE) : 0;
}

/* Staged, so that clean finds what a kill leaves. */
static int
replace(const struct store *s, int dirfd, const struct buf *out, struct err *e)
{
	struct store_stage st;
	int eno = 0, r;

	if (store_stage_open(s, DISK_INFO_FILE, &st, e))
		return -1;
	r = write_text(st.fd, out, e);
	if (r == 0 && renameat(s->staging_fd, st.name, dirfd, DISK_INFO_FILE))
		eno = errno;
	else if (r == 0)
		st.name[0] = '\0';
	store_stage_drop(s, &st);
	if (eno == EXDEV)
		return replace_here(s, dirfd, out, e);
	return eno ? fault(eno, "cannot write", e) : r;
}

/* Closing dirfd's copy lets the lock go: it belongs to the open directory. */
int
disk_info_put(const struct store *s, int dirfd, const char *disk,
	const char *format, char **ret_old, const struct watch *w,
	struct err *e)
{
	CLEANUP_FD int dir = openat(dirfd, ".",
		O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(buf_free) struct buf out = BUF_INIT;
	CLEANUP_FREE char *text = NULL, *old = NULL;

	if (dir < 0)
		return fault(errno, "cannot open the directory of", e);
	if (lock_dir(dir, w, e))
		return err_file(e, DISK_INFO_FILE);
	if (read_text(dir, &text, e))
		return -1;
	if (disk_info_edit(text, disk, format, &out, &old, e))
		return err_file(e, DISK_INFO_FILE);
	if (!format && strcmp(out.p, "{}") == 0) {
		if (unlinkat(dir, DISK_INFO_FILE, 0) && errno != ENOENT)
			return fault(errno, "cannot remove", e);
	} else if (replace(s, dir, &out, e)) {
		return -1;
	}
	if (ret_old)
		*ret_old = TAKE_PTR(old);
	return 0;
}
