/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

START_TEST(quote_escapes_what_a_terminal_would_act_on)
{
	char out[64];
	const char in[] = "a\033[2J\nb\x7f\xff\\";

	err_quote(out, sizeof(out), in, sizeof(in) - 1);
	ck_assert_str_eq(out, "a\\x1b[2J\\x0ab\\x7f\\xff\\x5c");
}
END_TEST

START_TEST(quote_keeps_utf8_and_escapes_c1_and_overlong)
{
	char out[64];

	err_quote(out, sizeof(out), "\xc3\xa9", 2);
	ck_assert_str_eq(out, "\xc3\xa9");
	err_quote(out, sizeof(out), "\xc2\x9b", 2); /* CSI */
	ck_assert_str_eq(out, "\\xc2\\x9b");
	err_quote(out, sizeof(out), "\xc0\xaf", 2); /* overlong slash */
	ck_assert_str_eq(out, "\\xc0\\xaf");
	err_quote(out, sizeof(out), "\xe2\x82", 2); /* cut short */
	ck_assert_str_eq(out, "\\xe2\\x82");
}
END_TEST

START_TEST(quote_is_bounded)
{
	char out[16], in[4096];

	memset(in, '\n', sizeof(in));
	err_quote(out, sizeof(out), in, sizeof(in));
	ck_assert_uint_lt(strlen(out), sizeof(out));
	ck_assert_str_eq(out + strlen(out) - 3, "...");
}
END_TEST

START_TEST(text_is_file_message_errno)
{
	struct err e;
	char out[256];

	ck_assert_int_eq(err_sys(&e, ENOENT, "cannot open"), -1);
	err_file(&e, "a/b");
	err_file(&e, "outer"); /* the inner name stays */
	err_prefix(&e, "backing file");
	err_text(&e, out, sizeof(out));
	ck_assert_str_eq(out,
		"a/b: backing file: cannot open: No such file or directory");
	ck_assert_int_eq(e.kind, ERR_IO);
	err_sys(&e, ENOMEM, "x");
	ck_assert_int_eq(e.kind, ERR_NOMEM);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("err");
	TCase *t = tcase_create("err");
	SRunner *r;
	int failed;

	tcase_add_test(t, quote_escapes_what_a_terminal_would_act_on);
	tcase_add_test(t, quote_keeps_utf8_and_escapes_c1_and_overlong);
	tcase_add_test(t, quote_is_bounded);
	tcase_add_test(t, text_is_file_message_errno);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
