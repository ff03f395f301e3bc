/* SPDX-License-Identifier: MIT */
/* From outside: nothing but byre.h and the shared library. */
#include "config.h"

#include <byre.h>
#include <check.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "tests/unit/tmpdir.h"

#define NAME "11f6ad8ec52a2984abaafd7c3b516503785c2072" /* sha1 of x */

static void
write_source(void)
{
	static char data[1 << 20];
	int fd = open("src", O_WRONLY | O_CREAT | O_TRUNC, 0600);

	memset(data, 'd', sizeof(data));
	ck_assert_int_eq(write(fd, data, sizeof(data)), sizeof(data));
	ck_assert_int_eq(ftruncate(fd, 4 << 20), 0);
	close(fd);
}

START_TEST(from_a_source_to_a_disk_and_back)
{
	struct byre_cache_ensure_options o = BYRE_CACHE_ENSURE_INIT;
	struct byre_cache_spawn_options so = BYRE_CACHE_SPAWN_INIT;
	struct byre_cache_clean_options co = BYRE_CACHE_CLEAN_INIT;
	struct byre_cache_cleaned cleaned;
	struct byre_cache_base b, again;
	struct byre_image *im;
	struct byre_cache *c;
	struct byre_error e;
	char sector[512];

	write_source();
	ck_assert_int_eq(byre_cache_open(&c, "i", NULL, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_IO);
	mkdir("i", 0700);
	ck_assert_int_eq(byre_cache_open(&c, "i", NULL, NULL, &e), 0);
	o.path = "src";
	ck_assert_msg(byre_cache_ensure(c, "x", &o, &b, &e) == 0, "%s",
		e.message);
	ck_assert_int_eq(b.added, 1);
	ck_assert_str_eq(b.name, NAME);
	ck_assert_uint_eq(b.virtual_size, 4 << 20);
	o.path = "nothing";
	ck_assert_int_eq(byre_cache_ensure(c, "x", &o, &again, &e), 0);
	ck_assert_int_eq(again.added, 0);
	ck_assert_str_eq(again.digest, b.digest);

	so.virtual_size = 1;
	ck_assert_int_eq(byre_cache_spawn(c, "x", "i/u/disk", &so, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_LIMIT);
	so.virtual_size = 8 << 20;
	ck_assert_msg(byre_cache_spawn(c, "x", "i/u/disk", &so, &e) == 0,
		"%s", e.message);
	{
		struct byre_policy p = BYRE_POLICY_INIT;

		p.trusted = 1;
		ck_assert_int_eq(byre_image_open_path(&im, "i/u/disk", &p,
			&e), 0);
	}
	ck_assert_uint_eq(byre_image_size(im), 8 << 20);
	ck_assert_int_eq(byre_image_read(im, sector, 512, 4096, &e), 0);
	ck_assert_int_eq(sector[0], 'd');
	byre_image_close(im);

	/* it is used: it stays, whatever is asked for */
	co.min_age = 0;
	ck_assert_int_eq(byre_cache_clean(c, &co, &cleaned, &e), 0);
	ck_assert_uint_eq(cleaned.files, 0);
	ck_assert_int_eq(byre_cache_purge(c, "x", NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_BUSY);
	ck_assert_int_eq(byre_cache_pin(c, "x", 1, &e), 0);
	ck_assert_int_eq(byre_cache_pin(c, "x", 0, NULL), 0);
	unlink("i/u/disk");
	ck_assert_msg(byre_cache_purge(c, "x", NULL, &e) == 0, "%s",
		e.message);
	ck_assert_int_eq(access("i/_base/" NAME, F_OK), -1);
	byre_cache_close(c);
	byre_cache_close(NULL);
}
END_TEST

static void
add_rot(void *arg, uint64_t from, uint64_t length)
{
	uint64_t *sums = arg;

	sums[0] += from;
	sums[1] += length;
}

START_TEST(rot_is_found)
{
	struct byre_cache_ensure_options o = BYRE_CACHE_ENSURE_INIT;
	struct byre_cache_verify_options v = BYRE_CACHE_VERIFY_INIT;
	uint64_t sums[2] = {0};
	struct byre_cache *c;
	struct byre_error e;
	int fd, state;

	write_source();
	mkdir("i", 0700);
	ck_assert_int_eq(byre_cache_open(&c, "i", NULL, NULL, &e), 0);
	o.path = "src";
	ck_assert_int_eq(byre_cache_ensure(c, "x", &o, NULL, &e), 0);
	ck_assert_int_eq(byre_cache_verify(c, NAME, NULL, &state, &e), 0);
	ck_assert_int_eq(state, BYRE_CACHE_GOOD);
	fd = open("i/_base/" NAME, O_WRONLY);
	ck_assert_int_eq(pwrite(fd, "rot", 3, (2 << 20) + 5), 3);
	close(fd);
	v.rot = add_rot;
	v.arg = sums;
	ck_assert_int_eq(byre_cache_verify(c, NAME, &v, &state, &e), 0);
	ck_assert_int_eq(state, BYRE_CACHE_ROTTEN);
	ck_assert_uint_eq(sums[0], 2 << 20);
	ck_assert_uint_eq(sums[1], 1 << 20);
	ck_assert_int_eq(byre_cache_verify(c, "none", NULL, &state, &e), 0);
	ck_assert_int_eq(state, BYRE_CACHE_GONE);
	ck_assert_int_eq(byre_cache_verify(c, "../src", NULL, &state, &e), -1);
	byre_cache_close(c);
}
END_TEST

/* What is cut within its last cluster has lost something or not: who has
 * compared a digest knows. */
START_TEST(a_cut_source_is_taken_if_checked)
{
	struct byre_cache_ensure_options o = BYRE_CACHE_ENSURE_INIT;
	struct byre_convert_options v = BYRE_CONVERT_INIT;
	struct byre_source src = BYRE_SOURCE_INIT;
	struct byre_cache_base b;
	struct byre_cache *c;
	struct byre_error e;
	struct stat st;

	write_source();
	src.path = "src";
	v.sources = &src;
	v.n_sources = 1;
	v.target = "cut";
	v.target_format = "qcow2";
	ck_assert_msg(byre_convert(&v, NULL, &e) == 0, "%s", e.message);
	ck_assert_int_eq(stat("cut", &st), 0);
	ck_assert_int_eq(truncate("cut", st.st_size - 30000), 0);

	mkdir("i", 0700);
	ck_assert_int_eq(byre_cache_open(&c, "i", NULL, NULL, &e), 0);
	o.path = "cut";
	ck_assert_int_eq(byre_cache_ensure(c, "cut", &o, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_DENIED);
	/* a program that was built before knows nothing of it */
	o.checked = 1;
	o.size = offsetof(struct byre_cache_ensure_options, checked);
	ck_assert_int_eq(byre_cache_ensure(c, "cut", &o, NULL, &e), -1);
	o.size = sizeof(o);
	ck_assert_msg(byre_cache_ensure(c, "cut", &o, &b, &e) == 0, "%s",
		e.message);
	ck_assert_int_eq(b.added, 1);
	ck_assert_uint_eq(b.virtual_size, 4 << 20);
	ck_assert_int_eq(byre_cache_purge(c, "cut", NULL, &e), 0);
	byre_cache_close(c);
}
END_TEST

START_TEST(bad_requests_are_refused)
{
	struct byre_cache_ensure_options o = BYRE_CACHE_ENSURE_INIT;
	struct byre_cache_spawn_options so = BYRE_CACHE_SPAWN_INIT;
	struct byre_cache *c;
	struct byre_error e;

	mkdir("i", 0700);
	ck_assert_int_eq(byre_cache_open(&c, "i", NULL, NULL, &e), 0);
	ck_assert_int_eq(byre_cache_ensure(c, "y", &o, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
	o.path = "nothing";
	ck_assert_int_eq(byre_cache_ensure(c, "", &o, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
	ck_assert_int_eq(byre_cache_ensure(c, "y", &o, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_IO);
	o.format = "vmdk2";
	ck_assert_int_eq(byre_cache_ensure(c, "y", &o, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
	so.disk = 7;
	ck_assert_int_eq(byre_cache_spawn(c, "y", "d", &so, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
	byre_cache_close(c);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("cache api");
	TCase *t = tcase_create("cache api");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, from_a_source_to_a_disk_and_back);
	tcase_add_test(t, rot_is_found);
	tcase_add_test(t, a_cut_source_is_taken_if_checked);
	tcase_add_test(t, bad_requests_are_refused);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
