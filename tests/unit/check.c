/* SPDX-License-Identifier: MIT */
/* References counted in memory, against a plain array: widths, pages, counts
 * that do not fit in a byte, and growth; and numbers by number. */
#include <check.h>
#include <stdlib.h>

#include "format/qcow2_counts.h"
#include "format/qcow2_overlap.h"

#define N 5000u

START_TEST(counts_are_those_of_an_array)
{
	unsigned order = (unsigned)_i;
	uint64_t max = order == 6 ? UINT64_MAX
		: (UINT64_C(1) << (1u << order)) - 1;
	uint64_t *want = calloc(N + 10, sizeof(*want)), over, lost = 0;
	struct qcow2_counts c;
	uint64_t seed = 1;
	struct err e;

	ck_assert_ptr_nonnull(want);
	ck_assert_int_eq(qcow2_counts_open(&c, N, order, &e), 0);
	for (unsigned i = 0; i < 100000; i++) {
		uint64_t clu, times, fit;

		seed = seed * UINT64_C(6364136223846793005) + 1;
		/* few are met often */
		clu = seed >> 33 & 1 ? seed >> 40 & 15 : (seed >> 40) % N;
		times = (seed >> 60) == 0 ? 100 : 1;
		if (times == 1 && qcow2_counts_bump(&c, clu, 0)) {
			want[clu]++;
			continue;
		}
		ck_assert_int_eq(qcow2_counts_add(&c, clu, times, 0, &over,
			&e), 0);
		fit = max - want[clu] < times ? max - want[clu] : times;
		ck_assert_uint_eq(over, times - fit);
		want[clu] += fit;
		lost += over;
	}
	for (unsigned i = 0; i < N; i++)
		ck_assert_uint_eq(qcow2_counts_get(&c, i), want[i]);
	ck_assert_int_eq(lost > 0, order <= 3);
	ck_assert_int_eq(qcow2_counts_grow(&c, N + 10, &e), 0);
	ck_assert_int_eq(qcow2_counts_set(&c, N + 9, max, &e), 0);
	ck_assert_uint_eq(qcow2_counts_get(&c, N + 9), max);
	ck_assert_uint_eq(qcow2_counts_get(&c, N + 8), 0);
	ck_assert_int_eq(qcow2_counts_set(&c, N + 9, 2 & max, &e), 0);
	ck_assert_uint_eq(qcow2_counts_get(&c, N + 9), 2 & max);
	qcow2_counts_reset(&c);
	for (unsigned i = 0; i < N + 10; i++)
		ck_assert_uint_eq(qcow2_counts_get(&c, i), 0);
	qcow2_counts_close(&c);
	free(want);
}
END_TEST

START_TEST(flags_stay_with_their_cluster)
{
	struct qcow2_counts c;
	uint64_t over;
	struct err e;

	ck_assert_int_eq(qcow2_counts_open(&c, 100, 4, &e), 0);
	ck_assert(!qcow2_counts_bump(&c, 7, QCOW2_COUNTS_COPIED));
	ck_assert_int_eq(qcow2_counts_add(&c, 7, 1, QCOW2_COUNTS_COPIED, &over,
		&e), 0);
	ck_assert(qcow2_counts_bump(&c, 7, QCOW2_COUNTS_SHARED));
	ck_assert_uint_eq(qcow2_counts_byte(&c, 7),
		2 | QCOW2_COUNTS_COPIED | QCOW2_COUNTS_SHARED);
	ck_assert_int_eq(qcow2_counts_add(&c, 7, 500, 0, &over, &e), 0);
	ck_assert_uint_eq(qcow2_counts_get(&c, 7), 502);
	ck_assert_uint_eq(qcow2_counts_byte(&c, 7) & ~QCOW2_COUNTS_VALUE,
		QCOW2_COUNTS_COPIED | QCOW2_COUNTS_SHARED);
	qcow2_counts_close(&c);
}
END_TEST

START_TEST(an_index_finds_what_was_added)
{
	struct qcow2_index x;
	struct err e;

	qcow2_index_init(&x);
	ck_assert_ptr_null(qcow2_index_find(&x, 0));
	for (uint64_t i = 0; i < 10000; i++)
		ck_assert_int_eq(qcow2_index_add(&x, i << 40, i, &e), 0);
	for (uint64_t i = 0; i < 10000; i++) {
		ck_assert_uint_eq(*qcow2_index_find(&x, i << 40), i);
		ck_assert_ptr_null(qcow2_index_find(&x, (i << 40) + 1));
	}
	qcow2_index_free(&x);
	ck_assert_ptr_null(qcow2_index_find(&x, 0));
}
END_TEST

/* All these fell on one slot of a table whose hash everybody knows. The time
 * that a test has is the limit. */
START_TEST(places_are_found_though_an_image_chose_them)
{
	const uint64_t golden = UINT64_C(0x9e3779b97f4a7c15), n = 1 << 18;
	struct qcow2_overlap o = {.cluster_bits = 0};
	uint64_t step = golden, found = 0;
	struct err e;

	for (unsigned i = 0; i < 6; i++)
		step *= 2 - golden * step; /* its inverse */
	step &= (UINT64_C(1) << 40) - 1;
	for (uint64_t i = 1; i <= n; i++) {
		if (qcow2_overlap_add(&o, QCOW2_META_L2, i * step, &e) < 0)
			ck_abort_msg("%s", e.msg);
	}
	ck_assert_uint_eq(o.tables.n, n);
	for (uint64_t i = 1; i <= n; i++)
		found += qcow2_overlap_find(&o, QCOW2_META_NONE, i * step,
			1) == QCOW2_META_L2;
	ck_assert_uint_eq(found, n);
	qcow2_overlap_free(&o);
}
END_TEST

/* Tables of different kinds in one cluster: the one that QEMU names. */
START_TEST(the_first_of_several_is_named)
{
	struct qcow2_overlap o = {.cluster_bits = 9};
	struct err e;

	ck_assert_int_eq(qcow2_overlap_add(&o, QCOW2_META_L2, 512, &e), 0);
	ck_assert_int_eq(qcow2_overlap_add(&o, QCOW2_META_REFBLOCK, 512, &e),
		0);
	ck_assert_int_eq(qcow2_overlap_find(&o, QCOW2_META_NONE, 600, 1),
		QCOW2_META_L2);
	ck_assert_int_eq(qcow2_overlap_add_l1(&o, 0, 513, &e), 0);
	qcow2_overlap_seal(&o);
	ck_assert_int_eq(qcow2_overlap_find(&o, QCOW2_META_L2, 512, 1),
		QCOW2_META_SNAPSHOT_L1);
	qcow2_overlap_put(&o, QCOW2_META_REFTABLE, 512, 512);
	ck_assert_int_eq(qcow2_overlap_find(&o, QCOW2_META_L2, 0, 1024),
		QCOW2_META_REFTABLE);
	qcow2_overlap_free(&o);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("check");
	TCase *t = tcase_create("counts");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, counts_are_those_of_an_array, 0, 7);
	tcase_add_test(t, flags_stay_with_their_cluster);
	tcase_add_test(t, an_index_finds_what_was_added);
	tcase_add_test(t, places_are_found_though_an_image_chose_them);
	tcase_add_test(t, the_first_of_several_is_named);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
