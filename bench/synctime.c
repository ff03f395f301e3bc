/* SPDX-License-Identifier: MIT */
/*
 * For LD_PRELOAD: how long a program waits for the disk. At its end it appends
 * nanoseconds and number of its flushes to the file $BENCH_SYNC_FILE.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SHOWN __attribute__((visibility("default")))

static atomic_llong spent, calls;

static int
timed(long nr, long a, long b, long c, long d)
{
	struct timespec from, to;
	long r;

	clock_gettime(CLOCK_MONOTONIC, &from);
	r = syscall(nr, a, b, c, d);
	clock_gettime(CLOCK_MONOTONIC, &to);
	spent += (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec -
		from.tv_nsec;
	calls++;
	return (int)r;
}

SHOWN int
fsync(int fd)
{
	return timed(SYS_fsync, fd, 0, 0, 0);
}

SHOWN int
fdatasync(int fd)
{
	return timed(SYS_fdatasync, fd, 0, 0, 0);
}

SHOWN int
syncfs(int fd)
{
	return timed(SYS_syncfs, fd, 0, 0, 0);
}

SHOWN int
sync_file_range(int fd, off_t off, off_t len, unsigned flags)
{
	return timed(SYS_sync_file_range, fd, off, len, (long)flags);
}

__attribute__((destructor)) static void
tell(void)
{
	const char *name = getenv("BENCH_SYNC_FILE");
	FILE *f = name ? fopen(name, "a") : NULL;

	if (!f)
		return;
	fprintf(f, "%lld %lld\n", (long long)spent, (long long)calls);
	fclose(f);
}
