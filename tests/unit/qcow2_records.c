/* SPDX-License-Identifier: MIT */
/* Snapshot table and bitmap directory, written by hand. */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2.h"
#include "qcow2_bytes.h"

static uint8_t b[131072];
static struct qcow2_header h;
static struct err e;

static void
setup(void)
{
	memset(b, 0, sizeof(b));
	memset(&h, 0, sizeof(h));
	h.version = 3;
	h.cluster_bits = 16;
	h.size = 1 << 20;
}

/* A snapshot entry; returns its padded length. */
static unsigned
put_snapshot(uint8_t *p, uint32_t extra, const char *id, const char *name)
{
	unsigned at = 40 + extra;

	put64(p, 0, 7 << 9);
	put32(p, 8, 3);
	p[13] = (uint8_t)strlen(id);
	p[15] = (uint8_t)strlen(name);
	put32(p, 16, 11);
	put32(p, 20, 12);
	put64(p, 24, 13);
	put32(p, 32, 14);
	put32(p, 36, extra);
	memcpy(p + at, id, strlen(id));
	memcpy(p + at + strlen(id), name, strlen(name));
	at += (unsigned)(strlen(id) + strlen(name));
	return (at + 7) & ~7u;
}

START_TEST(snapshot_table)
{
	struct info_snapshot *v, one = {0};
	struct file *f;
	size_t count;
	unsigned at = 4096;
	bool found;

	h.n_snapshots = 3;
	h.snapshots_offset = 4096;
	at += put_snapshot(b + at, 0, "1", "old");
	put64(b, at + 40, UINT64_C(5) << 32);
	put64(b, at + 48, 512);
	at += put_snapshot(b + at, 16, "22", "3");
	put64(b, at + 40, 1);
	put64(b, at + 48, 2);
	put64(b, at + 56, 77);
	put_snapshot(b + at, 1024, "3", "\x01long");
	f = file_of(b, sizeof(b), sizeof(b));
	ck_assert_int_eq(qcow2_snapshot_load(f, &h, &v, &count, &e), 0);
	ck_assert_uint_eq(count, 3);
	ck_assert_str_eq(v[0].id, "1");
	ck_assert_str_eq(v[0].name, "old");
	ck_assert_uint_eq(v[0].disk_size, 1 << 20);
	ck_assert_uint_eq(v[0].vm_state_size, 14);
	ck_assert_uint_eq(v[0].l1_offset, 7 << 9);
	ck_assert_uint_eq(v[0].l1_entries, 3);
	ck_assert_uint_eq(v[0].date_sec, 11);
	ck_assert_uint_eq(v[0].date_nsec, 12);
	ck_assert_uint_eq(v[0].vm_clock_nsec, 13);
	ck_assert(!v[0].has_icount);
	ck_assert_uint_eq(v[1].vm_state_size, UINT64_C(5) << 32);
	ck_assert_uint_eq(v[1].disk_size, 512);
	ck_assert(v[2].has_icount);
	ck_assert_uint_eq(v[2].icount, 77);
	ck_assert_str_eq(v[2].name, "\x01long");
	qcow2_snapshot_free(v, count);
	/* the id is looked for in the whole table before any name */
	ck_assert_int_eq(qcow2_snapshot_find(f, &h, "3", "3", false, &found,
		&one, &e), 0);
	ck_assert(found);
	ck_assert_str_eq(one.name, "\x01long");
	free(one.id);
	free(one.name);
	free(one.more);
	ck_assert_int_eq(qcow2_snapshot_find(f, &h, "4", "4", false, &found,
		&one, &e), 0);
	ck_assert(!found);
	file_close(f);
	put32(b, at + 36, 1025);
	f = file_of(b, sizeof(b), sizeof(b));
	ck_assert_int_eq(qcow2_snapshot_load(f, &h, &v, &count, &e), -1);
	ck_assert_str_eq(e.msg, "snapshot 2: Too much extra metadata in "
		"snapshot table entry (1025 bytes, at most 1024)");
	ck_assert_int_eq(e.kind, ERR_LIMIT);
	file_close(f);
}
END_TEST

START_TEST(snapshot_table_of_64_mib)
{
	/* 1064 bytes each: 63072 of them are the last that fit */
	static uint8_t one[1064];
	struct file *f;
	bool found;
	unsigned count = (64 << 20) / 1064;

	put_snapshot(one, 1024, "", "");
	f = file_of(b, 0, 0);
	ck_assert_ptr_nonnull(f);
	f->writable = true;
	h.snapshots_offset = 65536;
	for (unsigned i = 0; i <= count; i++)
		ck_assert(pwrite(f->fd, one, sizeof(one),
			65536 + (off_t)i * 1064) == sizeof(one));
	h.n_snapshots = count;
	ck_assert_int_eq(qcow2_snapshot_find(f, &h, NULL, NULL, false, &found,
		NULL, &e),
		0);
	h.n_snapshots = count + 1;
	ck_assert_int_eq(qcow2_snapshot_find(f, &h, NULL, NULL, false, &found,
		NULL, &e),
		-1);
	ck_assert_int_eq(e.kind, ERR_LIMIT);
	ck_assert_ptr_nonnull(strstr(e.msg, "Snapshot table is too big"));
	file_close(f);
}
END_TEST

START_TEST(snapshot_entry_cut_short)
{
	struct info_snapshot s;
	unsigned len = put_snapshot(b, 24, "1", "name");

	for (unsigned cut = 0; cut < 64 + 5; cut++) {
		struct cursor c = cursor_over((struct span){b, cut});

		ck_assert_int_eq(qcow2_snapshot_decode(&c, &h, &s, &e), -1);
	}
	for (unsigned cut = 64 + 5; cut <= len; cut++) {
		struct cursor c = cursor_over((struct span){b, cut});

		ck_assert_int_eq(qcow2_snapshot_decode(&c, &h, &s, &e), 0);
		ck_assert_uint_eq(c.left, 0);
		free(s.id);
		free(s.name);
	}
}
END_TEST

static unsigned
put_bitmap(uint8_t *p, const char *name)
{
	put64(p, 0, 0x10000);
	put32(p, 8, 1);
	put32(p, 12, 2);
	p[16] = 1;
	p[17] = 16;
	p[19] = (uint8_t)strlen(name);
	put32(p, 20, 0);
	memcpy(p + 24, name, strlen(name));
	return (24 + (unsigned)strlen(name) + 7) & ~7u;
}

static int
load_bitmaps(size_t *ret_n)
{
	struct info_bitmap *v = NULL;
	struct file *f = file_of(b, sizeof(b), sizeof(b));
	struct err same = {0};
	int looked = qcow2_bitmap_check(f, &h, &same);
	int r = qcow2_bitmap_load(f, &h, &v, ret_n, &e);

	if (r) {
		ck_assert_int_eq(looked, -1);
		ck_assert_str_eq(same.msg, e.msg);
	}
	if (r == 0)
		qcow2_bitmap_free(v, *ret_n);
	file_close(f);
	return r;
}

static void
bad_bitmap(const char *text)
{
	size_t count;

	ck_assert_int_eq(load_bitmaps(&count), -1);
	ck_assert_msg(strstr(e.msg, text) != NULL, "'%s', not '%s'", e.msg,
		text);
}

START_TEST(bitmap_directory)
{
	static const struct {
		unsigned at;
		uint8_t byte;
		bool good;
	} change[] = {
		{7, 0, true}, {7, 1, false},        /* table offset */
		{11, 0, false}, {10, 1, true}, {9, 1, false}, /* entries */
		{15, 3, true}, {15, 4, false},      /* flags */
		{16, 2, false},                     /* type */
		{17, 8, false}, {17, 9, true}, {17, 31, true}, {17, 32, false},
	};
	unsigned len = put_bitmap(b, "first");
	size_t count;

	h.has_bitmaps = true;
	h.n_bitmaps = 2;
	len += put_bitmap(b + len, "second one");
	h.bitmap_dir_size = len;
	ck_assert_int_eq(load_bitmaps(&count), 0);
	ck_assert_uint_eq(count, 2);
	h.n_bitmaps = 1;
	bad_bitmap("More bitmaps found");
	h.n_bitmaps = 3;
	bad_bitmap("Less bitmaps found");
	h.n_bitmaps = 2;
	h.bitmap_dir_size = len - 8;
	bad_bitmap("Broken bitmap directory");
	h.bitmap_dir_size = len + 8;
	h.n_bitmaps = 3;
	bad_bitmap("Broken bitmap directory");
	h.bitmap_dir_size = 0;
	bad_bitmap("size is zero");
	h.n_bitmaps = 2;
	h.bitmap_dir_size = len;
	b[23] = 1;
	bad_bitmap("Bitmap extra data is not supported");
	b[23] = 0;
	for (unsigned i = 0; i < COUNT_OF(change); i++) {
		uint8_t old = b[change[i].at];

		b[change[i].at] = change[i].byte;
		if (change[i].good)
			ck_assert_int_eq(load_bitmaps(&count), 0);
		else
			bad_bitmap("Bitmap 'first' doesn't satisfy");
		b[change[i].at] = old;
	}
	/* one cluster of bits of 64 KiB each: 32 GiB; unless it is in use */
	h.size = UINT64_C(32) << 30;
	ck_assert_int_eq(load_bitmaps(&count), 0);
	h.size += 512;
	bad_bitmap("constraints");
	b[15] |= 1;
	b[32 + 15] |= 1;
	ck_assert_int_eq(load_bitmaps(&count), 0);
	/* a place whose end wraps to 0 is nowhere, and not in memory */
	h.bitmap_dir_offset = -UINT64_C(4096);
	h.bitmap_dir_size = 4096;
	bad_bitmap("cannot read");
}
END_TEST

static void
check_bitmaps(const char *text)
{
	struct file *f = file_of(b, sizeof(b), sizeof(b));
	int r = qcow2_bitmap_check(f, &h, &e);

	ck_assert_int_eq(r, text ? -1 : 0);
	ck_assert_msg(!text || strstr(e.msg, text), "'%s', not '%s'", e.msg,
		text);
	file_close(f);
}

/* Two bitmaps of one cluster of bits, with one table. */
START_TEST(bitmap_tables)
{
	static const uint64_t bad[] = {2, UINT64_C(1) << 60, 0x20200, 0x20001};

	h.has_bitmaps = true;
	h.size = UINT64_C(32) << 30;
	h.n_bitmaps = 2;
	h.bitmap_dir_size = put_bitmap(b, "one");
	h.bitmap_dir_size += put_bitmap(b + h.bitmap_dir_size, "two");
	check_bitmaps(NULL);
	/* where the file is not, are zeros; where no file can be, nothing */
	put64(b, 0, UINT64_C(1) << 62);
	check_bitmaps(NULL);
	put64(b, 0, UINT64_C(1) << 63);
	check_bitmaps("Could not read bitmap_table table from image for "
		"bitmap 'one'");
	ck_assert_int_eq(e.eno, EIO);
	put64(b, 0, 0x10000);
	put32(b, 8, 2);
	check_bitmaps("Could not read bitmap 'one' from image");
	ck_assert_int_eq(e.eno, EINVAL);
	b[15] |= 1; /* in use: not loaded */
	check_bitmaps(NULL);
	put_bitmap(b, "one");
	memcpy(b + 32 + 24, "one", 3);
	check_bitmaps("Bitmap already exists: one");
	b[32 + 15] |= 1;
	check_bitmaps(NULL);
	put64(b, 0x10000, 1); /* all ones */
	check_bitmaps(NULL);
	for (unsigned i = 0; i < COUNT_OF(bad); i++) {
		put64(b, 0x10000, bad[i]);
		check_bitmaps("Could not read bitmap_table table");
		ck_assert_int_eq(e.eno, EINVAL);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("qcow2_records");
	TCase *t = tcase_create("qcow2_records");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, snapshot_table);
	tcase_add_test(t, snapshot_table_of_64_mib);
	tcase_add_test(t, snapshot_entry_cut_short);
	tcase_add_test(t, bitmap_directory);
	tcase_add_test(t, bitmap_tables);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
