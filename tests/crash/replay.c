/* SPDX-License-Identifier: MIT */
/*
 * replay TRACE IMAGE BARRIERS SEED: what a loss of power may leave. IMAGE, a
 * copy of the file as it was, gets all changes of the trace up to barrier
 * number BARRIERS; of the later ones up to the next barrier, each 512-byte
 * sector of a write, each zeroing and each change of size may or may not have
 * come through, as SEED has it. Changes of size go in order: a prefix.
 * Exit 3: the trace has fewer barriers, nothing was left to lose.
 */
#include "config.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/crash/shim.h"

#define SECTOR 512
#define LEN_MAX (UINT64_C(64) << 20)

static uint64_t seed;

/* xorshift64*: the same on every machine */
static bool
coin(void)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (seed * UINT64_C(2685821657736338717)) >> 63;
}

static void
put(int fd, const uint8_t *p, uint64_t off, uint64_t len, bool all)
{
	uint64_t n;

	for (; len; off += n, p += n, len -= n) {
		n = SECTOR - off % SECTOR;
		n = n < len ? n : len;
		if ((all || coin()) &&
			pwrite(fd, p, n, (off_t)off) != (ssize_t)n) {
			perror("replay: pwrite");
			exit(99);
		}
	}
}

static void
apply(int fd, const uint64_t *head, const uint8_t *data, bool all, bool *cut)
{
	uint8_t *nil;

	switch (head[0]) {
	case SHIM_REC_WRITE:
		put(fd, data, head[1], head[2], all);
		break;
	case SHIM_REC_ZERO:
		nil = calloc(1, head[2]);
		if (nil && (all || coin()))
			put(fd, nil, head[1], head[2], true);
		free(nil);
		break;
	case SHIM_REC_SIZE:
		*cut = *cut || (!all && !coin());
		if (!*cut && ftruncate(fd, (off_t)head[2]))
			exit(99);
		break;
	default:
		break;
	}
}

int
main(int argc, char **argv)
{
	uint64_t head[3], barriers, seen = 0;
	uint8_t *data = malloc(LEN_MAX);
	bool cut = false, lost = false;
	FILE *trace;
	int fd;

	if (argc != 5 || !data || !(trace = fopen(argv[1], "rb")) ||
		(fd = open(argv[2], O_RDWR)) < 0)
		return 99;
	barriers = strtoull(argv[3], NULL, 10);
	seed = strtoull(argv[4], NULL, 10) * 2 + 1;
	while (fread(head, sizeof(head), 1, trace) == 1) {
		if (head[0] == SHIM_REC_BARRIER) {
			if (seen++ == barriers)
				break;
			continue;
		}
		if (head[2] > LEN_MAX && head[0] != SHIM_REC_SIZE)
			return 99;
		if (head[0] == SHIM_REC_WRITE &&
			fread(data, 1, head[2], trace) != head[2])
			return 99;
		lost = lost || seen == barriers;
		apply(fd, head, data, seen < barriers, &cut);
	}
	fclose(trace);
	close(fd);
	free(data);
	return lost ? 0 : 3;
}
