/* SPDX-License-Identifier: MIT */
/* Verdicts of compare over files with differences in known places, for any
 * number of workers; what two images share is not read. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "op/compare.h"
#include "op/convert.h"
#include "op/create.h"
#include "op/pair.h"
#include "tmpdir.h"

static const struct gate trusted = {.trusted = true};

static struct source
source_of(const char *path)
{
	return (struct source){.dirfd = AT_FDCWD, .path = path, .fd = -1};
}

static struct compare_result
compare(const char *a, const char *b, bool strict, unsigned workers)
{
	struct compare_request rq = {
		.source = {source_of(a), source_of(b)},
		.gate = {trusted, trusted},
		.strict = strict,
		.workers = workers,
	};
	struct compare_result r = {0};
	struct err e = {0};

	ck_assert_msg(compare_run(&rq, &r, &e) == 0, "%s", e.msg);
	return r;
}

/* Bytes that differ everywhere, and a hole in the middle. */
static void
make(const char *path, uint64_t size)
{
	FILE *f = fopen(path, "wb");
	uint64_t at;

	ck_assert_ptr_nonnull(f);
	for (at = 0; at < size; at += 8) {
		uint64_t v = (at + 1) * UINT64_C(0x9e3779b97f4a7c15);

		if (at > size / 3 && at < size / 2)
			v = 0;
		ck_assert_uint_eq(fwrite(&v, 8, 1, f), 1);
	}
	ck_assert_int_eq(fclose(f), 0);
}

static void
poke(const char *path, uint64_t at, int byte)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	char c = (char)byte;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, &c, 1, (off_t)at), 1);
	close(fd);
}

static void
pack(const char *from, const char *to)
{
	struct source s = source_of(from);
	struct convert_request rq = {
		.sources = &s,
		.n_sources = 1,
		.gate = &trusted,
		.target_dirfd = AT_FDCWD,
		.target = to,
		.target_fd = -1,
		.target_format = FORMAT_QCOW2,
		.compress = true,
		.sparse_size = CONVERT_SPARSE_DEFAULT,
		.codec = {.window_bits = 12},
		.cache = CACHE_UNSAFE,
	};
	struct convert_result r;
	struct err e = {0};

	ck_assert_msg(convert_run(&rq, &r, &e) == 0, "%s", e.msg);
}

#define SIZE (6 * MIB)

static void
verdict(enum compare_verdict want, uint64_t voff, bool behind)
{
	static const unsigned workers[] = {1, 2, 3, 8};
	unsigned i;

	for (i = 0; i < COUNT_OF(workers); i++) {
		struct compare_result r = compare("a", "b", false, workers[i]);
		struct compare_result s = compare("b", "a", false, workers[i]);

		ck_assert_int_eq(r.verdict, want);
		ck_assert_int_eq(s.verdict, want);
		ck_assert_int_eq(r.behind, behind);
		if (want == COMPARE_DIFFERENT) {
			ck_assert_uint_eq(r.voff, voff);
			ck_assert_uint_eq(s.voff, voff);
		}
	}
}

START_TEST(the_first_difference)
{
	static const uint64_t at[] = {SIZE - 1, 5 * MIB + 511, 3 * MIB - 1,
		2 * MIB + 512, 256 * KIB, 256 * KIB - 1, 513, 0};
	unsigned i;

	make("a", SIZE);
	make("b", SIZE);
	verdict(COMPARE_SAME, 0, false);
	/* each one comes before those that are there */
	for (i = 0; i < COUNT_OF(at); i++) {
		poke("b", at[i], 0x5a);
		verdict(COMPARE_DIFFERENT, at[i] / 512 * 512, false);
	}
}
END_TEST

START_TEST(packed_beside_plain)
{
	make("x", SIZE);
	make("b", SIZE);
	pack("x", "a");
	verdict(COMPARE_SAME, 0, false);
	poke("b", 4 * MIB + 70000, 1);
	verdict(COMPARE_DIFFERENT, 4 * MIB + 69632, false);
	/* only zeros there in the other one */
	poke("b", SIZE / 2 - 5000, 1);
	verdict(COMPARE_DIFFERENT, (SIZE / 2 - 5000) / 512 * 512, false);
}
END_TEST

START_TEST(the_longer_one)
{
	make("a", SIZE);
	make("b", SIZE);
	ck_assert_int_eq(truncate("b", SIZE + 3 * MIB), 0);
	verdict(COMPARE_SAME, 0, true);
	poke("b", SIZE + 2 * MIB + 1000, 1);
	verdict(COMPARE_DIFFERENT, SIZE + 2 * MIB + 512, true);
	poke("b", 5, 1);
	verdict(COMPARE_DIFFERENT, 0, false);
	ck_assert_int_eq(compare("a", "b", true, 2).verdict, COMPARE_SIZES);
}
END_TEST

/* A cluster that does not unpack is a fault, unless a difference comes first;
 * one that both share is not even read. */
START_TEST(a_bad_cluster)
{
	struct create_request rq = {.dirfd = AT_FDCWD, .path = "o",
		.format = FORMAT_QCOW2, .gate = &trusted,
		.qcow2 = {.backing = "a", .backing_format = "qcow2"}};
	struct create_result made;
	struct compare_result r;
	struct err e = {0};
	unsigned char head[65536];
	uint64_t l2, entry, host;
	FILE *f;

	make("x", SIZE);
	make("b", SIZE);
	pack("x", "a");
	ck_assert_msg(create_run(&rq, &made, &e) == 0, "%s", e.msg);
	f = fopen("a", "r+b");
	ck_assert_ptr_nonnull(f);
	/* L1 is in cluster 3, its one L2 in 4: guest cluster 20 */
	ck_assert_int_eq(fseek(f, 4 * 65536, SEEK_SET), 0);
	ck_assert_uint_eq(fread(head, sizeof(head), 1, f), 1);
	l2 = 20 * 8;
	for (entry = 0; l2 < 21 * 8; l2++)
		entry = entry << 8 | head[l2];
	ck_assert(entry >> 62 == 1);
	host = entry & ((UINT64_C(1) << 54) - 1);
	fclose(f);
	/* block type 3 is none */
	poke("a", host, 0x07);
	r = compare("a", "b", false, 2);
	ck_assert_int_eq(r.verdict, COMPARE_NO_READ);
	ck_assert_uint_eq(r.voff, 20 * 65536);
	ck_assert_uint_eq(r.side, 0);
	r = compare("b", "a", false, 1);
	ck_assert_int_eq(r.verdict, COMPARE_NO_READ);
	ck_assert_uint_eq(r.side, 1);
	ck_assert_int_eq(compare("o", "a", false, 2).verdict, COMPARE_SAME);
	poke("b", 20 * 65536 - 1, 1);
	r = compare("a", "b", false, 2);
	ck_assert_int_eq(r.verdict, COMPARE_DIFFERENT);
	ck_assert_uint_eq(r.voff, 20 * 65536 - 512);
}
END_TEST

START_TEST(what_cannot_be_opened)
{
	struct compare_result r;

	make("a", 512);
	r = compare("a", "missing", false, 1);
	ck_assert_int_eq(r.verdict, COMPARE_NO_OPEN);
	ck_assert_uint_eq(r.side, 1);
	ck_assert_int_eq(r.why.kind, ERR_IO);
	r = compare("missing", "a", true, 1);
	ck_assert_int_eq(r.verdict, COMPARE_NO_OPEN);
	ck_assert_uint_eq(r.side, 0);
}
END_TEST

/* A call may have much to pass over, and ends when it is told to. */
START_TEST(a_stretch_without_a_window)
{
	struct source s = source_of("a");
	atomic_int cancel = 1;
	const struct watch watch = {.cancel = &cancel};
	struct pair_window w = {0};
	struct pair p;
	struct chain *c;
	struct err e = {0};
	unsigned side;

	make("a", 4096);
	ck_assert_int_eq(source_open(&s, &trusted, false, NULL, &c, &e), 0);
	ck_assert_int_eq(pair_open(&p, c, c, c->size, &e), 0);
	p.watch = &watch;
	ck_assert_int_eq(pair_next(&p, &w, &side, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CANCELLED);
	cancel = 0;
	ck_assert_int_eq(pair_next(&p, &w, &side, &e), 0);
	ck_assert_uint_eq(w.len, 0);
	ck_assert_uint_eq(w.passed, 4096);
	pair_window_free(&w);
	pair_close(&p);
	chain_close(c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("compare");
	TCase *t = tcase_create("compare");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return EXIT_FAILURE;
	tcase_set_timeout(t, 120);
	tcase_add_test(t, the_first_difference);
	tcase_add_test(t, packed_beside_plain);
	tcase_add_test(t, the_longer_one);
	tcase_add_test(t, a_bad_cluster);
	tcase_add_test(t, what_cannot_be_opened);
	tcase_add_test(t, a_stretch_without_a_window);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
