/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static const char *
quoted(struct buf *b, const char *s, unsigned len)
{
	struct json_out j = {.out = b};

	buf_clear(b);
	json_strn(&j, NULL, s, len);
	return b->p;
}

#define QUOTED(b, s) quoted(b, s, sizeof(s) - 1)

/* Expected texts are what qemu-img 7.2 info prints for such backing names. */
START_TEST(strings_are_escaped_as_qemu_does)
{
	struct buf b = BUF_INIT;

	ck_assert_str_eq(QUOTED(&b, "a\"b\\c/"), "\"a\\\"b\\\\c/\"");
	ck_assert_str_eq(QUOTED(&b, "\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
	ck_assert_str_eq(QUOTED(&b, "\001\033[2J\177"),
		"\"\\u0001\\u001B[2J\\u007F\"");
	ck_assert_str_eq(QUOTED(&b, "\xc3\xa9\xe2\x82\xac"),
		"\"\\u00E9\\u20AC\"");
	ck_assert_str_eq(QUOTED(&b, "\xf0\x9f\x90\x84"), "\"\\uD83D\\uDC04\"");
	ck_assert_str_eq(QUOTED(&b, "\xff\x80x"), "\"\\uFFFD\\uFFFDx\"");
	/* cut short, overlong, surrogate, noncharacter, 5 and 6 byte forms */
	ck_assert_str_eq(QUOTED(&b, "\xe2\x82x"), "\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "\xe2\x82"), "\"\\uFFFD\"");
	ck_assert_str_eq(QUOTED(&b, "\xc0\xafx"), "\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "\xc0\x80x"), "\"\\u0000x\"");
	ck_assert_str_eq(QUOTED(&b, "\xed\xa0\x80x"), "\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "\xef\xbf\xbex"), "\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "\xf8\x88\x80\x80\x80x"), "\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "\xfc\x84\x80\x80\x80\x80x"),
		"\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "\xf4\x90\x80\x80x"), "\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "\xfex"), "\"\\uFFFDx\"");
	ck_assert_str_eq(QUOTED(&b, "a\0b"), "\"a\\u0000b\"");
	buf_free(&b);
}
END_TEST

static void
sample(struct json_out *j)
{
	json_open_object(j, NULL);
	json_open_array(j, "list");
	json_u64(j, NULL, UINT64_MAX);
	json_i64(j, NULL, -1);
	json_open_object(j, NULL);
	json_open_array(j, "flags");
	json_close_array(j);
	json_str(j, "name", "n");
	json_close_object(j);
	json_close_array(j);
	json_bool(j, "t", true);
	json_bool(j, "f", false);
	json_close_object(j);
}

START_TEST(layout)
{
	struct buf b = BUF_INIT;
	struct json_out j = {.out = &b, .pretty = true};

	sample(&j);
	ck_assert_str_eq(b.p,
		"{\n"
		"    \"list\": [\n"
		"        18446744073709551615,\n"
		"        -1,\n"
		"        {\n"
		"            \"flags\": [\n"
		"            ],\n"
		"            \"name\": \"n\"\n"
		"        }\n"
		"    ],\n"
		"    \"t\": true,\n"
		"    \"f\": false\n"
		"}");
	buf_clear(&b);
	j = (struct json_out){.out = &b};
	sample(&j);
	ck_assert_str_eq(b.p, "{\"list\": [18446744073709551615, -1, "
		"{\"flags\": [], \"name\": \"n\"}], \"t\": true, \"f\": false}");
	buf_free(&b);
}
END_TEST

START_TEST(flat_keys)
{
	struct parse_opts o = {0};

	ck_assert_int_eq(json_flatten("{\"driver\":\"qcow2\",\"file\":{"
		"\"filename\":\"x,y\",\"ro\":true,\"l\":[1,{\"k\":false}]}}",
		&o, NULL), 0);
	ck_assert_uint_eq(o.n, 5);
	ck_assert_str_eq(parse_opts_get(&o, "driver"), "qcow2");
	ck_assert_str_eq(parse_opts_get(&o, "file.filename"), "x,y");
	ck_assert_str_eq(parse_opts_get(&o, "file.ro"), "on");
	ck_assert_str_eq(parse_opts_get(&o, "file.l.0"), "1");
	ck_assert_str_eq(parse_opts_get(&o, "file.l.1.k"), "off");
	parse_opts_free(&o);
	ck_assert_int_eq(json_flatten("{'a':'\"\\'\\n', \"b\":\"'\\\"\"}",
		&o, NULL), 0);
	ck_assert_str_eq(parse_opts_get(&o, "a"), "\"'\n");
	ck_assert_str_eq(parse_opts_get(&o, "b"), "'\"");
	parse_opts_free(&o);
}
END_TEST

START_TEST(flat_refusals)
{
	static const char *const bad[] = {
		"", "[]", "1", "{\"a\":null}", "{\"a\":1.5}", "{\"a\":1",
		"{\"a\":1}x", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}",
		"{\"a\":\"\xff\"}", "{'a\":1}", "{'a",
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"
		"{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1"
		"}}}}}}}}}}}}}}}}",
	};
	struct parse_opts o = {0};
	struct err e;
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(json_flatten(bad[i], &o, &e) == -1, "%s",
			bad[i]);
		parse_opts_free(&o);
	}
}
END_TEST

START_TEST(deep_text_is_refused_not_followed)
{
	size_t n = 100000;
	char *text = malloc(6 * n + 1);
	struct parse_opts o = {0};
	size_t i;

	for (i = 0; i < n; i++)
		text[i] = '[';
	text[n] = '\0';
	ck_assert_int_eq(json_flatten(text, &o, NULL), -1);
	memset(text, ' ', 6 * n);
	text[6 * n] = '\0';
	ck_assert_int_eq(json_flatten(text, &o, NULL), -1);
	free(text);
	parse_opts_free(&o);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("json");
	TCase *t = tcase_create("json");
	SRunner *r;
	int failed;

	tcase_add_test(t, strings_are_escaped_as_qemu_does);
	tcase_add_test(t, layout);
	tcase_add_test(t, flat_keys);
	tcase_add_test(t, flat_refusals);
	tcase_add_test(t, deep_text_is_refused_not_followed);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
