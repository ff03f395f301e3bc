/* SPDX-License-Identifier: MIT */
/* Byre's locks against its own and against a genuine QEMU's. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/lock.h"
#include "tests/unit/tmpdir.h"

static struct file *
image(unsigned flags)
{
	struct file *f = NULL;
	struct err e = {0};

	ck_assert_int_eq(file_open(&f, AT_FDCWD, "image.qcow2", flags, &e), 0);
	return f;
}

static void
make_image(void)
{
	int fd = open("image.qcow2", O_RDWR | O_CREAT, 0600);

	ck_assert_int_eq(ftruncate(fd, 1 << 20), 0);
	close(fd);
}

START_TEST(readers_share_and_writers_do_not)
{
	struct file *a, *b, *c;
	struct err e = {0};

	make_image();
	a = image(FILE_READ);
	b = image(FILE_READ);
	c = image(FILE_WRITE);
	ck_assert_int_eq(lock_image(a, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		0);
	ck_assert_int_eq(lock_image(b, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		0);
	ck_assert_int_eq(lock_image(c, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		-1);
	ck_assert_int_eq(e.kind, ERR_BUSY);
	ck_assert_str_eq(e.msg, "Failed to get \"write\" lock");
	ck_assert_str_eq(e.file, "image.qcow2");
	/* the refused one holds nothing; nor do closed or released ones */
	lock_release(a);
	file_close(b);
	ck_assert_int_eq(lock_image(c, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		0);
	ck_assert_int_eq(lock_image(a, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		-1);
	ck_assert_str_eq(e.msg, "Failed to get shared \"write\" lock");
	file_close(c);
	ck_assert_int_eq(lock_image(a, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		0);
	file_close(a);
}
END_TEST

/* Somebody who holds the lock and ends a moment later; how long the moment
 * takes is the machine's matter, so there are many tries. */
static bool
outlives_a_moment(void)
{
	struct timespec moment = {.tv_nsec = 2000000};
	struct err e = {0};
	struct file *f;
	int ready[2];
	char byte;
	pid_t pid;
	bool r;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		f = image(FILE_WRITE);
		if (lock_image(f, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e) ||
			write(ready[1], "", 1) != 1)
			_exit(1);
		nanosleep(&moment, NULL);
		_exit(0);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	f = image(FILE_READ);
	r = lock_image(f, LOCK_READER_USE, LOCK_READER_KEEP, &e) == 0;
	file_close(f);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return r;
}

START_TEST(a_conflict_that_ends_at_once_is_none)
{
	int won = 0, i;

	make_image();
	for (i = 0; i < 20; i++)
		won += outlives_a_moment();
	ck_assert_int_ge(won, 10);
}
END_TEST

START_TEST(borrowed_descriptors_come_back_free)
{
	struct file *a, *b;
	struct err e = {0};
	int fd;

	make_image();
	fd = open("image.qcow2", O_RDWR);
	ck_assert_int_eq(file_from_fd(&a, fd, "fd", &e), 0);
	ck_assert_int_eq(lock_image(a, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		0);
	b = image(FILE_WRITE);
	ck_assert_int_eq(lock_image(b, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		-1);
	file_close(a);
	ck_assert_int_eq(lock_image(b, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		0);
	file_close(b);
	close(fd);
}
END_TEST

static bool
have_qemu(void)
{
	return system("qemu-io --version >qemu.out 2>&1 && "
		"qemu-img create -f qcow2 image.qcow2 1M >>qemu.out 2>&1") ==
		0;
}

/* Does qemu-img take the image? Its complaint goes to qemu.out. */
static int
qemu_says(const char *command, const char *want)
{
	char line[512] = "";
	FILE *out;
	int r;

	r = system(command);
	out = fopen("qemu.out", "r");
	ck_assert(fgets(line, sizeof(line), out) || r == 0);
	fclose(out);
	ck_assert_msg(r == 0 || strstr(line, want), "%s", line);
	return WEXITSTATUS(r);
}

START_TEST(qemu_respects_ours)
{
	struct file *f;
	struct err e = {0};

	if (!have_qemu())
		return;
	f = image(FILE_WRITE);
	ck_assert_int_eq(lock_image(f, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		0);
	ck_assert_int_eq(qemu_says("qemu-img info image.qcow2 >qemu.out 2>&1",
		"Failed to get shared \"write\" lock"), 1);
	ck_assert_int_eq(
		qemu_says("qemu-io -f qcow2 -c 'read 0 1k' image.qcow2 >qemu.out 2>&1",
			"Failed to get \"write\" lock"), 1);
	lock_release(f);
	ck_assert_int_eq(lock_image(f, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		0);
	ck_assert_int_eq(qemu_says("qemu-img info image.qcow2 >qemu.out 2>&1",
		"?"), 0);
	ck_assert_int_eq(
		qemu_says("qemu-io -f qcow2 -c 'read 0 1k' image.qcow2 >qemu.out 2>&1",
			"Failed to get \"write\" lock"), 1);
	file_close(f);
}
END_TEST

/* A qemu-io that holds the image until its input is closed. */
static FILE *
hold(const char *flags)
{
	char command[256], line[256];
	FILE *in, *out;

	unlink("held");
	ck_assert_int_eq(mkfifo("held", 0600), 0);
	snprintf(command, sizeof(command),
		"qemu-io %s -f qcow2 image.qcow2 >held 2>&1", flags);
	in = popen(command, "w");
	out = fopen("held", "r");
	fputs("read 0 1k\n", in);
	fflush(in);
	/* an answer means that it has the image */
	do
		ck_assert_ptr_nonnull(fgets(line, sizeof(line), out));
	while (!strstr(line, "read 1024"));
	/* out stays open, or its last words would kill it */
	return in;
}

START_TEST(ours_respect_qemu)
{
	struct file *f;
	struct err e = {0};
	FILE *in;

	if (!have_qemu())
		return;
	f = image(FILE_WRITE);
	in = hold("");
	ck_assert_int_eq(lock_image(f, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		-1);
	ck_assert_str_eq(e.msg, "Failed to get shared \"write\" lock");
	ck_assert_int_eq(lock_image(f, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		-1);
	ck_assert_str_eq(e.msg, "Failed to get \"write\" lock");
	pclose(in);
	in = hold("-r");
	ck_assert_int_eq(lock_image(f, LOCK_READER_USE, LOCK_READER_KEEP, &e),
		0);
	ck_assert_int_eq(lock_image(f, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		-1);
	ck_assert_str_eq(e.msg, "Failed to get \"write\" lock");
	pclose(in);
	ck_assert_int_eq(lock_image(f, LOCK_WRITER_USE, LOCK_WRITER_KEEP, &e),
		0);
	file_close(f);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("lock");
	TCase *t = tcase_create("lock");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	if (!have_qemu())
		printf("qemu-utils are not installed: own locks only\n");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_conflict_that_ends_at_once_is_none);
	tcase_add_test(t, borrowed_descriptors_come_back_free);
	tcase_add_test(t, readers_share_and_writers_do_not);
	tcase_add_test(t, qemu_respects_ours);
	tcase_add_test(t, ours_respect_qemu);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
