/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "io/pool.h"

struct job {
	atomic_uint ran;     /* bit per worker */
	atomic_uint unblocked;
	struct pool_order order;
	uint64_t out[1000];
	unsigned n;          /* in order's turn */
	unsigned fail_at;
};

static int
note(void *arg, unsigned i, struct err *e)
{
	struct job *j = arg;
	sigset_t set;

	atomic_fetch_or(&j->ran, 1U << i);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	if (i > 0 && !sigismember(&set, SIGINT))
		atomic_fetch_add(&j->unblocked, 1);
	if (j->fail_at && i == j->fail_at)
		return err_set(e, ERR_LIMIT, "worker %u", i);
	return 0;
}

START_TEST(all_workers_run_and_the_callers_signals_stay)
{
	struct job j = {0};
	struct err e = {0};
	sigset_t set;

	ck_assert_int_eq(pool_run(8, note, &j, &e), 0);
	ck_assert_uint_eq(j.ran, 0xff);
	ck_assert_uint_eq(j.unblocked, 0);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	ck_assert(!sigismember(&set, SIGINT));
	ck_assert_uint_ge(pool_cpus(), 1);
	ck_assert_uint_le(pool_cpus(), POOL_WORKERS_MAX);
}
END_TEST

START_TEST(the_workers_error_is_the_callers)
{
	struct job j = {.fail_at = 3};
	struct err e = {0};

	ck_assert_int_eq(pool_run(8, note, &j, &e), -1);
	ck_assert_int_eq(e.kind, ERR_LIMIT);
	ck_assert_str_eq(e.msg, "worker 3");
	ck_assert_int_eq(pool_run(8, note, &j, NULL), -1);
}
END_TEST

static int
take_turns(void *arg, unsigned i, struct err *e)
{
	struct job *j = arg;
	uint64_t ticket;

	(void)i;
	while ((ticket = pool_order_take(&j->order)) < COUNT_OF(j->out)) {
		if (!pool_order_wait(&j->order, ticket))
			return err_set(e, ERR_CANCELLED, "stopped");
		j->out[j->n++] = ticket;
		if (j->fail_at && ticket == j->fail_at) {
			pool_order_stop(&j->order);
			return err_set(e, ERR_LIMIT, "enough");
		}
		pool_order_done(&j->order, ticket);
	}
	return 0;
}

START_TEST(turns_come_in_the_order_of_tickets)
{
	struct job j = {0};
	struct err e = {0};
	unsigned i;

	pool_order_init(&j.order);
	ck_assert_int_eq(pool_run(8, take_turns, &j, &e), 0);
	ck_assert_uint_eq(j.n, COUNT_OF(j.out));
	for (i = 0; i < j.n; i++)
		ck_assert_uint_eq(j.out[i], i);
	ck_assert(!pool_order_stopped(&j.order));
	pool_order_destroy(&j.order);
}
END_TEST

START_TEST(stop_wakes_all_who_wait)
{
	struct job j = {.fail_at = 500};
	struct err e = {0};

	pool_order_init(&j.order);
	ck_assert_int_eq(pool_run(8, take_turns, &j, &e), -1);
	ck_assert_int_eq(e.kind == ERR_LIMIT || e.kind == ERR_CANCELLED, 1);
	ck_assert_uint_eq(j.n, 501);
	ck_assert(pool_order_stopped(&j.order));
	ck_assert(!pool_order_wait(&j.order, 0));
	pool_order_destroy(&j.order);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("pool");
	TCase *t = tcase_create("pool");
	SRunner *r;
	int failed;

	tcase_add_test(t, all_workers_run_and_the_callers_signals_stay);
	tcase_add_test(t, the_workers_error_is_the_callers);
	tcase_add_test(t, turns_come_in_the_order_of_tickets);
	tcase_add_test(t, stop_wakes_all_who_wait);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
