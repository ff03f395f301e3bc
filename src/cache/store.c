/* SPDX-License-Identifier: MIT */
/*
 * The directories of a cache, and what may be done to a file in them: opened
 * without following links, staged, published, touched, put aside. Who decides
 * what is done is elsewhere; locks are store_lock.c's.
 */
#include "config.h"

#include "cache/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"

#define STAGE_TRIES 16
#define CLOCK_FILE "clock"

static int
fault(const char *name, int eno, const char *what, struct err *e)
{
	err_sys(e, eno, "%s", what);
	return err_file(e, name);
}

int
store_sync_dir(int dirfd, struct err *e)
{
	if (fsync(dirfd) == 0)
		return 0;
	/* some file systems do not sync directories */
	if ((errno == EINVAL || errno == EBADF) && syncfs(dirfd) == 0)
		return 0;
	return err_sys(e, errno, "cannot flush a directory");
}

int
store_give(const struct store *s, int fd, struct err *e)
{
	if (s->give && fchown(fd, s->uid, s->gid))
		return err_sys(e, errno, "cannot give a file to user %u",
			(unsigned)s->uid);
	return 0;
}

static int
open_dir(int dirfd, const char *name, bool follow, int *ret)
{
	*ret = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC |
			(follow ? 0 : O_NOFOLLOW));
	return *ret < 0 ? errno : 0;
}

/* The directory `name` in dirfd, made where there is none and create says so:
 * *ret_made then, by whomever. Its own name is not flushed. */
static int
sub_dir(const struct store *s, int dirfd, const char *name, bool follow,
	bool create, int *ret, bool *ret_made, struct err *e)
{
	int eno = open_dir(dirfd, name, follow, ret);
	bool made;

	if (eno == ENOENT && create) {
		made = mkdirat(dirfd, name, 0755) == 0;
		if (!made && errno != EEXIST)
			return fault(name, errno, "cannot create the directory",
				e);
		*ret_made = true;
		eno = open_dir(dirfd, name, follow, ret);
		/* whatever the umask: a guest's user passes through _base */
		if (eno == 0 && made && fchmod(*ret, 0755))
			return fault(name, errno, "cannot create the directory",
				e);
		if (eno == 0 && made && store_give(s, *ret, e))
			return err_file(e, name);
	}
	if (eno == ELOOP || eno == ENOTDIR) {
		err_set(e, ERR_DENIED, "is no directory");
		return err_file(e, name);
	}
	if (eno && (create || eno != ENOENT))
		return fault(name, eno, "cannot open the directory", e);
	return 0;
}

static char *
join(const char *dir, const char *name)
{
	size_t n = strlen(dir), m = strlen(name);
	char *p = malloc(n + m + 2);

	if (!p)
		return NULL;
	memcpy(p, dir, n);
	if (n && dir[n - 1] != '/')
		p[n++] = '/';
	memcpy(p + n, name, m + 1);
	return p;
}

/* Absolute, because backing names are made of it. */
static int
name_paths(struct store *s, const struct store_request *rq, struct err *e)
{
	const char *base = rq->base ? rq->base : LAYOUT_BASE;
	CLEANUP_FREE char *cwd = NULL;
	size_t n;

	if (*rq->instances == '\0' || *base == '\0')
		return err_set(e, ERR_USAGE, "the name of a directory is empty");
	if (*rq->instances == '/') {
		s->instances = strdup(rq->instances);
	} else {
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return err_sys(e, errno,
				"cannot tell the working directory");
		s->instances = join(cwd, rq->instances);
	}
	if (!s->instances)
		return err_sys(e, ENOMEM, "cannot keep a name");
	for (n = strlen(s->instances); n > 1 && s->instances[n - 1] == '/';)
		s->instances[--n] = '\0';
	s->base = *base == '/' ? strdup(base) : join(s->instances, base);
	if (!s->base)
		return err_sys(e, ENOMEM, "cannot keep a name");
	return 0;
}

/* Who owns a directory is to own what we make in it. */
static int
owner_of(struct store *s, int fd, dev_t *ret_dev, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_sys(e, errno, "cannot look at a directory");
	s->uid = st.st_uid;
	s->gid = st.st_gid;
	s->give = geteuid() == 0 && (st.st_uid != 0 || st.st_gid != 0);
	*ret_dev = st.st_dev;
	return 0;
}

/* What is published flushes _base, and with it the name of our directory. */
static int
open_own(struct store *s, bool create, struct err *e)
{
	bool made = false;

	if (sub_dir(s, s->base_fd, LAYOUT_OWN, false, create, &s->state_fd,
		    &made, e))
		return -1;
	if (s->state_fd < 0)
		return 0;
	if (sub_dir(s, s->state_fd, "staging", false, create, &s->staging_fd,
		    &made, e) ||
		sub_dir(s, s->state_fd, "records", false, create,
			&s->records_fd, &made, e) ||
		sub_dir(s, s->state_fd, "quarantine", false, create,
			&s->quarantine_fd, &made, e))
		return -1;
	return made ? store_sync_dir(s->state_fd, e) : 0;
}

/*
 * The name of _base, in whatever directory. Who made it may be just about to
 * do so, have died before, or not care (Nova). Our own directory is made
 * behind this, so that where it is nothing is left to do.
 */
static int
settle_base(const struct store *s, struct err *e)
{
	CLEANUP_FD int fd = -1;
	struct stat st;
	int eno;

	if (fstatat(s->base_fd, LAYOUT_OWN, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	eno = open_dir(s->base_fd, "..", false, &fd);
	/* one that we may pass and not read has nothing to be synced by */
	if (eno == EACCES)
		return 0;
	if (eno)
		return fault(s->base, eno, "cannot flush the directory of", e);
	return store_sync_dir(fd, e);
}

static int
open_locks(struct store *s, const struct store_request *rq, struct err *e)
{
	bool made;

	if (rq->locks)
		return sub_dir(s, AT_FDCWD, rq->locks, true, rq->create,
			&s->locks_fd, &made, e);
	return sub_dir(s, s->instances_fd, LAYOUT_LOCKS, false, rq->create,
		&s->locks_fd, &made, e);
}

static int
open_all(struct store *s, const struct store_request *rq, struct err *e)
{
	const char *base = rq->base ? rq->base : LAYOUT_BASE;
	bool made = false;
	int eno;

	if (name_paths(s, rq, e))
		return -1;
	eno = open_dir(AT_FDCWD, s->instances, true, &s->instances_fd);
	if (eno)
		return fault(s->instances, eno, "cannot open the directory of "
			"the instances", e);
	if (owner_of(s, s->instances_fd, &s->instances_dev, e) ||
		sub_dir(s, s->instances_fd, base, *base == '/', rq->create,
			&s->base_fd, &made, e))
		return -1;
	if (s->base_fd < 0)
		return fault(s->base, ENOENT, "cannot open the directory of "
			"the bases", e);
	if ((rq->create && settle_base(s, e)) || open_locks(s, rq, e))
		return -1;
	if (owner_of(s, s->base_fd, &s->base_dev, e))
		return -1;
	s->apart = s->base_dev != s->instances_dev;
	return open_own(s, rq->create, e);
}

int
store_open(struct store *ret, const struct store_request *rq, struct err *e)
{
	struct store s = STORE_NONE;

	if (open_all(&s, rq, e)) {
		store_close(&s);
		return -1;
	}
	*ret = s;
	return 0;
}

void
store_close(struct store *s)
{
	int *fds[] = {&s->instances_fd, &s->base_fd, &s->locks_fd,
		&s->state_fd, &s->staging_fd, &s->records_fd,
		&s->quarantine_fd};
	unsigned i;

	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	free(s->instances);
	free(s->base);
	*s = STORE_NONE;
}

static int
not_regular(const char *name, mode_t mode, struct err *e)
{
	err_set(e, ERR_DENIED, "is %s, no regular file",
		S_ISLNK(mode) ? "a symbolic link"
		: S_ISDIR(mode) ? "a directory"
		: "a device, pipe or socket");
	return err_file(e, name);
}

int
store_stat(int dirfd, const char *name, bool *ret_there, struct stat *ret_st,
	struct err *e)
{
	struct stat st;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW)) {
		if (errno != ENOENT)
			return fault(name, errno, "cannot look at", e);
		*ret_there = false;
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return not_regular(name, st.st_mode, e);
	if (ret_st)
		*ret_st = st;
	*ret_there = true;
	return 0;
}

int
store_file(int dirfd, const char *name, int flags, int *ret_fd,
	struct stat *ret_st, struct err *e)
{
	CLEANUP_FD int fd = -1;
	struct stat st;

	if (*name == '\0' || strchr(name, '/')) {
		err_set(e, ERR_DENIED, "is no name of a file");
		return err_file(e, name);
	}
	fd = openat(dirfd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY |
			O_CLOEXEC, 0644);
	if (fd < 0) {
		int eno = errno;

		if (eno == ENOENT) {
			*ret_fd = -1;
			return 0;
		}
		/* what it is says more than ELOOP, EISDIR or ENXIO */
		if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			!S_ISREG(st.st_mode))
			return not_regular(name, st.st_mode, e);
		return fault(name, eno, "cannot open", e);
	}
	if (fstat(fd, &st))
		return fault(name, errno, "cannot look at", e);
	if (!S_ISREG(st.st_mode))
		return not_regular(name, st.st_mode, e);
	if (ret_st)
		*ret_st = st;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int
store_file_or_new(const struct store *s, int dirfd, const char *name,
	int *ret_fd, struct err *e)
{
	CLEANUP_FD int fd = -1;
	int i;

	for (i = 0; i < STAGE_TRIES; i++) {
		if (store_file(dirfd, name, O_RDWR, &fd, NULL, e))
			return -1;
		if (fd < 0) {
			fd = openat(dirfd, name, O_RDWR | O_CREAT | O_EXCL |
					O_NOFOLLOW | O_CLOEXEC, 0644);
			if (fd < 0 && errno == EEXIST)
				continue;
			if (fd < 0)
				return fault(name, errno, "cannot create", e);
			/* made here: nobody can have planted it */
			if (store_give(s, fd, e))
				return err_file(e, name);
		}
		*ret_fd = TAKE_FD(fd);
		return 0;
	}
	return fault(name, EEXIST, "cannot create", e);
}

/*
 * Whoever cleans looks for this lock; a file system without locks has to do
 * with the file's age. QEMU's bytes are left alone: the file may have its
 * final name, and be opened, before we let go. False: somebody was faster, and
 * it is gone.
 */
static bool
own_stage(int fd)
{
	struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET,
		.l_len = 1};
	struct stat st;

	if (fcntl(fd, F_OFD_SETLK, &first) &&
		(errno == EAGAIN || errno == EACCES))
		return false;
	return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

int
store_stage_open(const struct store *s, const char *name,
	struct store_stage *ret, struct err *e)
{
	struct store_stage st;
	uint32_t r;
	int i, fd;

	for (i = 0; i < STAGE_TRIES; i++) {
		if (getrandom(&r, sizeof(r), 0) != sizeof(r))
			return err_sys(e, errno, "no random name");
		snprintf(st.name, sizeof(st.name), "%.*s-%08x",
			LAYOUT_NAME - 1, name, r);
		fd = openat(s->staging_fd, st.name, O_RDWR | O_CREAT | O_EXCL |
				O_NOFOLLOW | O_CLOEXEC, 0644);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return fault(s->base, errno, "cannot stage a file "
				"beneath", e);
		st.fd = fd;
		/* whatever the umask: a guest's user has to read it */
		if (fchmod(fd, 0644) || store_give(s, fd, e)) {
			err_sys(e, errno, "cannot stage a file");
			store_stage_drop(s, &st);
			return -1;
		}
		if (own_stage(fd)) {
			*ret = st;
			return 0;
		}
		close(fd);
	}
	return fault(s->base, EEXIST, "cannot stage a file beneath", e);
}

/* Whether _base/<name> is the staged file itself: over NFS the answer to a
 * link that was made may get lost, and the client asks again. */
static bool
is_ours(const struct store *s, const struct store_stage *st, const char *name)
{
	struct stat named, own;

	return fstatat(s->base_fd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
		fstat(st->fd, &own) == 0 && named.st_ino == own.st_ino &&
		named.st_dev == own.st_dev;
}

/* 0, or why it has no name. */
static int
give_name(const struct store *s, struct store_stage *st, const char *name)
{
	int eno;

	if (linkat(s->staging_fd, st->name, s->base_fd, name, 0) == 0)
		return 0;
	eno = errno;
	if (eno == EEXIST && is_ours(s, st, name))
		return 0;
	/* a file system without hard links */
	if ((eno == EPERM || eno == EOPNOTSUPP || eno == ENOSYS) &&
		renameat2(s->staging_fd, st->name, s->base_fd, name,
			RENAME_NOREPLACE) == 0)
		st->name[0] = '\0';
	else
		return errno == EEXIST ? EEXIST : eno;
	return 0;
}

int
store_stage_publish(const struct store *s, struct store_stage *st,
	const char *name, bool *ret_taken, struct err *e)
{
	int eno;

	if (fsync(st->fd))
		return fault(name, errno, "cannot flush", e);
	eno = give_name(s, st, name);
	if (eno == EEXIST) {
		*ret_taken = true;
		return 0;
	}
	if (eno)
		return fault(name, eno, "cannot create", e);
	if (st->name[0])
		unlinkat(s->staging_fd, st->name, 0);
	st->name[0] = '\0';
	if (store_sync_dir(s->base_fd, e)) {
		/* nobody has built on it: the lock is held */
		if (is_ours(s, st, name))
			unlinkat(s->base_fd, name, 0);
		return err_file(e, name);
	}
	*ret_taken = false;
	return 0;
}

void
store_stage_drop(const struct store *s, struct store_stage *st)
{
	if (st->fd < 0)
		return;
	if (st->name[0])
		unlinkat(s->staging_fd, st->name, 0);
	close(st->fd);
	st->fd = -1;
}

int
store_settle(const struct store *s, const char *name, int fd, struct err *e)
{
	if (fsync(fd))
		return fault(name, errno, "cannot flush", e);
	return store_sync_dir(s->base_fd, e) ? err_file(e, name) : 0;
}

int
store_touch(const struct store *s, const char *name, const struct watch *w,
	struct err *e)
{
	char line[LAYOUT_NAME + 128];

	if (utimensat(s->base_fd, name, NULL, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	if (errno != EACCES && errno != EPERM && errno != EROFS)
		return fault(name, errno, "cannot touch", e);
	snprintf(line, sizeof(line), "%.*s: cannot touch: %s",
		LAYOUT_NAME, name, strerror(errno));
	watch_note(w, line);
	return 0;
}

int
store_now(const struct store *s, struct timespec *ret, struct err *e)
{
	CLEANUP_FD int fd = -1;
	struct stat st;

	if (store_file_or_new(s, s->state_fd, CLOCK_FILE, &fd, e))
		return -1;
	if (futimens(fd, NULL) || fstat(fd, &st))
		return fault(CLOCK_FILE, errno, "cannot touch", e);
	*ret = st.st_mtim;
	return 0;
}

static int
quarantine_name(const char *name, char as[static STORE_QUARANTINED],
	struct err *e)
{
	uint32_t r;

	if (getrandom(&r, sizeof(r), 0) != sizeof(r))
		return err_sys(e, errno, "no random name");
	snprintf(as, STORE_QUARANTINED, "%.*s.%lld.%08x", LAYOUT_NAME - 1,
		name, (long long)time(NULL), r);
	return 0;
}

int
store_quarantine(const struct store *s, const char *name, char *ret_as,
	struct err *e)
{
	char as[STORE_QUARANTINED];

	if (quarantine_name(name, as, e))
		return -1;
	if (renameat(s->base_fd, name, s->quarantine_fd, as))
		return fault(name, errno, "cannot put into quarantine", e);
	if (store_sync_dir(s->quarantine_fd, e) ||
		store_sync_dir(s->base_fd, e))
		return err_file(e, name);
	if (ret_as)
		memcpy(ret_as, as, sizeof(as));
	return 0;
}

/* A link keeps the old one first, so that the name is never without a file. */
int
store_stage_replace(const struct store *s, struct store_stage *st,
	const char *name, char *ret_as, struct err *e)
{
	char as[STORE_QUARANTINED];

	if (quarantine_name(name, as, e))
		return -1;
	if (fsync(st->fd))
		return fault(name, errno, "cannot flush", e);
	if (linkat(s->base_fd, name, s->quarantine_fd, as, 0))
		return fault(name, errno, "cannot put into quarantine", e);
	if (store_sync_dir(s->quarantine_fd, e)) {
		unlinkat(s->quarantine_fd, as, 0);
		return err_file(e, name);
	}
	if (renameat(s->staging_fd, st->name, s->base_fd, name)) {
		int eno = errno;

		unlinkat(s->quarantine_fd, as, 0);
		return fault(name, eno, "cannot replace", e);
	}
	st->name[0] = '\0';
	if (store_sync_dir(s->base_fd, e))
		return err_file(e, name);
	memcpy(ret_as, as, sizeof(as));
	return 0;
}
