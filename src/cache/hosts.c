/* SPDX-License-Identifier: MIT */
/* The hosts that share a storage. In doubt there is one: what it uses might
 * not be seen from here. */
#include "config.h"

#include "cache/hosts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"

#define HOSTS_FILE "compute_nodes"
#define TEXT_MAX (256 * 1024) /* some thousand hosts */

static bool
is_known(const char *host, const char *self, const char *const *known, size_t n)
{
	size_t i;

	if (strcmp(host, self) == 0)
		return true;
	for (i = 0; i < n; i++)
		if (strcmp(host, known[i]) == 0)
			return true;
	return false;
}

void
hosts_decode(const char *text, const char *self, const char *const *known,
	size_t n, int64_t now, char ret[static HOSTS_NAME])
{
	CLEANUP(parse_opts_free) struct parse_opts o = {0};
	const char *host;
	char *end;
	double at;
	size_t i;

	ret[0] = '\0';
	/* Nova truncates the file, each time, before it fills it */
	if (text[strspn(text, " \t\r\n")] == '\0') {
		snprintf(ret, HOSTS_NAME, "(%s is empty)", HOSTS_FILE);
		return;
	}
	if (json_members(text, &o, NULL)) {
		snprintf(ret, HOSTS_NAME, "(%s is not understood)",
			HOSTS_FILE);
		return;
	}
	for (i = 0; i < o.n; i++) {
		host = o.v[i].key;
		at = strtod(o.v[i].value, &end);
		/* a time in the future is recent; so is one that is none */
		if (end != o.v[i].value && *end == '\0' &&
			at < (double)now - HOSTS_RECENT)
			continue;
		if (is_known(host, self, known, n))
			continue;
		err_quote(ret, HOSTS_NAME, host, (unsigned)strlen(host));
		return;
	}
}

int
hosts_scan(const struct store *s, const char *const *known, size_t n,
	int64_t now, char ret[static HOSTS_NAME], struct err *e)
{
	CLEANUP_FREE char *text = malloc(TEXT_MAX + 1);
	CLEANUP_FD int fd = -1;
	struct utsname self;
	struct err why = {0};
	ssize_t got;

	if (!text)
		return err_sys(e, ENOMEM, "cannot read %s", HOSTS_FILE);
	if (store_file(s->instances_fd, HOSTS_FILE, O_RDONLY, &fd, NULL,
		    &why)) {
		snprintf(ret, HOSTS_NAME, "(%s cannot be read)", HOSTS_FILE);
		return 0;
	}
	ret[0] = '\0';
	if (fd < 0)
		return 0;
	got = pread(fd, text, TEXT_MAX + 1, 0);
	if (got < 0 || got > TEXT_MAX || memchr(text, '\0', (size_t)got)) {
		snprintf(ret, HOSTS_NAME, "(%s cannot be read)", HOSTS_FILE);
		return 0;
	}
	text[got] = '\0';
	if (uname(&self))
		self.nodename[0] = '\0';
	hosts_decode(text, self.nodename, known, n, now, ret);
	return 0;
}
