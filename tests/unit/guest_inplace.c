/* SPDX-License-Identifier: MIT */
/* Guest data into images written by hand: what is overwritten, what gets a new
 * place, and that metadata is never written over. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op/convert.h"
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
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
