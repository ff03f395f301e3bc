/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cache/record.h"
#include "tests/unit/tmpdir.h"

#define ID "7f3c\n"
#define NAME "e4dfe342d4cd8f00aa28fdd64d95edd8b07e2188" /* its sha1 */
#define JSON "a/_base/.byre/records/" NAME ".json"
#define LEAVES "a/_base/.byre/records/" NAME ".leaves"

static struct store s;
static unsigned notes;

static void
count_note(void *arg, const char *line)
{
	(void)arg;
	ck_assert_ptr_null(strchr(line, '\n'));
	notes++;
}

static const struct watch watch = {.note = count_note};

static void
set_up(void)
{
	struct store_request rq = {.instances = "a", .create = true};
	struct err e = {0};

	mkdir("a", 0700);
	ck_assert_int_eq(store_open(&s, &rq, &e), 0);
	notes = 0;
}

static void
tear_down(void)
{
	store_close(&s);
}

static struct record
sample(void)
{
	struct record r = {
		.kind = RECORD_KERNEL,
		.id = ID,
		.source = "a \"quoted\" 'name'\t\xc3\xa4",
		.source_size = INT64_MAX,
		.source_format = FORMAT_QCOW2,
		.format = FORMAT_RAW,
		.virtual_size = 1 << 20,
		.has_digest = true,
		.file_size = 1 << 20,
		.ino = UINT64_MAX,
		.dev = UINT64_MAX - 1,
		.mtime_nsec = 1234567890123456789,
		.policy = "safe",
		.version = "0.1.0",
		.created = 1700000000,
		.verify_at = 4096,
		.rotten = 3,
		.pinned = true,
	};

	memset(r.digest.b, 0xa7, 16);
	memset(r.sha512, 'f', 128);
	memset(r.md5, '0', 32);
	return r;
}

START_TEST(what_is_written_is_read)
{
	struct record r = sample(), got;
	struct err e = {0};
	struct stat st = {.st_size = 1 << 20, .st_ino = UINT64_MAX};
	bool there = false;

	ck_assert_msg(record_store(&s, NAME, &r, &e) == 0, "%s", e.msg);
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(there);
	ck_assert_uint_eq(notes, 0);
	ck_assert_int_eq(got.kind, r.kind);
	ck_assert_str_eq(got.id, r.id);
	ck_assert_str_eq(got.source, r.source);
	ck_assert_uint_eq(got.source_size, r.source_size);
	ck_assert_int_eq(got.source_format, r.source_format);
	ck_assert_int_eq(got.format, r.format);
	ck_assert_str_eq(got.md5, r.md5);
	ck_assert_str_eq(got.sha256, "");
	ck_assert_str_eq(got.sha512, r.sha512);
	ck_assert_uint_eq(got.virtual_size, r.virtual_size);
	ck_assert(got.has_digest);
	ck_assert_mem_eq(got.digest.b, r.digest.b, 16);
	ck_assert_uint_eq(got.ino, r.ino);
	ck_assert_uint_eq(got.dev, r.dev);
	ck_assert_int_eq(got.mtime_nsec, r.mtime_nsec);
	ck_assert_str_eq(got.policy, "safe");
	ck_assert_str_eq(got.version, "0.1.0");
	ck_assert_int_eq(got.created, r.created);
	ck_assert_int_eq(got.verified, 0);
	ck_assert_uint_eq(got.verify_at, 4096);
	ck_assert_uint_eq(got.rotten, 3);
	ck_assert(got.pinned);
	ck_assert(record_matches(&got, &st));
	st.st_size++;
	ck_assert(!record_matches(&got, &st));
	record_free(&got);
	ck_assert_int_eq(rmdir("a/_base/.byre/staging"), 0);
	ck_assert_int_eq(record_remove(&s, NAME, &e), 0);
	ck_assert_int_eq(record_remove(&s, NAME, &e), 0);
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(!there);
	ck_assert_uint_eq(notes, 0);
}
END_TEST

static void
put(const char *path, const void *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
	close(fd);
}

#define HEAD "{\"version\":1,\"kind\":\"image\","
#define TAIL "\"base\":{\"format\":\"raw\"}}"

static const char *const broken[] = {
	"",
	"{",
	"[]",
	"null",
	"\"text\"",
	"{}",
	"{\"version\":2,\"kind\":\"image\"," TAIL,
	"{\"version\":\"\",\"kind\":\"image\"," TAIL,
	HEAD "\"base\":{\"format\":\"vmdk\"}}",
	HEAD "\"base\":{\"format\":[\"raw\"]}}",
	HEAD "\"base\":{}}",
	HEAD "\"base\":null}",
	"{\"version\":1,\"kind\":\"king\"," TAIL,
	"{\"version\":1,\"kind\":7," TAIL,
	HEAD "\"kind\":\"image\"," TAIL,
	HEAD "\"created\":-1," TAIL,
	HEAD "\"created\":1e9," TAIL,
	HEAD "\"created\":9223372036854775808," TAIL,
	HEAD "\"rotten\":\"many\"," TAIL,
	HEAD "\"pinned\":\"perhaps\"," TAIL,
	HEAD "\"content-digest\":\"byre1:00\"," TAIL,
	HEAD "\"content-digest\":\"byre2:00000000000000000000000000000000\","
		TAIL,
	HEAD "\"content-digest\":\"byre1:0000000000000000000000000000000G\","
		TAIL,
	HEAD "\"source\":{\"md5\":\"abc\"}," TAIL,
	HEAD "\"source\":{\"size\":9223372036854775808}," TAIL,
	/* of another image; of none */
	HEAD "\"image-id\":\"other\"," TAIL,
	HEAD "\"image-id\":\"\xff\"," TAIL,
	HEAD "\"image-id\":\"7f3c\\n\\u0000\"," TAIL,
};

START_TEST(what_is_broken_is_as_none)
{
	struct record got;
	struct err e = {0};
	bool there = true;
	unsigned i;

	for (i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		put(JSON, broken[i], strlen(broken[i]));
		ck_assert_msg(record_load(&s, NAME, &got, &there, &watch, &e)
			== 0, "%s: %s", broken[i], e.msg);
		ck_assert_msg(!there, "%s", broken[i]);
		ck_assert_uint_eq(notes, i + 1);
		ck_assert_ptr_null(got.id);
	}
	/* the same words, whole */
	put(JSON, HEAD "\"image-id\":\"7f3c\\n\"," TAIL,
		strlen(HEAD "\"image-id\":\"7f3c\\n\"," TAIL));
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(there);
	record_free(&got);
}
END_TEST

START_TEST(hostile_files_are_as_none)
{
	static char big[RECORD_TEXT_MAX + 1];
	struct record got, r = sample();
	struct err e = {0};
	bool there = true;

	memset(big, ' ', sizeof(big));
	put(JSON, big, sizeof(big));
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(!there);
	put(JSON, HEAD TAIL "\0{}", sizeof(HEAD TAIL) + 2);
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(!there);
	unlink(JSON);
	put("a/secret", HEAD TAIL, strlen(HEAD TAIL));
	ck_assert_int_eq(symlink("../../../secret", JSON), 0);
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(!there);
	/* and is replaced, not followed */
	ck_assert_int_eq(record_store(&s, NAME, &r, &e), 0);
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(there);
	record_free(&got);
	unlink(JSON);
	ck_assert_int_eq(mkdir(JSON, 0700), 0);
	ck_assert_int_eq(record_load(&s, NAME, &got, &there, &watch, &e), 0);
	ck_assert(!there);
	ck_assert_uint_eq(notes, 4);
	ck_assert_int_eq(rmdir(JSON), 0);
	ck_assert_int_eq(record_load(&s, "../a", &got, &there, &watch, &e),
		0);
	ck_assert(!there);
}
END_TEST

/* Zeros in the middle are leaves, zeros at the end are not. */
static struct digest_value
fill(struct record_tap *t)
{
	const struct digest_tap tap = {.leaf = record_tap_leaf, .arg = t};
	struct digest_value leaf;
	struct digest d;

	digest_init(&d);
	d.tap = &tap;
	digest_add_zeros(&d, 3);
	leaf = digest_leaf("one", 3);
	digest_add_leaf(&d, &leaf);
	leaf = digest_leaf("\0\0", 2);
	digest_add_leaf(&d, &leaf);
	leaf = digest_leaf("two", 3);
	digest_add_leaf(&d, &leaf);
	digest_add_zeros(&d, 1000000000);
	return digest_root(&d);
}

START_TEST(leaves_are_kept)
{
	struct record_tap t = {0};
	struct record_leaves got = {0};
	struct digest_value root = fill(&t), leaf = digest_leaf("two", 3);
	struct err e = {0};
	bool there = false;

	ck_assert_uint_eq(t.leaves.n, 6);
	ck_assert_int_eq(record_leaves_store(&s, NAME, &t.leaves, &e), 0);
	ck_assert_int_eq(record_leaves_load(&s, NAME, &root, &got, &there,
		&watch, &e), 0);
	ck_assert(there);
	ck_assert_uint_eq(got.n, 6);
	ck_assert_mem_eq(got.v[5].b, leaf.b, 16);
	record_leaves_free(&got);
	/* of another content */
	root.b[0] ^= 1;
	ck_assert_int_eq(record_leaves_load(&s, NAME, &root, &got, &there,
		&watch, &e), 0);
	ck_assert(!there);
	ck_assert_uint_eq(notes, 1);
	record_leaves_free(&t.leaves);
}
END_TEST

START_TEST(broken_leaves_are_as_none)
{
	struct record_tap t = {0};
	struct record_leaves got = {0};
	struct digest_value root = fill(&t);
	struct err e = {0};
	uint8_t bytes[32 + 96];
	bool there = true;
	unsigned i;
	int fd;

	ck_assert_int_eq(record_leaves_store(&s, NAME, &t.leaves, &e), 0);
	record_leaves_free(&t.leaves);
	fd = open(LEAVES, O_RDONLY);
	ck_assert_int_eq(read(fd, bytes, sizeof(bytes)), sizeof(bytes));
	close(fd);
	for (i = 0; i < sizeof(bytes); i++) {
		bytes[i] ^= 0x40;
		put(LEAVES, bytes, sizeof(bytes));
		bytes[i] ^= 0x40;
		ck_assert_int_eq(record_leaves_load(&s, NAME, &root, &got,
			&there, &watch, &e), 0);
		ck_assert_msg(!there, "byte %u", i);
	}
	for (i = 0; i < sizeof(bytes); i++) {
		put(LEAVES, bytes, i);
		ck_assert_int_eq(record_leaves_load(&s, NAME, &root, &got,
			&there, &watch, &e), 0);
		ck_assert_msg(!there, "%u bytes", i);
	}
	unlink(LEAVES);
	notes = 0;
	ck_assert_int_eq(record_leaves_load(&s, NAME, &root, &got, &there,
		&watch, &e), 0);
	ck_assert(!there);
	ck_assert_uint_eq(notes, 0);
}
END_TEST

START_TEST(too_many_leaves_are_none)
{
	struct digest_value leaf = digest_leaf("x", 1);
	struct record_tap t = {0};

	record_tap_leaf(&t, NULL, RECORD_LEAVES_MAX - 1);
	record_tap_leaf(&t, NULL, UINT64_MAX / 2);
	ck_assert(!t.overflow);
	record_tap_leaf(&t, &leaf, 0);
	ck_assert(t.overflow);
	ck_assert_ptr_null(t.leaves.v);
	record_tap_leaf(&t, &leaf, 0);
	ck_assert_uint_eq(t.leaves.n, 0);
}
END_TEST

/* Clocks that are wrong by centuries. */
START_TEST(times_that_do_not_fit_are_cut)
{
	struct stat st = {.st_mtim = {.tv_sec = INT64_MAX}};
	struct record r = {0};

	record_identify(&r, &st);
	ck_assert_int_eq(r.mtime_nsec, INT64_MAX);
	st.st_mtim.tv_sec = INT64_MIN;
	record_identify(&r, &st);
	ck_assert_int_eq(r.mtime_nsec, 0);
	st.st_mtim = (struct timespec){2, 5};
	record_identify(&r, &st);
	ck_assert_int_eq(r.mtime_nsec, 2000000005);
}
END_TEST

int
main(void)
{
	Suite *u = suite_create("record");
	TCase *t = tcase_create("record");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, what_is_written_is_read);
	tcase_add_test(t, what_is_broken_is_as_none);
	tcase_add_test(t, hostile_files_are_as_none);
	tcase_add_test(t, leaves_are_kept);
	tcase_add_test(t, broken_leaves_are_as_none);
	tcase_add_test(t, too_many_leaves_are_none);
	tcase_add_test(t, times_that_do_not_fit_are_cut);
	suite_add_tcase(u, t);
	r = srunner_create(u);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
