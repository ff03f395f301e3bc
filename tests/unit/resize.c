/* SPDX-License-Identifier: MIT */
/* Resizing images written by hand: what is planned, what is refused, and that
 * a refusal changes nothing. */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op/resize.h"
#include "qcow2_bytes.h"
#include "tmpdir.h"

#define CLUSTER 512
#define TABLE (64 * CLUSTER) /* guest bytes of one L2 table */
#define BYTES (8 * CLUSTER)

static const struct gate trusted = {.trusted = true};

/* Header, refcount table, one block, an L1 with one entry, its L2, and the
 * first and last of the table's data clusters; one more cluster leads to no
 * place (that of the file's end). */
static void
make_image(uint8_t *p)
{
	memset(p, 0, BYTES);
	put_header(p, 9, TABLE, 1);
	put64(p, 1 * CLUSTER, 2 * CLUSTER);
	for (unsigned i = 0; i < 7; i++)
		p[2 * CLUSTER + i * 2 + 1] = 1;
	put64(p, 3 * CLUSTER, UINT64_C(1) << 63 | 4 * CLUSTER);
	put64(p, 4 * CLUSTER, UINT64_C(1) << 63 | 5 * CLUSTER);
	put64(p, 4 * CLUSTER + 63 * 8, UINT64_C(1) << 63 | 6 * CLUSTER);
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

static int
resize(struct resize_request rq, struct err *e)
{
	struct resize_result ret;

	rq.dirfd = AT_FDCWD;
	rq.path = "t";
	rq.gate = &trusted;
	memset(e, 0, sizeof(*e));
	return resize_run(&rq, &ret, e);
}

struct log {
	char text[4096];
};

static void
tap(void *arg, const struct plan_op *op)
{
	static const char *const name[] = {"w", "clear", "fill", "allocate",
		"cut", "|"};
	struct log *l = arg;
	size_t n = strlen(l->text);

	if (op->kind == PLAN_BARRIER)
		snprintf(l->text + n, sizeof(l->text) - n, "| ");
	else
		snprintf(l->text + n, sizeof(l->text) - n, "%s %u+%u ",
			name[op->kind], (unsigned)op->hoff,
			(unsigned)op->len);
}

START_TEST(growing_writes_the_table_then_the_header_then_frees)
{
	struct log l = {""};
	uint8_t p[BYTES * 2];
	struct err e;

	make_image(p);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(resize((struct resize_request){
		.format = FORMAT_QCOW2, .size = 2 * TABLE, .tap = tap,
		.tap_arg = &l}, &e), 0);
	/* L1 of two entries to cluster 7 and its count; header; cluster 3's
	 * count */
	ck_assert_str_eq(l.text,
		"w 3584+16 w 1024+512 | w 0+104 | w 1024+512 | ");
	ck_assert_uint_eq(load("t", p, sizeof(p)), 7 * CLUSTER + 16);
	ck_assert_uint_eq(load_be64(p + 24), 2 * TABLE);
	ck_assert_uint_eq(load_be32(p + 36), 2);
	ck_assert_uint_eq(load_be64(p + 40), 7 * CLUSTER);
	ck_assert_uint_eq(load_be64(p + 7 * CLUSTER),
		UINT64_C(1) << 63 | 4 * CLUSTER);
	ck_assert_uint_eq(p[2 * CLUSTER + 3 * 2 + 1], 0);
	ck_assert_uint_eq(p[2 * CLUSTER + 7 * 2 + 1], 1);
}
END_TEST

START_TEST(growing_within_the_table_writes_one_sector)
{
	struct log l = {""};
	uint8_t p[BYTES];
	struct err e;

	make_image(p);
	put64(p, 24, TABLE - CLUSTER);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(resize((struct resize_request){
		.format = FORMAT_QCOW2, .relative = 1, .size = CLUSTER,
		.tap = tap, .tap_arg = &l}, &e), 0);
	ck_assert_str_eq(l.text, "w 0+104 | ");
}
END_TEST

START_TEST(shrinking_writes_the_size_first_and_cuts_last)
{
	struct log l = {""};
	uint8_t p[BYTES];
	struct err e;

	make_image(p);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(resize((struct resize_request){
		.format = FORMAT_QCOW2, .size = TABLE - CLUSTER,
		.shrink = true, .tap = tap, .tap_arg = &l}, &e), 0);
	/* size; the last L2 entry; the cluster and its count; the end */
	ck_assert_str_eq(l.text, "w 0+104 | w 2552+8 | clear 3072+512 "
		"w 1024+512 cut 3072+0 | ");
	ck_assert_uint_eq(load("t", p, sizeof(p)), 6 * CLUSTER);
	ck_assert_uint_eq(load_be64(p + 4 * CLUSTER + 63 * 8), 0);
	ck_assert_uint_eq(p[2 * CLUSTER + 6 * 2 + 1], 0);
}
END_TEST

START_TEST(unknown_autoclear_goes_and_unknown_compatible_stays)
{
	uint8_t p[BYTES];
	struct err e;

	make_image(p);
	put64(p, 80, UINT64_C(0x8000000000000000));
	put64(p, 88, UINT64_C(0xf000000000000000));
	put_ext(p, 112, 0x12345678, "unknown", 7);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(resize((struct resize_request){
		.format = FORMAT_QCOW2, .size = 2 * TABLE}, &e), 0);
	load("t", p, sizeof(p));
	ck_assert_uint_eq(load_be64(p + 80), UINT64_C(0x8000000000000000));
	ck_assert_uint_eq(load_be64(p + 88), 0);
	ck_assert_uint_eq(load_be32(p + 112), 0x12345678);
	ck_assert_int_eq(memcmp(p + 120, "unknown", 7), 0);
}
END_TEST

/* What is refused, and how; `at`, `width` and `value` spoil the image. */
static const struct refused {
	unsigned at, width;
	uint64_t value;
	struct resize_request rq;
	enum err_kind kind;
	const char *msg;
} refused[] = {
	{0, 0, 0, {.format = FORMAT_QCOW2, .size = TABLE + 1}, ERR_USAGE,
		"The new size must be a multiple of 512"},
	{0, 0, 0, {.format = FORMAT_QCOW2, .size = CLUSTER}, ERR_USAGE,
		"Use the --shrink option to perform a shrink operation."},
	{0, 0, 0, {.format = FORMAT_QCOW2, .size = CLUSTER, .shrink = true,
		.preallocation = PREALLOC_FULL}, ERR_USAGE,
		"Preallocation can only be used for growing images"},
	{0, 0, 0, {.format = FORMAT_QCOW2, .size = 0}, ERR_USAGE,
		"New image size must be positive"},
	{0, 0, 0, {.format = FORMAT_QCOW2, .relative = -1, .size = TABLE},
		ERR_USAGE, "New image size must be positive"},
	{0, 0, 0, {.format = FORMAT_QCOW2, .relative = 1, .size = INT64_MAX},
		ERR_USAGE, "New image size must be positive"},
	{0, 0, 0, {.format = FORMAT_QCOW2, .size = UINT64_C(1) << 40},
		ERR_LIMIT, "Failed to grow the L1 table"},
	{0, 0, 0, {.format = FORMAT_PROBE, .size = 2 * TABLE}, ERR_DENIED,
		"the format was not given and the content looks like qcow2: "
		"say which it is (-f raw or -f qcow2)"},
	{0, 0, 0, {.format = FORMAT_VMDK, .size = 2 * TABLE}, ERR_UNSUPPORTED,
		"vmdk: not supported"},
	{72, 8, 2, {.format = FORMAT_QCOW2, .size = 2 * TABLE}, ERR_CORRUPT,
		"qcow2: Image is corrupt; cannot be opened read/write"},
	/* the counts of the header, of the table's own clusters, of the L2 */
	{2 * CLUSTER, 8, 0, {.format = FORMAT_QCOW2, .size = 2 * TABLE},
		ERR_CORRUPT, "metadata near cluster 0 has refcount 0"},
	{2 * CLUSTER + 8, 2, 0, {.format = FORMAT_QCOW2, .size = 2 * TABLE},
		ERR_CORRUPT, "metadata near cluster 4 has refcount 0"},
	{2 * CLUSTER + 12, 2, 0, {.format = FORMAT_QCOW2, .shrink = true,
		.size = TABLE - CLUSTER}, ERR_CORRUPT,
		"cluster 6 is referred to and has refcount 0"},
	{1 * CLUSTER, 8, 2 * CLUSTER + 256,
		{.format = FORMAT_QCOW2, .size = 2 * TABLE}, ERR_CORRUPT,
		"refcount table entry 0 has reserved bits set"},
	{1 * CLUSTER, 8, 100 * CLUSTER,
		{.format = FORMAT_QCOW2, .size = 2 * TABLE}, ERR_CORRUPT,
		"refcount block 0 at 51200 lies beyond the end of the file"},
	{1 * CLUSTER, 8, 3 * CLUSTER,
		{.format = FORMAT_QCOW2, .size = 2 * TABLE}, ERR_CORRUPT,
		"refcount block 0 at 1536 overlaps other metadata"},
};

START_TEST(a_refusal_changes_nothing)
{
	const struct refused *r = &refused[_i];
	uint8_t p[BYTES], q[BYTES + 1];
	struct err e;

	make_image(p);
	if (r->width == 2)
		store_be16(p + r->at, (uint16_t)r->value);
	if (r->width == 8)
		put64(p, r->at, r->value);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(resize(r->rq, &e), -1);
	ck_assert_msg(strncmp(e.msg, r->msg, strlen(r->msg)) == 0,
		"%s, not %s", e.msg, r->msg);
	ck_assert_int_eq(e.kind, r->kind);
	ck_assert_str_eq(e.file, "t");
	ck_assert_uint_eq(load("t", q, sizeof(q)), 7 * CLUSTER);
	ck_assert_int_eq(memcmp(p, q, 7 * CLUSTER), 0);
}
END_TEST

START_TEST(a_format_that_is_given_binds)
{
	uint8_t p[BYTES], q[BYTES];
	struct err e;

	make_image(p);
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(resize((struct resize_request){.format = FORMAT_RAW,
		.size = 1000, .shrink = true}, &e), 0);
	ck_assert_uint_eq(load("t", q, sizeof(q)), 1000);
	ck_assert_int_eq(memcmp(p, q, 1000), 0);
	/* and it is found only where that is allowed */
	save("t", p, 7 * CLUSTER);
	ck_assert_int_eq(resize((struct resize_request){
		.format = FORMAT_PROBE, .allow_probed = true,
		.size = 2 * TABLE}, &e), 0);
	load("t", q, sizeof(q));
	ck_assert_uint_eq(load_be64(q + 24), 2 * TABLE);
	save("t", "no image at all", 15);
	ck_assert_int_eq(resize((struct resize_request){
		.format = FORMAT_QCOW2, .size = 2 * TABLE}, &e), -1);
	ck_assert_int_eq(e.kind, ERR_FORMAT);
	ck_assert_int_eq(resize((struct resize_request){
		.format = FORMAT_PROBE, .size = 1234}, &e), 0);
	ck_assert_uint_eq(load("t", q, sizeof(q)), 1234);
}
END_TEST

START_TEST(raw_sizes_count_in_sectors)
{
	uint8_t p[BYTES];
	struct err e;

	save("t", "x", 1);
	ck_assert_int_eq(resize((struct resize_request){.format = FORMAT_RAW,
		.size = 511}, &e), -1);
	ck_assert_str_eq(e.msg, RESIZE_NEEDS_SHRINK);
	ck_assert_int_eq(resize((struct resize_request){.format = FORMAT_RAW,
		.size = 512}, &e), 0);
	ck_assert_uint_eq(load("t", p, sizeof(p)), 512);
	ck_assert_int_eq(resize((struct resize_request){.format = FORMAT_RAW,
		.relative = 1, .size = 100, .preallocation = PREALLOC_FULL},
		&e), 0);
	ck_assert_uint_eq(load("t", p, sizeof(p)), 612);
	ck_assert_int_eq(resize((struct resize_request){.format = FORMAT_RAW,
		.size = 4096, .preallocation = PREALLOC_METADATA}, &e), -1);
	ck_assert_str_eq(e.msg, "Unsupported preallocation mode: metadata");
}
END_TEST

static atomic_int stop;

static const struct watch stops = {.cancel = &stop};

START_TEST(a_search_asks_whether_to_go_on)
{
	uint8_t p[BYTES], now[BYTES];
	struct err e;

	make_image(p);
	save("t", p, 7 * CLUSTER);
	atomic_store(&stop, 1);
	ck_assert_int_lt(resize((struct resize_request){
		.format = FORMAT_QCOW2, .size = 2 * TABLE, .watch = &stops},
		&e), 0);
	ck_assert_int_eq(e.kind, ERR_CANCELLED);
	ck_assert_uint_eq(load("t", now, sizeof(now)), 7 * CLUSTER);
	ck_assert_mem_eq(p, now, 7 * CLUSTER);
}
END_TEST

static void
stop_at_space(void *arg, const struct plan_op *op)
{
	(void)arg;
	if (op->kind == PLAN_FILL || op->kind == PLAN_ALLOCATE)
		atomic_store(&stop, 1);
}

/* The header then says what it said, and the file has no room in vain. */
START_TEST(making_room_asks_whether_to_go_on)
{
	static uint8_t p[BYTES], now[64 * TABLE];
	struct err e;
	size_t n;

	make_image(p);
	save("t", p, 7 * CLUSTER);
	atomic_store(&stop, 0);
	ck_assert_int_lt(resize((struct resize_request){
		.format = FORMAT_QCOW2, .size = 64 * TABLE, .watch = &stops,
		.preallocation = _i ? PREALLOC_FULL : PREALLOC_FALLOC,
		.tap = stop_at_space}, &e), 0);
	ck_assert_int_eq(e.kind, ERR_CANCELLED);
	n = load("t", now, sizeof(now));
	ck_assert_uint_lt(n, 16 * TABLE);
	ck_assert_uint_eq(load_be64(now + 24), TABLE);
}
END_TEST

START_TEST(room_for_a_raw_file_asks_whether_to_go_on)
{
	uint8_t p[BYTES];
	struct err e;

	save("t", "x", 1);
	atomic_store(&stop, 1);
	ck_assert_int_lt(resize((struct resize_request){.format = FORMAT_RAW,
		.size = 4096, .watch = &stops,
		.preallocation = _i ? PREALLOC_FULL : PREALLOC_FALLOC}, &e), 0);
	ck_assert_int_eq(e.kind, ERR_CANCELLED);
	ck_assert_uint_eq(load("t", p, sizeof(p)), 1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("resize");
	TCase *t = tcase_create("resize");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, growing_writes_the_table_then_the_header_then_frees);
	tcase_add_test(t, growing_within_the_table_writes_one_sector);
	tcase_add_test(t, shrinking_writes_the_size_first_and_cuts_last);
	tcase_add_test(t, unknown_autoclear_goes_and_unknown_compatible_stays);
	tcase_add_loop_test(t, a_refusal_changes_nothing, 0,
		sizeof(refused) / sizeof(refused[0]));
	tcase_add_test(t, a_format_that_is_given_binds);
	tcase_add_test(t, raw_sizes_count_in_sectors);
	tcase_add_test(t, a_search_asks_whether_to_go_on);
	tcase_add_loop_test(t, making_room_asks_whether_to_go_on, 0, 2);
	tcase_add_loop_test(t, room_for_a_raw_file_asks_whether_to_go_on, 0,
		2);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
