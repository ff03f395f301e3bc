/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/zero.h"

/* Every length around the loop's steps, every alignment, one byte set at
 * every place: against the plain answer. */
START_TEST(finds_any_single_byte)
{
	static unsigned char b[700];
	size_t len, off, i;

	for (off = 0; off < 33; off += 11) {
		for (len = 0; len <= 600; len += len < 300 ? 1 : 37) {
			ck_assert(zero_is(b + off, len));
			for (i = 0; i < len; i++) {
				b[off + i] = 1;
				ck_assert(!zero_is(b + off, len));
				b[off + i] = 0;
			}
			/* bytes outside do not count */
			b[off + len] = 1;
			if (off)
				b[off - 1] = 1;
			ck_assert(zero_is(b + off, len));
			b[off + len] = 0;
			if (off)
				b[off - 1] = 0;
		}
	}
}
END_TEST

START_TEST(run_of_units)
{
	static unsigned char b[10 * 512 + 100];
	bool zero;

	ck_assert_uint_eq(zero_run(b, sizeof(b), 512, &zero), sizeof(b));
	ck_assert(zero);
	b[3 * 512 + 7] = 1;
	b[4 * 512 + 511] = 1;
	ck_assert_uint_eq(zero_run(b, sizeof(b), 512, &zero), 3 * 512);
	ck_assert(zero);
	ck_assert_uint_eq(zero_run(b + 3 * 512, sizeof(b) - 3 * 512, 512,
		&zero), 2 * 512);
	ck_assert(!zero);
	/* the short last unit is a unit of its own */
	b[sizeof(b) - 1] = 1;
	ck_assert_uint_eq(zero_run(b + 5 * 512, sizeof(b) - 5 * 512, 512,
		&zero), 5 * 512);
	ck_assert(zero);
	ck_assert_uint_eq(zero_run(b + 10 * 512, 100, 512, &zero), 100);
	ck_assert(!zero);
	ck_assert_uint_eq(zero_run(b, 0, 512, &zero), 0);
	ck_assert(zero);
}
END_TEST

START_TEST(buf_grows_and_terminates)
{
	struct buf b = BUF_INIT;
	char *p;
	int i;

	p = buf_take(&b);
	ck_assert_str_eq(p, "");
	free(p);
	for (i = 0; i < 1000; i++)
		buf_fmt(&b, "%d,", i);
	ck_assert_uint_eq(b.len, 3890);
	ck_assert_uint_eq(strlen(b.p), b.len);
	ck_assert_int_eq(strncmp(b.p, "0,1,2,", 6), 0);
	buf_clear(&b);
	buf_add(&b, "a\0b", 3);
	p = buf_grow(&b, 5);
	ck_assert_ptr_nonnull(p);
	ck_assert_int_eq(memcmp(b.p, "a\0b\0\0\0\0\0", 9), 0);
	ck_assert_uint_eq(b.len, 8);
	buf_str(&b, "x");
	buf_char(&b, 'y');
	ck_assert_str_eq(b.p + 8, "xy");
	ck_assert(!buf_failed(&b));
	buf_free(&b);
}
END_TEST

START_TEST(buf_failure_is_sticky)
{
	struct buf b = BUF_INIT;

	ck_assert_ptr_null(buf_grow(&b, (size_t)-1 / 2));
	buf_str(&b, "later");
	ck_assert(buf_failed(&b));
	ck_assert_ptr_null(buf_take(&b));
	buf_free(&b);
	ck_assert(!buf_failed(&b));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("zero");
	TCase *t = tcase_create("zero");
	SRunner *r;
	int failed;

	tcase_add_test(t, finds_any_single_byte);
	tcase_add_test(t, run_of_units);
	tcase_add_test(t, buf_grows_and_terminates);
	tcase_add_test(t, buf_failure_is_sticky);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
