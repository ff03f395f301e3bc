/* SPDX-License-Identifier: MIT */
/* Windows over images that exist only as a list of extents. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "op/scan.h"

/* A paper image: kinds by 64 KiB cluster, the last one repeated. */
struct paper {
	const char *kinds; /* 'd'ata, 'z'ero, 'h'ole */
	uint64_t cluster;
};

static int
paper_describe(struct image *im, uint64_t voff, uint64_t len,
	struct extent *ret, size_t cap, size_t *ret_n, struct err *e)
{
	const struct paper *p = im->priv;
	uint64_t last = strlen(p->kinds) - 1, end = voff + len;

	(void)e;
	ck_assert_uint_gt(cap, 0);
	for (*ret_n = 0; *ret_n < cap && voff < end; (*ret_n)++) {
		uint64_t i = units_min(voff / p->cluster, last);
		uint64_t stop = i == last ? end : (i + 1) * p->cluster;

		ret[*ret_n] = (struct extent){
			.voff = voff,
			.len = units_min(stop, end) - voff,
			.kind = p->kinds[i] == 'd' ? EXTENT_DATA
				: p->kinds[i] == 'z' ? EXTENT_ZERO
						     : EXTENT_HOLE,
			.hoff = voff + GIB,
		};
		ret[*ret_n].hlen = ret[*ret_n].len;
		voff += ret[*ret_n].len;
	}
	return 0;
}

static const struct image_ops paper_ops = {
	.name = "paper",
	.describe = paper_describe,
};

struct bench {
	struct paper paper;
	struct image im;
	struct image *ims[1];
	struct file file;
	struct file *files[1];
	unsigned first[1];
	struct chain chain;
};

static void
make(struct bench *b, const char *kinds, uint64_t cluster, uint64_t size)
{
	*b = (struct bench){.paper = {kinds, cluster}};
	b->im = (struct image){.ops = &paper_ops, .size = size,
		.priv = &b->paper, .file = &b->file};
	b->ims[0] = &b->im;
	b->files[0] = &b->file;
	b->chain = (struct chain){.im = b->ims, .n = 1, .files = b->files,
		.n_files = 1, .first = b->first, .size = size};
}

/* Runs the scan to its end: every byte once, in order; returns windows. */
static unsigned
walk(struct scan *s, char *kinds, size_t cap)
{
	struct window w = {0};
	uint64_t at = 0;
	unsigned n = 0;
	size_t k = 0;

	for (;;) {
		size_t i;

		ck_assert_int_eq(scan_next(s, &w, NULL), 0);
		if (w.len == 0)
			break;
		ck_assert_uint_eq(w.ticket, n);
		ck_assert_uint_eq(w.voff, at);
		for (i = 0; i < w.n; i++) {
			ck_assert_uint_eq(w.v[i].voff, at);
			at += w.v[i].len;
			if (k + 1 < cap)
				kinds[k++] = w.v[i].kind == EXTENT_DATA ? 'd'
					: w.v[i].kind == EXTENT_ZERO    ? 'z'
									: 'h';
		}
		ck_assert_uint_eq(at, w.voff + w.len);
		if (!w.empty) {
			ck_assert_uint_le(w.len, s->window);
			ck_assert_uint_eq(w.voff / s->window,
				(w.voff + w.len - 1) / s->window);
		}
		n++;
	}
	kinds[k] = '\0';
	ck_assert_uint_eq(at, s->size);
	scan_window_free(&w);
	return n;
}

static struct scan *
start(const struct scan_source *src, unsigned n, uint64_t size)
{
	struct scan *s = calloc(1, sizeof(*s));

	ck_assert_ptr_nonnull(s);
	s->src = src;
	s->n_src = n;
	s->base = UINT32_MAX;
	s->size = size;
	s->window = MIB;
	return s;
}

START_TEST(an_empty_petabyte_is_one_window)
{
	struct bench b;
	struct scan_source src = {.chain = &b.chain, .size = 1024 * TIB};
	struct scan *s;
	char kinds[64];

	make(&b, "z", 64 * KIB, 1024 * TIB);
	s = start(&src, 1, 1024 * TIB);
	ck_assert_uint_eq(walk(s, kinds, sizeof(kinds)), 1);
	free(s);
}
END_TEST

START_TEST(data_is_cut_at_windows_and_long_holes_are_not)
{
	struct bench b;
	struct scan_source src = {.chain = &b.chain, .size = 64 * MIB};
	struct scan *s;
	char kinds[64];

	/* 1 MiB data, 64 KiB hole, data, then zeros up to the end */
	make(&b, "ddddddddddddddddzdz", 64 * KIB, 64 * MIB);
	s = start(&src, 1, 64 * MIB);
	ck_assert_uint_eq(walk(s, kinds, sizeof(kinds)), 3);
	ck_assert_str_eq(kinds + strlen(kinds) - 4, "zdzz");
	free(s);
}
END_TEST

START_TEST(every_byte_cuts_holes_too)
{
	struct bench b;
	struct scan_source src = {.chain = &b.chain, .size = 8 * MIB};
	struct scan *s;
	char kinds[64];

	make(&b, "z", 64 * KIB, 8 * MIB);
	s = start(&src, 1, 8 * MIB);
	s->cut_holes = true;
	ck_assert_uint_eq(walk(s, kinds, sizeof(kinds)), 8);
	free(s);
}
END_TEST

START_TEST(sources_follow_each_other_at_odd_offsets)
{
	struct bench a, b;
	struct scan_source src[2] = {
		{.chain = &a.chain, .size = 3 * 512},
		{.chain = &b.chain, .start = 3 * 512, .size = 4 * MIB},
	};
	struct scan *s;
	char kinds[64];

	make(&a, "d", 64 * KIB, 3 * 512);
	make(&b, "dz", 64 * KIB, 4 * MIB);
	s = start(src, 2, 4 * MIB + 3 * 512);
	ck_assert_uint_eq(walk(s, kinds, sizeof(kinds)), 2);
	ck_assert_str_eq(kinds, "ddzz");
	free(s);
}
END_TEST

START_TEST(rows_are_whole_windows_of_plain_bytes)
{
	struct bench b;
	struct scan_source src = {.chain = &b.chain, .size = 64 * MIB};
	struct window w = {0};
	struct piece row;
	struct scan *s;

	/* 2 MiB and 64 KiB of data, a hole, then data up to the end */
	make(&b, "dddddddddddddddddddddddddddddddddhd", 64 * KIB, 64 * MIB);
	s = start(&src, 1, 64 * MIB);
	ck_assert_int_eq(scan_row(s, GIB, &row, NULL), 0);
	ck_assert_uint_eq(row.len, 2 * MIB);
	ck_assert_uint_eq(row.hoff, GIB);
	ck_assert_ptr_eq(row.file, &b.file);
	ck_assert_int_eq(scan_row(s, MIB + KIB, &row, NULL), 0);
	ck_assert_uint_eq(row.len, MIB);
	scan_pass(s, MIB, &w);
	ck_assert_uint_eq(w.voff, 0);
	ck_assert_uint_eq(w.len, MIB);
	ck_assert_uint_eq(w.n, 0);
	ck_assert_int_eq(scan_row(s, GIB, &row, NULL), 0);
	ck_assert_uint_eq(row.voff, MIB);
	ck_assert_uint_eq(row.len, MIB);
	scan_pass(s, MIB, &w);
	/* the hole's window is left to scan_next, which goes on from here */
	ck_assert_int_eq(scan_row(s, GIB, &row, NULL), 0);
	ck_assert_uint_eq(row.len, 0);
	ck_assert_int_eq(scan_next(s, &w, NULL), 0);
	ck_assert_uint_eq(w.voff, 2 * MIB);
	ck_assert_uint_eq(w.ticket, 2);
	ck_assert_uint_eq(w.n, 3);
	ck_assert_int_eq(scan_row(s, GIB, &row, NULL), 0);
	ck_assert_uint_eq(row.voff, 3 * MIB);
	ck_assert_uint_eq(row.len, 61 * MIB);
	scan_pass(s, row.len, &w);
	ck_assert_int_eq(scan_next(s, &w, NULL), 0);
	ck_assert_uint_eq(w.len, 0);
	scan_window_free(&w);
	free(s);
}
END_TEST

START_TEST(part_of_a_target_cluster_is_copied_up)
{
	struct bench top, back;
	struct scan_source src = {.chain = &top.chain, .size = MIB};
	struct scan *s;
	char kinds[64];

	/* the overlay has 16 KiB of a 64 KiB target cluster */
	make(&top, "hhhhhdh", 16 * KIB, MIB);
	make(&back, "d", 64 * KIB, 100 * KIB); /* and it is short */
	s = start(&src, 1, MIB);
	s->base = 1;
	s->cow = &back.chain;
	s->unit = 64 * KIB;
	ck_assert_uint_eq(walk(s, kinds, sizeof(kinds)), 1);
	/* hole 0-64, copied 64-80, own 80-96, copied 96-100, zeros to 128,
	 * hole to the end */
	ck_assert_str_eq(kinds, "hdddzh");
	free(s);
}
END_TEST

START_TEST(reads_end_where_the_last_cluster_begins)
{
	struct bench b;
	struct scan_source src = {.chain = &b.chain, .size = MIB + 8 * KIB};
	struct window w = {0};
	struct scan *s;

	make(&b, "d", MIB, MIB + 8 * KIB);
	b.im.cluster_size = 64 * KIB;
	s = start(&src, 1, MIB + 8 * KIB);
	s->as_read = true;
	s->window = 2 * MIB;
	ck_assert_int_eq(scan_next(s, &w, NULL), 0);
	ck_assert_uint_eq(w.len, MIB + 8 * KIB);
	ck_assert_uint_eq(w.n, 2);
	ck_assert_uint_eq(w.v[0].len, MIB);
	ck_assert_uint_eq(w.v[1].voff, MIB);
	scan_window_free(&w);
	free(s);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("scan");
	TCase *t = tcase_create("scan");
	SRunner *r;
	int failed;

	tcase_add_test(t, an_empty_petabyte_is_one_window);
	tcase_add_test(t, data_is_cut_at_windows_and_long_holes_are_not);
	tcase_add_test(t, every_byte_cuts_holes_too);
	tcase_add_test(t, sources_follow_each_other_at_odd_offsets);
	tcase_add_test(t, reads_end_where_the_last_cluster_begins);
	tcase_add_test(t, rows_are_whole_windows_of_plain_bytes);
	tcase_add_test(t, part_of_a_target_cluster_is_copied_up);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
