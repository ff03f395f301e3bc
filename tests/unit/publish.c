/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "io/publish.h"
#include "tests/unit/tmpdir.h"

/* Names in directory d, without . and .. */
static unsigned
names_in(const char *d)
{
	DIR *dir = opendir(d);
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2;
}

START_TEST(nothing_shows_before_commit)
{
	struct publish *p = NULL;
	struct err e = {0};
	struct stat st;
	char buf[5];
	int fd;

	ck_assert_int_eq(mkdir("a", 0700), 0);
	umask(027);
	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "a/new", 0, 0666, &e), 0);
	ck_assert_int_eq(file_write(publish_file(p), "hello", 5, 0, &e), 0);
	ck_assert_int_eq(access("a/new", F_OK), -1);
	/* the directory moves; the file follows it */
	ck_assert_int_eq(rename("a", "b"), 0);
	ck_assert_int_eq(publish_commit(p, true, &e), 0);
	fd = open("b/new", O_RDONLY);
	ck_assert_int_eq(read(fd, buf, 5), 5);
	ck_assert_mem_eq(buf, "hello", 5);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0640);
	ck_assert_uint_eq(st.st_nlink, 1);
	ck_assert_uint_eq(names_in("b"), 1);
	close(fd);
}
END_TEST

START_TEST(an_abandoned_one_leaves_nothing)
{
	struct publish *p = NULL;
	struct err e = {0};

	ck_assert_int_eq(mkdir("c", 0700), 0);
	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "c/new", 0, 0600, &e), 0);
	publish_abandon_p(&p);
	ck_assert_ptr_null(p);
	publish_abandon(NULL);
	ck_assert_uint_eq(names_in("c"), 0);
}
END_TEST

START_TEST(a_name_that_exists_is_never_clobbered)
{
	struct publish *p = NULL;
	struct err e = {0};
	struct stat st;
	int fd;

	ck_assert_int_eq(mkdir("d", 0700), 0);
	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "d/new", 0, 0600, &e), 0);
	fd = open("d/new", O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "old", 3), 3);
	close(fd);
	ck_assert_int_eq(publish_commit(p, true, &e), -1);
	ck_assert_int_eq(e.kind, ERR_IO);
	ck_assert_int_eq(e.eno, EEXIST);
	ck_assert_str_eq(e.file, "d/new");
	publish_abandon(p);
	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "d/new", 0, 0600, &e), -1);
	ck_assert_int_eq(e.eno, EEXIST);
	ck_assert_int_eq(stat("d/new", &st), 0);
	ck_assert_int_eq(st.st_size, 3);
	ck_assert_uint_eq(names_in("d"), 1);
	/* nor a symbolic link, dangling or not */
	ck_assert_int_eq(symlink("elsewhere", "d/link"), 0);
	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "d/link", 0, 0600, &e),
		-1);
	ck_assert_int_eq(e.eno, EEXIST);
}
END_TEST

START_TEST(bad_names_are_refused)
{
	struct publish *p = NULL;
	struct err e = {0};

	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "", 0, 0600, &e), -1);
	ck_assert_int_eq(e.eno, ENOENT);
	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "./", 0, 0600, &e), -1);
	ck_assert_int_eq(e.eno, EISDIR);
	ck_assert_int_eq(publish_begin(&p, AT_FDCWD, "none/x", 0, 0600, &e),
		-1);
	ck_assert_int_eq(e.eno, ENOENT);
	ck_assert_str_eq(e.file, "none/x");
	ck_assert_ptr_null(p);
}
END_TEST

START_TEST(direct_where_there_is_such_a_thing)
{
	struct publish *p = NULL;
	struct err e = {0};
	struct stat st;

	if (publish_begin(&p, AT_FDCWD, "direct", FILE_DIRECT, 0600, &e)) {
		ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
		return;
	}
	ck_assert(publish_file(p)->direct);
	ck_assert_int_eq(file_write(publish_file(p), "odd", 3, 5000, &e), 0);
	ck_assert_int_eq(publish_commit(p, true, &e), 0);
	ck_assert_int_eq(stat("direct", &st), 0);
	ck_assert_int_eq(st.st_size, 5003);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("publish");
	TCase *t = tcase_create("publish");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, nothing_shows_before_commit);
	tcase_add_test(t, an_abandoned_one_leaves_nothing);
	tcase_add_test(t, a_name_that_exists_is_never_clobbered);
	tcase_add_test(t, bad_names_are_refused);
	tcase_add_test(t, direct_where_there_is_such_a_thing);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
