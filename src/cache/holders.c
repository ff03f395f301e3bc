/* SPDX-License-Identifier: MIT */
/*
 * Open and locked files of others. What is not open at the moment and yet in
 * use is the users' matter (users.h).
 */
#include "config.h"

#include "cache/holders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int
by_inode(const void *a, const void *b)
{
	const struct holders_file *x = a, *y = b;

	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int
add(struct holders *h, size_t *cap, ino_t ino, pid_t pid, struct err *e)
{
	struct holders_file *v;

	if (h->n == *cap) {
		*cap = *cap ? 2 * *cap : 256;
		v = realloc(h->v, *cap * sizeof(*v));
		if (!v)
			return err_sys(e, ENOMEM, "cannot keep who holds what");
		h->v = v;
	}
	h->v[h->n++] = (struct holders_file){ino, pid};
	return 0;
}

struct scan {
	dev_t dev;
	/* told of every regular file of dev that is open in process pid as
	 * descriptor `name` of fds, its fd directory */
	int (*one)(struct scan *s, int fds, const char *name,
		const struct statx *sx, pid_t pid, struct err *e);
	struct holders h;
	size_t cap;
	struct holders_gone gone;
};

/* The descriptors of one process; fd is its fd directory, taken over. A file
 * on a server that does not answer must not be waited for. */
static int
scan_process(struct scan *s, int fd, pid_t pid, struct err *e)
{
	DIR *dir = fdopendir(fd);
	const struct dirent *d;
	struct statx sx;
	int eno = errno, r = 0;

	if (!dir) { /* the process has ended, as a rule */
		close(fd);
		return eno == ENOMEM
			? err_sys(e, eno, "cannot look at open files") : 0;
	}
	while (r == 0 && (d = readdir(dir))) {
		if (d->d_name[0] < '0' || d->d_name[0] > '9' ||
			statx(fd, d->d_name, AT_STATX_DONT_SYNC, STATX_INO |
				STATX_TYPE | STATX_NLINK, &sx) ||
			!S_ISREG(sx.stx_mode) ||
			makedev(sx.stx_dev_major, sx.stx_dev_minor) != s->dev)
			continue;
		r = s->one(s, fd, d->d_name, &sx, pid, e);
	}
	closedir(dir);
	return r;
}

static int
scan_all(struct scan *s, const struct watch *w, struct err *e)
{
	DIR *dir = opendir("/proc");
	char name[sizeof("/fd") + 12];
	const struct dirent *d;
	long pid;
	int fd, r = 0;

	while (dir && r == 0 && (d = readdir(dir))) {
		if (watch_cancelled(w)) {
			r = err_set(e, ERR_CANCELLED, "cancelled");
			break;
		}
		pid = strtol(d->d_name, NULL, 10);
		if (pid <= 0 || pid == (long)getpid() ||
			strlen(d->d_name) > 10)
			continue;
		strcpy(name, d->d_name);
		strcat(name, "/fd");
		fd = openat(dirfd(dir), name,
			O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0)
			r = scan_process(s, fd, (pid_t)pid, e);
	}
	if (dir)
		closedir(dir);
	return r;
}

static int
add_open(struct scan *s, int fds, const char *name, const struct statx *sx,
	pid_t pid, struct err *e)
{
	(void)fds;
	(void)name;
	return add(&s->h, &s->cap, (ino_t)sx->stx_ino, pid, e);
}

int
holders_scan(dev_t dev, const struct watch *w, struct holders *ret,
	struct err *e)
{
	struct scan s = {.dev = dev, .one = add_open};

	if (scan_all(&s, w, e)) {
		holders_free(&s.h);
		return -1;
	}
	if (s.h.n)
		qsort(s.h.v, s.h.n, sizeof(*s.h.v), by_inode);
	*ret = s.h;
	return 0;
}

/* The kernel tells the path that it had, as the process saw it. */
static int
add_gone(struct scan *s, int fds, const char *name, const struct statx *sx,
	pid_t pid, struct err *e)
{
	static const char mark[] = " (deleted)";
	const size_t m = sizeof(mark) - 1;
	char path[PATH_MAX + sizeof(mark)], *last, **v;
	ssize_t n;

	(void)pid;
	if (sx->stx_nlink > 0)
		return 0;
	n = readlinkat(fds, name, path, sizeof(path) - 1);
	if (n < (ssize_t)m || memcmp(path + n - m, mark, m) != 0)
		return 0;
	path[n - (ssize_t)m] = '\0';
	last = strrchr(path, '/');
	v = realloc(s->gone.v, (s->gone.n + 1) * sizeof(*v));
	if (v)
		s->gone.v = v;
	if (v)
		v[s->gone.n] = strdup(last ? last + 1 : path);
	if (!v || !v[s->gone.n])
		return err_sys(e, ENOMEM, "cannot keep who holds what");
	s->gone.n++;
	return 0;
}

int
holders_scan_gone(dev_t dev, const struct watch *w, struct holders_gone *ret,
	struct err *e)
{
	struct scan s = {.dev = dev, .one = add_gone};

	if (scan_all(&s, w, e)) {
		holders_gone_free(&s.gone);
		return -1;
	}
	*ret = s.gone;
	return 0;
}

void
holders_gone_free(struct holders_gone *g)
{
	while (g->n > 0)
		free(g->v[--g->n]);
	free(g->v);
	*g = (struct holders_gone){0};
}

pid_t
holders_of(const struct holders *h, ino_t ino)
{
	const struct holders_file key = {.ino = ino}, *f;

	if (!h->n)
		return 0;
	f = bsearch(&key, h->v, h->n, sizeof(*h->v), by_inode);
	return f ? f->pid : 0;
}

void
holders_free(struct holders *h)
{
	free(h->v);
	*h = (struct holders){0};
}

/*
 * A write lease is granted only if nobody else has the file open, whatever his
 * name space; it is given back at once. Who opens the file in between waits
 * for that moment, and the kernel tells us with a signal: by default one that
 * kills, so it is made one that is ignored.
 */
enum holders_answer
holders_ask(int fd)
{
	struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int eno;

	if (fcntl(fd, F_OFD_GETLK, &fl) == 0 && fl.l_type != F_UNLCK)
		return HOLDERS_HELD;
	if (fcntl(fd, F_SETSIG, SIGURG))
		return HOLDERS_UNTOLD;
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return HOLDERS_FREE;
	}
	eno = errno;
	return eno == EAGAIN || eno == EBUSY ? HOLDERS_HELD : HOLDERS_UNTOLD;
}

/* A read lease is granted if nobody writes. */
bool
holders_writing(int fd)
{
	if (fcntl(fd, F_SETSIG, SIGURG))
		return false;
	if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return false;
	}
	return errno == EAGAIN || errno == EBUSY;
}
