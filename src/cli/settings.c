/* SPDX-License-Identifier: MIT */
/*
 * The configuration file is read only by the front, once, and only when a
 * source is about to be opened: start-up time is part of the product.
 */
#include "config.h"

#include "cli/settings.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define SETTINGS_MAX 65536 /* bytes of byre.conf; a page of text is usual */

/* *ret stays NULL when there is no such file. */
static int
load(const char *name, bool must, char **ret, struct err *e)
{
	CLEANUP_FD int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	CLEANUP_FREE char *text = NULL;
	size_t len = 0;
	ssize_t n = 1;

	if (fd < 0) {
		if (errno == ENOENT && !must)
			return 0;
		err_sys(e, errno, "cannot open");
		return err_file(e, name);
	}
	text = malloc(SETTINGS_MAX + 1);
	if (!text)
		return err_sys(e, ENOMEM, "cannot read %s", name);
	while (n > 0 && len < SETTINGS_MAX) {
		n = read(fd, text + len, SETTINGS_MAX - len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			len += (size_t)n;
	}
	if (n != 0) {
		if (n < 0)
			err_sys(e, errno, "cannot read");
		else
			err_set(e, ERR_LIMIT, "is longer than %d bytes",
				SETTINGS_MAX - 1);
		return err_file(e, name);
	}
	text[len] = '\0';
	*ret = TAKE_PTR(text);
	return 0;
}

static char *
trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = '\0';
	return s;
}

static bool
beneath(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	while (n > 1 && dir[n - 1] == '/')
		n--;
	if (n == 1 && dir[0] == '/')
		return true;
	return strncmp(path, dir, n) == 0 &&
		(path[n] == '/' || path[n] == '\0');
}

/* The real name of path's directory, or of path itself. NULL when there is
 * none: then opening it fails too. */
static char *
real_name(const char *path, bool of_directory)
{
	CLEANUP_FREE char *copy = NULL;
	const char *slash = strrchr(path, '/');

	if (!of_directory)
		return realpath(path, NULL);
	if (!slash)
		return realpath(".", NULL);
	copy = strndup(path, slash == path ? 1 : (size_t)(slash - path));
	return copy ? realpath(copy, NULL) : NULL;
}

struct place {
	char *dir;  /* where the name lies */
	char *file; /* where it leads */
};

static bool
listed(const struct place *p, const char *dir)
{
	CLEANUP_FREE char *real = realpath(dir, NULL);

	/* a directory that does not exist (yet) is compared as written */
	if (!real)
		real = strdup(dir);
	return real && ((p->dir && beneath(p->dir, real)) ||
		(p->file && beneath(p->file, real)));
}

static int
read_line(char *line, unsigned number, const char *name,
	const struct place *p, bool *ret, struct err *e)
{
	char *value, *key = trim(line);
	char q[64];

	if (*key == '\0' || *key == '#')
		return 0;
	value = strchr(key, '=');
	if (value) {
		*value = '\0';
		value = trim(value + 1);
		key = trim(key);
	}
	if (!value || strcmp(key, "untrusted") != 0) {
		err_set(e, ERR_USAGE, "line %u: unknown setting '%s'", number,
			err_quote(q, sizeof(q), key, (unsigned)strlen(key)));
		return err_file(e, name);
	}
	if (value[0] != '/') {
		err_set(e, ERR_USAGE, "line %u: '%s' is no absolute directory",
			number, err_quote(q, sizeof(q), value,
				(unsigned)strlen(value)));
		return err_file(e, name);
	}
	if (listed(p, value))
		*ret = true;
	return 0;
}

int
settings_untrusted(const char *path, bool *ret, struct err *e)
{
	const char *name = getenv("BYRE_CONF");
	CLEANUP_FREE char *text = NULL;
	CLEANUP_FREE char *dir = NULL;
	CLEANUP_FREE char *file = NULL;
	struct place p;
	char *line, *next;
	unsigned number = 0;
	bool found = false;

	if (load(name ? name : SYSCONFDIR "/byre.conf", name != NULL, &text, e))
		return -1;
	if (!text) {
		*ret = false;
		return 0;
	}
	dir = real_name(path, true);
	file = real_name(path, false);
	p = (struct place){.dir = dir, .file = file};
	for (line = text; line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		if (read_line(line, ++number, name ? name : "byre.conf", &p,
			    &found, e))
			return -1;
	}
	*ret = found;
	return 0;
}
