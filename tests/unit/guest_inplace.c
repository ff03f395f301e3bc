/* SPDX-License-Identifier: MIT */
/* Guest data into images written by hand: what is overwritten, what gets a new
 * place, and that metadata is never written over. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2_empty.h"
#include "format/qcow2_guest.h"
#include "op/convert.h"
#include "op/inplace.h"
#include "qcow2_bytes.h"
#include "tmpdir.h"

#define CLUSTER 512
#define TABLE (64 * CLUSTER) /* guest bytes of one L2 table */
#define BYTES (16 * CLUSTER)
#define COPIED (UINT64_C(1) << 63)

static const struct gate trusted = {.trusted = true};

/* Header, refcount table, one block, an L1 with one entry, its L2, and data
 * for guest clusters 0 (alone) and 1 (shared with a snapshot, so they say). */
static void
make_image(uint8_t *p)
{
	memset(p, 0, BYTES);
	put_header(p, 9, TABLE, 1);
	put64(p, 1 * CLUSTER, 2 * CLUSTER);
	for (unsigned i = 0; i < 7; i++)
		p[2 * CLUSTER + i * 2 + 1] = 1;
	p[2 * CLUSTER + 6 * 2 + 1] = 2;
	put64(p, 3 * CLUSTER, COPIED | 4 * CLUSTER);
	put64(p, 4 * CLUSTER, COPIED | 5 * CLUSTER);
	put64(p, 4 * CLUSTER + 8, 6 * CLUSTER);
	memset(p + 5 * CLUSTER, 0x55, 2 * CLUSTER);
}

static void
save(const char *name, const void *p, size_t len)
{
	FILE *f = fopen(name, "wb");

	ck_assert(f && fwrite(p, 1, len, f) == len);
	ck_assert_int_eq(fclose(f), 0);
}

static size_t
load(const char *name, uint8_t *p, size_t cap)
{
	FILE *f = fopen(name, "rb");
	size_t n;

	ck_assert_ptr_nonnull(f);
	n = fread(p, 1, cap, f);
	fclose(f);
	return n;
}

/* Three clusters of guest data. */
static int
write_three(struct err *e)
{
	const struct source src = {.dirfd = AT_FDCWD, .path = "src", .fd = -1,
		.format = FORMAT_RAW};
	const struct convert_request rq = {
		.sources = &src,
		.n_sources = 1,
		.gate = &trusted,
		.target_dirfd = AT_FDCWD,
		.target = "t",
		.target_fd = -1,
		.target_format = FORMAT_QCOW2,
		.no_create = true,
		.sparse_size = CONVERT_SPARSE_DEFAULT,
		.cache = CACHE_WRITEBACK,
		.workers = 1,
	};
	struct convert_result r = {0};
	uint8_t raw[3 * CLUSTER];

	memset(raw, 0x66, sizeof(raw));
	save("src", raw, sizeof(raw));
	memset(e, 0, sizeof(*e));
	return convert_run(&rq, &r, e);
}

START_TEST(own_clusters_stay_and_others_move)
{
	uint8_t p[BYTES];
	struct err e;
	size_t n;

	make_image(p);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(write_three(&e), 0);
	n = load("t", p, sizeof(p));
	ck_assert_uint_eq(n, 9 * CLUSTER);
	ck_assert_uint_eq(load_be64(p + 4 * CLUSTER), COPIED | 5 * CLUSTER);
	ck_assert_uint_eq(load_be64(p + 4 * CLUSTER + 8),
		COPIED | 7 * CLUSTER);
	ck_assert_uint_eq(load_be64(p + 4 * CLUSTER + 16),
		COPIED | 8 * CLUSTER);
	ck_assert_uint_eq(p[5 * CLUSTER], 0x66);
	ck_assert_uint_eq(p[6 * CLUSTER], 0x55);
	ck_assert_uint_eq(p[7 * CLUSTER], 0x66);
	/* one reference less to the old place, one to each new one */
	ck_assert_uint_eq(p[2 * CLUSTER + 6 * 2 + 1], 1);
	ck_assert_uint_eq(p[2 * CLUSTER + 7 * 2 + 1], 1);
	ck_assert_uint_eq(p[2 * CLUSTER + 8 * 2 + 1], 1);
}
END_TEST

/* The guest's first cluster is this one of the file's. */
static const struct {
	unsigned cluster;
	const char *name;
} hits[] = {
	{1, "refcount table"},
	{2, "refcount block"},
	{3, "active L1 table"},
	{4, "active L2 table"},
};

START_TEST(metadata_is_not_written_over)
{
	uint8_t p[BYTES], before[BYTES];
	char want[256];
	struct err e;

	make_image(p);
	put64(p, 4 * CLUSTER, COPIED | hits[_i].cluster * CLUSTER);
	memcpy(before, p, sizeof(p));
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(write_three(&e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	snprintf(want, sizeof(want), "qcow2: Marking image as corrupt: "
		"Preventing invalid write on metadata (overlaps with %s); "
		"further corruption events will be suppressed",
		hits[_i].name);
	ck_assert_ptr_nonnull(strstr(e.msg, want));
	/* the corrupt bit, and nothing else */
	before[79] = 2;
	ck_assert_uint_eq(load("t", p, sizeof(p)), 7 * CLUSTER);
	ck_assert_mem_eq(p, before, 7 * CLUSTER);
	ck_assert_int_eq(write_three(&e), -1);
	ck_assert_ptr_nonnull(strstr(e.msg,
		"Image is corrupt; cannot be opened read/write"));
}
END_TEST

START_TEST(places_behind_the_end_are_refused)
{
	uint8_t p[BYTES];
	struct err e;

	make_image(p);
	put64(p, 4 * CLUSTER, COPIED | UINT64_C(1) << 40);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(write_three(&e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, "lies beyond the end"));
}
END_TEST

/* The same image with its data in another file: two L1 entries, of which the
 * second has a table, and an autoclear bit that nobody knows. */
static void
make_external(uint8_t *p)
{
	make_image(p);
	put_header(p, 9, 2 * TABLE, 2);
	p[79] = 4;    /* incompatible: data file */
	p[95] = 0x80; /* autoclear */
	put_ext(p, 112, 0x44415441, "data", 4);
	put64(p, 3 * CLUSTER, 0);
	put64(p, 3 * CLUSTER + 8, COPIED | 4 * CLUSTER);
	memset(p + 4 * CLUSTER, 0, CLUSTER);
}

static void
open_image(struct inplace *ret)
{
	const struct inplace_request rq = {.dirfd = AT_FDCWD, .path = "t",
		.format = FORMAT_QCOW2, .gate = &trusted};
	struct err e = {0};

	ck_assert_msg(inplace_open(ret, &rq, &e) == 0, "%s", e.msg);
}

/* The barrier that parts data and references reaches the data file. */
static void
at_barrier(void *arg, const struct plan_op *op)
{
	struct qcow2_guest **g = arg;

	if (*g && op->kind == PLAN_BARRIER &&
		strcmp(op->why, "counts before references") == 0)
		ck_assert(qcow2_guest_edit(*g)->plan.data_dirty);
}

START_TEST(a_barrier_in_between_does_not_hide_data)
{
	uint8_t p[BYTES], raw[CLUSTER];
	struct placed_list placed = {0};
	struct qcow2_guest *g = NULL, *seen = NULL;
	struct qcow2_guest_request rq = {
		.edit = {.tap = at_barrier, .tap_arg = &seen}};
	struct inplace in = {0};
	struct err e = {0};

	make_external(p);
	save("t", p, 7 * CLUSTER);
	memset(raw, 0x66, sizeof(raw));
	save("data", raw, sizeof(raw));
	open_image(&in);
	rq.edit.data_file = in.data;
	ck_assert_msg(qcow2_guest_open(&g, in.chain, &rq, &e) == 0, "%s",
		e.msg);
	ck_assert_int_eq(qcow2_guest_data(g, 0, raw, CLUSTER, &placed, &e), 0);
	/* reads the second table; the autoclear bit's barrier is run */
	ck_assert_int_eq(qcow2_guest_zero(g, TABLE, CLUSTER, &placed, &e), 0);
	ck_assert_uint_eq(placed.n, 1);
	seen = g;
	ck_assert_int_eq(qcow2_guest_settle(g, &e), 0);
	seen = NULL;
	ck_assert_int_eq(qcow2_guest_finish(g, &e), 0);
	qcow2_guest_close(g);
	placed_list_free(&placed);
	inplace_close(&in);
}
END_TEST

START_TEST(a_table_is_emptied_once)
{
	const struct qcow2_edit_request rq = {0};
	uint8_t p[BYTES], before[BYTES];
	struct inplace in = {0};
	struct err e = {0};

	make_image(p);
	put32(p, 4, 2);
	put32(p, 36, 2);
	put64(p, 3 * CLUSTER + 8, 4 * CLUSTER);
	memcpy(before, p, sizeof(p));
	save("t", p, 7 * CLUSTER);
	open_image(&in);
	ck_assert_int_eq(qcow2_empty(in.chain, &rq, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	ck_assert_ptr_nonnull(strstr(e.msg, "2 times to 1 L2 tables"));
	inplace_close(&in);
	ck_assert_uint_eq(load("t", p, sizeof(p)), 7 * CLUSTER);
	ck_assert_mem_eq(p, before, 7 * CLUSTER);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("guest_inplace");
	TCase *t = tcase_create("guest_inplace");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, own_clusters_stay_and_others_move);
	tcase_add_loop_test(t, metadata_is_not_written_over, 0,
		sizeof(hits) / sizeof(hits[0]));
	tcase_add_test(t, places_behind_the_end_are_refused);
	tcase_add_test(t, a_barrier_in_between_does_not_hide_data);
	tcase_add_test(t, a_table_is_emptied_once);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
