/* SPDX-License-Identifier: MIT */
/* From one header cluster to another: whatever sectors of a step are lost, the
 * header says the old or the new, and the fewest steps are taken. */
#include "config.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2_reheader.h"

#define SECTOR 512
#define CLUSTER_MAX 65536
#define SUBSETS_MAX 10 /* sectors; beyond that a sample */

/* What a header says, without where it says it. */
static void
saying(const uint8_t *p, uint64_t len, struct qcow2_header *h)
{
	struct err e = {0};

	if (qcow2_header_decode((struct span){p, len}, true, h, &e))
		ck_abort_msg("%s", e.msg);
	h->backing_offset = h->backing_offset != 0;
	h->has_features = false;
	h->features_at = h->features_len = 0;
	h->extensions_at = h->extensions_end = 0;
}

static bool
says(const uint8_t *p, uint64_t len, const struct qcow2_header *h)
{
	struct qcow2_header x;

	saying(p, len, &x);
	return memcmp(&x, h, sizeof(x)) == 0;
}

/* Applies the sectors of `set`, one bit for each that differs. */
static void
lose(const uint8_t *a, const uint8_t *b, uint64_t len, uint64_t set,
	uint8_t *out)
{
	unsigned k = 0;

	memcpy(out, a, len);
	for (uint64_t at = 0; at < len; at += SECTOR) {
		if (memcmp(a + at, b + at, SECTOR) == 0)
			continue;
		if (set >> (k++ % 64) & 1)
			memcpy(out + at, b + at, SECTOR);
	}
}

static unsigned
differing(const uint8_t *a, const uint8_t *b, uint64_t len)
{
	unsigned n = 0;

	for (uint64_t at = 0; at < len; at += SECTOR)
		n += memcmp(a + at, b + at, SECTOR) != 0;
	return n;
}

/* Returns the number of stages. */
static unsigned
walk(const uint8_t *old, const uint8_t *new, uint64_t len)
{
	static uint8_t left[CLUSTER_MAX];
	struct qcow2_header was, is;
	struct qcow2_stages s = {0};
	const uint8_t *from = old;
	struct err e = {0};
	unsigned n;

	saying(old, len, &was);
	saying(new, len, &is);
	if (qcow2_reheader_stages(old, new, len, &s, &e))
		ck_abort_msg("%s", e.msg);
	for (unsigned i = 0; i < s.n; i++) {
		unsigned k = differing(from, s.v[i], len);
		uint64_t sets = k < SUBSETS_MAX ? UINT64_C(1) << k : 1024;

		for (uint64_t set = 0; set < sets; set++) {
			lose(from, s.v[i], len, k < SUBSETS_MAX ? set
				: set * UINT64_C(0x9e3779b97f4a7c15), left);
			if (i <= s.turn && says(left, len, &was))
				continue;
			ck_assert_msg(i >= s.turn && says(left, len, &is),
				"step %u of %u, sectors %#llx", i, s.n,
				(unsigned long long)set);
		}
		from = s.v[i];
	}
	ck_assert_int_eq(memcmp(from, new, len), 0);
	n = s.n;
	qcow2_stages_free(&s);
	return n;
}

static struct qcow2_header
plain(unsigned bits)
{
	return (struct qcow2_header){
		.version = 3, .cluster_bits = bits, .size = 1 << 20,
		.l1_entries = 4096, .l1_offset = UINT64_C(3) << bits,
		.reftable_offset = UINT64_C(1) << bits,
		.reftable_clusters = 1, .refcount_order = 4,
	};
}

static void
name_it(struct qcow2_header *h, unsigned len, char c)
{
	h->backing_len = len;
	memset(h->backing, c, len);
	if (len) {
		h->has_backing_format = true;
		strcpy(h->backing_format, c == 'a' ? "raw" : "qcow2");
	}
}

static int
encode(const struct qcow2_header *h, const struct qcow2_kept *kept,
	uint8_t *out)
{
	struct err e;

	return qcow2_header_encode(h, h->version > 2 && h->cluster_bits > 12,
		kept, out, UINT64_C(1) << h->cluster_bits, &e);
}

START_TEST(one_sector_is_one_step)
{
	static uint8_t a[65536], b[65536];
	struct qcow2_header h = plain(16);

	ck_assert_int_eq(encode(&h, NULL, a), 0);
	h.compatible = 1;
	ck_assert_int_eq(encode(&h, NULL, b), 0);
	ck_assert_uint_eq(walk(a, b, 65536), 1);
	ck_assert_uint_eq(walk(a, a, 65536), 0);
}
END_TEST

START_TEST(what_is_unused_before_comes_before)
{
	static uint8_t a[65536], b[65536];
	struct qcow2_header h = plain(16);

	ck_assert_int_eq(encode(&h, NULL, a), 0);
	name_it(&h, 100, 'a');
	ck_assert_int_eq(encode(&h, NULL, b), 0);
	ck_assert_uint_eq(walk(a, b, 65536), 2);
	/* and what is unused afterwards goes afterwards */
	ck_assert_uint_eq(walk(b, a, 65536), 2);
	/* garbage behind the old names is no part of them */
	memset(a + 4096, 0xee, 8192);
	ck_assert_uint_eq(walk(a, b, 65536), 2);
}
END_TEST

START_TEST(other_names_in_the_same_place_go_round)
{
	static uint8_t a[65536], b[65536];
	struct qcow2_header h = plain(16), g = plain(16);

	name_it(&h, 40, 'a');
	name_it(&g, 1023, 'b');
	ck_assert_int_eq(encode(&h, NULL, a), 0);
	ck_assert_int_eq(encode(&g, NULL, b), 0);
	ck_assert_uint_eq(walk(a, b, 65536), 5);
	ck_assert_uint_eq(walk(b, a, 65536), 5);
}
END_TEST

START_TEST(all_kinds_of_pairs)
{
	static uint8_t a[CLUSTER_MAX], b[CLUSTER_MAX];
	static const unsigned lengths[] = {0, 1, 30, 200, 400, 1023};
	uint8_t ext[40] = {0x12, 0x34, 0x56, 0x78, 0, 0, 0, 30, 'x', 'y'};
	uint8_t field[] = {0, 0, 0, 0, 0, 0, 0, 9};
	unsigned done = 0, refused = 0;

	for (unsigned bits = 9; bits <= 16; bits++) {
		uint64_t len = UINT64_C(1) << bits;

		for (unsigned i = 0; i < 6 * 6 * 2 * 2 * 2 * 2; i++) {
			struct qcow2_header h = plain(bits), g;
			struct qcow2_kept kept = {0};
			struct qcow2_stages s = {0};
			struct err e;

			if (i / 36 & 1)
				kept.extensions = (struct span){ext, 40};
			if (i / 36 & 2)
				kept.fields = (struct span){field, 8};
			g = h;
			name_it(&h, lengths[i % 6], 'a');
			name_it(&g, lengths[i / 6 % 6], 'b');
			if (i / 36 & 4) {
				g.has_bitmaps = true;
				g.autoclear = 1;
				g.n_bitmaps = 1;
				g.bitmap_dir_size = 32;
				g.bitmap_dir_offset = len * 5;
			}
			if (i / 36 & 8)
				h.version = 2;
			if (encode(&h, h.version < 3 ? NULL : &kept, a) ||
				encode(&g, &kept, b))
				continue;
			if (qcow2_reheader_stages(a, b, len, &s, &e)) {
				ck_assert_int_eq(e.kind, ERR_LIMIT);
				ck_assert_uint_le(bits, 11);
				refused++;
				continue;
			}
			qcow2_stages_free(&s);
			walk(a, b, len);
			done++;
		}
	}
	ck_assert_uint_gt(done, 2000);
	ck_assert_uint_lt(refused, done / 20);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("reheader");
	TCase *t = tcase_create("reheader");
	SRunner *r = srunner_create(s);
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_test(t, one_sector_is_one_step);
	tcase_add_test(t, what_is_unused_before_comes_before);
	tcase_add_test(t, other_names_in_the_same_place_go_round);
	tcase_add_test(t, all_kinds_of_pairs);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
