/* SPDX-License-Identifier: MIT */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"
#include "io/lock.h"
#include "op/create.h"
#include "tmpdir.h"

static const struct gate trusted = {.trusted = true};
static bool have_qemu;

static struct create_request
request(enum format format, const char *path, uint64_t size)
{
	return (struct create_request){.dirfd = AT_FDCWD, .path = path,
		.format = format, .has_size = size != UINT64_MAX, .size = size,
		.qemu_raw_block = true, .gate = &trusted};
}

static void
made(const struct create_request *rq, uint64_t size)
{
	struct create_result r;
	struct err e = {0};
	char text[1024];

	ck_assert_msg(create_run(rq, &r, &e) == 0, "%s",
		err_text(&e, text, sizeof(text)));
	ck_assert_uint_eq(r.virtual_size, size);
}

static void
refused(const struct create_request *rq, enum err_kind kind, const char *part)
{
	struct create_result r;
	struct err e = {0};

	ck_assert_int_eq(create_run(rq, &r, &e), -1);
	ck_assert_int_eq(e.kind, kind);
	ck_assert_msg(strstr(e.msg, part) != NULL, "%s", e.msg);
}

static struct stat
status(const char *path)
{
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return st;
}

static void
put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void
same_as(const char *path, const char *command)
{
	char line[512];

	if (!have_qemu)
		return;
	snprintf(line, sizeof(line),
		"rm -f theirs; %s && cmp %s theirs", command, path);
	ck_assert_int_eq(system(line), 0);
}

START_TEST(raw_is_qemu_imgs)
{
	struct create_request rq = request(FORMAT_RAW, "raw", MIB + 1);

	made(&rq, MIB + 512);
	same_as("raw", "qemu-img create -q -f raw theirs 1048577");
	ck_assert_int_eq(status("raw").st_size, MIB + 512);
	ck_assert_int_gt(status("raw").st_blocks, 0);
	rq = request(FORMAT_RAW, "tiny", 512);
	made(&rq, 512);
	rq = request(FORMAT_RAW, "empty", 0);
	made(&rq, 0);
	rq = request(FORMAT_RAW, "full", MIB);
	rq.raw_preallocation = PREALLOC_FULL;
	made(&rq, MIB);
	ck_assert_int_ge(status("full").st_blocks, 2048);
	rq.path = "falloc";
	rq.raw_preallocation = PREALLOC_FALLOC;
	made(&rq, MIB);
	ck_assert_int_ge(status("falloc").st_blocks, 2048);
	rq.raw_preallocation = PREALLOC_METADATA;
	refused(&rq, ERR_USAGE, "Unsupported preallocation mode 'metadata'");
}
END_TEST

START_TEST(an_overlay_has_its_backings_size)
{
	struct create_request rq = request(FORMAT_RAW, "base", 10 * MIB);

	made(&rq, 10 * MIB);
	rq = request(FORMAT_QCOW2, "over", UINT64_MAX);
	rq.qcow2.backing = "base";
	rq.qcow2.backing_format = "raw";
	rq.durable = true;
	made(&rq, 10 * MIB);
	same_as("over", "qemu-img create -q -f qcow2 -b base -F raw theirs");
	/* relative to the overlay's directory, not to ours */
	ck_assert_int_eq(mkdir("sub", 0700), 0);
	rq.path = "sub/over";
	refused(&rq, ERR_IO, "cannot open");
	rq.unsafe_backing = true;
	refused(&rq, ERR_USAGE, "Image creation needs a size parameter");
	rq.has_size = true;
	rq.size = 1000;
	made(&rq, 1024);
	rq = request(FORMAT_QCOW2, "over2", UINT64_MAX);
	rq.qcow2.backing = "over";
	rq.qcow2.backing_format = "qcow2";
	made(&rq, 10 * MIB);
}
END_TEST

START_TEST(refusals_change_nothing)
{
	struct create_request rq = request(FORMAT_QCOW2, "mine", MIB);
	struct file *f;
	struct err e = {0};

	put("mine", "precious");
	rq.exclusive = true;
	refused(&rq, ERR_IO, "cannot create");
	rq.exclusive = false;
	rq.qcow2.cluster_size = 1000;
	refused(&rq, ERR_USAGE, "Cluster size must be a power of two");
	rq.qcow2.cluster_size = 0;
	rq.qcow2.backing = "nothere";
	refused(&rq, ERR_USAGE, "Backing file specified without backing");
	rq.qcow2.backing_format = "raw";
	refused(&rq, ERR_IO, "cannot open");
	rq.qcow2.backing = "./mine"; /* another name, the same file */
	refused(&rq, ERR_USAGE, "over its own backing file");
	rq.qcow2.backing = "mine";
	refused(&rq, ERR_USAGE, "same filename as the backing file");
	rq.qcow2.backing = NULL;
	rq.qcow2.backing_format = NULL;
	/* somebody writes to it */
	ck_assert_int_eq(file_open(&f, AT_FDCWD, "mine", FILE_WRITE, &e), 0);
	ck_assert_int_eq(lock_image(f, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		0);
	refused(&rq, ERR_BUSY, "lock");
	file_close(f);
	ck_assert_int_eq(status("mine").st_size, 8);
}
END_TEST

START_TEST(an_existing_file_keeps_its_inode)
{
	struct create_request rq = request(FORMAT_RAW, "old", 4 * MIB);
	ino_t ino;

	made(&rq, 4 * MIB);
	ino = status("old").st_ino;
	rq = request(FORMAT_QCOW2, "old", MIB);
	rq.durable = true;
	made(&rq, MIB);
	same_as("old", "qemu-img create -q -f qcow2 theirs 1M");
	ck_assert_uint_eq(status("old").st_ino, ino);
	ck_assert_int_eq(status("old").st_size, 196616);
}
END_TEST

START_TEST(a_data_file_comes_with_its_image)
{
	struct create_request rq = request(FORMAT_QCOW2, "image", 1000 * KIB);

	rq.qcow2.data_file = "image";
	refused(&rq, ERR_USAGE, "its own data file");
	rq.qcow2.data_file = "data";
	made(&rq, 1000 * KIB);
	ck_assert_int_eq(status("data").st_size, 1000 * 1024);
	/* with a reader of ours on neither of them it may be made again */
	made(&rq, 1000 * KIB);
	rq = request(FORMAT_QCOW2, "nodir/image", MIB);
	refused(&rq, ERR_IO, "");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("create");
	TCase *t = tcase_create("create");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return EXIT_FAILURE;
	have_qemu = system("qemu-img --version >/dev/null 2>&1") == 0;
	tcase_add_test(t, raw_is_qemu_imgs);
	tcase_add_test(t, an_overlay_has_its_backings_size);
	tcase_add_test(t, refusals_change_nothing);
	tcase_add_test(t, an_existing_file_keeps_its_inode);
	tcase_add_test(t, a_data_file_comes_with_its_image);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
