/* SPDX-License-Identifier: MIT */
/* Amend's steps: all of them on the file that was opened, under its locks; and
 * what a downgrade does not look at. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "io/lock.h"
#include "op/amend.h"
#include "qcow2_bytes.h"
#include "tmpdir.h"

#define CLUSTER 512
#define TABLE (64 * CLUSTER) /* guest bytes of one L2 table */
#define BYTES (4 * CLUSTER)

static const struct gate trusted = {.trusted = true};

/* Header, refcount table, one block, an L1 with one entry; all is empty. */
static void
save_image(const char *name)
{
	uint8_t p[BYTES] = {0};
	FILE *f = fopen(name, "wb");

	put_header(p, 9, TABLE, 1);
	put64(p, 1 * CLUSTER, 2 * CLUSTER);
	for (unsigned i = 0; i < 4; i++)
		p[2 * CLUSTER + i * 2 + 1] = 1;
	ck_assert(f && fwrite(p, 1, BYTES, f) == BYTES);
	ck_assert_int_eq(fclose(f), 0);
}

static uint64_t
size_in(const char *name)
{
	uint8_t p[CLUSTER];
	FILE *f = fopen(name, "rb");

	ck_assert(f && fread(p, 1, CLUSTER, f) == CLUSTER);
	fclose(f);
	return load_be64(p + 24);
}

/* At work in the first step: it is locked, and another file takes the name. */
static void
meddle(void *arg, uint64_t done, uint64_t total)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	unsigned *times = arg;
	struct err e;

	(void)total;
	if (done == total)
		return;
	++*times;
	ck_assert_int_eq(file_open(&f, AT_FDCWD, "mine", FILE_READ, &e), 0);
	ck_assert_int_lt(lock_image(f, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		0);
	if (access("other", F_OK) == 0)
		ck_assert_int_eq(rename("other", "t"), 0);
}

START_TEST(every_step_is_of_the_file_that_was_opened)
{
	unsigned times = 0;
	const struct watch w = {.progress = meddle, .arg = &times};
	const struct amend_request rq = {
		.image = {.dirfd = AT_FDCWD, .path = "t",
			.format = FORMAT_QCOW2, .gate = &trusted, .watch = &w},
		.refcount_bits = 32, .lazy_refcounts = 1, .data_file_raw = -1,
		.size = 2 * TABLE,
	};
	struct amend_result ret;
	struct err e = {0};

	save_image("t");
	save_image("other");
	ck_assert_int_eq(link("t", "mine"), 0);
	ck_assert_msg(amend_run(&rq, &ret, &e) == 0, "%s", e.msg);
	ck_assert_uint_gt(times, 0);
	ck_assert_uint_eq(size_in("mine"), 2 * TABLE);
	ck_assert_uint_eq(size_in("t"), TABLE);
}
END_TEST

#define SNAPSHOTS 4
#define RECORD 64u /* 40 bytes, 16 of extra data, id, name, padded */

/* Snapshots with one L1 of 32 MiB, which is a hole. */
static void
save_snapshots(const char *name)
{
	uint8_t p[BYTES + CLUSTER] = {0}, *s = p + BYTES;
	FILE *f = fopen(name, "wb");

	put_header(p, 9, TABLE, 1);
	put32(p, 60, SNAPSHOTS);
	put64(p, 64, BYTES);
	put64(p, 1 * CLUSTER, 2 * CLUSTER);
	for (unsigned i = 0; i < 5; i++)
		p[2 * CLUSTER + i * 2 + 1] = 1;
	for (unsigned i = 0; i < SNAPSHOTS; i++, s += RECORD) {
		put64(s, 0, 8 * CLUSTER);
		put32(s, 8, (32 << 20) / 8);
		s[13] = s[15] = 1;
		put32(s, 36, 16);
		put64(s, 48, TABLE);
		s[56] = (uint8_t)('1' + i);
		s[57] = 's';
	}
	ck_assert(f && fwrite(p, 1, sizeof(p), f) == sizeof(p));
	ck_assert_int_eq(fclose(f), 0);
}

START_TEST(snapshots_do_not_ask_for_more_than_there_is)
{
	const struct amend_request rq = {
		.image = {.dirfd = AT_FDCWD, .path = "t",
			.format = FORMAT_QCOW2, .gate = &trusted},
		.version = 2, .lazy_refcounts = -1, .data_file_raw = -1,
	};
	struct amend_result ret;
	struct err e = {0};

	save_snapshots("t");
	ck_assert_int_eq(amend_run(&rq, &ret, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, "L1 tables have"));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("amend");
	TCase *t = tcase_create("amend");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, every_step_is_of_the_file_that_was_opened);
	tcase_add_test(t, snapshots_do_not_ask_for_more_than_there_is);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
