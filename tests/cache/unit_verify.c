/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cache/verify.h"
#include "tests/unit/tmpdir.h"

#define BLOCKS 9
#define B DIGEST_BLOCK

static uint8_t block[B];
static struct record_leaves leaves;
static int fd;

/* Blocks 1, 2, 5 and 8 of nine have data, the last of them half a block. */
static bool
has_data(unsigned i)
{
	return i == 1 || i == 2 || i == 5 || i == 8;
}

static void
set_up(void)
{
	unsigned i;

	fd = open("f", O_RDWR | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ge(fd, 0);
	leaves.v = calloc(BLOCKS, sizeof(*leaves.v));
	leaves.n = BLOCKS;
	for (i = 0; i < BLOCKS; i++) {
		size_t n = i + 1 < BLOCKS ? B : B / 2;

		leaves.v[i] = digest_leaf("", 0);
		if (!has_data(i))
			continue;
		memset(block, (int)i, sizeof(block));
		ck_assert_int_eq(pwrite(fd, block, n, (off_t)(i * B)),
			(ssize_t)n);
		leaves.v[i] = digest_leaf(block, n);
	}
}

static void
tear_down(void)
{
	close(fd);
	record_leaves_free(&leaves);
}

static struct verify_read_result
read_from(uint64_t from, const struct record_leaves *l)
{
	const struct verify_read_request rq = {.fd = fd,
		.format = FORMAT_RAW, .from = from, .leaves = l,
		.workers = 2};
	struct verify_read_result r;
	struct err e = {0};

	ck_assert_msg(verify_read(&rq, &r, &e) == 0, "%s", e.msg);
	return r;
}

static void
expect_rot(uint64_t from, unsigned n, const struct verify_range *v)
{
	struct verify_read_result r = read_from(from, &leaves);
	uint64_t count = 0;
	unsigned i;

	ck_assert_uint_eq(r.rotten.n, n);
	for (i = 0; i < n; i++) {
		ck_assert_uint_eq(r.rotten.v[i].from, v[i].from * B);
		ck_assert_uint_eq(r.rotten.v[i].to, v[i].to * B);
		count += v[i].to - v[i].from;
	}
	ck_assert_uint_eq(r.rotten.count, count);
	ck_assert_uint_eq(r.rotten.unreadable, 0);
	ck_assert_uint_eq(r.at, n ? v[0].from * B : BLOCKS * B);
	ck_assert_int_eq(r.has_digest, from == 0);
	verify_read_free(&r);
}

static void
flip(uint64_t at)
{
	ck_assert_int_eq(pwrite(fd, "\377", 1, (off_t)at), 1);
}

START_TEST(what_is_as_it_was_is_good)
{
	struct verify_read_result r = read_from(0, NULL);
	struct digest d;
	struct digest_value v;
	unsigned i;

	expect_rot(0, 0, NULL);
	expect_rot(3 * B, 0, NULL);
	ck_assert_uint_eq(r.made.leaves.n, BLOCKS);
	ck_assert_mem_eq(r.made.leaves.v, leaves.v, BLOCKS * 16);
	digest_init(&d);
	for (i = 0; i < BLOCKS; i++)
		digest_add_leaf(&d, &leaves.v[i]);
	v = digest_root(&d);
	ck_assert(r.has_digest);
	ck_assert_mem_eq(r.digest.b, v.b, 16);
	/* holes were not read */
	ck_assert_uint_le(r.bytes_read, 4 * B);
	verify_read_free(&r);
	/* zeros at the end are nothing */
	ck_assert_int_eq(ftruncate(fd, (off_t)(40 * B)), 0);
	r = read_from(0, &leaves);
	ck_assert_uint_eq(r.rotten.count, 0);
	ck_assert_uint_eq(r.at, 40 * B);
	verify_read_free(&r);
}
END_TEST

START_TEST(rot_is_named)
{
	flip(2 * B);
	expect_rot(0, 1, (struct verify_range[]){{2, 3}});
	flip(2 * B - 1);
	flip(3 * B);
	flip(8 * B + 5);
	expect_rot(0, 2, (struct verify_range[]){{1, 4}, {8, 9}});
	expect_rot(3 * B, 2, (struct verify_range[]){{3, 4}, {8, 9}});
	expect_rot(4 * B, 1, (struct verify_range[]){{8, 9}});
}
END_TEST

START_TEST(what_is_missing_is_rot)
{
	struct verify_read_result r;

	/* data that became a hole */
	memset(block, 0, sizeof(block));
	ck_assert_int_eq(pwrite(fd, block, B, (off_t)(5 * B)), (ssize_t)B);
	expect_rot(0, 1, (struct verify_range[]){{5, 6}});
	/* and the end; a hole that is missing is as good as one */
	ck_assert_int_eq(ftruncate(fd, (off_t)(4 * B)), 0);
	r = read_from(0, &leaves);
	ck_assert_uint_eq(r.rotten.count, 2);
	ck_assert_uint_eq(r.rotten.v[0].from, 5 * B);
	ck_assert_uint_eq(r.rotten.v[1].from, 8 * B);
	verify_read_free(&r);
}
END_TEST

START_TEST(the_neediest_come_first)
{
	static char names[5][LAYOUT_NAME] = {
		"0000000000000000000000000000000000000000",
		"", /* the image "img" */
		"", /* its copy */
		"readme",
		"swap_1",
	};
	struct entry v[5] = {{0}};
	const struct entries l = {.v = v, .n = 5};
	const struct entry **got;
	const char *words[2] = {"img", "swap_1"};
	struct err e = {0};
	size_t n, i;

	ck_assert_int_eq(layout_image("img", names[1], &e), 0);
	layout_sized(names[1], 3, names[2]);
	for (i = 0; i < 5; i++) {
		v[i].name = names[i];
		v[i].regular = true;
		v[i].recorded = i != 2;
		v[i].record.verified = 100 - (int64_t)i;
		layout_classify(names[i], &v[i].layout);
	}
	v[0].record.verify_at = B;
	ck_assert_int_eq(verify_choose(&l, NULL, 0, &got, &n, &e), 0);
	ck_assert_uint_eq(n, 4);
	ck_assert_ptr_eq(got[0], &v[0]);
	ck_assert_ptr_eq(got[1], &v[2]);
	ck_assert_ptr_eq(got[2], &v[4]);
	ck_assert_ptr_eq(got[3], &v[1]);
	free(got);
	ck_assert_int_eq(verify_choose(&l, words, 2, &got, &n, &e), 0);
	ck_assert_uint_eq(n, 3);
	free(got);
	words[0] = "readme";
	ck_assert_int_eq(verify_choose(&l, words, 1, &got, &n, &e), -1);
	ck_assert_int_eq(e.eno, ENOENT);
	words[0] = "\377";
	ck_assert_int_eq(verify_choose(&l, words, 1, &got, &n, &e), -1);
	v[4].regular = false;
	words[0] = "swap_1";
	ck_assert_int_eq(verify_choose(&l, words, 1, &got, &n, &e), -1);
}
END_TEST

int
main(void)
{
	Suite *u = suite_create("verify");
	TCase *t = tcase_create("verify");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, what_is_as_it_was_is_good);
	tcase_add_test(t, rot_is_named);
	tcase_add_test(t, what_is_missing_is_rot);
	tcase_add_test(t, the_neediest_come_first);
	suite_add_tcase(u, t);
	r = srunner_create(u);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
