/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cache/layout.h"

#define SHA "84983e441c3bd26ebaae4aa1f95129e5e54670f1"

static const struct {
	const char *name;
	enum layout_kind kind;
	uint64_t size;
} names[] = {
	{SHA, LAYOUT_IMAGE, 0},
	{SHA "_20", LAYOUT_SIZED, 20},
	{SHA "_1", LAYOUT_SIZED, 1},
	{SHA "_8589934591", LAYOUT_SIZED, 8589934591},
	/* 2^63 bytes and more, or no number: old, or somebody's own */
	{SHA "_8589934592", LAYOUT_SIZED_OLD, 0},
	{SHA "_99999999999999999999", LAYOUT_SIZED_OLD, 0},
	{SHA "_sm", LAYOUT_SIZED_OLD, 0},
	{SHA "_0", LAYOUT_SIZED_OLD, 0},
	{SHA "_020", LAYOUT_SIZED_OLD, 0},
	{SHA "_20\n", LAYOUT_SIZED_OLD, 0},
	{SHA "_", LAYOUT_FOREIGN, 0},
	{SHA "_20.part", LAYOUT_FOREIGN, 0},
	{SHA ".part", LAYOUT_PART, 0},
	{SHA ".converted", LAYOUT_CONVERTED, 0},
	{SHA ".info", LAYOUT_OLD_INFO, 0},
	{SHA "_20.info", LAYOUT_OLD_INFO, 0},
	{SHA ".sha1", LAYOUT_OLD_INFO, 0},
	{SHA ".bak", LAYOUT_FOREIGN, 0},
	{SHA "0", LAYOUT_FOREIGN, 0},
	{SHA "\n", LAYOUT_FOREIGN, 0},
	{"84983E441C3BD26EBAAE4AA1F95129E5E54670F1", LAYOUT_FOREIGN, 0},
	{"84983e441c3bd26ebaae4aa1f95129e5e54670f", LAYOUT_FOREIGN, 0},
	{"swap_512", LAYOUT_SWAP, 512},
	{"swap_", LAYOUT_FOREIGN, 0},
	{"swap_-1", LAYOUT_FOREIGN, 0},
	{"swap_5 ", LAYOUT_FOREIGN, 0},
	{"swap_8796093022208", LAYOUT_FOREIGN, 0}, /* 2^63 bytes */
	{"ephemeral_20_40d1d2c", LAYOUT_EPHEMERAL, 20},
	{"ephemeral_1_default", LAYOUT_EPHEMERAL, 1},
	{"ephemeral_20_40d1d2", LAYOUT_FOREIGN, 0},
	{"ephemeral_20_40d1d2cd", LAYOUT_FOREIGN, 0},
	{"ephemeral__40d1d2c", LAYOUT_FOREIGN, 0},
	{"ephemeral_20", LAYOUT_FOREIGN, 0},
	{".byre", LAYOUT_STATE, 0},
	{"", LAYOUT_FOREIGN, 0},
	{"lost+found", LAYOUT_FOREIGN, 0},
	/* longer than anything that we could build */
	{SHA "_aaaaaaaaaaaaaaaaaaaaaaaaaaaaa", LAYOUT_FOREIGN, 0},
};

START_TEST(names_mean)
{
	struct layout_name n;
	unsigned i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		layout_classify(names[i].name, &n);
		ck_assert_msg(n.kind == names[i].kind, "'%s' is a %d",
			names[i].name, n.kind);
		ck_assert_msg(n.size == names[i].size, "'%s' has %llu",
			names[i].name, (unsigned long long)n.size);
		if (n.kind != LAYOUT_FOREIGN && n.image[0])
			ck_assert_str_eq(n.image, SHA);
	}
	layout_classify("ephemeral_20_40d1d2c", &n);
	ck_assert_str_eq(n.format, "40d1d2c");
	ck_assert_str_eq(n.image, "");
}
END_TEST

START_TEST(names_are_built)
{
	char name[LAYOUT_NAME];
	struct layout_name n;
	struct err e = {0};

	ck_assert_int_eq(layout_image("bild-\xc3\xa4", name, &e), 0);
	ck_assert_str_eq(name, "5615294d72ededb247611c87dd281ebaacbb2102");
	ck_assert_int_eq(layout_image("7f3c\n", name, &e), 0);
	ck_assert_str_eq(name, "e4dfe342d4cd8f00aa28fdd64d95edd8b07e2188");
	layout_sized(SHA, UINT64_MAX, name);
	ck_assert_str_eq(name, SHA "_18446744073709551615");
	layout_sized(SHA, 20, name);
	layout_classify(name, &n);
	ck_assert_int_eq(n.kind, LAYOUT_SIZED);
	layout_swap(512, name);
	ck_assert_str_eq(name, "swap_512");
	layout_ephemeral(20, "ext4", name);
	ck_assert_str_eq(name, "ephemeral_20_40d1d2c");
	layout_ephemeral(1, "mkfs.ext4 -L %(fs_label)s -F %(target)s", name);
	ck_assert_str_eq(name, "ephemeral_1_cfcfd11");
}
END_TEST

START_TEST(ids_are_refused)
{
	static const char *const bad[] = {"", "\xff", "a\xc3", "\xc0\xaf",
		"\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80", "\x80",
		"\xef\xbf\xbf"};
	char name[LAYOUT_NAME] = "untouched", longest[LAYOUT_ID_MAX + 2];
	struct err e;
	unsigned i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e = (struct err){0};
		ck_assert_int_eq(layout_image(bad[i], name, &e), -1);
		ck_assert_int_eq(e.kind, ERR_USAGE);
		ck_assert_str_eq(name, "untouched");
	}
	memset(longest, 'x', sizeof(longest));
	longest[LAYOUT_ID_MAX + 1] = '\0';
	ck_assert_int_eq(layout_image(longest, name, &e), -1);
	longest[LAYOUT_ID_MAX] = '\0';
	ck_assert_int_eq(layout_image(longest, name, &e), 0);
	/* the whole range of what is text */
	ck_assert_int_eq(layout_image("\xf4\x8f\xbf\xbd/../..", name, &e), 0);
	ck_assert(layout_is_sha1(name));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("layout");
	TCase *t = tcase_create("layout");
	SRunner *r;
	int failed;

	tcase_add_test(t, names_mean);
	tcase_add_test(t, names_are_built);
	tcase_add_test(t, ids_are_refused);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
