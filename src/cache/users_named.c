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

/* The time of the last change: what was made later is not named. */
static int64_t
changed_of(const struct stat *st)
{
	if (!st)
		return INT64_MAX;
	return (st->st_mtim.tv_sec > st->st_ctim.tv_sec ? st->st_mtim.tv_sec
		: st->st_ctim.tv_sec) + 1;
}

static int
dark(struct users_named *t, const char *path, int64_t changed,
	const char *why, int eno, struct err *e)
{
	struct users_dark *v, d = {.changed = changed};
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
	snprintf(d.why, sizeof(d.why), "%s%s%s", why, eno ? ": " : "",
		eno ? strerror(eno) : "");
	d.disk = strdup(path);
	if (!d.disk)
		return no_memory(e);
	v[u->n_dark++] = d;
	return 0;
}

int
users_named_dark(struct users_named *t, const char *path,
	const struct stat *st, const char *why, int eno, struct err *e)
{
	return dark(t, path, changed_of(st), why, eno, e);
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

/* Whether the last part is a base's name: that one counts, there or not. */
static bool
is_base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct layout_name l;

	layout_classify(slash ? slash + 1 : path, &l);
	return layout_is_base(l.kind);
}

/* One way down: the files that were met on it. */
struct way {
	const char *disk;
	size_t v[USERS_DEPTH_MAX]; /* indices of u->files */
	size_t n;
	int64_t changed;           /* of the last of them, or of the disk */
};

static const char *
end_of(const struct users_named *t, const struct way *w)
{
	return w->n ? t->u->files[w->v[w->n - 1]].path : w->disk;
}

/* Nothing is to be seen beyond file `at`: nor for others who come by. */
static void
fade(struct users_named *t, const struct way *w, size_t at)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		t->u->files[w->v[i]].dim = at + 1;
}

static int
end_in_dark(struct users_named *t, const struct way *w, const char *why,
	int eno, struct err *e)
{
	if (w->n) {
		fade(t, w, w->v[w->n - 1]);
		t->u->files[w->v[w->n - 1]].changed = w->changed;
	}
	return dark(t, end_of(t, w), w->changed, why, eno, e);
}

/* A name in the file at the end: its path, or NULL if it leads to no file.
 * *ret_why: or if nobody knows where it leads. */
static int
path_of(const char *from, const char *name, char **ret, const char **ret_why,
	struct err *e)
{
	CLEANUP_FREE char *path = NULL;
	struct err why = {0};
	bool json = strncmp(name, "json:", 5) == 0;

	*ret = NULL;
	*ret_why = NULL;
	if (source_backing_path(&path, from, name, &why) == 0) {
		if ((json || strncmp(name, "file:", 5) == 0) && *path != '/' &&
			!is_base_name(path))
			*ret_why = "its backing file's name depends on a "
				"working directory";
		else
			*ret = TAKE_PTR(path);
		return 0;
	}
	if (why.kind == ERR_NOMEM)
		return no_memory(e);
	/* a json: name that is none of ours may still lead to a base; another
	 * protocol does not, unless by its last part */
	if (json)
		*ret_why = "its backing file's name is not understood";
	else if (is_base_name(name) && !(*ret = strdup(name)))
		return no_memory(e);
	return 0;
}

/* What the file at the end is, and what it names in turn. An O_PATH fd tells
 * the type first: the open of a device could have effects. */
static int
look_at(struct users_named *t, struct way *w, struct backing *ret,
	struct err *e)
{
	struct users_file *f = &t->u->files[w->v[w->n - 1]];
	CLEANUP_FD int place = open(f->path, O_PATH | O_CLOEXEC);
	CLEANUP_FD int fd = -1;
	struct stat st;
	int eno;

	ret->kind = BACKING_NONE;
	if (place < 0 && (errno == ENOENT || errno == ENOTDIR)) {
		/* not mounted perhaps, and built on a base; then since the
		 * last change of what names it, as a rule */
		return is_base_name(f->path) ? 0
			: end_in_dark(t, w, "is not there", 0, e);
	}
	w->changed = INT64_MAX;
	if (place < 0 || fstat(place, &st))
		return end_in_dark(t, w, "cannot be opened", errno, e);
	f->there = true;
	f->dev = st.st_dev;
	f->ino = st.st_ino;
	if (S_ISBLK(st.st_mode))
		return end_in_dark(t, w, "is a block device", 0, e);
	if (!S_ISREG(st.st_mode))
		return 0;
	w->changed = changed_of(&st);
	fd = users_named_reopen(place);
	if (fd < 0)
		return end_in_dark(t, w, "cannot be opened", errno, e);
	eno = backing_read(fd, ret);
	if (eno || ret->kind == BACKING_UNTOLD) {
		const char *why = eno ? "cannot be read" : ret->why;

		ret->kind = BACKING_NONE;
		return end_in_dark(t, w, why, eno, e);
	}
	return 0;
}

/* The data file of what is at the end: used, and built on nothing. */
static int
note_data(struct users_named *t, const struct way *w, const char *name,
	struct err *e)
{
	struct users_file *f;
	const char *why;
	struct stat st;
	char *path;
	size_t at;

	if (path_of(end_of(t, w), name, &path, &why, e))
		return -1;
	if (!path)
		return why ? end_in_dark(t, w, why, 0, e) : 0;
	at = t->n_slots ? slot_of(t, path) : 0;
	if (t->n_slots && t->slots[at]) {
		t->u->files[t->slots[at] - 1].disks += w->n == 0;
		free(path);
		return 0;
	}
	if (add_file(t, path, w->disk, &f, e))
		return -1;
	f->disks = w->n == 0;
	f->there = stat(path, &st) == 0;
	if (f->there) {
		f->dev = st.st_dev;
		f->ino = st.st_ino;
	}
	return 0;
}

/* One step down. b->kind NONE afterwards: that was all. */
static int
step(struct users_named *t, struct way *w, struct backing *b, struct err *e)
{
	struct users_file *f;
	const char *why;
	char *path;
	size_t at;

	if (path_of(end_of(t, w), b->name, &path, &why, e))
		return -1;
	b->kind = BACKING_NONE;
	if (!path)
		return why ? end_in_dark(t, w, why, 0, e) : 0;
	at = t->n_slots ? slot_of(t, path) : 0;
	if (t->n_slots && t->slots[at]) {
		/* followed before */
		free(path);
		f = &t->u->files[t->slots[at] - 1];
		f->disks += w->n == 0;
		if (!f->dim)
			return 0;
		fade(t, w, f->dim - 1);
		f = &t->u->files[f->dim - 1];
		return dark(t, f->path, f->changed, "cannot be read", 0, e);
	}
	if (add_file(t, path, w->disk, &f, e))
		return -1;
	f->disks = w->n == 0;
	w->v[w->n++] = t->u->n_files - 1;
	return look_at(t, w, b, e);
}

int
users_named_follow(struct users_named *t, const char *disk,
	const struct stat *st, struct backing *b, struct err *e)
{
	struct way w = {.disk = disk, .changed = changed_of(st)};

	for (;;) {
		if (b->data[0] && note_data(t, &w, b->data, e))
			return -1;
		b->data[0] = '\0';
		if (b->kind != BACKING_NAMED)
			return 0;
		if (w.n == USERS_DEPTH_MAX)
			return end_in_dark(t, &w, "its chain of backing files "
				"is too long", 0, e);
		if (step(t, &w, b, e))
			return -1;
	}
}

void
users_named_close(struct users_named *t)
{
	free(t->slots);
	t->slots = NULL;
}
