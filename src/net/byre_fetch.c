/* SPDX-License-Identifier: MIT */
/*
 * byre-fetch: puts a source into a file that its parent opened, and says how
 * far it is. It knows nothing of images; whoever knows them never sees the
 * source. Holes of the source and its blocks of zeros are holes of the copy.
 *
 *   byre-fetch [--md5] [--sha256] [--sha512] [--limit BYTES]
 *              [--reserve BYTES] SOURCE|-
 *
 * fd 3 is the target, empty and open for writing. On stdout, a line each:
 *   progress DONE TOTAL     some ten times a second; TOTAL 0: not known
 *   error TEXT              and exit status 1
 *   done BYTES [ALGO=HEX]   the last one; exit status 0
 * --reserve: so much of the target's file system stays free, or it is an error.
 * Only "done" with status 0 is success. When nobody reads any more it stops,
 * and also when its parent dies, however long the source is silent.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/parse.h"
#include "base/units.h"
#include "base/zero.h"
#include "net/sums.h"

#define TARGET 3
#define CHUNK MIB
#define HOLE_UNIT 4096 /* zeros are left out in units of this */
#define ROOM_AT_ONCE (64 * MIB) /* written between two looks at what is free */
#define TELL_NSEC 100000000

struct fetch {
	struct sums sums;
	uint64_t limit;  /* bytes; 0: none */
	uint64_t reserve; /* bytes that stay free; 0: none */
	uint64_t room;   /* bytes to be written before the next look */
	int from;
	bool seekable;   /* a regular file: it may have holes */
	uint64_t total;  /* 0: not known */
	uint64_t at;     /* bytes so far */
	uint8_t *buf;
	int64_t told;    /* nsec, when progress was told last */
};

static int
fail(const char *fmt, ...)
{
	char text[512], q[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	printf("error %s\n", err_quote(q, sizeof(q), text,
		(unsigned)strlen(text)));
	fflush(stdout);
	return -1;
}

static int
tell(struct fetch *f)
{
	struct timespec now;
	int64_t nsec;

	clock_gettime(CLOCK_MONOTONIC, &now);
	nsec = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	if (f->told && nsec - f->told < TELL_NSEC)
		return 0;
	f->told = nsec;
	/* the parent is gone: nobody wants the rest */
	if (printf("progress %" PRIu64 " %" PRIu64 "\n", f->at, f->total) < 0 ||
		fflush(stdout))
		return -1;
	return 0;
}

static int
put(const uint8_t *p, size_t len, uint64_t off)
{
	ssize_t n;

	for (; len > 0; p += n, off += (uint64_t)n, len -= (size_t)n) {
		n = pwrite(TARGET, p, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (n < 0)
			return fail("cannot write: %s", strerror(errno));
	}
	return 0;
}

/* Others write there too: the less is left, the more often it is looked at. */
static int
ask_room(struct fetch *f, uint64_t len)
{
	struct statvfs fs;
	uint64_t left, spare;

	if (f->room < len && fstatvfs(TARGET, &fs) == 0) {
		left = (uint64_t)fs.f_bavail * fs.f_frsize;
		spare = left - units_min(left, f->reserve);
		if (spare < len)
			return fail("%" PRIu64 " bytes are left on the file "
				"system, and %" PRIu64 " have to stay free",
				left, f->reserve);
		f->room = units_min(len + (spare - len) / 2, ROOM_AT_ONCE);
	}
	f->room -= units_min(f->room, len);
	return 0;
}

/* The chunk's runs that are not zeros. */
static int
put_sparse(struct fetch *f, size_t len)
{
	size_t at, n;
	bool zero;

	for (at = 0; at < len; at += n) {
		n = zero_run(f->buf + at, len - at, HOLE_UNIT, &zero);
		if (zero)
			continue;
		if ((f->reserve && ask_room(f, n)) ||
			put(f->buf + at, n, f->at + at))
			return -1;
	}
	return 0;
}

static int
check_limit(const struct fetch *f, uint64_t more)
{
	if (f->limit && (more > f->limit || f->at > f->limit - more))
		return fail("the source is longer than %" PRIu64 " bytes",
			f->limit);
	return 0;
}

/* Zeros that nobody has to read. */
static int
skip_hole(struct fetch *f, uint64_t len)
{
	uint64_t n;

	if (check_limit(f, len))
		return -1;
	if (!sums_any(&f->sums)) {
		f->at += len;
		return 0;
	}
	memset(f->buf, 0, CHUNK);
	for (; len > 0; len -= n) {
		n = units_min(len, CHUNK);
		if (!sums_add(&f->sums, f->buf, (size_t)n))
			return fail("libcrypto failed");
		f->at += n;
		if (tell(f))
			return -1;
	}
	return 0;
}

/* Where a hole begins or ends; -1: none, or it cannot be told. */
static int64_t
seek(const struct fetch *f, int whence)
{
	return f->seekable ? lseek(f->from, (off_t)f->at, whence) : -1;
}

/* Up to a whole chunk; short only at the end, and 0 there. */
static ssize_t
take(struct fetch *f)
{
	size_t got = 0;
	ssize_t n;

	while (got < CHUNK) {
		n = read(f->from, f->buf + got, CHUNK - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail("cannot read: %s", strerror(errno));
			return -1;
		}
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* A file's holes at f->at; then the position is that of data, or the end. */
static int
next_data(struct fetch *f)
{
	int64_t data = seek(f, SEEK_DATA);
	struct stat st;

	if (data < 0 && f->seekable && errno == ENXIO && f->at < f->total) {
		/* a hole up to the end, or the end is nearer by now */
		if (fstat(f->from, &st) || (uint64_t)st.st_size < f->total)
			return fail("the source became shorter");
		data = (int64_t)f->total;
	}
	if (data > (int64_t)f->at && skip_hole(f, (uint64_t)data - f->at))
		return -1;
	/* SEEK_DATA may have moved it, or failed */
	if (f->seekable && lseek(f->from, (off_t)f->at, SEEK_SET) < 0)
		return fail("cannot seek: %s", strerror(errno));
	return 0;
}

static int
copy(struct fetch *f)
{
	ssize_t n;

	do {
		if (next_data(f))
			return -1;
		n = take(f);
		if (n < 0 || check_limit(f, (uint64_t)n))
			return -1;
		if (!sums_add(&f->sums, f->buf, (size_t)n))
			return fail("libcrypto failed");
		if (put_sparse(f, (size_t)n))
			return -1;
		f->at += (uint64_t)n;
		if (tell(f))
			return -1;
	} while (n > 0);
	if (ftruncate(TARGET, (off_t)f->at))
		return fail("cannot write: %s", strerror(errno));
	return 0;
}

static int
open_source(struct fetch *f, const char *name)
{
	struct stat st;

	f->from = strcmp(name, "-") == 0 ? STDIN_FILENO
		: open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (f->from < 0 || fstat(f->from, &st))
		return fail("cannot open: %s", strerror(errno));
	if (S_ISDIR(st.st_mode))
		return fail("is a directory");
	if (S_ISCHR(st.st_mode) && f->from != STDIN_FILENO)
		return fail("is a character device");
	if (S_ISREG(st.st_mode)) {
		off_t at = lseek(f->from, 0, SEEK_CUR);

		/* only from its beginning are offsets those of the copy */
		f->seekable = at == 0;
		f->total = at >= 0 && st.st_size > at
			? (uint64_t)(st.st_size - at) : 0;
	}
	return 0;
}

static int
check_target(void)
{
	struct stat st;
	int fl = fcntl(TARGET, F_GETFL);

	if (fl < 0 || (fl & O_ACCMODE) == O_RDONLY || fstat(TARGET, &st) ||
		!S_ISREG(st.st_mode) || st.st_size != 0)
		return fail("descriptor 3 is no empty file open for writing");
	return 0;
}

static int
finish(struct fetch *f)
{
	char hex[129];
	unsigned k;

	printf("done %" PRIu64, f->at);
	for (k = 0; k < SUMS_COUNT; k++) {
		if (!f->sums.ctx[k])
			continue;
		if (!sums_end(&f->sums, k, hex)) {
			printf("\n");
			return fail("libcrypto failed");
		}
		printf(" %s=%s", sums_name(k), hex);
	}
	printf("\n");
	return fflush(stdout) ? -1 : 0;
}

static int
run(struct fetch *f, int argc, char **argv)
{
	static const struct option names[] = {
		{"md5", no_argument, NULL, SUMS_MD5},
		{"sha256", no_argument, NULL, SUMS_SHA256},
		{"sha512", no_argument, NULL, SUMS_SHA512},
		{"limit", required_argument, NULL, 'l'},
		{"reserve", required_argument, NULL, 'r'},
		{0},
	};
	struct err e = {0};
	int c;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (c == 'l') {
			if (parse_u64(optarg, 1, INT64_MAX, &f->limit, &e))
				return fail("--limit: %s", e.msg);
		} else if (c == 'r') {
			if (parse_u64(optarg, 1, INT64_MAX, &f->reserve, &e))
				return fail("--reserve: %s", e.msg);
		} else if (c == '?') {
			return fail("unknown option");
		} else if (!sums_want(&f->sums, (enum sums_kind)c)) {
			return fail("libcrypto has no %s",
				sums_name((enum sums_kind)c));
		}
	}
	if (optind + 1 != argc)
		return fail("one source is needed");
	f->buf = buf_alloc_aligned(CHUNK);
	if (!f->buf)
		return fail("no memory");
	return check_target() || open_source(f, argv[optind]) || copy(f) ||
		finish(f) ? -1 : 0;
}

int
main(int argc, char **argv)
{
	struct pollfd out = {.fd = STDOUT_FILENO};
	struct fetch f = {.from = -1};
	int r;

	/* he may have died before this */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || poll(&out, 1, 0) < 0 ||
		out.revents & POLLERR)
		return 1;
	r = run(&f, argc, argv);
	free(f.buf);
	sums_close(&f.sums);
	return r ? 1 : 0;
}
