/* SPDX-License-Identifier: MIT */
/*
 * Following a name that stands in an image. Where the image itself lies is
 * taken from its name when that still leads to the open file, else from the
 * kernel: a descriptor's name is only for messages. Loops and depth are
 * chain.c's to count.
 */
#include "config.h"

#include "format/gate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "format/chain.h"

#define QUOTED 160

static const char *
quote(char *out, const char *name)
{
	return err_quote(out, QUOTED, name, (unsigned)strlen(name));
}

/* Length of "word:" in front, or 0; as in QEMU, a slash before the colon
 * makes it a path. */
static size_t
protocol_len(const char *name)
{
	size_t n = strcspn(name, ":/");

	return name[n] == ':' ? n + 1 : 0;
}

const char *
gate_path(const char *name)
{
	size_t n = protocol_len(name);

	if (n == 0)
		return name;
	return strncmp(name, "file:", 5) == 0 ? name + 5 : NULL;
}

static bool
leads_to(const char *path, const struct stat *want)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_dev == want->st_dev &&
		st.st_ino == want->st_ino;
}

/* A path by which the image can be reached now. */
static int
image_path(const struct file *f, char out[PATH_MAX], struct err *e)
{
	char link[64], q[QUOTED];
	struct stat st;
	ssize_t n;

	if (fstat(f->fd, &st))
		return err_sys(e, errno, "cannot stat");
	if (strlen(f->name) < PATH_MAX && leads_to(f->name, &st)) {
		strcpy(out, f->name);
		return 0;
	}
	snprintf(link, sizeof(link), "/proc/self/fd/%d", f->fd);
	n = readlink(link, out, PATH_MAX - 1);
	if (n > 0) {
		out[n] = '\0';
		if (out[0] == '/' && leads_to(out, &st))
			return 0;
	}
	return err_set(e, ERR_DENIED, "cannot tell the directory of '%s', "
		"which a relative name starts from", quote(q, f->name));
}

/* As qemu-img opens it. */
static int
open_trusted(const struct image *from, const char *name, const char *path,
	struct file **ret, struct err *e)
{
	CLEANUP_FREE char *full = NULL;
	unsigned flags = from->file->direct ? FILE_DIRECT : FILE_READ;
	char base[PATH_MAX] = "";
	struct err why;

	/* a relative name behind "file:" starts from the working directory */
	if (path == name && path[0] != '/') {
		if (image_path(from->file, base, e))
			return -1;
		full = chain_full_name(base, name);
		if (!full)
			return err_sys(e, ENOMEM, "cannot resolve a name");
		path = gate_path(full);
		if (!path)
			path = full;
	}
	if (flags & FILE_DIRECT) {
		if (file_open(ret, AT_FDCWD, path, flags, &why) == 0)
			return 0;
		flags &= ~(unsigned)FILE_DIRECT;
	}
	return file_open(ret, AT_FDCWD, path, flags, e);
}

/*
 * The absolute path that a name means, with a real directory in front: the
 * image's directory is resolved by the kernel and leading ".." taken off it,
 * so that text and kernel agree. What follows is left as it stands.
 */
static int
absolute_path(const struct image *from, const char *path, char out[PATH_MAX],
	struct err *e)
{
	char base[PATH_MAX], real[PATH_MAX], *slash;
	int n;

	if (path[0] == '/') {
		n = snprintf(out, PATH_MAX, "%s", path);
	} else {
		if (image_path(from->file, base, e))
			return -1;
		slash = strrchr(base, '/');
		if (slash == base)
			slash[1] = '\0';
		else if (slash)
			*slash = '\0';
		if (!realpath(slash ? base : ".", real))
			return err_sys(e, errno, "cannot resolve the image's "
				"directory");
		for (;;) {
			if (strncmp(path, "./", 2) == 0) {
				path += 2;
			} else if (strncmp(path, "../", 3) == 0) {
				path += 3;
				slash = strrchr(real, '/');
				slash[slash == real] = '\0';
			} else if (*path == '/') {
				path++;
			} else {
				break;
			}
		}
		n = snprintf(out, PATH_MAX, "%s/%s",
			strcmp(real, "/") == 0 ? "" : real, path);
	}
	if (n < 0 || n >= PATH_MAX)
		return err_set(e, ERR_LIMIT, "a name of more than %d bytes",
			PATH_MAX - 1);
	return 0;
}

/* What follows dir in path, or NULL when path is not below dir. */
static const char *
below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 0 && dir[n - 1] == '/')
		n--;
	if (strncmp(path, dir, n) != 0 || path[n] != '/')
		return NULL;
	while (path[n] == '/')
		n++;
	return path[n] ? path + n : NULL;
}

/* 1: opened, 0: not below this directory, -1: below it and refused. */
static int
try_dir(const char *dir, const char *path, bool direct, struct file **ret,
	struct err *e)
{
	CLEANUP_FD int fd = -1;
	char real[PATH_MAX];
	const char *rest;
	unsigned flags = FILE_BENEATH;
	struct err why;
	char *name;
	size_t len;

	if (!realpath(dir, real))
		return err_sys(e, errno, "cannot resolve the permitted "
			"directory");
	rest = below(path, real);
	if (!rest && dir[0] == '/')
		rest = below(path, dir);
	if (!rest)
		return 0;
	fd = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "cannot open the permitted directory");
	if ((!direct ||
		file_open(ret, fd, rest, flags | FILE_DIRECT, &why)) &&
		file_open(ret, fd, rest, flags, e))
		return -1;
	/* whoever follows this file's own references needs the whole path */
	len = strlen(real) + strlen(rest) + 2;
	name = malloc(len);
	if (!name) {
		file_close(*ret);
		return err_sys(e, ENOMEM, "cannot keep a name");
	}
	snprintf(name, len, "%s/%s", strcmp(real, "/") == 0 ? "" : real, rest);
	free((*ret)->name);
	(*ret)->name = name;
	return 1;
}

/* The policy on what was opened; f is closed when it is refused. */
static int
check_opened(const struct gate *g, const struct image *from, const char *name,
	struct file *f, struct err *e)
{
	enum format format = FORMAT_RAW; /* a data file */
	struct gate_report report;

	if (g->trusted || !g->safe)
		return 0;
	if (name == from->backing) {
		format = FORMAT_PROBE;
		if (from->backing_format &&
			strcmp(from->backing_format, "file") != 0)
			format = probe_format_from_name(from->backing_format);
		else if (from->backing_format)
			format = FORMAT_RAW;
	}
	if (gate_inspect(g, f, format, true, from->watch, &report, e) == 0 &&
		gate_verdict(&report, e) == 0)
		return 0;
	err_file(e, f->name);
	file_close(f);
	return -1;
}

int
gate_open(const struct gate *g, const struct image *from, const char *name,
	const char *what, struct file **ret, struct err *e)
{
	const char *path = gate_path(name);
	char q[QUOTED], full[PATH_MAX];
	CLEANUP_FREE char *plain = NULL;
	struct err why = {0};
	enum format format;
	unsigned i;
	int r;

	quote(q, name);
	if (g->trusted && gate_is_json(name)) {
		if (gate_json(name, &plain, &format, e))
			return err_prefix(e, "%s", what);
		path = plain;
	}
	if (!g->trusted && g->n_allow == 0)
		return err_set(e, ERR_DENIED, "%s '%s' is not allowed: no "
			"directory is permitted for it", what, q);
	if (!path)
		return err_set(e, g->trusted ? ERR_UNSUPPORTED : ERR_DENIED,
			"%s '%s' is not allowed: only files are opened, no "
			"other protocol", what, q);
	if (path[0] == '\0')
		return err_set(e, ERR_DENIED, "%s '%s' is not allowed: no "
			"file name", what, q);
	if (g->trusted)
		return open_trusted(from, name, path, ret, e);
	if (absolute_path(from, path, full, e))
		return -1;
	for (i = 0; i < g->n_allow; i++) {
		r = try_dir(g->allow_dirs[i], full, from->file->direct, ret,
			&why);
		if (r > 0)
			return check_opened(g, from, name, *ret, e);
		if (r < 0 && e)
			*e = why;
	}
	if (why.kind != ERR_NONE)
		return err_prefix(e, "%s '%s'", what, q);
	return err_set(e, ERR_DENIED, "%s '%s' is not allowed: it is not "
		"beneath a permitted directory", what, q);
}
