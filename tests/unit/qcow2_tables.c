/* SPDX-License-Identifier: MIT */
/* L1, L2 and refcounts, written by hand, and the extents they mean. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2.h"
#include "qcow2_bytes.h"

#define CLUSTER 512u /* one L2: 64 entries, 32 KiB of guest */

static uint8_t b[256 * CLUSTER];
static struct qcow2_header h;
static struct qcow2_entry n;
static struct err e;
static struct extent x[128];
static size_t nx;

static void
setup(void)
{
	memset(b, 0, sizeof(b));
	memset(&h, 0, sizeof(h));
	h.version = 3;
	h.cluster_bits = 16;
	h.size = 1 << 20;
	put_header(b, 9, 128 << 10, 4);
	put64(b, 48, 512);
}

START_TEST(standard_entries)
{
	ck_assert_int_eq(qcow2_entry_decode(&h, 0, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_HOLE);
	ck_assert_int_eq(qcow2_entry_decode(&h, 1, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_ZERO);
	ck_assert(!n.mapped);
	ck_assert_int_eq(qcow2_entry_decode(&h, 0x50001, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_ZERO);
	ck_assert(n.mapped);
	ck_assert_uint_eq(n.hoff, 0x50000);
	/* reserved bits are not looked at */
	ck_assert_int_eq(qcow2_entry_decode(&h, QCOW2_COPIED |
		QCOW2_L2_RESERVED | 0x50000, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_DATA);
	ck_assert_uint_eq(n.hoff, 0x50000);
	ck_assert_int_eq(qcow2_entry_decode(&h, 0x50200, 0, &n, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	h.version = 2;
	ck_assert_int_eq(qcow2_entry_decode(&h, 1, 0, &n, &e), -1);
	ck_assert_str_eq(e.msg, "Zero cluster entry found in pre-v3 image");
}
END_TEST

START_TEST(data_file_entries)
{
	h.incompatible = QCOW2_DATA_FILE;
	ck_assert_int_eq(qcow2_entry_decode(&h, 0, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_HOLE);
	ck_assert_int_eq(qcow2_entry_decode(&h, QCOW2_COPIED, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_DATA);
	ck_assert_uint_eq(n.hoff, 0);
	ck_assert_int_eq(qcow2_entry_decode(&h, QCOW2_PACKED, 0, &n, &e), -1);
}
END_TEST

START_TEST(packed_entries)
{
	/* 64 KiB clusters: 54 bits of offset, 8 of sectors */
	uint64_t p = QCOW2_PACKED | UINT64_C(3) << 54 | 0x12345;

	ck_assert_int_eq(qcow2_entry_decode(&h, p, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_PACKED);
	ck_assert_uint_eq(n.hoff, 0x12345);
	ck_assert_uint_eq(n.hlen, 4 * 512 - 0x145);
	ck_assert_int_eq(qcow2_entry_decode(&h, QCOW2_PACKED | 511, 0, &n,
		&e), 0);
	ck_assert_uint_eq(n.hlen, 1);
	h.cluster_bits = 9; /* 61 bits of offset, 1 of sectors */
	ck_assert_int_eq(qcow2_entry_decode(&h, QCOW2_PACKED | UINT64_C(1)
		<< 61 | 512, 0, &n, &e), 0);
	ck_assert_uint_eq(n.hoff, 512);
	ck_assert_uint_eq(n.hlen, 1024);
	h.cluster_bits = 21; /* 49 and 13 */
	ck_assert_int_eq(qcow2_entry_decode(&h, QCOW2_PACKED | UINT64_C(8191)
		<< 49, 0, &n, &e), 0);
	ck_assert_uint_eq(n.hlen, 4 << 20);
}
END_TEST

START_TEST(extended_entries)
{
	h.incompatible = QCOW2_EXTL2;
	ck_assert_int_eq(qcow2_entry_decode(&h, 0x50000, UINT32_MAX, &n, &e),
		0);
	ck_assert_int_eq(n.kind, QCOW2_E_DATA);
	/* bit 0 of the first word is no zero flag here */
	ck_assert_int_eq(qcow2_entry_decode(&h, 0x50001, 0, &n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_HOLE);
	ck_assert_int_eq(qcow2_entry_decode(&h, 0, UINT64_MAX << 32, &n, &e),
		0);
	ck_assert_int_eq(n.kind, QCOW2_E_ZERO);
	ck_assert(!n.mapped);
	ck_assert_int_eq(qcow2_entry_decode(&h, 0x50000, UINT64_C(2) << 32 | 1,
		&n, &e), 0);
	ck_assert_int_eq(n.kind, QCOW2_E_SUB);
	ck_assert_uint_eq(n.alloc, 1);
	ck_assert_uint_eq(n.zero, 2);
	ck_assert_int_eq(qcow2_entry_decode(&h, 0x50000, UINT64_C(1) << 32 | 1,
		&n, &e), -1);
	ck_assert_int_eq(qcow2_entry_decode(&h, 0, 1, &n, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	/* a compressed entry's bitmap is not looked at */
	ck_assert_int_eq(qcow2_entry_decode(&h, QCOW2_PACKED, 1, &n, &e), 0);
}
END_TEST

START_TEST(refcounts_of_every_width)
{
	static const uint8_t p[16] = {0x1b, 0x80, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4,
		5, 6, 7, 8};
	uint8_t block[16];

	ck_assert_uint_eq(qcow2_refcount_get(p, 0, 0), 1);
	ck_assert_uint_eq(qcow2_refcount_get(p, 0, 2), 0);
	ck_assert_uint_eq(qcow2_refcount_get(p, 0, 15), 1);
	ck_assert_uint_eq(qcow2_refcount_get(p, 1, 0), 3);
	ck_assert_uint_eq(qcow2_refcount_get(p, 1, 3), 0);
	ck_assert_uint_eq(qcow2_refcount_get(p, 2, 0), 0xb);
	ck_assert_uint_eq(qcow2_refcount_get(p, 2, 1), 1);
	ck_assert_uint_eq(qcow2_refcount_get(p, 3, 1), 0x80);
	ck_assert_uint_eq(qcow2_refcount_get(p, 4, 3), 5);
	ck_assert_uint_eq(qcow2_refcount_get(p, 5, 2), 0x01020304);
	ck_assert_uint_eq(qcow2_refcount_get(p, 6, 1),
		UINT64_C(0x0102030405060708));
	for (unsigned order = 0; order <= 6; order++) {
		unsigned count = 128u >> order;

		memset(block, 0xff, sizeof(block));
		qcow2_refcount_set(block, order, 1, 0);
		for (unsigned i = 0; i < count; i++)
			ck_assert_uint_eq(qcow2_refcount_get(block, order, i),
				i == 1 ? 0 : UINT64_MAX >>
					(64 - (1u << order)));
		memset(block, 0, sizeof(block));
		qcow2_refcount_set(block, order, count - 1, 1);
		for (unsigned i = 0; i < count; i++)
			ck_assert_uint_eq(qcow2_refcount_get(block, order, i),
				i == count - 1);
	}
}
END_TEST

/* The image of b, of file_size bytes. */
static struct image *
image_of(uint64_t file_size, unsigned flags, const struct watch *w)
{
	struct image *im = NULL;
	struct file *f = file_of(b, units_min(sizeof(b), file_size), file_size);

	ck_assert_ptr_nonnull(f);
	if (image_open(&im, f, FORMAT_QCOW2, flags, w, &e))
		return NULL;
	return im;
}

static int
describe(struct image *im, uint64_t voff, uint64_t len)
{
	memset(x, 0xee, sizeof(x));
	return image_describe(im, voff, len, x, 128, &nx, &e);
}

START_TEST(runs_merge_and_holes_are_cheap)
{
	struct image *im;

	put64(b, 3 * 512 + 8, 4 * 512);     /* the second of four L1 entries */
	put64(b, 4 * 512, 10 * 512);        /* contiguous data ... */
	put64(b, 4 * 512 + 8, 11 * 512);
	put64(b, 4 * 512 + 16, 13 * 512);   /* ... and not */
	put64(b, 4 * 512 + 24, 1);
	put64(b, 4 * 512 + 32, 14 * 512 | 1);
	put64(b, 4 * 512 + 40, 15 * 512 | 1);
	put64(b, 4 * 512 + 48, QCOW2_PACKED | 5000);
	im = image_of(64 * 512, 0, NULL);
	ck_assert_ptr_nonnull(im);
	ck_assert_int_eq(describe(im, 0, 128 << 10), 0);
	ck_assert_uint_eq(nx, 7);
	ck_assert_int_eq(x[0].kind, EXTENT_HOLE);
	ck_assert_uint_eq(x[0].len, 32768);
	ck_assert_int_eq(x[1].kind, EXTENT_DATA);
	ck_assert_uint_eq(x[1].hoff, 10 * 512);
	ck_assert_uint_eq(x[1].len, 1024);
	ck_assert_uint_eq(x[1].hlen, 1024);
	ck_assert_uint_eq(x[2].hoff, 13 * 512);
	ck_assert_int_eq(x[3].kind, EXTENT_ZERO);
	ck_assert_uint_eq(x[3].flags, 0);
	ck_assert_int_eq(x[4].kind, EXTENT_ZERO);
	ck_assert_uint_eq(x[4].flags, EXTENT_MAPPED);
	ck_assert_uint_eq(x[4].hoff, 14 * 512);
	ck_assert_uint_eq(x[4].len, 1024);
	ck_assert_int_eq(x[5].kind, EXTENT_PACKED);
	ck_assert_uint_eq(x[5].plen, 512);
	ck_assert_uint_eq(x[5].hoff, 5000);
	ck_assert_int_eq(x[6].kind, EXTENT_HOLE); /* two tables' worth */
	ck_assert_uint_eq(x[6].voff + x[6].len, 128 << 10);
	/* cut inside clusters */
	ck_assert_int_eq(describe(im, 32768 + 100, 1000), 0);
	ck_assert_uint_eq(nx, 2);
	ck_assert_uint_eq(x[0].hoff, 10 * 512 + 100);
	ck_assert_uint_eq(x[0].len, 924);
	ck_assert_uint_eq(x[1].len, 76);
	ck_assert_int_eq(describe(im, 32768 + 6 * 512 + 7, 10), 0);
	ck_assert_uint_eq(x[0].poff, 7);
	ck_assert_uint_eq(x[0].len, 10);
	/* a full array is a shorter answer */
	ck_assert_int_eq(image_describe(im, 0, 128 << 10, x, 2, &nx, &e), 0);
	ck_assert_uint_eq(nx, 2);
	image_close(im);
}
END_TEST

START_TEST(an_empty_pebibyte)
{
	struct image *im;
	uint64_t size = UINT64_C(1) << 50;

	/* 64 KiB clusters: 2 Mi L1 entries, 16 MiB, all in a hole */
	memset(b, 0, sizeof(b));
	put_header(b, 16, size, 2 << 20);
	im = image_of((3 << 16) + (16 << 20), 0, NULL);
	ck_assert_ptr_nonnull(im);
	ck_assert_int_eq(describe(im, 0, size), 0);
	ck_assert_uint_eq(nx, 1);
	ck_assert_int_eq(x[0].kind, EXTENT_HOLE);
	ck_assert_uint_eq(x[0].len, size);
	image_close(im);
}
END_TEST

static unsigned notes;

static void
count_note(void *arg, const char *line)
{
	(void)arg;
	ck_assert_ptr_nonnull(strstr(line, "past the end of the file"));
	notes++;
}

START_TEST(references_past_the_end)
{
	const struct watch w = {.note = count_note};
	struct image *im;

	put64(b, 3 * 512, 4 * 512);
	put64(b, 3 * 512 + 8, 99 * 512);            /* an L2 table */
	put64(b, 4 * 512, 10 * 512);                /* the last whole one */
	put64(b, 4 * 512 + 8, 11 * 512);            /* cut by the end */
	put64(b, 4 * 512 + 16, 12 * 512);           /* behind it */
	put64(b, 4 * 512 + 24, QCOW2_PACKED | (11 * 512 + 99));
	put64(b, 4 * 512 + 32, QCOW2_PACKED | (11 * 512 + 100));
	im = image_of(11 * 512 + 100, 0, NULL);
	ck_assert_ptr_nonnull(im);
	ck_assert_int_eq(describe(im, 0, 4096), 0); /* what precedes it */
	ck_assert_uint_eq(nx, 2);
	ck_assert_uint_eq(x[0].len, 512 + 100);
	ck_assert_int_eq(x[1].kind, EXTENT_ZERO);
	ck_assert_uint_eq(x[1].len, 412);
	ck_assert_int_eq(describe(im, 1024, 512), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	ck_assert_str_eq(e.msg, "a data cluster at 6144 (for guest offset 1024)"
		" lies past the end of the file (5732 bytes)");
	ck_assert_str_eq(e.file, "image");
	ck_assert_int_eq(describe(im, 1536, 512), 0); /* a packed tail */
	ck_assert_int_eq(describe(im, 2048, 512), -1);
	ck_assert_int_eq(describe(im, 32768, 512), -1);
	ck_assert_ptr_nonnull(strstr(e.msg, "an L2 table at 50688"));
	image_close(im);
	notes = 0;
	im = image_of(11 * 512 + 100, IMAGE_LENIENT, &w);
	ck_assert_int_eq(describe(im, 1024, 512), 0);
	ck_assert_int_eq(x[0].kind, EXTENT_ZERO);
	ck_assert_int_eq(describe(im, 2048, 512), 0);
	ck_assert_int_eq(x[0].kind, EXTENT_ZERO);
	ck_assert_int_eq(describe(im, 32768, 512), 0);
	ck_assert_int_eq(x[0].kind, EXTENT_HOLE);
	ck_assert_uint_eq(notes, 1);
	image_close(im);
	/* the L1 table itself */
	ck_assert_ptr_null(image_of(3 * 512, 0, NULL));
	ck_assert_ptr_nonnull(strstr(e.msg, "Active L1 table at 1536"));
	im = image_of(3 * 512 + 1, 0, NULL);
	ck_assert_ptr_nonnull(im);
	image_close(im);
	im = image_of(3 * 512, IMAGE_LENIENT, NULL);
	ck_assert_int_eq(describe(im, 0, 512), 0);
	ck_assert_int_eq(x[0].kind, EXTENT_HOLE);
	image_close(im);
}
END_TEST

START_TEST(misaligned_tables)
{
	struct image *im;

	/* 1024-byte clusters make 512 a misalignment */
	memset(b, 0, sizeof(b));
	put_header(b, 10, 4096, 1);
	put64(b, 3 * 1024, 4 * 1024 + 512);
	im = image_of(sizeof(b), 0, NULL);
	ck_assert_int_eq(describe(im, 0, 512), -1);
	ck_assert_str_eq(e.msg,
		"L2 table offset 0x1200 unaligned (L1 index: 0)");
	image_close(im);
}
END_TEST

START_TEST(subclusters)
{
	struct image *im;
	const unsigned sub = 512;

	memset(b, 0, sizeof(b));
	put_header(b, 14, 16384, 1);
	put64(b, 72, QCOW2_EXTL2);
	put64(b, 3 << 14, 4 << 14);
	put64(b, 4 << 14, 5 << 14);
	/* data, data, zero, hole, then data to the end */
	put64(b, (4 << 14) + 8, UINT64_C(4) << 32 | 0xfffffff3);
	im = image_of(6 << 14, 0, NULL);
	ck_assert_ptr_nonnull(im);
	ck_assert_int_eq(describe(im, 0, 16384), 0);
	ck_assert_uint_eq(nx, 4);
	ck_assert_int_eq(x[0].kind, EXTENT_DATA);
	ck_assert_uint_eq(x[0].len, 2 * sub);
	ck_assert_int_eq(x[1].kind, EXTENT_ZERO);
	ck_assert_uint_eq(x[1].flags, EXTENT_MAPPED);
	ck_assert_uint_eq(x[1].hoff, (5 << 14) + 2 * sub);
	ck_assert_int_eq(x[2].kind, EXTENT_HOLE);
	ck_assert_int_eq(x[3].kind, EXTENT_DATA);
	ck_assert_uint_eq(x[3].hoff, (5 << 14) + 4 * sub);
	ck_assert_uint_eq(x[3].len, 28 * sub);
	ck_assert_int_eq(describe(im, 3 * sub + 10, sub), 0);
	ck_assert_uint_eq(nx, 2);
	ck_assert_int_eq(x[0].kind, EXTENT_HOLE);
	ck_assert_uint_eq(x[0].len, sub - 10);
	ck_assert_uint_eq(x[1].len, 10);
	image_close(im);
}
END_TEST

START_TEST(odd_sizes_round_down)
{
	struct image *im;

	put64(b, 24, 513);
	im = image_of(sizeof(b), 0, NULL);
	ck_assert_uint_eq(im->size, 512);
	image_close(im);
	put64(b, 24, 511);
	im = image_of(sizeof(b), 0, NULL);
	ck_assert_uint_eq(im->size, 0);
	image_close(im);
}
END_TEST

START_TEST(cache_copies_and_checks)
{
	struct qcow2_cache *c;
	struct file *f;
	uint8_t out[8192];

	for (size_t i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 31 >> 3);
	f = file_of(b, sizeof(b), 40 << 20);
	ck_assert_int_eq(qcow2_cache_open(&c, f, 65536, false, &e), 0);
	/* more pages than it keeps, then the first ones again */
	for (unsigned turn = 0; turn < 2; turn++)
		for (uint64_t at = 100; at < 40 << 20; at += 65536) {
			if (qcow2_cache_read(c, at, out, 5000, &e))
				ck_abort_msg("%s", e.msg);
			if (at + 5000 <= sizeof(b) &&
				memcmp(out, b + at, 5000))
				ck_abort_msg("wrong bytes");
		}
	ck_assert_int_eq(qcow2_cache_read(c, 65536 - 3, out, 8000, &e), 0);
	ck_assert_int_eq(memcmp(out, b + 65536 - 3, 8000), 0);
	ck_assert_int_eq(qcow2_cache_read(c, (40 << 20) - 8, out, 9, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	ck_assert_int_eq(qcow2_cache_read(c, UINT64_MAX - 1, out, 9, &e), -1);
	/* the file shrinks under it */
	ck_assert_int_eq(ftruncate(f->fd, 1 << 20), 0);
	ck_assert_int_eq(qcow2_cache_read(c, 8 << 20, out, 9, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	qcow2_cache_close(c);
	file_close(f);
	f = file_of(b, 1000, 1000);
	ck_assert_int_eq(qcow2_cache_open(&c, f, 512, false, &e), 0);
	memset(out, 1, sizeof(out));
	ck_assert_int_eq(qcow2_cache_read(c, 990, out, 34, &e), 0);
	ck_assert_int_eq(memcmp(out, b + 990, 10), 0);
	ck_assert_int_eq(out[10], 0);
	ck_assert_int_eq(out[33], 0);
	ck_assert_int_eq(qcow2_cache_read(c, 1024, out, 1, &e), -1);
	qcow2_cache_close(c);
	ck_assert_int_eq(qcow2_cache_open(&c, f, 512, true, &e), 0);
	memset(out, 1, sizeof(out));
	ck_assert_int_eq(qcow2_cache_read(c, 1020, out, 8, &e), 0);
	ck_assert_uint_eq(load_be64(out), 0);
	ck_assert_int_eq(qcow2_cache_read(c, UINT64_MAX - 1, out, 9, &e), 0);
	qcow2_cache_close(c);
	file_close(f);
}
END_TEST

START_TEST(raw_extents)
{
	struct image *im;
	struct file *f;

	memset(b, 1, sizeof(b));
	f = file_of(b, 4096, 4096);
	ck_assert_int_eq(ftruncate(f->fd, 1 << 20), 0);
	ck_assert(pwrite(f->fd, b, 100, 1 << 20) == 100);
	ck_assert_int_eq(file_size(f, &f->size, &e), 0);
	ck_assert_int_eq(image_open(&im, f, FORMAT_RAW, 0, NULL, &e), 0);
	ck_assert_uint_eq(im->size, (1 << 20) + 512);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_int_eq(describe(im, 0, im->size), 0);
		ck_assert_uint_eq(nx, 4);
		ck_assert_int_eq(x[0].kind, EXTENT_DATA);
		ck_assert_uint_eq(x[0].hoff, 0);
		ck_assert_int_eq(x[1].kind, EXTENT_ZERO);
		ck_assert_int_eq(x[2].kind, EXTENT_DATA);
		ck_assert_uint_eq(x[2].voff, 1 << 20);
		ck_assert_uint_eq(x[2].len, 100);
		ck_assert_uint_eq(x[2].hlen, 100);
		ck_assert_int_eq(x[3].kind, EXTENT_ZERO);
		ck_assert_uint_eq(x[3].len, 412);
	}
	ck_assert_int_eq(describe(im, 8192, 512), 0);
	ck_assert_int_eq(x[0].kind, EXTENT_ZERO);
	image_close(im);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("qcow2_tables");
	TCase *t = tcase_create("qcow2_tables");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, standard_entries);
	tcase_add_test(t, data_file_entries);
	tcase_add_test(t, packed_entries);
	tcase_add_test(t, extended_entries);
	tcase_add_test(t, refcounts_of_every_width);
	tcase_add_test(t, runs_merge_and_holes_are_cheap);
	tcase_add_test(t, an_empty_pebibyte);
	tcase_add_test(t, references_past_the_end);
	tcase_add_test(t, misaligned_tables);
	tcase_add_test(t, subclusters);
	tcase_add_test(t, odd_sizes_round_down);
	tcase_add_test(t, cache_copies_and_checks);
	tcase_add_test(t, raw_extents);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
