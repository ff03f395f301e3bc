/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cache/clean_plan.h"
#include "cache/hosts.h"

#define NOW 1000000
#define DAY 86400

static struct clean_plan_limits
limits(void)
{
	return (struct clean_plan_limits){
		.start = {.tv_sec = NOW, .tv_nsec = 500},
		.min_age = DAY,
		.min_age_resized = 3600,
		.shared = "",
	};
}

static struct clean_plan_file
file(const char *name, int64_t age)
{
	return (struct clean_plan_file){
		.name = name,
		.kind = LAYOUT_IMAGE,
		.regular = true,
		.bytes = 100,
		.mtime = {.tv_sec = NOW - age},
		.born = 1000,
	};
}

static enum clean_plan_verdict
judge(struct clean_plan_file f, struct clean_plan_limits l)
{
	struct clean_plan_sums s;

	clean_plan_make(&f, 1, &l, &s);
	ck_assert_msg(f.why[0], "no reason is given");
	ck_assert_uint_eq(s.removed,
		f.verdict == CLEAN_PLAN_REMOVE ? f.bytes : 0);
	return f.verdict;
}

START_TEST(ages_are_by_kind)
{
	static const struct {
		enum layout_kind kind;
		int64_t limit;
	} v[] = {
		{LAYOUT_IMAGE, DAY}, {LAYOUT_SWAP, DAY},
		{LAYOUT_EPHEMERAL, DAY}, {LAYOUT_PART, DAY},
		{LAYOUT_CONVERTED, DAY}, {LAYOUT_SIZED, 3600},
		{LAYOUT_SIZED_OLD, 3600},
	};
	unsigned i;

	for (i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct clean_plan_file f = file("a", v[i].limit);

		f.kind = v[i].kind;
		ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_REMOVE);
		f = file("a", v[i].limit - 1);
		f.kind = v[i].kind;
		ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_KEEP);
	}
}
END_TEST

START_TEST(leftovers_are_a_day_old)
{
	struct clean_plan_limits l = limits();
	struct clean_plan_file f = file("a", DAY - 1);

	l.min_age = 0;
	f.kind = LAYOUT_PART;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.kind = LAYOUT_IMAGE;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_REMOVE);
	l.min_age = 2 * DAY;
	f = file("a", 2 * DAY - 1);
	f.kind = LAYOUT_CONVERTED;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
}
END_TEST

START_TEST(what_is_not_ours_stays)
{
	static const enum layout_kind v[] = {LAYOUT_FOREIGN, LAYOUT_OLD_INFO,
		LAYOUT_STATE};
	struct clean_plan_file f;
	unsigned i;

	for (i = 0; i < 3; i++) {
		f = file("a", 10 * DAY);
		f.kind = v[i];
		ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_KEEP);
	}
	f = file("a", 10 * DAY);
	f.regular = false;
	ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_KEEP);
}
END_TEST

START_TEST(use_is_touched)
{
	struct clean_plan_file f = file("a", 10 * DAY);

	f.users = (struct users_answer){.disks = 2, .disk = "i/di\nsk"};
	ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_TOUCH);
	f = file("a", 10 * DAY);
	f.listed_used = true;
	ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_TOUCH);
	f = file("a", 10 * DAY);
	f.holder = 17;
	ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_TOUCH);
	/* somebody writes it: its time is his */
	f.kind = LAYOUT_PART;
	ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_KEEP);
	f = file("a", 10 * DAY);
	f.pinned = true;
	ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_KEEP);
	/* what the caller lists as unused is used nonetheless */
	f = file("a", 10 * DAY);
	f.listed_unused = true;
	f.users = (struct users_answer){.disks = 1, .disk = "i/disk"};
	ck_assert_int_eq(judge(f, limits()), CLEAN_PLAN_TOUCH);
}
END_TEST

START_TEST(touched_since_is_used)
{
	struct clean_plan_limits l = limits();
	struct clean_plan_file f = file("a", 0);

	l.min_age = 0;
	l.has_budget = true;
	f.mtime.tv_nsec = 499;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_REMOVE);
	f.mtime.tv_nsec = 500;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	/* a clock that went back */
	f = file("a", -DAY);
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
}
END_TEST

START_TEST(another_host_keeps_all)
{
	struct clean_plan_limits l = limits();
	struct clean_plan_file f = file("a", 10 * DAY);

	l.shared = "other";
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.listed_unused = true;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_REMOVE);
	f.listed_unused = false;
	f.kind = LAYOUT_PART;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
}
END_TEST

START_TEST(darkness_keeps_what_was_there)
{
	struct users_dark d = {.disk = (char *)"i/disk", .changed = 5000};
	struct clean_plan_limits l = limits();
	struct clean_plan_file f = file("a", 10 * DAY);

	l.dark = &d;
	l.n_dark = 1;
	f.born = 5000;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.born = 5060;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.born = 5061;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_REMOVE);
	/* that no other host uses it does not tell what this one does */
	f.listed_unused = true;
	f.born = 5060;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.listed_unused = false;
	/* an inode younger than its time: a copy of what may be any age */
	f.born = f.mtime.tv_sec + 1;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.born--;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_REMOVE);
	f.born = 0;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.born = 900000;
	d.changed = INT64_MAX;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_KEEP);
	f.kind = LAYOUT_PART;
	ck_assert_int_eq(judge(f, l), CLEAN_PLAN_REMOVE);
}
END_TEST

START_TEST(budget_takes_the_oldest)
{
	struct clean_plan_limits l = limits();
	struct clean_plan_file v[] = {file("a", 100), file("b", 300),
		file("c", 200), file("d", 400), file("e", 2 * DAY)};
	struct clean_plan_sums s;

	v[3].pinned = true;
	l.has_budget = true;
	l.budget = 250;
	clean_plan_make(v, 5, &l, &s);
	/* e by age; then b and c */
	ck_assert_int_eq(v[0].verdict, CLEAN_PLAN_KEEP);
	ck_assert_int_eq(v[1].verdict, CLEAN_PLAN_REMOVE);
	ck_assert_int_eq(v[2].verdict, CLEAN_PLAN_REMOVE);
	ck_assert_int_eq(v[3].verdict, CLEAN_PLAN_KEEP);
	ck_assert_int_eq(v[4].verdict, CLEAN_PLAN_REMOVE);
	ck_assert(v[1].for_room && !v[4].for_room);
	ck_assert_uint_eq(s.bytes, 500);
	ck_assert_uint_eq(s.removed, 300);
	ck_assert_uint_eq(s.needed, 250);
	ck_assert_uint_eq(s.lacking, 0);
	v[1].mtime.tv_sec = NOW - 10;
	l.budget = 350;
	clean_plan_make(v, 5, &l, &s);
	ck_assert_int_eq(v[1].verdict, CLEAN_PLAN_KEEP);
	ck_assert_int_eq(v[2].verdict, CLEAN_PLAN_REMOVE);
	l.budget = 0;
	clean_plan_make(v, 5, &l, &s);
	ck_assert_uint_eq(s.removed, 400);
	ck_assert_uint_eq(s.lacking, 100);
}
END_TEST

START_TEST(watermarks)
{
	struct clean_plan_limits l = limits();
	struct clean_plan_file v[] = {file("a", 100), file("b", 300)};
	struct clean_plan_sums s;

	v[0].bytes = v[1].bytes = 6 << 10;
	l.high = 90;
	l.low = 85;
	l.fs_size = 100 << 10;
	l.fs_used = 90 << 10;
	clean_plan_make(v, 2, &l, &s);
	ck_assert_uint_eq(s.removed, 0);
	l.fs_used = 91 << 10;
	clean_plan_make(v, 2, &l, &s);
	ck_assert_int_eq(v[0].verdict, CLEAN_PLAN_KEEP);
	ck_assert_int_eq(v[1].verdict, CLEAN_PLAN_REMOVE);
	l.low = 84;
	clean_plan_make(v, 2, &l, &s);
	ck_assert_int_eq(v[0].verdict, CLEAN_PLAN_REMOVE);
}
END_TEST

START_TEST(never_is_never)
{
	struct clean_plan_limits l = limits();

	l.min_age = CLEAN_PLAN_NEVER;
	ck_assert_int_eq(judge(file("a", NOW), l), CLEAN_PLAN_KEEP);
}
END_TEST

static const char *
shared(const char *text, const char *known)
{
	static char host[HOSTS_NAME];

	hosts_decode(text, "self", known ? &known : NULL, known != NULL, NOW,
		host);
	return host;
}

START_TEST(hosts_of_a_day)
{
	ck_assert_str_eq(shared("", NULL), "(compute_nodes is empty)");
	ck_assert_int_eq(shared(" \n", NULL)[0], '(');
	ck_assert_str_eq(shared("{}", NULL), "");
	ck_assert_str_eq(shared("{\"self\": 1000000.5}", NULL), "");
	ck_assert_str_eq(shared("{\"a.b\": 999999.25}", NULL), "a.b");
	ck_assert_str_eq(shared("{\"a.b\": 999999.25}", "a.b"), "");
	ck_assert_str_eq(shared("{\"a\": 913600}", NULL), "a");
	ck_assert_str_eq(shared("{\"a\": 913599.5}", NULL), "");
	ck_assert_str_eq(shared("{\"a\": 2000000}", NULL), "a");
	ck_assert_str_eq(shared("{\"a\": null}", NULL), "a");
	ck_assert_str_eq(shared("{\"a\": \"x\"}", NULL), "a");
	ck_assert_str_eq(shared("{\"a\\n\": 999999}", NULL), "a\\x0a");
	ck_assert_int_eq(shared("{", NULL)[0], '(');
	ck_assert_int_eq(shared("[]", NULL)[0], '(');
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("clean_plan");
	TCase *t = tcase_create("clean_plan");
	SRunner *r;
	int failed;

	tcase_add_test(t, ages_are_by_kind);
	tcase_add_test(t, leftovers_are_a_day_old);
	tcase_add_test(t, what_is_not_ours_stays);
	tcase_add_test(t, use_is_touched);
	tcase_add_test(t, touched_since_is_used);
	tcase_add_test(t, another_host_keeps_all);
	tcase_add_test(t, darkness_keeps_what_was_there);
	tcase_add_test(t, budget_takes_the_oldest);
	tcase_add_test(t, watermarks);
	tcase_add_test(t, never_is_never);
	tcase_add_test(t, hosts_of_a_day);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
