/* SPDX-License-Identifier: MIT */
/*
 * From a disk's backing name down its chain. Every path is followed once,
 * however many disks name it; loops end there too. Only headers are read, and
 * only of regular files, so that no name does more than cost a look.
 */
#include "config.h"

#include "cache/users_named.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "op/source.h"

#define SLOTS 1024 /* at first */

static int
no_memory(struct err *e)
{
	return err_sys(e, ENOMEM, "cannot keep what the disks name");
}

static size_t
slot_of(const struct users_named *t, const char *path)
{
	size_t i = (size_t)digest_xxh64(path, strlen(path)) & (t->n_slots - 1);

	while (t->slots[i] &&
		strcmp(t->u->files[t->slots[i] - 1].path, path) != 0)
		i = (i + 1) & (t->n_slots - 1);
	return i;
}

static int
grow_slots(struct users_named *t, struct err *e)
{
	size_t n = t->n_slots ? 2 * t->n_slots : SLOTS, i;
	size_t *v = calloc(n, sizeof(*v));

	if (!v)
		return no_memory(e);
	free(t->slots);
	t->slots = v;
	t->n_slots = n;
	for (i = 0; i < t->u->n_files; i++)
		t->slots[slot_of(t, t->u->files[i].path)] = i + 1;
	return 0;
}

/* Takes path over, also on failure. */
static int
add_file(struct users_named *t, char *path, const char *disk,
	struct users_file **ret, struct err *e)
{
	CLEANUP_FREE char *own = path;
	struct users *u = t->u;
	struct users_file *v, f = {.path = path};
	const char *slash = strrchr(path, '/');

	if (2 * (u->n_files + 1) > t->n_slots && grow_slots(t, e))
		return -1;
	if (u->n_files == t->cap) {
		size_t cap = t->cap ? 2 * t->cap : 64;

		v = realloc(u->files, cap * sizeof(*v));
		if (!v)
			return no_memory(e);
		u->files = v;
		t->cap = cap;
	}
	f.name = slash ? slash + 1 : path;
	f.disk = strdup(disk);
	if (!f.disk)
		return no_memory(e);
	t->slots[slot_of(t, path)] = u->n_files + 1;
	own = NULL;
	u->files[u->n_files] = f;
	*ret = &u->files[u->n_files++];
	return 0;
}

static bool
ignored(const struct users_named *t, const char *path)
{
	size_t i, n, m = strlen(path);
	const char *p;

	for (i = 0; i < t->rq->n_ignore; i++) {
		p = t->rq->ignore[i];
		n = strlen(p);
		while (n > 1 && p[n - 1] == '/')
			n--;
		/* whole, or its last parts */
		if (n > m || n == 0 || memcmp(path + m - n, p, n) != 0)
			continue;
		if (n == m || (*p != '/' && path[m - n - 1] == '/'))
			return true;
	}
	return false;
}

int
users_named_dark(struct users_named *t, const char *path,
	const struct stat *st, const char *why, int eno, struct err *e)
{
	struct users_dark *v, d = {.changed = INT64_MAX};
	struct users *u = t->u;
	size_t i;

	if (ignored(t, path))
		return 0;
	for (i = 0; i < u->n_dark; i++)
		if (strcmp(u->dark[i].disk, path) == 0)
			return 0;
	v = realloc(u->dark, (u->n_dark + 1) * sizeof(*v));
	if (!v)
		return no_memory(e);
	u->dark = v;
	if (st)
		d.changed = (st->st_mtim.tv_sec > st->st_ctim.tv_sec
				? st->st_mtim.tv_sec
				: st->st_ctim.tv_sec) + 1;
	snprintf(d.why, sizeof(d.why), "%s%s%s", why, eno ? ": " : "",
		eno ? strerror(eno) : "");
	d.disk = strdup(path);
	if (!d.disk)
		return no_memory(e);
	v[u->n_dark++] = d;
	return 0;
}

void
users_named_lighten(struct users_named *t, size_t n)
{
	while (t->u->n_dark > n)
		free(t->u->dark[--t->u->n_dark].disk);
}

int
users_named_reopen(int place)
{
	char link[sizeof("/proc/self/fd/") + 12];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", place);
	return open(link, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

static int
dim(struct users_named *t, struct users_file *f, const struct stat *st,
	const char *why, int eno, struct err *e)
{
	f->dim = true;
	return users_named_dark(t, f->path, st, why, eno, e);
}

/* What the file f->path is, and what it names in turn. An O_PATH fd tells the
 * type first: the open of a device could have effects. */
static int
look_at(struct users_named *t, struct users_file *f, struct backing *ret,
	struct err *e)
{
	CLEANUP_FD int place = open(f->path, O_PATH | O_CLOEXEC);
	CLEANUP_FD int fd = -1;
	struct stat st;
	int eno;

	ret->kind = BACKING_NONE;
	if (place < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (place < 0 || fstat(place, &st))
		return dim(t, f, NULL, "cannot be opened", errno, e);
	f->there = true;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (!S_ISREG(st.st_mode))
		return 0;
	fd = users_named_reopen(place);
	if (fd < 0)
		return dim(t, f, &st, "cannot be opened", errno, e);
	eno = backing_read(fd, ret);
	if (eno || ret->kind == BACKING_UNTOLD) {
		const char *why = eno ? "cannot be read" : ret->why;

		ret->kind = BACKING_NONE;
		return dim(t, f, &st, why, eno, e);
	}
	return 0;
}

int
users_named_follow(struct users_named *t, const char *disk,
	const struct stat *st, struct backing *b, struct err *e)
{
	CLEANUP_FREE char *from = NULL;
	struct users_file *f = NULL;
	char *path;
	unsigned depth;
	size_t at;

	for (depth = 0; b->kind == BACKING_NAMED; depth++) {
		struct err why = {0};

		if (depth == USERS_DEPTH_MAX)
			return users_named_dark(t, disk, st, "its chain of "
				"backing files is too long", 0, e);
		if (source_backing_path(&path, from ? from : disk, b->name,
			    &why)) {
			if (why.kind == ERR_NOMEM)
				return no_memory(e);
			/* a json: name that is none of ours may still lead to
			 * a base; another protocol does not */
			if (strncmp(b->name, "json:", 5) == 0)
				return users_named_dark(t, disk, st, "its "
					"backing file's name is not "
					"understood", 0, e);
			return 0;
		}
		at = t->n_slots ? slot_of(t, path) : 0;
		if (t->n_slots && t->slots[at]) {
			f = &t->u->files[t->slots[at] - 1];
			f->disks += depth == 0;
			free(path);
			/* followed before */
			return f->dim ? users_named_dark(t, f->path, NULL,
				"cannot be read", 0, e) : 0;
		}
		if (add_file(t, path, disk, &f, e))
			return -1;
		f->disks = depth == 0;
		if (look_at(t, f, b, e))
			return -1;
		free(from);
		from = strdup(f->path);
		if (!from)
			return no_memory(e);
	}
	return 0;
}

void
users_named_close(struct users_named *t)
{
	free(t->slots);
	t->slots = NULL;
}
