/* SPDX-License-Identifier: MIT */
/* mkdir -p, with a memory of what was made. */
#include "config.h"

#include "cache/spawn_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

char *
spawn_dir_absolute(const char *path)
{
	CLEANUP_FREE char *cwd = NULL;
	struct buf b = BUF_INIT;
	char *r;

	if (*path == '/')
		return strdup(path);
	cwd = getcwd(NULL, 0);
	if (!cwd)
		return NULL;
	buf_fmt(&b, "%s/%s", cwd, path);
	r = buf_take(&b);
	if (!r)
		errno = ENOMEM;
	return r;
}

static int
fault(const char *path, int eno, const char *what, struct err *e)
{
	err_sys(e, eno, "%s", what);
	return err_file(e, path);
}

/* The directory `at`, just made: its owner, and its name on disk. */
static int
settle(const struct store *s, char *at, struct err *e)
{
	CLEANUP_FD int fd = open(at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
			O_CLOEXEC);
	CLEANUP_FD int up = -1;
	char *slash;

	if (fd < 0)
		return fault(at, errno, "cannot open the directory", e);
	if (store_give(s, fd, e))
		return err_file(e, at);
	slash = strrchr(at, '/');
	*slash = '\0';
	up = open(*at ? at : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*slash = '/';
	/* one that we may pass and not read has nothing to be synced by */
	if (up < 0 && errno == EACCES)
		return 0;
	if (up < 0)
		return fault(at, errno, "cannot open the directory of", e);
	return store_sync_dir(up, e) ? err_file(e, at) : 0;
}

static int
make_parts(struct spawn_dir *d, const struct store *s, struct err *e)
{
	size_t i;
	char c;
	int r;

	for (i = 1; i == 1 || d->path[i - 1]; i++) {
		c = d->path[i];
		if ((c != '/' && c != '\0') || d->path[i - 1] == '/')
			continue;
		d->path[i] = '\0';
		r = mkdir(d->path, 0755);
		if (r && errno != EEXIST) {
			fault(d->path, errno, "cannot create the directory", e);
			d->path[i] = c;
			return -1;
		}
		if (r == 0 && !d->made_at)
			d->made_at = i;
		if (r == 0 && settle(s, d->path, e)) {
			d->path[i] = c;
			return -1;
		}
		d->path[i] = c;
		if (!c)
			break;
	}
	return 0;
}

int
spawn_dir_make(struct spawn_dir *d, const struct store *s, const char *disk,
	struct err *e)
{
	const char *slash = strrchr(disk, '/');
	size_t n = slash == disk ? 1 : (size_t)(slash - disk);

	d->path = strndup(disk, n);
	if (!d->path)
		return fault(disk, ENOMEM, "cannot name the directory of", e);
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0 && errno == ENOENT) {
		if (make_parts(d, s, e))
			return -1;
		d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (d->fd < 0)
		return fault(d->path, errno, "cannot open the directory", e);
	return 0;
}

void
spawn_dir_unmake(const struct spawn_dir *d)
{
	size_t n;

	if (!d->path || !d->made_at)
		return;
	for (n = strlen(d->path); n >= d->made_at; n--) {
		char c = d->path[n];

		if ((c != '/' && c != '\0') || d->path[n - 1] == '/')
			continue;
		d->path[n] = '\0';
		rmdir(d->path);
	}
}

void
spawn_dir_close(struct spawn_dir *d)
{
	if (d->fd >= 0)
		close(d->fd);
	free(d->path);
	*d = SPAWN_DIR_NONE;
}
