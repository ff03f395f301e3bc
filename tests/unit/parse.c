/* SPDX-License-Identifier: MIT */
/* Numbers and lists. Each size string is also given to a genuine qemu-img
 * create, where there is one: same verdict, same size. */
#include <check.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/units.h"

#define BAD UINT64_MAX        /* ERR_USAGE */
#define BIG (UINT64_MAX - 1)  /* ERR_LIMIT */

static const struct {
	const char *s;
	uint64_t v;
} sizes[] = {
	{"0", 0}, {"1", 1}, {"512", 512}, {"65536", 65536}, {"1k", 1024},
	{"1K", 1024}, {"1b", 1}, {"1B", 1}, {"512b", 512}, {"1m", 1u << 20},
	{"1G", 1u << 30}, {"1t", UINT64_C(1) << 40}, {"1P", UINT64_C(1) << 50},
	{"7E", UINT64_C(7) << 60}, {"8E", BIG}, {"16E", BIG},
	{"7.99999E", UINT64_C(9223360507639729792)},
	{"8388607.9999999T", UINT64_C(9223372036854665857)},
	{"9223372036854775807", INT64_MAX}, {"9223372036854775808", BIG},
	{"18446744073709551615", BIG}, {"18446744073709551616", BIG},
	{"12345678901234567890123", BIG},
	{"9007199254740993", UINT64_C(9007199254740993)},
	{"1.5k", 1536}, {"0.5k", 512}, {".5k", BAD}, {"1.5", BAD}, {"1.", 1},
	{"1.k", 1024}, {"1.0", 1}, {"1.0b", 1}, {"1.5b", BAD},
	{"0.0001k", 0}, {"0.1m", 104858}, {"0.00048828125M", 512},
	{"1.9999999999999999999k", 1024}, {"1.00000000000000001G", 1u << 30},
	{"1.p", UINT64_C(1) << 50}, {"1e3", BAD}, {"1.5e3", BAD},
	{"1.5E3", BAD}, {"1.4p3", BAD}, {"1.-5k", BAD}, {"1.+5k", BAD},
	{"1. 5k", BAD}, {"1.0x8k", BAD}, {"1.infk", BAD}, {"1.nank", BAD},
	{"1,5k", BAD}, {"0x200", 512}, {"0X10", 16}, {"0x1b", 27},
	{"0x200k", 524288}, {"0x", BAD}, {"0xk", BAD}, {"0x1.8", BAD},
	{"0x-5", BAD}, {"0xffffffffffffffffff", BIG}, {"010", 10}, {"08", 8},
	{" 512", 512}, {"\t8k", 8192}, {"512 ", BAD}, {"+512", 512},
	{"-512", BAD}, {"-0", BAD}, {" -1k", BAD}, {"1kb", BAD}, {"", BAD},
	{"k", BAD}, {"1.5K7", BAD}, {"1z", BAD}, {"\xc3\xa9", BAD},
};

START_TEST(sizes_in_the_table)
{
	struct err e;
	uint64_t v;
	size_t i;
	int r;

	for (i = 0; i < COUNT_OF(sizes); i++) {
		v = 12345;
		r = parse_size(sizes[i].s, &v, &e);
		if (sizes[i].v >= BIG) {
			ck_assert_msg(r == -1, "'%s' gave %llu", sizes[i].s,
				(unsigned long long)v);
			ck_assert_int_eq(e.kind, sizes[i].v == BAD ?
				ERR_USAGE : ERR_LIMIT);
			ck_assert_uint_eq(v, 12345);
			continue;
		}
		ck_assert_msg(r == 0 && v == sizes[i].v, "'%s' gave %d %llu",
			sizes[i].s, r, (unsigned long long)v);
	}
}
END_TEST

/* Runs qemu-img create -f raw: the file is sparse, and whether the file system
 * takes a size is of no interest. Text of both streams; exit status. */
static int
oracle(const char *dir, const char *size, char *out, size_t cap)
{
	char path[PATH_MAX];
	size_t n = 0;
	ssize_t got;
	int p[2], status;
	pid_t pid;

	snprintf(path, sizeof(path), "%s/x", dir);
	ck_assert_int_eq(pipe(p), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(p[1], 1);
		dup2(p[1], 2);
		close(p[0]);
		execlp("qemu-img", "qemu-img", "create", "-f", "raw", path,
			"--", size, (char *)NULL);
		_exit(127);
	}
	close(p[1]);
	while (n + 1 < cap && (got = read(p[0], out + n, cap - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
	close(p[0]);
	waitpid(pid, &status, 0);
	unlink(path);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(sizes_as_qemu_img_takes_them)
{
	char dir[] = "/tmp/byre-parse-XXXXXX", text[4096], *at;
	uint64_t v;
	size_t i;
	int r;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (i = 0; i < COUNT_OF(sizes); i++) {
		r = oracle(dir, sizes[i].s, text, sizeof(text));
		if (r == 127) {
			printf("no qemu-img: sizes are not compared\n");
			break;
		}
		/* the size is printed before the file system has its say */
		at = strstr(text, "fmt=raw size=");
		v = at ? strtoull(at + 13, NULL, 10) :
			strstr(text, "Must be between") ? BIG : BAD;
		ck_assert_msg(v == sizes[i].v, "'%s': qemu-img says %s",
			sizes[i].s, text);
	}
	rmdir(dir);
}
END_TEST

START_TEST(plain_numbers)
{
	uint64_t v;

	ck_assert_int_eq(parse_u64("16", 1, 16, &v, NULL), 0);
	ck_assert_uint_eq(v, 16);
	ck_assert_int_eq(parse_u64("0x10", 1, 16, &v, NULL), 0);
	ck_assert_uint_eq(v, 16);
	ck_assert_int_eq(parse_u64("18446744073709551615", 0, UINT64_MAX, &v,
		NULL), 0);
	ck_assert_uint_eq(v, UINT64_MAX);
	ck_assert_int_eq(parse_u64("18446744073709551616", 0, UINT64_MAX, &v,
		NULL), -1);
	ck_assert_int_eq(parse_u64("17", 1, 16, &v, NULL), -1);
	ck_assert_int_eq(parse_u64("0", 1, 16, &v, NULL), -1);
	ck_assert_int_eq(parse_u64("", 0, 16, &v, NULL), -1);
	ck_assert_int_eq(parse_u64("-1", 0, UINT64_MAX, &v, NULL), -1);
	ck_assert_int_eq(parse_u64(" 1", 0, 16, &v, NULL), -1);
	ck_assert_int_eq(parse_u64("1k", 0, 16, &v, NULL), -1);
	ck_assert_int_eq(parse_u64("0x", 0, 16, &v, NULL), -1);
}
END_TEST

START_TEST(booleans)
{
	bool b = false;

	ck_assert_int_eq(parse_bool("on", &b, NULL), 0);
	ck_assert(b);
	ck_assert_int_eq(parse_bool("n", &b, NULL), 0);
	ck_assert(!b);
	ck_assert_int_eq(parse_bool("true", &b, NULL), 0);
	ck_assert(b);
	ck_assert_int_eq(parse_bool("ON", &b, NULL), -1);
	ck_assert_int_eq(parse_bool("", &b, NULL), -1);
	ck_assert(b);
}
END_TEST

START_TEST(option_lists)
{
	struct parse_opts o = {0};

	ck_assert_int_eq(parse_opts_add(&o, "a,,b,size=1,,2,,,x=,lazy,nolock",
		"file", NULL), 0);
	ck_assert_uint_eq(o.n, 5);
	ck_assert_str_eq(o.v[0].key, "file");
	ck_assert_str_eq(o.v[0].value, "a,b");
	ck_assert_str_eq(parse_opts_get(&o, "size"), "1,2,");
	ck_assert_str_eq(parse_opts_get(&o, "x"), "");
	ck_assert_str_eq(parse_opts_get(&o, "lazy"), "on");
	ck_assert_str_eq(parse_opts_get(&o, "lock"), "off");
	ck_assert(!o.v[0].bare && !o.v[1].bare && !o.v[2].bare);
	ck_assert(o.v[3].bare && o.v[4].bare);
	ck_assert_int_eq(parse_opts_add(&o, "size=3", NULL, NULL), 0);
	ck_assert_str_eq(parse_opts_get(&o, "size"), "3");
	ck_assert_ptr_null(parse_opts_get(&o, "nothing"));
	parse_opts_free(&o);
	/* an = makes it a key, even in the first place */
	ck_assert_int_eq(parse_opts_add(&o, "driver=raw,=5", "file", NULL), 0);
	ck_assert_str_eq(parse_opts_get(&o, "driver"), "raw");
	ck_assert_str_eq(parse_opts_get(&o, ""), "5");
	parse_opts_free(&o);
	ck_assert_int_eq(parse_opts_add(&o, "", "file", NULL), 0);
	ck_assert_uint_eq(o.n, 0);
	parse_opts_free(&o);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("parse");
	TCase *t = tcase_create("parse");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, sizes_in_the_table);
	tcase_add_test(t, sizes_as_qemu_img_takes_them);
	tcase_add_test(t, plain_numbers);
	tcase_add_test(t, booleans);
	tcase_add_test(t, option_lists);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
