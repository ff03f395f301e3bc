/* SPDX-License-Identifier: MIT */
/*
 * A library for LD_PRELOAD between a program and the C library (and liburing):
 * it makes system calls fail, refuses features as other file systems do, and
 * records what was called. The program must be linked to both dynamically.
 *
 * BYRE_SHIM_DIR=DIR     Required. Only files beneath DIR count, are failed,
 *                       logged and traced (malloc counts from the first call
 *                       on such a file).
 * BYRE_SHIM_FAIL=CALL:NTH:WHAT[,...]
 *                       The NTH call (from 1) of that kind fails. CALL: read
 *                       (pread, preadv too), write, open (openat, openat2),
 *                       sync (fsync, fdatasync, syncfs), fallocate, ftruncate,
 *                       link, rename, unlink, clone (FICLONERANGE), copy
 *                       (copy_file_range), lseek, ringread, ringwrite, malloc,
 *                       any (each of these but malloc). NTH+ is this one and
 *                       all later ones. WHAT: an errno's name, or short (half
 *                       of the transfer is done), eof (nothing of it is), kill,
 *                       term, int (that signal is raised before the call),
 *                       lost (a link is made, and the answer is EEXIST: what
 *                       an NFS client says that had to ask twice).
 *                       A ring's request can fail with EIO or ENOSPC only, and
 *                       be short: it is redirected, as the kernel answers it.
 * BYRE_SHIM_DENY=F,...  otmpfile, linktmp (linkat of a nameless file), link
 *                       (no hard links at all), renameat2, ficlone, copy,
 *                       fallocate, io_uring, seek (SEEK_DATA), holes (all is
 *                       data), direct, openat2, lease, birth (statx tells no
 *                       time of birth), touch (utimensat: EACCES), locks
 *                       (ENOLCK), xdev (renames between directories: EXDEV).
 *                       nfs: what every client of NFS version 3 lacks, which
 *                       is otmpfile, linktmp, renameat2, ficlone, copy,
 *                       fallocate, holes, lease, birth.
 * BYRE_SHIM_LOG=FILE    One line per call: "NAME FILE A B RESULT"; A and B are
 *                       offset and length, RESULT is -errno on failure. FILE
 *                       is relative to DIR, #INODE for a nameless one. A ring's
 *                       requests are logged when they are submitted.
 * BYRE_SHIM_COUNT=FILE  At exit: "CALL NUMBER" lines.
 * BYRE_SHIM_TRACE=FILE with BYRE_SHIM_TRACED=NAME[,NAME...]
 *                       What changed these (relative to DIR), with the data, in
 *                       order: see replay.c. A record's kind has the number of
 *                       its name (from 0) above its low 8 bits.
 * BYRE_SHIM_TREE=FILE   All that changes names and files beneath DIR, and their
 *                       flushes. Records are lines "KIND INO A B PATH", the
 *                       kinds write and have with B bytes of data behind:
 *                       write, zero, size (A offset, B length), create,
 *                       nameless, mkdir, link, unlink, rmdir, from and rename
 *                       (one after the other), sync, syncdir; state, have...,
 *                       stated: a file's length and what it holds.
 */
#include "config.h"

#include "tests/crash/shim.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RULES_MAX 8

enum { DO_ERRNO, DO_SHORT, DO_EOF, DO_SIGNAL, DO_LOST };

struct rule {
	int call; /* SHIM_CALLS is any */
	unsigned long nth;
	bool onward;
	int act;
	int value; /* errno or signal */
};

static const char *const call_names[SHIM_CALLS + 1] = {
	[SHIM_READ] = "read",
	[SHIM_WRITE] = "write",
	[SHIM_OPEN] = "open",
	[SHIM_SYNC] = "sync",
	[SHIM_FALLOCATE] = "fallocate",
	[SHIM_FTRUNCATE] = "ftruncate",
	[SHIM_LINK] = "link",
	[SHIM_RENAME] = "rename",
	[SHIM_UNLINK] = "unlink",
	[SHIM_CLONE] = "clone",
	[SHIM_COPY] = "copy",
	[SHIM_LSEEK] = "lseek",
	[SHIM_RINGREAD] = "ringread",
	[SHIM_RINGWRITE] = "ringwrite",
	[SHIM_MALLOC] = "malloc",
	[SHIM_CALLS] = "any",
};

static const struct {
	const char *name;
	int value;
} errnos[] = {
	{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
	{"EINTR", EINTR},   {"ENOMEM", ENOMEM}, {"EACCES", EACCES},
	{"EEXIST", EEXIST}, {"EPERM", EPERM},   {"EOPNOTSUPP", EOPNOTSUPP},
	{"EFBIG", EFBIG},   {"ENOENT", ENOENT}, {"EROFS", EROFS},
	{"EMFILE", EMFILE}, {"EINVAL", EINVAL}, {"ESTALE", ESTALE},
};

static const char nfs[] = ",otmpfile,linktmp,renameat2,ficlone,copy,fallocate,"
	"holes,lease,birth,";

static struct rule rules[RULES_MAX];
static int rules_n;
static char dir[PATH_MAX];
static size_t dir_len;
static char deny[256];
static char traced[256]; /* with a comma at both ends */
static char count_file[PATH_MAX];
static int log_fd = -1, trace_fd = -1;
static atomic_ulong counts[SHIM_CALLS + 1];
static atomic_bool armed;
static pthread_mutex_t trace_mutex = PTHREAD_MUTEX_INITIALIZER;

static void
bad(const char *what)
{
	dprintf(2, "shim: cannot understand %s\n", what);
	_exit(97);
}

static void
parse_rule(char *s)
{
	struct rule *r = &rules[rules_n];
	char *nth = strchr(s, ':');
	char *what = nth ? strchr(nth + 1, ':') : NULL, *end;
	unsigned i;

	if (!what || rules_n == RULES_MAX)
		bad(s);
	*nth++ = *what++ = '\0';
	for (r->call = 0; r->call <= SHIM_CALLS; r->call++)
		if (!strcmp(s, call_names[r->call]))
			break;
	r->nth = strtoul(nth, &end, 10);
	r->onward = *end == '+';
	if (r->call > SHIM_CALLS || r->nth == 0)
		bad(s);
	r->act = DO_SIGNAL;
	r->value = !strcmp(what, "kill")  ? SIGKILL
		: !strcmp(what, "term") ? SIGTERM
		: !strcmp(what, "int")  ? SIGINT
					: 0;
	if (!strcmp(what, "short"))
		r->act = DO_SHORT;
	if (!strcmp(what, "eof"))
		r->act = DO_EOF;
	if (!strcmp(what, "lost") && r->call == SHIM_LINK)
		r->act = DO_LOST;
	for (i = 0; i < sizeof(errnos) / sizeof(errnos[0]); i++)
		if (!strcmp(what, errnos[i].name)) {
			r->act = DO_ERRNO;
			r->value = errnos[i].value;
		}
	if (r->act == DO_SIGNAL && !r->value)
		bad(what);
	rules_n++;
}

static int
open_own(const char *var)
{
	const char *path = getenv(var);

	/* past the shim, and out of the program's way */
	return path ? (int)syscall(SYS_openat, AT_FDCWD, path,
			      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)
		    : -1;
}

__attribute__((constructor)) static void
shim_start(void)
{
	char list[256], *save = NULL, *s;
	const char *v = getenv("BYRE_SHIM_DIR");

	if (!v || !realpath(v, dir))
		return;
	dir_len = strlen(dir);
	if ((v = getenv("BYRE_SHIM_DENY")))
		snprintf(deny, sizeof(deny), ",%s,", v);
	if ((v = getenv("BYRE_SHIM_TRACED")))
		snprintf(traced, sizeof(traced), ",%s,", v);
	if ((v = getenv("BYRE_SHIM_COUNT")))
		snprintf(count_file, sizeof(count_file), "%s", v);
	log_fd = open_own("BYRE_SHIM_LOG");
	trace_fd = open_own("BYRE_SHIM_TRACE");
	shim_tree_start(open_own("BYRE_SHIM_TREE"));
	v = getenv("BYRE_SHIM_FAIL");
	snprintf(list, sizeof(list), "%s", v ? v : "");
	for (s = strtok_r(list, ",", &save); s; s = strtok_r(NULL, ",", &save))
		parse_rule(s);
}

__attribute__((destructor)) static void
shim_end(void)
{
	int i, fd;

	if (!count_file[0])
		return;
	fd = (int)syscall(SYS_openat, AT_FDCWD, count_file,
		O_WRONLY | O_CREAT | O_TRUNC, 0644);
	for (i = 0; i <= SHIM_CALLS; i++)
		dprintf(fd, "%s %lu\n", call_names[i], counts[i]);
	close(fd);
}

static int
act(const struct rule *r, size_t *len)
{
	switch (r->act) {
	case DO_ERRNO:
		return r->value;
	case DO_SHORT:
		/* whole pages of a long one: O_DIRECT takes nothing else */
		if (len && *len > 4096)
			*len = (*len / 2 + 4095) & ~(size_t)4095;
		else if (len && *len > 1)
			*len /= 2;
		return 0;
	case DO_EOF:
		if (len)
			*len = 0;
		return 0;
	case DO_LOST:
		return SHIM_LOST;
	default:
		/* to the process: a worker thread blocks its signals */
		kill(getpid(), r->value);
		return 0;
	}
}

int
shim_ask(enum shim_call call, size_t *len)
{
	unsigned long n, any = 0;
	int i, eno = 0;

	if (call == SHIM_MALLOC && !atomic_load(&armed))
		return 0;
	atomic_store(&armed, true);
	n = atomic_fetch_add(&counts[call], 1) + 1;
	if (call != SHIM_MALLOC)
		any = atomic_fetch_add(&counts[SHIM_CALLS], 1) + 1;
	for (i = 0; i < rules_n && !eno; i++) {
		const struct rule *r = &rules[i];
		unsigned long at = r->call == SHIM_CALLS ? any
			: r->call == (int)call ? n : 0;

		if (at && (at == r->nth || (r->onward && at > r->nth)))
			eno = act(r, len);
	}
	return eno;
}

bool
shim_denied(const char *feature)
{
	char item[64];

	snprintf(item, sizeof(item), ",%s,", feature);
	return strstr(deny, item) ||
		(strstr(nfs, item) && strstr(deny, ",nfs,"));
}

static bool
beneath(const char *path)
{
	return dir_len && !strncmp(path, dir, dir_len) &&
		(path[dir_len] == '/' || !path[dir_len]);
}

/* The path of an fd, or "" ; errno stays. */
static void
path_of(int fd, char *out, size_t cap)
{
	char link[64];
	int saved = errno;
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, out, cap - 1);
	out[n > 0 ? n : 0] = '\0';
	errno = saved;
}

bool
shim_fd(int fd)
{
	char path[PATH_MAX];

	if (!dir_len || fd < 0)
		return false;
	path_of(fd, path, sizeof(path));
	return beneath(path);
}

bool
shim_path(int dirfd, const char *path)
{
	char base[PATH_MAX];

	if (!dir_len || !path)
		return false;
	if (path[0] == '/')
		return beneath(path);
	if (dirfd != AT_FDCWD)
		return shim_fd(dirfd);
	return getcwd(base, sizeof(base)) && beneath(base);
}

bool
shim_where(int dirfd, const char *path, char *out, size_t cap)
{
	char base[PATH_MAX] = "", whole[2 * PATH_MAX];
	const char *p = whole;

	if (path[0] != '/' && dirfd != AT_FDCWD)
		path_of(dirfd, base, sizeof(base));
	else if (path[0] != '/' && !getcwd(base, sizeof(base)))
		return false;
	snprintf(whole, sizeof(whole), "%s%s%s", base, *base ? "/" : "", path);
	if (!beneath(whole))
		return false;
	p += dir_len;
	snprintf(out, cap, "%s", *p ? p + 1 : ".");
	return true;
}

/* Relative to dir; a nameless file is its #INODE. */
static const char *
short_name(char *path)
{
	char *p = path, *deleted = strstr(path, " (deleted)"), *hash;

	if (deleted)
		*deleted = '\0';
	hash = strrchr(path, '/');
	if (deleted && hash && hash[1] == '#')
		return hash + 1;
	if (beneath(path))
		p += dir_len + (path[dir_len] == '/');
	return *p ? p : ".";
}

static void
log_line(const char *name, const char *file, int64_t a, int64_t b, int64_t res)
{
	char line[PATH_MAX + 128];
	int n = snprintf(line, sizeof(line), "%s %s %lld %lld %lld\n", name,
		file, (long long)a, (long long)b, (long long)res);

	syscall(SYS_write, log_fd, line, (size_t)n);
}

void
shim_log(const char *name, int fd, int64_t a, int64_t b, int64_t res)
{
	char path[PATH_MAX];
	int saved = errno;

	if (log_fd < 0)
		return;
	path_of(fd, path, sizeof(path));
	log_line(name, short_name(path), a, b, res < 0 ? -saved : res);
	errno = saved;
}

void
shim_log_path(const char *name, const char *path, int64_t res)
{
	char copy[PATH_MAX];
	int saved = errno;

	if (log_fd < 0)
		return;
	snprintf(copy, sizeof(copy), "%s", path);
	log_line(name, short_name(copy), 0, 0, res < 0 ? -saved : 0);
	errno = saved;
}

/* Which of the traced names it is, or -1. */
static int
traced_index(const char *name)
{
	char item[NAME_MAX + 3];
	const char *at, *p;
	int n = 0;

	snprintf(item, sizeof(item), ",%s,", name);
	at = strstr(traced, item);
	for (p = traced; at && p < at; p++)
		n += p > traced && *p == ',';
	return at ? n + (at > traced) : -1;
}

void
shim_trace(enum shim_record rec, int fd, uint64_t off, uint64_t len,
	const void *data)
{
	uint64_t head[3] = {rec, off, len};
	char path[PATH_MAX];
	int saved = errno, which;

	shim_tree_data(rec, fd, off, len, data);
	if (trace_fd < 0)
		return;
	path_of(fd, path, sizeof(path));
	which = traced_index(short_name(path));
	if (which >= 0) {
		head[0] |= (uint64_t)which << 8;
		pthread_mutex_lock(&trace_mutex);
		syscall(SYS_write, trace_fd, head, sizeof(head));
		if (data)
			syscall(SYS_write, trace_fd, data, len);
		pthread_mutex_unlock(&trace_mutex);
	}
	errno = saved;
}
