/* SPDX-License-Identifier: MIT */
/* Uses that are easily overlooked, and what keeps a base where they cannot be
 * seen. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache/clean.h"
#include "cache/in_use.h"
#include "cache/record.h"
#include "tests/cache/users_tree.h"
#include "tests/unit/tmpdir.h"

/* As overlay, with a data file and, if any, a backing file. */
static void
with_data(const char *path, const char *data, const char *backing)
{
	uint8_t head[1200];
	size_t n = backing ? strlen(backing) : 0;

	header(head, 3, n ? 700 : 0, (uint32_t)n, NULL);
	store_be32(head + 100, 104);
	store_be32(head + 104, 0x6803f857); /* another extension */
	store_be32(head + 108, 5);
	store_be32(head + 120, 0x44415441);
	store_be32(head + 124, (uint32_t)strlen(data));
	memcpy(head + 128, data, strlen(data));
	if (n)
		memcpy(head + 700, backing, n);
	put(path, head, sizeof(head));
}

START_TEST(data_files)
{
	struct tree t;

	make_tree("g", &t);
	with_data("i/disk", "../_base/" A, NULL);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	with_data("i/disk", "/nowhere/" A, "../_base/" B);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	ck_assert_uint_eq(users(&t, B), 1);
	/* down the chain */
	with_data("../mid", "g/_base/" A, NULL);
	overlay("i/disk", "../../mid");
	overlay("i/disk.local", "../../mid");
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	ck_assert_uint_eq(t.u.n_dark, 0);
	/* extensions that lead nowhere */
	with_data("i/disk", A, NULL);
	ck_assert_int_eq(truncate("i/disk", 130), 0);
	unlink("i/disk.local");
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 0);
	drop_tree(&t);
}
END_TEST

START_TEST(wherever_it_lies)
{
	struct tree t;

	make_tree("h", &t);
	ck_assert_int_eq(mkdir("i/s", 0700), 0);
	ck_assert_int_eq(mkdir("i/s/t", 0700), 0);
	overlay("i/s/t/delta", "/x/" A);
	/* what somebody put beside the bases */
	overlay("_base/template", B);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	ck_assert_uint_eq(users(&t, B), 1);
	ck_assert_uint_eq(t.u.instances, 1);
	ck_assert_uint_eq(t.u.disks, 1);
	/* _base is no instance, also where it lies in one */
	unlink("_base/template");
	overlay("_base/.a.byre-01234567", B);
	put("_base/cut", "QFI\xfb", 4);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, B), 1);
	ck_assert_uint_eq(t.u.n_dark, 0);
	ck_assert_uint_eq(t.u.n_strays, 0);
	drop_tree(&t);
}
END_TEST

START_TEST(what_lies_too_deep_is_dark)
{
	struct tree t;
	char path[100] = "i";
	int n;

	make_tree("j", &t);
	for (n = 0; n < 8; n++) {
		strcat(path, "/d");
		ck_assert_int_eq(mkdir(path, 0700), 0);
	}
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	strcat(path, "/d");
	ck_assert_int_eq(mkdir(path, 0700), 0);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	ck_assert(t.u.dark[0].changed == INT64_MAX);
	drop_tree(&t);
}
END_TEST

START_TEST(names_that_lead_nowhere)
{
	struct tree t;
	struct stat st;

	make_tree("k", &t);
	/* not there now, not mounted perhaps; a base's name says enough */
	overlay("i/disk", "/nowhere/mid.qcow2");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	ck_assert_str_eq(t.u.dark[0].disk, "/nowhere/mid.qcow2");
	ck_assert_int_eq(stat("i/disk", &st), 0);
	ck_assert_int_eq(t.u.dark[0].changed, st.st_ctim.tv_sec + 1);
	overlay("i/disk", "/nowhere/" A);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	/* from a working directory that nobody knows */
	overlay("i/disk", "file:mid.qcow2");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	overlay("i/disk", "file:" A);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	ck_assert_uint_eq(users(&t, A), 1);
	/* another protocol is none of ours, but for its last part */
	overlay("i/disk", "nbd:unix:/run/x");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	overlay("i/disk", "ssh://host/_base/" B);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	ck_assert_uint_eq(users(&t, B), 1);
	drop_tree(&t);
}
END_TEST

START_TEST(the_time_is_that_of_what_is_dark)
{
	const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct tree t;

	make_tree("l", &t);
	/* a link, long before its target changed; it cannot be set back, but
	 * the target can be put into the future */
	put("../cut", "QFI\xfb", 4);
	ck_assert_int_eq(symlink("../../cut", "i/disk"), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, "../cut",
		(const struct timespec[]){{.tv_sec = 4000000000},
			{.tv_sec = 4000000000}}, 0), 0);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	ck_assert_int_eq(t.u.dark[0].changed, 4000000001);
	/* nothing is known of the time of what is not there */
	unlink("../cut");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	ck_assert(t.u.dark[0].changed == INT64_MAX);
	unlink("i/disk");
	/* a file of the chain, changed after the disk */
	overlay("../mid", "json:{\"driver\": \"nbd\"}");
	overlay("i/disk", "../../mid");
	ck_assert_int_eq(utimensat(AT_FDCWD, "../mid",
		(const struct timespec[]){{.tv_sec = 4000000000},
			{.tv_sec = 4000000000}}, 0), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, "i/disk", old, 0), 0);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	ck_assert_int_eq(t.u.dark[0].changed, 4000000001);
	drop_tree(&t);
}
END_TEST

START_TEST(a_raw_disk_hides_nothing_of_others)
{
	struct tree t;

	/* whichever comes first in its directory */
	make_tree("m", &t);
	ck_assert_int_eq(mkdir("k", 0700), 0);
	put("i/disk.info", "{\"/i/disk\": \"raw\"}", 19);
	ck_assert_int_eq(mkdir("../chain", 0700), 0);
	put("../chain/cut", "QFI\xfb", 4);
	overlay("../chain/mid", "cut");
	overlay("i/disk", "../../chain/mid");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	overlay("k/disk", "../../chain/mid");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	ck_assert(strstr(t.u.dark[0].disk, "chain/cut"));
	drop_tree(&t);
}
END_TEST

START_TEST(births_are_of_names)
{
	struct tree t;
	struct clean_request rq = {.store = &t.s, .dry_run = true};
	struct record rec = {.format = FORMAT_RAW, .created = 1000,
		.kind = RECORD_ADOPTED};
	struct clean_result r;
	struct err e = {0};
	struct stat st;

	make_tree("n", &t);
	ck_assert_int_eq(stat("_base/" A, &st), 0);
	record_identify(&rec, &st);
	ck_assert_int_eq(record_store(&t.s, A, &rec, &e), 0);
	ck_assert_int_eq(clean_run(&rq, &r, &e), 0);
	ck_assert_uint_eq(r.n, 2);
	/* where births are told at all */
	if (r.v[1].born) {
		ck_assert_int_eq(r.v[0].born, 1000);
		ck_assert_int_gt(r.v[1].born, 1000);
	}
	clean_free(&r);
	drop_tree(&t);
}
END_TEST

START_TEST(touched_is_used)
{
	struct tree t;
	struct stat st;
	struct err e = {0};

	make_tree("p", &t);
	scan(&t, NULL);
	ck_assert_int_eq(stat("_base/" A, &st), 0);
	ck_assert_int_eq(in_use_refuse(&t.s, &t.u, A, &st, NULL, &e), 0);
	st.st_mtim.tv_sec--;
	ck_assert_int_eq(in_use_refuse(&t.s, &t.u, A, &st, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_BUSY);
	st.st_mtim.tv_sec++;
	st.st_ino++;
	ck_assert_int_eq(in_use_refuse(&t.s, &t.u, A, &st, NULL, &e), -1);
	drop_tree(&t);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("in_use");
	TCase *t = tcase_create("in_use");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, data_files);
	tcase_add_test(t, wherever_it_lies);
	tcase_add_test(t, what_lies_too_deep_is_dark);
	tcase_add_test(t, names_that_lead_nowhere);
	tcase_add_test(t, the_time_is_that_of_what_is_dark);
	tcase_add_test(t, a_raw_disk_hides_nothing_of_others);
	tcase_add_test(t, births_are_of_names);
	tcase_add_test(t, touched_is_used);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
