/* SPDX-License-Identifier: MIT */
/* The public API as a program outside sees it: byre.h and libbyre only. */
#define _GNU_SOURCE
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "byre.h"
#include "tests/unit/tmpdir.h"

#define SIZE (3u << 20)

static unsigned char *content;

static void
write_raw(const char *path, unsigned seed)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);

	ck_assert_int_ge(fd, 0);
	for (unsigned i = 0; i < SIZE; i++)
		content[i] = i / 65536 % 3 == 1 ? 0 :
			(unsigned char)(i * 31 + i / 977 + seed);
	ck_assert_int_eq(write(fd, content, SIZE), (ssize_t)SIZE);
	close(fd);
}

static void
setup(void)
{
	ck_assert(tmpdir_enter());
	content = malloc(SIZE);
	write_raw("raw", 1);
}

static void
teardown(void)
{
	tmpdir_remove();
	free(content);
}

static int
convert(const char *from, const char *to, const char *format, int compress,
	struct byre_convert_result *r, struct byre_error *e)
{
	struct byre_source s = BYRE_SOURCE_INIT;
	struct byre_convert_options o = BYRE_CONVERT_INIT;

	s.path = from;
	o.sources = &s;
	o.n_sources = 1;
	o.target = to;
	o.target_format = format;
	o.compress = compress;
	o.with_digest = 1;
	o.not_durable = 1;
	return byre_convert(&o, r, e);
}

static void
check_content(const char *path, const char *format)
{
	struct byre_image *im;
	struct byre_error e;
	unsigned char *got = malloc(SIZE);
	uint64_t at = 0;

	ck_assert_msg(byre_image_open_path(&im, path, NULL, &e) == 0, "%s",
		e.message);
	ck_assert_uint_eq(byre_image_size(im), SIZE);
	ck_assert_str_eq(byre_image_format(im), format);
	ck_assert_msg(byre_image_read(im, got, SIZE, 0, &e) == 0, "%s",
		e.message);
	ck_assert_int_eq(memcmp(got, content, SIZE), 0);
	/* small and odd reads, across clusters and within one */
	for (unsigned i = 0; i < SIZE - 700; i += 65521) {
		ck_assert_int_eq(byre_image_read(im, got, 699, i, &e), 0);
		ck_assert_int_eq(memcmp(got, content + i, 699), 0);
	}
	ck_assert_int_eq(byre_image_read(im, got, 2, SIZE - 1, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
	while (at < SIZE) {
		struct byre_extent x[3];
		size_t n;

		ck_assert_int_eq(byre_image_map(im, at, SIZE - at, x, 3, &n,
			&e), 0);
		ck_assert_uint_ge(n, 1);
		for (size_t i = 0; i < n; i++) {
			ck_assert_uint_eq(x[i].offset, at);
			ck_assert_uint_gt(x[i].length, 0);
			at += x[i].length;
		}
	}
	ck_assert_uint_eq(at, SIZE);
	byre_image_close(im);
	free(got);
}

START_TEST(all_forms_have_one_content_and_digest)
{
	struct byre_convert_result a, b, c;
	struct byre_source s = BYRE_SOURCE_INIT, t = BYRE_SOURCE_INIT;
	uint64_t where;
	int same = 0;
	struct byre_error e;
	char digest[BYRE_DIGEST_TEXT];

	ck_assert_msg(convert("raw", "q", "qcow2", 0, &a,
		&e) == 0, "%s", e.message);
	ck_assert_msg(convert("q", "c", "qcow2", 1, &b,
		&e) == 0, "%s", e.message);
	ck_assert_msg(convert("c", "r", NULL, 0, &c,
		&e) == 0, "%s", e.message);
	ck_assert_str_eq(a.digest, b.digest);
	ck_assert_str_eq(a.digest, c.digest);
	ck_assert_uint_eq(a.virtual_size, SIZE);
	s.path = "c";
	ck_assert_int_eq(byre_digest(&s, NULL, NULL, digest, &e), 0);
	ck_assert_str_eq(digest, a.digest);
	t.path = "raw";
	ck_assert_int_eq(byre_compare(&s, &t, NULL, NULL, &same, &where, &e),
		0);
	ck_assert_int_eq(same, 1);
	t.path = "missing";
	ck_assert_int_eq(byre_compare(&s, &t, NULL, NULL, &same, &where, &e),
		-1);
	ck_assert_int_eq(e.kind, BYRE_IO);
	check_content("raw", "raw");
	check_content("q", "qcow2");
	check_content("c", "qcow2");
	check_content("r", "raw");
}
END_TEST

START_TEST(descriptors_stay_the_callers)
{
	struct byre_source s = BYRE_SOURCE_INIT;
	struct byre_convert_options o = BYRE_CONVERT_INIT;
	struct byre_image *im;
	struct byre_error e;
	char sector[512];

	s.fd = open("raw", O_RDONLY);
	o.target_fd = open("t", O_RDWR | O_CREAT, 0644);
	o.sources = &s;
	o.n_sources = 1;
	o.target_format = "qcow2";
	ck_assert_msg(byre_convert(&o, NULL, &e) == 0, "%s", e.message);
	ck_assert_int_ge(fcntl(s.fd, F_GETFD), 0);
	ck_assert_int_ge(fcntl(o.target_fd, F_GETFD), 0);
	ck_assert_msg(byre_image_open_fd(&im, o.target_fd, NULL, &e) == 0,
		"%s", e.message);
	ck_assert_int_eq(byre_image_read(im, sector, 512, 1024, &e), 0);
	ck_assert_int_eq(memcmp(sector, content + 1024, 512), 0);
	byre_image_close(im);
	ck_assert_int_ge(fcntl(o.target_fd, F_GETFD), 0);
	close(s.fd);
	close(o.target_fd);
}
END_TEST

START_TEST(the_safe_policy_is_on)
{
	struct byre_qcow2 q = BYRE_QCOW2_INIT;
	struct byre_policy p = BYRE_POLICY_INIT;
	struct byre_source s = BYRE_SOURCE_INIT;
	struct byre_image *im = NULL;
	struct byre_error e;
	const char *dirs[] = {"."};
	char *json;
	int safe;

	q.backing = "raw";
	q.backing_format = "raw";
	p.trusted = 1;
	ck_assert_msg(byre_create("o", "qcow2", UINT64_MAX, &q, &p,
		&e) == 0, "%s", e.message);
	ck_assert_int_eq(byre_image_open_path(&im, "o", NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_DENIED);
	ck_assert_ptr_null(im);
	s.path = "o";
	ck_assert_int_eq(byre_inspect(&s, NULL, 0, &safe, &json, &e), 0);
	ck_assert_int_eq(safe, 0);
	ck_assert_ptr_nonnull(strstr(json, "backing-file"));
	byre_text_free(json);
	ck_assert_int_eq(byre_info_json(&s, &json, &e), 0);
	ck_assert_ptr_nonnull(strstr(json, "\"backing-filename\": \"raw\""));
	byre_text_free(json);

	ck_assert_int_eq(byre_image_open_path(&im, "o", &p, &e), 0);
	ck_assert_uint_eq(byre_image_size(im), SIZE);
	byre_image_close(im);
	p.trusted = 0;
	p.allow_dirs = dirs;
	p.n_allow_dirs = 1;
	ck_assert_msg(byre_image_open_path(&im, "o", &p, &e) == 0,
		"%s", e.message);
	byre_image_close(im);
	p.max_size = SIZE - 512;
	ck_assert_int_eq(byre_image_open_path(&im, "raw", &p, &e),
		-1);
	ck_assert_int_eq(e.kind, BYRE_DENIED);
}
END_TEST

START_TEST(create_and_resize)
{
	struct byre_image *im;
	struct byre_error e;

	ck_assert_int_eq(byre_create("n", "qcow2", 1 << 20, NULL,
		NULL, &e), 0);
	ck_assert_int_eq(byre_create("n", "qcow2", 1 << 20, NULL,
		NULL, &e), -1);
	ck_assert_int_eq(e.errno_value, EEXIST);
	ck_assert_msg(byre_resize("n", "qcow2", 5 << 20, 0, NULL, &e) == 0,
		"%s", e.message);
	ck_assert_int_eq(byre_resize("n", NULL, 5 << 20, 0, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
	ck_assert_int_eq(byre_image_open_path(&im, "n", NULL, &e), 0);
	ck_assert_uint_eq(byre_image_size(im), 5 << 20);
	byre_image_close(im);
}
END_TEST

START_TEST(errors_say_what_and_where)
{
	struct byre_image *im;
	struct byre_error e;

	ck_assert_int_eq(byre_image_open_path(&im, "no", NULL, &e),
		-1);
	ck_assert_int_eq(e.kind, BYRE_IO);
	ck_assert_int_eq(e.errno_value, ENOENT);
	ck_assert_ptr_nonnull(strstr(e.message, "no: "));
	ck_assert_int_eq(byre_image_open_path(&im, "no", NULL, NULL),
		-1);
	ck_assert_int_eq(byre_image_open_path(&im, NULL, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
	ck_assert_str_eq(byre_error_kind_name(BYRE_CORRUPT), "corrupt");
	ck_assert_str_ne(byre_version(), "");
}
END_TEST

/* A struct as an older and as a newer program have it. */
START_TEST(structs_of_other_sizes)
{
	struct {
		struct byre_policy p;
		uint64_t later;
	} newer = {.p = BYRE_POLICY_INIT};
	struct byre_policy older = BYRE_POLICY_INIT;
	struct byre_image *im;
	struct byre_error e;

	older.size = offsetof(struct byre_policy, max_size);
	older.max_size = 512; /* behind what this program knows */
	ck_assert_int_eq(byre_image_open_path(&im, "raw", &older,
		&e), 0);
	byre_image_close(im);
	newer.p.size = sizeof(newer);
	ck_assert_int_eq(byre_image_open_path(&im, "raw", &newer.p,
		&e), 0);
	byre_image_close(im);
	newer.later = 1;
	ck_assert_int_eq(byre_image_open_path(&im, "raw", &newer.p,
		&e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
}
END_TEST

static void
count_progress(void *arg, uint64_t done, uint64_t total)
{
	ck_assert_uint_le(done, total);
	++*(unsigned *)arg;
}

START_TEST(progress_and_cancel)
{
	struct byre_source s = BYRE_SOURCE_INIT;
	struct byre_convert_options o = BYRE_CONVERT_INIT;
	struct byre_watch w = BYRE_WATCH_INIT;
	struct byre_error e;
	unsigned calls = 0;
	int cancel = 0;

	s.path = "raw";
	w.progress = count_progress;
	w.arg = &calls;
	w.cancel = &cancel;
	o.sources = &s;
	o.n_sources = 1;
	o.target = "p";
	o.watch = &w;
	ck_assert_msg(byre_convert(&o, NULL, &e) == 0, "%s", e.message);
	ck_assert_uint_gt(calls, 0);
	cancel = 1;
	o.target = "never";
	ck_assert_int_eq(byre_convert(&o, NULL, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_CANCELLED);
	ck_assert_int_eq(access("never", F_OK), -1);
}
END_TEST

struct job {
	char from[16], to[16];
	struct byre_convert_result r;
	struct byre_error e;
	int failed;
};

static void *
run_job(void *arg)
{
	struct job *j = arg;

	for (unsigned i = 0; i < 5 && !j->failed; i++) {
		unlink(j->to);
		j->failed = convert(j->from, j->to, "qcow2", 1, &j->r, &j->e);
	}
	return NULL;
}

START_TEST(two_calls_do_not_meet)
{
	struct job j[2] = {0};
	pthread_t t[2];
	struct byre_convert_result alone[2];
	struct byre_error e;

	for (unsigned i = 0; i < 2; i++) {
		snprintf(j[i].from, sizeof(j[i].from), "src%u", i);
		snprintf(j[i].to, sizeof(j[i].to), "dst%u", i);
		write_raw(j[i].from, 7 * i);
		ck_assert_int_eq(convert(j[i].from, i ? "a1" : "a0",
			"qcow2", 1, &alone[i], &e), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, run_job, &j[i]),
			0);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		ck_assert_msg(!j[i].failed, "%s", j[i].e.message);
		ck_assert_str_eq(j[i].r.digest, alone[i].digest);
	}
	ck_assert_str_ne(alone[0].digest, alone[1].digest);
	check_content(j[1].to, "qcow2");
}
END_TEST

static void
count_lines(void *arg, const char *line)
{
	ck_assert_ptr_nonnull(strstr(line, "luster"));
	++*(unsigned *)arg;
}

START_TEST(check_finds_and_mends)
{
	struct byre_source s = BYRE_SOURCE_INIT;
	struct byre_watch w = BYRE_WATCH_INIT;
	struct byre_check_result r;
	struct byre_error e;
	unsigned lines = 0;
	int fd, cancel = 1;

	ck_assert_int_eq(convert("raw", "q", "qcow2", 0, NULL, &e), 0);
	s.path = "q";
	ck_assert_int_eq(byre_check(&s, 0, NULL, NULL, &r, &e), 0);
	ck_assert_uint_eq(r.errors + r.leaks + r.unseen, 0);
	/* the count of a cluster behind the end: a leak */
	fd = open("q", O_RDWR);
	ck_assert_int_eq(pwrite(fd, "\0\1", 2, 0x20000 + 2 * 1000), 2);
	close(fd);
	ck_assert_int_eq(truncate("q", 1001 * 65536), 0);
	w.note = count_lines;
	w.arg = &lines;
	ck_assert_int_eq(byre_check(&s, BYRE_REPAIR_NOTHING, NULL, &w, &r,
		&e), 0);
	ck_assert_uint_eq(r.leaks, 1);
	ck_assert_uint_eq(lines, 1);
	s.format = "qcow2";
	ck_assert_msg(byre_check(&s, BYRE_REPAIR_LEAKS, NULL, NULL, &r, &e) ==
		0, "%s", e.message);
	ck_assert_uint_eq(r.leaks, 0);
	ck_assert_uint_eq(r.leaks_mended, 1);
	check_content("q", "qcow2");
	w.cancel = &cancel;
	ck_assert_int_eq(byre_check(&s, 0, NULL, &w, &r, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_CANCELLED);
	s.path = "raw";
	s.format = "raw";
	ck_assert_int_eq(byre_check(&s, 0, NULL, NULL, &r, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_UNSUPPORTED);
	ck_assert_int_eq(byre_check(&s, 7, NULL, NULL, &r, &e), -1);
	ck_assert_int_eq(e.kind, BYRE_USAGE);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("api");
	TCase *t = tcase_create("api");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, all_forms_have_one_content_and_digest);
	tcase_add_test(t, descriptors_stay_the_callers);
	tcase_add_test(t, the_safe_policy_is_on);
	tcase_add_test(t, create_and_resize);
	tcase_add_test(t, errors_say_what_and_where);
	tcase_add_test(t, structs_of_other_sizes);
	tcase_add_test(t, progress_and_cancel);
	tcase_add_test(t, check_finds_and_mends);
	tcase_add_test(t, two_calls_do_not_meet);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
