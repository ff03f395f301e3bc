/* SPDX-License-Identifier: MIT */
/*
 * read BYTES READERS FILE: reads a file's data (no holes) from the page cache
 * in pieces of BYTES, each of READERS processes an equal share, and does
 * nothing with it: what a scrub of one core can reach at most.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static int
read_share(int fd, char *buf, size_t piece, off_t from, off_t to)
{
	off_t at = from, end;
	ssize_t n;

	while (at < to && (at = lseek(fd, at, SEEK_DATA)) >= 0 && at < to) {
		end = lseek(fd, at, SEEK_HOLE);
		if (end < 0)
			return 1;
		for (; at < end && at < to; at += n) {
			n = pread(fd, buf, piece, at);
			if (n <= 0)
				return 1;
		}
	}
	return 0;
}

int
main(int argc, char **argv)
{
	size_t piece = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	long readers = argc == 4 ? strtol(argv[2], NULL, 10) : 0, i;
	int fd = argc == 4 ? open(argv[3], O_RDONLY) : -1, status, bad = 0;
	off_t share;
	struct stat st;
	void *buf;

	if (fd < 0 || fstat(fd, &st) || piece == 0 || readers < 1 ||
		posix_memalign(&buf, 4096, piece)) {
		fprintf(stderr, "usage: read BYTES READERS FILE\n");
		return 2;
	}
	share = (st.st_size / readers + 4095) & ~(off_t)4095;
	for (i = 1; i < readers; i++)
		if (fork() == 0)
			_exit(read_share(fd, buf, piece, i * share,
				i + 1 == readers ? st.st_size
						 : (i + 1) * share));
	bad = read_share(fd, buf, piece, 0, readers > 1 ? share : st.st_size);
	while (wait(&status) > 0)
		bad |= status != 0;
	return bad;
}
