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

#include "base/cleanup.h"
#include "base/json.h"
#include "cache/users_named.h"

#define PASSES 4 /* of one root, while it goes on changing */
#define INFO_FILE "disk.info"
#define INFO_MAX (64 * 1024)
#define PEEK (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)

struct walk {
	struct users_named t;
	struct buf path; /* of the file at hand */
	bool again;      /* something moved */
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

/* Files of an instance that no guest has as a disk. */
static bool
no_disk(const char *name)
{
	size_t n = strlen(name);

	return strcmp(name, INFO_FILE) == 0 ||
		strncmp(name, "console.log", 11) == 0 ||
		(n > 4 && strcmp(name + n - 4, ".xml") == 0);
}

/* io/publish's temporaries, and disk_info's. */
static bool
is_stray(const char *name)
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
 * could be one. */
static int
open_link(struct walk *w, int dirfd, const char *name, int *ret_fd,
	struct err *e)
{
	CLEANUP_FD int place = openat(dirfd, name, O_PATH | O_CLOEXEC);
	struct stat st, *known = NULL;

	*ret_fd = -1;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		known = &st;
	if (place < 0)
		return dark(w, known, "leads to nothing", errno, e);
	if (fstat(place, &st))
		return dark(w, NULL, "cannot be looked at", errno, e);
	if (S_ISBLK(st.st_mode))
		return dark(w, &st, "is a block device", 0, e);
	if (!S_ISREG(st.st_mode))
		return 0;
	*ret_fd = users_named_reopen(place);
	if (*ret_fd < 0)
		return dark(w, known, "cannot be opened", errno, e);
	return 0;
}

/* One file; w->path is its name. bases: of _base, where what cannot be read is
 * no disk of anybody. */
static int
look_at_disk(struct walk *w, int dirfd, const char *name, bool bases,
	struct err *e)
{
	CLEANUP_FD int fd = openat(dirfd, name, PEEK);
	struct stat st, *known = NULL;
	size_t n_dark = w->t.u->n_dark;
	struct backing b;
	int eno = errno;

	if (fd < 0 && eno == ENOENT) {
		w->again = true;
		return 0;
	}
	if (fd < 0 && bases)
		return 0;
	if (fd < 0 && eno == ELOOP) {
		if (open_link(w, dirfd, name, &fd, e))
			return -1;
		if (fd < 0)
			return 0;
	}
	w->t.u->disks += !bases;
	if (fd >= 0) {
		eno = backing_read(fd, &b);
		if (!eno && b.kind == BACKING_NONE)
			return 0;
	}
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		known = &st;
	if (fd >= 0 && !eno && b.kind == BACKING_NAMED) {
		if (users_named_follow(&w->t, w->path.p, known, &b, e))
			return -1;
		if (w->t.u->n_dark > n_dark && told_raw(dirfd, name))
			users_named_lighten(&w->t, n_dark);
		return 0;
	}
	if (bases)
		return 0;
	if (fd >= 0 && !eno)
		return told_raw(dirfd, name) ? 0
			: dark(w, known, b.why, 0, e);
	return dark(w, known, fd < 0 ? "cannot be opened"
			: "cannot be read", eno, e);
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
	struct layout_name l;

	if (no_disk(d->d_name))
		return 0;
	if (bases) {
		layout_classify(d->d_name, &l);
		if (!layout_is_base(l.kind) || type != DT_REG)
			return 0;
	}
	if (set_path(w, dir_len, d->d_name, e))
		return -1;
	if (type == DT_REG && is_stray(d->d_name))
		return add_stray(w, e);
	if (type == DT_BLK)
		return dark(w, NULL, "is a block device", 0, e);
	if (type != DT_REG && type != DT_LNK && type != DT_UNKNOWN)
		return 0;
	return look_at_disk(w, dirfd, d->d_name, bases, e);
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
	for (;;) {
		errno = 0;
		d = readdir(dir);
		if (!d)
			break;
		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		r = look_at_entry(w, fd, d, len, bases, e);
		if (r)
			break;
	}
	if (!d && errno && !bases) {
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
	struct stat st, own;
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
	if (fstat(fd, &st) == 0 &&
		((fstat(s->base_fd, &own) == 0 && own.st_dev == st.st_dev &&
			 own.st_ino == st.st_ino) ||
			(s->locks_fd >= 0 && fstat(s->locks_fd, &own) == 0 &&
				own.st_dev == st.st_dev &&
				own.st_ino == st.st_ino))) {
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
