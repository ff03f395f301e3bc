/* SPDX-License-Identifier: MIT */
/*
 * The walk over instance directories. In doubt a base is used: a name counts
 * wherever it leads, what cannot be read is remembered, and a directory that
 * changed under the walk is walked again, with all that was found kept. What
 * follows from it is clean's matter.
 */
#include "config.h"

#include "cache/users.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cache/users_disk.h"

#define PASSES 4 /* of one root, while it goes on changing */
#define DEPTH_MAX 8 /* of directories beneath an instance's */

struct walk {
	struct users_named t;
	struct buf path; /* of the file at hand */
	bool again;      /* something moved */
	unsigned depth;  /* of the directory at hand, beneath an instance's */
};

static int
no_memory(struct err *e)
{
	return err_sys(e, ENOMEM, "cannot keep what the disks name");
}

/* The file or directory at hand stays dark. */
static int
dark(struct walk *w, const struct stat *st, const char *why, int eno,
	struct err *e)
{
	return users_named_dark(&w->t, w->path.p, st, why, eno, e);
}

static int
add_stray(struct walk *w, struct err *e)
{
	struct users *u = w->t.u;
	char **v = realloc(u->strays, (u->n_strays + 1) * sizeof(*v));

	if (!v)
		return no_memory(e);
	u->strays = v;
	v[u->n_strays] = strdup(w->path.p);
	if (!v[u->n_strays])
		return no_memory(e);
	u->n_strays++;
	return 0;
}

static unsigned char
type_of(int dirfd, const struct dirent *d)
{
	struct stat st;

	if (d->d_type != DT_UNKNOWN)
		return d->d_type;
	if (fstatat(dirfd, d->d_name, &st, AT_SYMLINK_NOFOLLOW))
		return DT_UNKNOWN;
	return (unsigned char)IFTODT(st.st_mode);
}

/* Sets w->path to dir (its length: *ret_len) and name. */
static int
set_path(struct walk *w, size_t dir_len, const char *name, struct err *e)
{
	w->path.len = dir_len;
	buf_char(&w->path, '/');
	buf_str(&w->path, name);
	return buf_failed(&w->path) ? no_memory(e) : 0;
}

static int
look_at_entry(struct walk *w, int dirfd, const struct dirent *d,
	size_t dir_len, bool bases, struct err *e)
{
	unsigned char type = type_of(dirfd, d);

	if (users_disk_is_none(d->d_name) || (bases && type != DT_REG))
		return 0;
	if (set_path(w, dir_len, d->d_name, e))
		return -1;
	if (type == DT_REG && !bases && users_disk_is_stray(d->d_name))
		return add_stray(w, e);
	if (type == DT_BLK)
		return dark(w, NULL, "is a block device", 0, e);
	if (type != DT_REG && type != DT_LNK && type != DT_UNKNOWN)
		return 0;
	return users_disk_look(&w->t, w->path.p, dirfd, d->d_name, bases,
		&w->again, e);
}

static bool
is_dir(int fd, const struct stat *st)
{
	struct stat own;

	return fd >= 0 && fstat(fd, &own) == 0 && own.st_dev == st->st_dev &&
		own.st_ino == st->st_ino;
}

/* Whether it is _base or the locks. */
static bool
is_own(const struct store *s, const struct stat *st)
{
	return is_dir(s->base_fd, st) || is_dir(s->locks_fd, st);
}

static int walk_instance(struct walk *w, int fd, bool bases, struct err *e);

/* A directory in an instance's, as Nova makes them for snapshots. What is
 * mounted there is a guest's own file system. */
static int
walk_below(struct walk *w, int dirfd, const char *name, size_t dir_len,
	struct err *e)
{
	CLEANUP_FD int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY |
			O_NOFOLLOW | O_CLOEXEC);
	struct stat st, above;
	int eno = errno, r;

	if (fd < 0 && eno == ENOENT) {
		w->again = true;
		return 0;
	}
	if (set_path(w, dir_len, name, e))
		return -1;
	if (fd < 0 || fstat(fd, &st) || fstat(dirfd, &above))
		return dark(w, NULL, "cannot be opened", eno, e);
	if (st.st_dev != above.st_dev || is_own(w->t.rq->store, &st))
		return 0;
	if (w->depth == DEPTH_MAX)
		return dark(w, NULL, "lies too deep", 0, e);
	w->depth++;
	r = walk_instance(w, TAKE_FD(fd), false, e);
	w->depth--;
	return r;
}

/* Takes fd over. w->path is the directory's. */
static int
walk_instance(struct walk *w, int fd, bool bases, struct err *e)
{
	DIR *dir = fdopendir(fd);
	size_t len = w->path.len;
	const struct dirent *d;
	int r = 0;

	if (!dir) {
		close(fd);
		return no_memory(e);
	}
	while (r == 0) {
		errno = 0;
		d = readdir(dir);
		if (!d)
			break;
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		r = !bases && type_of(fd, d) == DT_DIR
			? walk_below(w, fd, d->d_name, len, e)
			: look_at_entry(w, fd, d, len, bases, e);
	}
	if (r == 0 && errno && !bases) {
		int eno = errno;

		w->path.len = len;
		w->path.p[len] = '\0';
		r = dark(w, NULL, "cannot be read", eno, e);
	}
	closedir(dir);
	return r;
}

/* An entry of a root: an instance, one of ours, or a file like any other. */
static int
walk_entry(struct walk *w, int root, size_t root_len, const struct dirent *d,
	struct err *e)
{
	const struct store *s = w->t.rq->store;
	unsigned char type = type_of(root, d);
	struct stat st;
	int fd, eno;

	if (strcmp(d->d_name, "compute_nodes") == 0)
		return 0;
	if (type == DT_REG)
		return look_at_entry(w, root, d, root_len, false, e);
	if (type != DT_DIR && type != DT_LNK && type != DT_UNKNOWN)
		return 0;
	if (set_path(w, root_len, d->d_name, e))
		return -1;
	fd = openat(root, d->d_name, O_RDONLY | O_DIRECTORY | O_NONBLOCK |
			O_CLOEXEC);
	eno = errno;
	if (fd < 0 && eno == ENOENT && type != DT_LNK) {
		w->again = true;
		return 0;
	}
	if (fd < 0 && eno == ENOTDIR)
		return look_at_entry(w, root, d, root_len, false, e);
	if (fd < 0)
		return dark(w, NULL, "cannot be opened", eno, e);
	if (fstat(fd, &st) == 0 && is_own(s, &st)) {
		close(fd);
		return 0;
	}
	w->t.u->instances++;
	return walk_instance(w, fd, false, e);
}

static int
walk_root_once(struct walk *w, int root, const char *path, struct err *e)
{
	/* a position of its own */
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;
	int r = 0;

	if (!dir) {
		err_sys(e, errno, "cannot read the directory of the instances");
		if (fd >= 0)
			close(fd);
		return err_file(e, path);
	}
	while (r == 0) {
		if (watch_cancelled(w->t.rq->watch)) {
			r = err_set(e, ERR_CANCELLED, "cancelled");
			break;
		}
		errno = 0;
		d = readdir(dir);
		if (!d && errno) {
			r = err_sys(e, errno,
				"cannot read the directory of the instances");
			err_file(e, path);
		}
		if (!d)
			break;
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		buf_clear(&w->path);
		buf_str(&w->path, path);
		if (buf_failed(&w->path))
			r = no_memory(e);
		else
			r = walk_entry(w, fd, w->path.len, d, e);
	}
	closedir(dir);
	return r;
}

static int
walk_root(struct walk *w, int root, const char *path, struct err *e)
{
	uint64_t disks = w->t.u->disks, instances = w->t.u->instances;
	struct stat before, after;
	unsigned i;
	size_t k;

	for (k = 0; k < w->t.u->n_files; k++)
		w->t.u->files[k].before = w->t.u->files[k].disks;
	for (i = 0; i < PASSES; i++) {
		w->again = false;
		w->t.u->disks = disks;
		w->t.u->instances = instances;
		if (fstat(root, &before)) {
			err_sys(e, errno, "cannot look at the directory");
			return err_file(e, path);
		}
		if (walk_root_once(w, root, path, e))
			return -1;
		if (fstat(root, &after) == 0 && !w->again &&
			before.st_mtim.tv_sec == after.st_mtim.tv_sec &&
			before.st_mtim.tv_nsec == after.st_mtim.tv_nsec)
			return 0;
		for (k = 0; i + 1 < PASSES && k < w->t.u->n_files; k++)
			w->t.u->files[k].disks = w->t.u->files[k].before;
	}
	return 0;
}

static int
walk_roots(struct walk *w, struct err *e)
{
	const struct users_request *rq = w->t.rq;
	size_t i;
	int fd, r;

	for (i = 0; i < rq->n_roots; i++) {
		fd = open(rq->roots[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0) {
			err_sys(e, errno, "cannot open the directory of the "
				"instances");
			return err_file(e, rq->roots[i]);
		}
		r = walk_root(w, fd, rq->roots[i], e);
		close(fd);
		if (r)
			return -1;
	}
	if (walk_root(w, rq->store->instances_fd, rq->store->instances, e))
		return -1;
	/* a base may stand on another one */
	fd = openat(rq->store->base_fd, ".",
		O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		err_sys(e, errno, "cannot read the directory of the bases");
		return err_file(e, rq->store->base);
	}
	buf_clear(&w->path);
	buf_str(&w->path, rq->store->base);
	if (buf_failed(&w->path)) {
		close(fd);
		return no_memory(e);
	}
	return walk_instance(w, fd, true, e);
}

/* ---- where the walk comes by ---- */

/* Whether an entry of the instances directory is a link to the directory st:
 * these are followed, and no others. */
static bool
is_linked(const struct store *s, const struct stat *st)
{
	int fd = openat(s->instances_fd, ".",
		O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;
	bool found = false;
	struct stat to;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	while (!found && (d = readdir(dir)) != NULL)
		found = type_of(fd, d) == DT_LNK &&
			strcmp(d->d_name, "compute_nodes") != 0 &&
			fstatat(fd, d->d_name, &to, 0) == 0 &&
			to.st_dev == st->st_dev && to.st_ino == st->st_ino;
	closedir(dir);
	return found;
}

bool
users_come_by(const struct store *s, int dirfd)
{
	CLEANUP_FD int fd = -1;
	struct stat at, up;
	int next;

	if (fstat(dirfd, &at))
		return false;
	if (is_dir(s->instances_fd, &at) || is_dir(s->base_fd, &at))
		return true;
	/* what lies too deep is dark, and counts */
	for (next = dirfd;; at = up) {
		if (is_own(s, &at))
			return false;
		next = openat(next, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
		fd = next;
		if (fd < 0 || fstat(fd, &up))
			return false;
		if (is_dir(s->instances_fd, &up) || is_linked(s, &at))
			return true;
		if (up.st_dev != at.st_dev || up.st_ino == at.st_ino)
			return false;
	}
}

/* ---- answers ---- */

static int
by_name(const void *a, const void *b, void *arg)
{
	const struct users_file *f = arg;

	return strcmp(f[*(const size_t *)a].name, f[*(const size_t *)b].name);
}

static int
cmp_inode(dev_t dev, ino_t ino, const struct users_file *f)
{
	if (dev != f->dev)
		return dev < f->dev ? -1 : 1;
	return ino < f->ino ? -1 : ino > f->ino;
}

static int
by_inode(const void *a, const void *b, void *arg)
{
	const struct users_file *f = arg, *one = &f[*(const size_t *)a];

	return cmp_inode(one->dev, one->ino, &f[*(const size_t *)b]);
}

static int
index_files(struct users *u, struct err *e)
{
	size_t i;

	u->by_name = calloc(u->n_files + 1, sizeof(*u->by_name));
	u->by_inode = calloc(u->n_files + 1, sizeof(*u->by_inode));
	if (!u->by_name || !u->by_inode)
		return no_memory(e);
	for (i = 0; i < u->n_files; i++) {
		u->by_name[i] = i;
		if (u->files[i].there)
			u->by_inode[u->n_inodes++] = i;
	}
	qsort_r(u->by_name, u->n_files, sizeof(*u->by_name), by_name,
		u->files);
	qsort_r(u->by_inode, u->n_inodes, sizeof(*u->by_inode), by_inode,
		u->files);
	return 0;
}

/* The first of an index that is not less. */
static size_t
lower(const struct users *u, const size_t *index, size_t n, const char *name,
	const struct stat *st)
{
	size_t lo = 0, hi = n, mid;
	const struct users_file *f;
	int c;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		f = &u->files[index[mid]];
		c = name ? strcmp(name, f->name)
			 : cmp_inode(st->st_dev, st->st_ino, f);
		if (c > 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct users_answer
users_of(const struct users *u, const char *name, const struct stat *st)
{
	struct users_answer a = {0};
	const struct users_file *f;
	size_t i;

	for (i = lower(u, u->by_name, u->n_files, name, NULL); i < u->n_files;
		i++) {
		f = &u->files[u->by_name[i]];
		if (strcmp(f->name, name) != 0)
			break;
		/* what only other backing files name is used by one at least */
		a.disks += f->disks ? f->disks : 1;
		a.disk = f->disk;
	}
	for (i = lower(u, u->by_inode, u->n_inodes, NULL, st); i < u->n_inodes;
		i++) {
		f = &u->files[u->by_inode[i]];
		if (cmp_inode(st->st_dev, st->st_ino, f) != 0)
			break;
		if (strcmp(f->name, name) == 0)
			continue;
		a.disks += f->disks ? f->disks : 1;
		a.disk = f->disk;
	}
	return a;
}

int
users_scan(const struct users_request *rq, struct users *ret, struct err *e)
{
	struct users u = {0};
	struct walk w = {.t = {.rq = rq, .u = &u}};
	int r = walk_roots(&w, e);

	if (r == 0)
		r = index_files(&u, e);
	users_named_close(&w.t);
	buf_free(&w.path);
	if (r) {
		users_free(&u);
		return -1;
	}
	*ret = u;
	return 0;
}

void
users_free(struct users *u)
{
	size_t i;

	for (i = 0; i < u->n_files; i++) {
		free(u->files[i].path);
		free(u->files[i].disk);
	}
	for (i = 0; i < u->n_dark; i++)
		free(u->dark[i].disk);
	for (i = 0; i < u->n_strays; i++)
		free(u->strays[i]);
	free(u->strays);
	free(u->files);
	free(u->dark);
	free(u->by_name);
	free(u->by_inode);
	*u = (struct users){0};
}
