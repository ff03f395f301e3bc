// SPDX-License-Identifier: MIT
/*
 * How fast zeros are found and blocks are digested, beside memcpy: what each
 * window of the pipeline pays per byte. Prints GB/s, best of several rounds.
 */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/digest.h"
#include "base/units.h"
#include "base/zero.h"

#define BLOCK ((size_t)DIGEST_BLOCK)
#define BLOCKS 64 /* beyond most caches */
#define ROUNDS 9

struct bench {
	unsigned char *from;
	unsigned char *to;
	uint64_t sink; /* keeps the compiler from dropping the work */
};

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
run_copy(struct bench *b, size_t off)
{
	memcpy(b->to + off, b->from + off, BLOCK);
	b->sink += b->to[off];
}

static void
run_zero_is(struct bench *b, size_t off)
{
	b->sink += zero_is(b->from + off, BLOCK);
}

/* As the pipeline does: run after run of 4 KiB units. */
static void
run_zero_run(struct bench *b, size_t off)
{
	size_t at = 0;

	while (at < BLOCK) {
		bool zero;

		at += zero_run(b->from + off + at, BLOCK - at, 4096, &zero);
		b->sink += zero;
	}
}

static void
run_digest(struct bench *b, size_t off)
{
	struct digest_value v = digest_leaf(b->from + off, BLOCK);

	b->sink += v.b[0];
}

static void
measure(const char *what, const char *data, struct bench *b,
	void (*fn)(struct bench *, size_t))
{
	double best = 1e9;

	for (int r = 0; r < ROUNDS; r++) {
		double start = now();

		for (size_t i = 0; i < BLOCKS; i++)
			fn(b, i * BLOCK);
		double t = now() - start;

		if (t < best)
			best = t;
	}
	printf("%-10s %-8s %7.2f GB/s\n", what, data,
		(double)(BLOCKS * BLOCK) / best / 1e9);
}

/* Every fourth 4 KiB is zero, the rest begins with data: a file system. */
static void
fill(struct bench *b, const char *data)
{
	uint64_t x = 88172645463325252u;

	memset(b->from, 0, BLOCKS * BLOCK);
	if (!strcmp(data, "zeros"))
		return;
	for (size_t i = 0; i < BLOCKS * BLOCK; i += 8) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (!strcmp(data, "random") || (i / 4096) % 4)
			memcpy(b->from + i, &x, 8);
	}
}

int
main(void)
{
	static const char *const kinds[] = { "zeros", "random", "mixed" };
	struct bench b = { 0 };

	b.from = aligned_alloc(4096, BLOCKS * BLOCK);
	b.to = aligned_alloc(4096, BLOCKS * BLOCK);
	if (!b.from || !b.to) {
		perror("micro_zero");
		return 1;
	}
	memset(b.to, 1, BLOCKS * BLOCK);
	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		fill(&b, kinds[k]);
		measure("memcpy", kinds[k], &b, run_copy);
		measure("zero_is", kinds[k], &b, run_zero_is);
		measure("zero_run", kinds[k], &b, run_zero_run);
		measure("digest", kinds[k], &b, run_digest);
	}
	free(b.from);
	free(b.to);
	return b.sink == 0;
}
