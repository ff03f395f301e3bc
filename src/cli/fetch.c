/* SPDX-License-Identifier: MIT */
/*
 * byre-fetch lies beside this program, or in LIBEXECDIR. It is believed only
 * when its last line is "done" and it ended with 0; what it says of digests is
 * compared here. Its own protocol is at the top of net/byre_fetch.c.
 */
#include "config.h"

#include "cli/fetch.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cache/room.h"

#define TARGET 3         /* byre-fetch's fd */
#define LINE_MAX_LEN 1024
#define POLL_MSEC 200    /* a signal is obeyed within this */

extern char **environ;

struct reply {
	char line[LINE_MAX_LEN];
	size_t len;
	bool done, failed;
	uint64_t bytes;
	struct ensure_digests sums;
	char why[LINE_MAX_LEN];
};

/* Where an algorithm's digits go, and how many there are. */
static char *
slot(struct ensure_digests *d, const char *algo, size_t len, size_t *ret_hex)
{
	if (len == 3 && memcmp(algo, "md5", 3) == 0) {
		*ret_hex = 32;
		return d->md5;
	}
	if (len == 6 && memcmp(algo, "sha256", 6) == 0) {
		*ret_hex = 64;
		return d->sha256;
	}
	if (len == 6 && memcmp(algo, "sha512", 6) == 0) {
		*ret_hex = 128;
		return d->sha512;
	}
	return NULL;
}

/* "ALGO<sep>HEX" */
static bool
take_sum(const char *text, char sep, struct ensure_digests *d)
{
	const char *at = strchr(text, sep);
	size_t n, i;
	char *to;

	if (!at)
		return false;
	to = slot(d, text, (size_t)(at - text), &n);
	if (!to || strlen(at + 1) != n)
		return false;
	for (i = 0; i < n; i++)
		if (!isxdigit((unsigned char)at[1 + i]))
			return false;
	/* the same algorithm twice can only be meant once */
	for (i = 0; i < n; i++) {
		char c = (char)tolower((unsigned char)at[1 + i]);

		if (to[0] && i < strlen(to) && to[i] != c)
			return false;
		to[i] = c;
	}
	to[n] = '\0';
	return true;
}

int
fetch_expect(const struct options_list *l, struct ensure_digests *ret,
	struct err *e)
{
	struct ensure_digests d = {0};
	char q[200];
	unsigned i;

	for (i = 0; i < l->n; i++)
		if (!take_sum(l->v[i], ':', &d))
			return err_set(e, ERR_USAGE, "--expect: '%s' is not "
				"md5, sha256 or sha512, a colon, and the "
				"digits of one digest", err_quote(q, sizeof(q),
					l->v[i], (unsigned)strlen(l->v[i])));
	*ret = d;
	return 0;
}

/* Beside this program first: that is the one it was built with. */
static void
program(char *ret, size_t cap)
{
	char self[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			*slash = '\0';
			n = snprintf(ret, cap, "%s/byre-fetch", self);
			if (n > 0 && (size_t)n < cap && access(ret, X_OK) == 0)
				return;
		}
	}
	snprintf(ret, cap, "%s/byre-fetch", LIBEXECDIR);
}

static int
start(const struct fetch *f, int fd, int out, pid_t *ret, struct err *e)
{
	char path[PATH_MAX + 16], limit[24], keep[24];
	char *argv[12] = {"byre-fetch"};
	uint64_t reserve = room_reserve(fd);
	posix_spawn_file_actions_t fa;
	unsigned n = 1;
	int eno;

	program(path, sizeof(path));
	if (f->expect.md5[0])
		argv[n++] = "--md5";
	if (f->expect.sha256[0])
		argv[n++] = "--sha256";
	if (f->expect.sha512[0])
		argv[n++] = "--sha512";
	if (f->limit) {
		snprintf(limit, sizeof(limit), "%" PRIu64, f->limit);
		argv[n++] = "--limit";
		argv[n++] = limit;
	}
	if (reserve) {
		snprintf(keep, sizeof(keep), "%" PRIu64, reserve);
		argv[n++] = "--reserve";
		argv[n++] = keep;
	}
	argv[n++] = "--";
	argv[n] = (char *)f->source;
	if (posix_spawn_file_actions_init(&fa))
		return err_sys(e, ENOMEM, "cannot run %s", path);
	eno = posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
	if (!eno)
		eno = posix_spawn_file_actions_adddup2(&fa, fd, TARGET);
	if (!eno && strcmp(f->source, "-") != 0)
		eno = posix_spawn_file_actions_addopen(&fa, STDIN_FILENO,
			"/dev/null", O_RDONLY, 0);
	if (!eno)
		eno = posix_spawn(ret, path, &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return eno ? err_sys(e, eno, "cannot run %s", path) : 0;
}

static void
take_done(struct reply *r, char *rest)
{
	struct err e;
	char *word, *next = NULL;

	word = strtok_r(rest, " ", &next);
	if (!word || parse_u64(word, 0, INT64_MAX, &r->bytes, &e)) {
		r->failed = true;
		return;
	}
	while ((word = strtok_r(NULL, " ", &next)) != NULL)
		r->failed |= !take_sum(word, '=', &r->sums);
	r->done = true;
}

static void
take_line(struct reply *r, const struct fetch *f)
{
	uint64_t done, total;
	char *p;

	if (strncmp(r->line, "error ", 6) == 0) {
		r->failed = true;
		/* escaped already, if it is byre-fetch that speaks */
		memcpy(r->why, r->line + 6, strlen(r->line + 6) + 1);
		for (p = r->why; *p; p++)
			if (*p < ' ' || *p > '~')
				*p = '?';
	} else if (strncmp(r->line, "done ", 5) == 0) {
		take_done(r, r->line + 5);
	} else if (sscanf(r->line, "progress %" SCNu64 " %" SCNu64, &done,
			   &total) == 2) {
		if (total)
			watch_progress(f->watch, done < total ? done : total,
				total);
	}
}

static void
take_bytes(struct reply *r, const struct fetch *f, const char *p, size_t n)
{
	for (; n > 0; p++, n--) {
		if (*p != '\n') {
			/* what is longer is none of its lines */
			if (r->len + 1 < sizeof(r->line))
				r->line[r->len++] = *p;
			continue;
		}
		r->line[r->len] = '\0';
		r->len = 0;
		take_line(r, f);
	}
}

/* Until it closes its end. */
static int
listen_to(struct reply *r, const struct fetch *f, int in, struct err *e)
{
	struct pollfd p = {.fd = in, .events = POLLIN};
	char buf[4096];
	ssize_t n;

	for (;;) {
		if (watch_cancelled(f->watch))
			return err_set(e, ERR_CANCELLED, "interrupted");
		n = poll(&p, 1, POLL_MSEC);
		if (n == 0 || (n < 0 && errno == EINTR))
			continue;
		n = read(in, buf, sizeof(buf));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_sys(e, errno, "cannot hear byre-fetch");
		if (n == 0)
			return 0;
		take_bytes(r, f, buf, (size_t)n);
	}
}

static int
judge(const struct reply *r, int status, struct err *e)
{
	if (r->why[0])
		return err_set(e, ERR_IO, "%.400s", r->why);
	if (WIFSIGNALED(status))
		return err_set(e, ERR_IO, "byre-fetch ended by signal %d",
			WTERMSIG(status));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || !r->done ||
		r->failed)
		return err_set(e, ERR_IO, "byre-fetch did not come to its end");
	return 0;
}

static int
compare(const char *algo, const char *want, const char *got, struct err *e)
{
	if (*want && strcmp(want, got) != 0)
		return err_set(e, ERR_MISMATCH,
			"its %s is %s, expected was %s", algo, got, want);
	return 0;
}

/* It has closed its end, and should be gone: but whoever waits for that may be
 * told to stop. It has nothing to put in order. */
static int
reap(const struct fetch *f, pid_t pid, bool bad, int *ret_status,
	struct err *e)
{
	struct timespec nap = {.tv_nsec = 500000};
	pid_t r;

	for (;;) {
		if (bad)
			kill(pid, SIGKILL);
		r = waitpid(pid, ret_status, bad ? 0 : WNOHANG);
		if (r == pid || (r < 0 && errno != EINTR))
			return bad ? -1 : 0;
		if (!bad && watch_cancelled(f->watch))
			bad = err_set(e, ERR_CANCELLED, "interrupted");
		if (bad)
			continue;
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < POLL_MSEC * 500000)
			nap.tv_nsec *= 2;
	}
}

/* All that it says to have brought is there. */
static int
check_length(const struct reply *r, int fd, struct err *e)
{
	struct stat st;

	if (fstat(fd, &st))
		return err_sys(e, errno, "cannot look at what was brought");
	if ((uint64_t)st.st_size != r->bytes)
		return err_set(e, ERR_IO, "byre-fetch says %" PRIu64 " bytes, "
			"%" PRIu64 " are there", r->bytes,
			(uint64_t)st.st_size);
	return 0;
}

int
fetch_run(void *arg, int fd, struct ensure_digests *ret, struct err *e)
{
	const struct fetch *f = arg;
	struct reply r = {0};
	int to[2], status = 0, bad;
	pid_t pid;

	if (pipe2(to, O_CLOEXEC))
		return err_sys(e, errno, "cannot make a pipe");
	if (start(f, fd, to[1], &pid, e)) {
		close(to[0]);
		close(to[1]);
		return -1;
	}
	close(to[1]);
	bad = listen_to(&r, f, to[0], e);
	close(to[0]);
	if (reap(f, pid, bad, &status, e) || judge(&r, status, e) ||
		check_length(&r, fd, e))
		return -1;
	if (compare("md5", f->expect.md5, r.sums.md5, e) ||
		compare("sha256", f->expect.sha256, r.sums.sha256, e) ||
		compare("sha512", f->expect.sha512, r.sums.sha512, e))
		return -1;
	*ret = r.sums;
	return 0;
}
