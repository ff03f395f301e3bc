/* SPDX-License-Identifier: MIT */
/* One walk over _base. Names that vanish meanwhile were not there. */
#include "config.h"

#include "cache/entries.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
add(const struct store *s, struct entries *l, size_t *cap, const char *name,
	struct err *e)
{
	struct entry n = {0};

	if (fstatat(s->base_fd, name, &n.st, AT_SYMLINK_NOFOLLOW)) {
		if (errno == ENOENT)
			return 0;
		err_sys(e, errno, "cannot look at");
		return err_file(e, name);
	}
	if (l->n == ENTRIES_MAX) {
		err_set(e, ERR_LIMIT, "holds more than %d names", ENTRIES_MAX);
		return err_file(e, s->base);
	}
	if (l->n == *cap) {
		size_t more = *cap ? *cap * 2 : 64;
		struct entry *v = realloc(l->v, more * sizeof(*v));

		if (!v)
			return err_sys(e, ENOMEM, "cannot list the bases");
		l->v = v;
		*cap = more;
	}
	n.name = strdup(name);
	if (!n.name)
		return err_sys(e, ENOMEM, "cannot list the bases");
	n.regular = S_ISREG(n.st.st_mode);
	layout_classify(name, &n.layout);
	l->v[l->n++] = n;
	return 0;
}

static int
walk(const struct store *s, DIR *d, struct entries *l, struct err *e)
{
	const struct dirent *at;
	size_t cap = 0;

	for (;;) {
		errno = 0;
		at = readdir(d);
		if (!at)
			break;
		if (strcmp(at->d_name, ".") == 0 ||
			strcmp(at->d_name, "..") == 0 ||
			strcmp(at->d_name, LAYOUT_OWN) == 0)
			continue;
		if (add(s, l, &cap, at->d_name, e))
			return -1;
	}
	if (errno) {
		err_sys(e, errno, "cannot read the directory");
		return err_file(e, s->base);
	}
	return 0;
}

static int
compare(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name,
		((const struct entry *)b)->name);
}

static int
load_records(const struct store *s, const struct watch *w,
	struct entries *l, struct err *e)
{
	bool there;
	size_t i;

	for (i = 0; i < l->n; i++) {
		struct entry *n = &l->v[i];

		if (!n->regular || !layout_is_base(n->layout.kind))
			continue;
		if (record_load(s, n->name, &n->record, &there, w, e))
			return -1;
		n->recorded = there && record_matches(&n->record, &n->st);
	}
	return 0;
}

int
entries_load(const struct store *s, bool with_records, const struct watch *w,
	struct entries *ret, struct err *e)
{
	struct entries l = {0};
	int fd, bad;
	DIR *d;

	/* an fd of its own: reading moves the position */
	fd = openat(s->base_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd >= 0 ? fdopendir(fd) : NULL;
	if (!d) {
		err_sys(e, errno, "cannot read the directory");
		if (fd >= 0)
			close(fd);
		return err_file(e, s->base);
	}
	bad = walk(s, d, &l, e);
	closedir(d);
	if (bad == 0 && l.n)
		qsort(l.v, l.n, sizeof(*l.v), compare);
	if (bad == 0 && with_records)
		bad = load_records(s, w, &l, e);
	if (bad) {
		entries_free(&l);
		return -1;
	}
	*ret = l;
	return 0;
}

const struct entry *
entries_find(const struct entries *l, const char *name)
{
	struct entry key = {.name = (char *)name};

	if (l->n == 0)
		return NULL;
	return bsearch(&key, l->v, l->n, sizeof(*l->v), compare);
}

void
entries_free(struct entries *l)
{
	size_t i;

	for (i = 0; i < l->n; i++) {
		free(l->v[i].name);
		record_free(&l->v[i].record);
	}
	free(l->v);
	*l = (struct entries){0};
}
