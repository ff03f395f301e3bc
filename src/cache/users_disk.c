/* SPDX-License-Identifier: MIT */
/*
 * A look at one file. Where it cannot be had the file stays dark, with the
 * time of the last change of what was to be read: of a link's target, not of
 * the link.
 */
#include "config.h"

#include "cache/users_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"

#define INFO_FILE "disk.info"
#define INFO_MAX (64 * 1024)
#define PEEK (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

bool
users_disk_is_none(const char *name)
{
	size_t n = strlen(name);

	return strcmp(name, INFO_FILE) == 0 ||
		strncmp(name, "console.log", 11) == 0 ||
		(n > 4 && strcmp(name + n - 4, ".xml") == 0);
}

bool
users_disk_is_stray(const char *name)
{
	static const char mark[] = ".byre-";
	const size_t m = sizeof(mark) - 1;
	size_t n = strlen(name);

	if (strcmp(name, ".disk.info.byre") == 0)
		return true;
	return name[0] == '.' && n > m + 8 &&
		strncmp(name + n - 8 - m, mark, m) == 0 &&
		strspn(name + n - 8, "0123456789abcdef") == 8;
}

/*
 * Nova's note of the formats: a guest can make its raw disk look like a broken
 * qcow2, or one on a file that we may not read, and must not stop the cleaning
 * of a host by that. The names there are paths from when the disk was made.
 */
static bool
told_raw(int dirfd, const char *name)
{
	CLEANUP_FD int fd = openat(dirfd, INFO_FILE, PEEK);
	CLEANUP(parse_opts_free) struct parse_opts o = {0};
	CLEANUP_FREE char *text = malloc(INFO_MAX + 1);
	const char *slash;
	ssize_t n;
	size_t i;

	if (fd < 0 || !text)
		return false;
	n = pread(fd, text, INFO_MAX, 0);
	if (n < 0)
		return false;
	text[n] = '\0';
	if (json_members(text, &o, NULL))
		return false;
	for (i = 0; i < o.n; i++) {
		slash = strrchr(o.v[i].key, '/');
		if (strcmp(slash ? slash + 1 : o.v[i].key, name) == 0)
			return strcmp(o.v[i].value, "raw") == 0;
	}
	return false;
}

/* A symbolic link, which leads to the disk proper. *ret_fd -1: to nothing that
 * could be one. What lies behind it may have changed at any time. */
static int
open_link(struct users_named *t, const char *path, int dirfd, const char *name,
	int *ret_fd, struct err *e)
{
	CLEANUP_FD int place = openat(dirfd, name, O_PATH | O_CLOEXEC);
	struct stat st;

	*ret_fd = -1;
	if (place < 0)
		return users_named_dark(t, path, NULL, "leads to nothing",
			errno, e);
	if (fstat(place, &st))
		return users_named_dark(t, path, NULL, "cannot be looked at",
			errno, e);
	if (S_ISBLK(st.st_mode))
		return told_raw(dirfd, name) ? 0 : users_named_dark(t, path,
			NULL, "is a block device", 0, e);
	if (!S_ISREG(st.st_mode))
		return 0;
	*ret_fd = users_named_reopen(place);
	if (*ret_fd < 0)
		return users_named_dark(t, path, &st, "cannot be opened",
			errno, e);
	return 0;
}

static bool
look_at_times(int fd, int dirfd, const char *name, struct stat *ret)
{
	if (fd >= 0)
		return fstat(fd, ret) == 0;
	return fstatat(dirfd, name, ret, AT_SYMLINK_NOFOLLOW) == 0;
}

int
users_disk_look(struct users_named *t, const char *path, int dirfd,
	const char *name, bool base, bool *ret_gone, struct err *e)
{
	CLEANUP_FD int fd = openat(dirfd, name, PEEK);
	struct stat st, *known = NULL;
	size_t n_dark = t->u->n_dark;
	struct backing b;
	int eno = errno;

	if (fd < 0 && eno == ENOENT) {
		*ret_gone = true;
		return 0;
	}
	if (fd < 0 && base)
		return 0;
	if (fd < 0 && eno == ELOOP) {
		if (open_link(t, path, dirfd, name, &fd, e))
			return -1;
		if (fd < 0)
			return 0;
	}
	t->u->disks += !base;
	if (fd >= 0) {
		eno = backing_read(fd, &b);
		if (!eno && b.kind == BACKING_NONE && !b.data[0])
			return 0;
	}
	if (look_at_times(fd, dirfd, name, &st))
		known = &st;
	if (fd >= 0 && !eno && b.kind != BACKING_UNTOLD) {
		if (users_named_follow(t, path, known, &b, e))
			return -1;
		if (t->u->n_dark > n_dark && told_raw(dirfd, name))
			users_named_lighten(t, n_dark);
		return 0;
	}
	if (base)
		return 0;
	if (fd >= 0 && !eno)
		return told_raw(dirfd, name) ? 0
			: users_named_dark(t, path, known, b.why, 0, e);
	return users_named_dark(t, path, known, fd < 0 ? "cannot be opened"
			: "cannot be read", eno, e);
}
