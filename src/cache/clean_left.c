/* SPDX-License-Identifier: MIT */
/*
 * What broke off, and what is left of what is gone: files in staging, disks
 * that were never finished, old ones in quarantine, records without a base.
 */
#include "config.h"

#include "cache/clean_left.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cache/holders.h"
#include "cache/record.h"
#include "cache/store_lock.h"

/* Staged files on a file system without locks: nothing takes so long. */
#define STAGE_AGE (24 * 3600)

/* dirfd's entries, each told to one; its own position. */
static int
each_name(int dirfd, const char *what, int (*one)(void *arg, const char *name,
	struct err *e), void *arg, struct err *e)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;
	int r = 0;

	if (!dir) {
		err_sys(e, errno, "cannot read the directory");
		if (fd >= 0)
			close(fd);
		return err_file(e, what);
	}
	while (r == 0 && (d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			r = one(arg, d->d_name, e);
	closedir(dir);
	return r;
}

struct leftovers {
	const struct clean_request *rq;
	struct clean_result *r;
	time_t now;
};

static void
note_err(const struct clean_request *rq, const struct err *e)
{
	char line[sizeof(e->file) + sizeof(e->msg) + 128];

	watch_note(rq->watch, err_text(e, line, sizeof(line)));
}

static int
remove_staged(void *arg, const char *name, struct err *e)
{
	/* the byte that its maker locks: others may be QEMU's, where a maker
	 * died after the file had got its final name too */
	struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_len = 1};
	struct leftovers *lo = arg;
	int dirfd = lo->rq->store->staging_fd;
	CLEANUP_FD int fd = -1;
	struct err why = {0};
	struct stat st;

	if (watch_cancelled(lo->rq->watch))
		return err_set(e, ERR_CANCELLED, "cancelled");
	if (store_file(dirfd, name, O_RDWR, &fd, &st, &why)) {
		note_err(lo->rq, &why);
		return 0;
	}
	if (fd < 0)
		return 0;
	if (fcntl(fd, F_OFD_SETLK, &first) &&
		(errno == EAGAIN || errno == EACCES ||
			lo->now - st.st_mtime < STAGE_AGE))
		return 0;
	if (unlinkat(dirfd, name, 0)) {
		if (errno != ENOENT) {
			err_sys(&why, errno, "cannot remove");
			err_file(&why, name);
			note_err(lo->rq, &why);
		}
		return 0;
	}
	lo->r->staging++;
	journal_tell(lo->rq->journal, (struct journal_event){
		.what = "removed", .name = name, .why = "staged by nobody alive",
		.bytes = (uint64_t)st.st_blocks * 512});
	return 0;
}

/* Its maker has it open until it has its name. Where nobody can be asked for
 * that, its age tells. */
static void
remove_stray(struct leftovers *lo, const char *path)
{
	CLEANUP_FD int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
			O_NOCTTY | O_CLOEXEC);
	enum holders_answer held;
	struct stat st, named;
	struct err e = {0};

	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode))
		return;
	held = holders_ask(fd);
	if (held == HOLDERS_HELD || (held == HOLDERS_UNTOLD &&
			lo->now - st.st_mtime < STAGE_AGE) ||
		fstatat(AT_FDCWD, path, &named, AT_SYMLINK_NOFOLLOW) ||
		named.st_ino != st.st_ino || named.st_dev != st.st_dev)
		return;
	if (unlink(path)) {
		err_sys(&e, errno, "cannot remove");
		err_file(&e, path);
		note_err(lo->rq, &e);
		return;
	}
	lo->r->staging++;
	journal_tell(lo->rq->journal, (struct journal_event){
		.what = "removed", .name = path,
		.why = "a disk that was never finished",
		.bytes = (uint64_t)st.st_blocks * 512});
}

int
clean_left_staging(const struct clean_request *rq, struct clean_result *r,
	struct err *e)
{
	struct leftovers lo = {rq, r, time(NULL)};
	size_t i;

	for (i = 0; i < r->users.n_strays; i++)
		remove_stray(&lo, r->users.strays[i]);
	if (rq->store->staging_fd < 0)
		return 0;
	return each_name(rq->store->staging_fd, "staging", remove_staged, &lo,
		e);
}

/* When the file got that name in quarantine (store_quarantine's); false for
 * anything else. */
static bool
quarantined_at(const char *name, int64_t *ret)
{
	const char *hex = strrchr(name, '.'), *at = hex;

	if (!hex || strlen(hex + 1) != 8 ||
		strspn(hex + 1, "0123456789abcdef") != 8)
		return false;
	while (at > name && at[-1] >= '0' && at[-1] <= '9')
		at--;
	if (at == hex || hex - at > 18 || at == name || at[-1] != '.')
		return false;
	*ret = strtoll(at, NULL, 10);
	return true;
}

/* A guest may run on it. Over NFS, where nobody can say, perhaps on another
 * host, and it would lose its disk: there the file stays. */
static int
remove_quarantined(void *arg, const char *name, struct err *e)
{
	struct leftovers *lo = arg;
	int dirfd = lo->rq->store->quarantine_fd;
	int64_t age = lo->rq->min_age > CLEAN_QUARANTINE_AGE
		? lo->rq->min_age : CLEAN_QUARANTINE_AGE, at;
	CLEANUP_FD int fd = -1;
	struct err why = {0};
	struct stat st;

	if (watch_cancelled(lo->rq->watch))
		return err_set(e, ERR_CANCELLED, "cancelled");
	if (!quarantined_at(name, &at) || (int64_t)lo->now - at < age)
		return 0;
	if (store_file(dirfd, name, O_RDONLY, &fd, &st, &why)) {
		note_err(lo->rq, &why);
		return 0;
	}
	if (fd < 0 || holders_ask(fd) != HOLDERS_FREE)
		return 0;
	if (unlinkat(dirfd, name, 0)) {
		err_sys(&why, errno, "cannot remove");
		err_file(&why, name);
		note_err(lo->rq, &why);
		return 0;
	}
	lo->r->quarantine++;
	journal_tell(lo->rq->journal, (struct journal_event){
		.what = "removed", .name = name, .why = "rotten, long ago",
		.bytes = (uint64_t)st.st_blocks * 512});
	return 0;
}

int
clean_left_quarantine(const struct clean_request *rq, struct clean_result *r,
	struct err *e)
{
	struct leftovers lo = {rq, r, time(NULL)};

	if (rq->store->quarantine_fd < 0)
		return 0;
	return each_name(rq->store->quarantine_fd, "quarantine",
		remove_quarantined, &lo, e);
}

/* <name>.json or <name>.leaves; false for anything else. */
static bool
base_of_record(const char *file, char *ret)
{
	const char *dot = strrchr(file, '.');
	struct layout_name l;
	size_t n;

	if (!dot || (strcmp(dot, ".json") != 0 && strcmp(dot, ".leaves") != 0))
		return false;
	n = (size_t)(dot - file);
	if (n >= LAYOUT_NAME)
		return false;
	memcpy(ret, file, n);
	ret[n] = '\0';
	layout_classify(ret, &l);
	return layout_is_base(l.kind);
}

static int
remove_record(void *arg, const char *file, struct err *e)
{
	struct leftovers *lo = arg;
	const struct store *s = lo->rq->store;
	struct store_lock lock = STORE_LOCK_NONE;
	struct err why = {0};
	char name[LAYOUT_NAME];
	struct stat st;

	if (watch_cancelled(lo->rq->watch))
		return err_set(e, ERR_CANCELLED, "cancelled");
	if (!base_of_record(file, name) ||
		/* gone with the other one of its pair */
		fstatat(s->records_fd, file, &st, AT_SYMLINK_NOFOLLOW) ||
		fstatat(s->base_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ||
		errno != ENOENT ||
		store_lock(s, name, false, NULL, &lock, NULL, &why))
		return 0;
	/* who publishes under this lock writes the record under it */
	if (fstatat(s->base_fd, name, &st, AT_SYMLINK_NOFOLLOW) &&
		errno == ENOENT) {
		if (record_remove(s, name, &why))
			note_err(lo->rq, &why);
		else
			lo->r->records++;
	}
	store_lock_release(&lock);
	return 0;
}

int
clean_left_records(const struct clean_request *rq, struct clean_result *r,
	struct err *e)
{
	struct leftovers lo = {rq, r, time(NULL)};

	if (rq->store->records_fd < 0)
		return 0;
	return each_name(rq->store->records_fd, "records", remove_record, &lo,
		e);
}
