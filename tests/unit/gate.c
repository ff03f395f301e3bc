/* SPDX-License-Identifier: MIT */
/*
 * The policy on images written here byte by byte: one good image, and one
 * change each. 4 KiB clusters: 0 header, 1 refcount table, 2 refcount block,
 * 3 L1, 4 L2, 5 and 6 data, 7 spare.
 */
#include "config.h"

#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "format/gate.h"
#include "format/image.h"
#include "tests/unit/tmpdir.h"

#define C 4096u
#define COPIED (UINT64_C(1) << 63)
#define PACKED (UINT64_C(1) << 62)

static uint8_t im[64 * C];
static size_t im_len;

static void
good(void)
{
	unsigned i;

	memset(im, 0, sizeof(im));
	im_len = 8 * C;
	memcpy(im, "QFI\xfb", 4);
	store_be32(im + 4, 3);
	store_be32(im + 20, 12);          /* cluster_bits */
	store_be64(im + 24, 64 * C * 16); /* 4 MiB, two L1 entries */
	store_be32(im + 36, 2);
	store_be64(im + 40, 3 * C);
	store_be64(im + 48, 1 * C);
	store_be32(im + 56, 1);
	store_be32(im + 96, 4);
	store_be32(im + 100, 112);
	store_be64(im + C, 2 * C);
	for (i = 0; i < 8; i++)
		store_be16(im + 2 * C + 2 * i, 1);
	store_be64(im + 3 * C, COPIED | 4 * C);
	store_be64(im + 4 * C, COPIED | 5 * C);
	store_be64(im + 4 * C + 8, COPIED | 6 * C);
	memset(im + 5 * C, 'a', C);
	memset(im + 6 * C, 'b', C);
}

static void
l2_set(unsigned i, uint64_t v)
{
	store_be64(im + 4 * C + 8 * i, v);
}

static void
extension(size_t at, uint32_t type, const char *data)
{
	store_be32(im + at, type);
	store_be32(im + at + 4, (uint32_t)strlen(data));
	memcpy(im + at + 8, data, strlen(data));
}

static struct gate policy = {.safe = true};

static void
report_of(struct gate_report *r, enum format declared, bool deep,
	uint64_t size_max)
{
	struct gate g = policy;
	struct file *f;
	struct err e = {0};
	int fd = open("x", O_RDWR | O_CREAT | O_TRUNC, 0600);

	g.size_max = size_max;
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, im, im_len), (ssize_t)im_len);
	close(fd);
	ck_assert_int_eq(file_open(&f, AT_FDCWD, "x", FILE_READ, &e), 0);
	ck_assert_msg(gate_inspect(&g, f, declared, deep, NULL, r, &e) == 0,
		"%s", e.msg);
	file_close(f);
}

/* The only reason has this id; NULL: there is none. */
static void
verdict_is(const char *what, bool deep, const char *id)
{
	struct gate_report r;
	unsigned i;

	report_of(&r, FORMAT_QCOW2, deep, 0);
	if (!id) {
		ck_assert_msg(r.n_reasons == 0, "%s: %s: %s", what,
			r.reasons[0].id, r.reasons[0].text);
		ck_assert_int_eq(gate_verdict(&r, NULL), 0);
		return;
	}
	ck_assert_msg(r.n_reasons > 0, "%s: passed", what);
	for (i = 0; i < r.n_reasons; i++)
		ck_assert_msg(strcmp(r.reasons[i].id, id) == 0,
			"%s: %s: %s", what, r.reasons[i].id,
			r.reasons[i].text);
	ck_assert_int_eq(gate_verdict(&r, NULL), -1);
}

START_TEST(good_image_passes)
{
	struct gate_report r;

	good();
	verdict_is("good", true, NULL);
	report_of(&r, FORMAT_PROBE, true, 0);
	ck_assert_uint_eq(r.mapped, 2 * C);
	ck_assert_uint_eq(r.packed, 0);
	ck_assert_uint_eq(r.virtual_size, 4u << 20);
}
END_TEST

START_TEST(header_reasons)
{
	good();
	store_be64(im + 8, 200);
	verdict_is("backing offset alone", false, "backing-file");
	good();
	store_be32(im + 16, 5);
	verdict_is("backing length alone", false, "backing-file");
	good();
	store_be64(im + 8, 200);
	store_be32(im + 16, 5);
	memcpy(im + 200, "/etc/", 5);
	verdict_is("backing file", false, "backing-file");
	good();
	im[79] |= 4;
	extension(112, 0x44415441, "x");
	verdict_is("data file", false, "data-file");
	good();
	extension(112, 0x44415441, "x");
	verdict_is("data file by name alone", false, "data-file");
	good();
	extension(128, 0x44415441, "x"); /* behind END at 112 */
	verdict_is("data file behind END", false, "data-file");
	good();
	store_be32(im + 4, 2);
	memset(im + 72, 0, 40);
	extension(72, 0x44415441, "x");
	verdict_is("data file in version 2", false, "data-file");
	good();
	store_be32(im + 32, 1);
	verdict_is("AES", false, "encryption");
	good();
	im[78] |= 1;
	verdict_is("unknown feature", false, "unknown-feature");
	good();
	store_be32(im + 20, 22);
	verdict_is("cluster bits", false, "corrupt-header");
	good();
	store_be32(im + 36, 0);
	verdict_is("L1 too small", false, "corrupt-header");
	good();
	store_be64(im + 40, 8 * C);
	verdict_is("L1 past the end", false, "beyond-eof");
	good();
	store_be64(im + 48, 8 * C);
	verdict_is("refcount table past the end", false, "beyond-eof");
	good();
	store_be32(im + 60, 1);
	store_be64(im + 64, 8 * C);
	verdict_is("snapshots past the end", false, "beyond-eof");
}
END_TEST

START_TEST(names_are_escaped_and_bounded)
{
	struct gate_report r;

	good();
	store_be64(im + 8, 200);
	store_be32(im + 16, 1000);
	memset(im + 200, 033, 1000);
	report_of(&r, FORMAT_QCOW2, false, 0);
	ck_assert_int_eq(r.n_reasons, 1);
	ck_assert_ptr_null(strchr(r.reasons[0].text, 033));
	ck_assert_ptr_nonnull(strstr(r.reasons[0].text, "length 1000"));
}
END_TEST

START_TEST(table_reasons)
{
	good();
	store_be64(im + 3 * C, COPIED | 8 * C);
	verdict_is("L2 past the end", true, "beyond-eof");
	good();
	store_be64(im + 3 * C, COPIED | (4 * C + 512));
	verdict_is("L2 misaligned", true, "corrupt-table");
	good();
	store_be64(im + 3 * C, 1 | 4 * C);
	verdict_is("L1 reserved bits", true, "corrupt-table");
	good();
	store_be64(im + 3 * C + 8, COPIED | 4 * C);
	verdict_is("L2 twice", true, "aliasing");
	good();
	store_be64(im + 3 * C, COPIED | 3 * C);
	verdict_is("L1 as its own L2", true, "aliasing");
	good();
	l2_set(5, COPIED | 8 * C);
	verdict_is("data past the end", true, "beyond-eof");
	good();
	l2_set(5, COPIED | UINT64_C(0x00fffffffffff000));
	verdict_is("data at 2^56", true, "beyond-eof");
	good();
	l2_set(5, COPIED | (7 * C + 512));
	verdict_is("data misaligned", true, "corrupt-table");
	good();
	l2_set(5, COPIED | 7 * C | 2);
	verdict_is("L2 reserved bits", true, "corrupt-table");
	good();
	l2_set(5, 1 * C);
	verdict_is("refcount table as data", true, "aliasing");
	good();
	l2_set(5, COPIED | 4 * C);
	verdict_is("L2 as data", true, "aliasing");
	good();
	l2_set(5, PACKED | COPIED | 7 * C);
	verdict_is("packed and copied", true, "corrupt-table");
	good();
	l2_set(5, COPIED | 6 * C); /* 5 of metadata, 3 of data: 8 are there */
	l2_set(6, COPIED | 6 * C);
	verdict_is("one cluster more than there are", true, "aliasing");
	good();
	for (unsigned i = 0; i < 9; i++)
		l2_set(i, COPIED | 5 * C);
	verdict_is("one cluster for many", true, "aliasing");
	good();
	l2_set(5, PACKED | 8 * C);
	verdict_is("packed past the end", true, "beyond-eof");
	good();
	store_be64(im + C + 8, 9 * C);
	verdict_is("refcount block past the end", true, "beyond-eof");
	good();
	store_be64(im + C + 8, 2 * C + 1);
	verdict_is("refcount table reserved bits", true, "corrupt-table");
	good();
	store_be32(im + 4, 2);
	memset(im + 72, 0, 40);
	l2_set(5, 1);
	verdict_is("zero flag in version 2", true, "corrupt-table");
}
END_TEST

/* FACTS: what valid writers leave behind. */
START_TEST(valid_is_not_hostile)
{
	good();
	l2_set(2, 7 * C | 1);
	l2_set(3, 1);
	verdict_is("allocated zero cluster, plain zero flag", true, NULL);
	good();
	/* behind what is probed: these bytes are no streams. No further
	 * sectors, bit 0 of the offset set */
	l2_set(80, PACKED | (7 * C + 1));
	l2_set(81, PACKED | (7 * C + 101));
	verdict_is("packed neighbours in one sector", true, NULL);
	good();
	/* ten sectors from the last one on: x = 62 - 4 = 58 */
	l2_set(80, PACKED | UINT64_C(9) << 58 | (8 * C - 100));
	verdict_is("packed tail past the end", true, NULL);
	good();
	im_len = 7 * C + 1;
	l2_set(8, COPIED | 7 * C);
	verdict_is("partial last cluster", true, NULL);
	good();
	store_be32(im + 100, 109);
	verdict_is("header length", true, NULL);
	good();
	im[87] |= 0x80;
	verdict_is("compatible bit", true, NULL);
	good();
	im[79] |= 1;
	verdict_is("dirty", true, NULL);
	good();
	extension(112, 0x12345678, "unknown");
	verdict_is("unknown extension", true, NULL);
}
END_TEST

/* Where directories are permitted, a sound reference is for gate_open. */
START_TEST(permitted_references)
{
	static const char *const dirs[] = {"/"};

	policy.allow_dirs = dirs;
	policy.n_allow = 1;
	good();
	extension(112, 0xe2792aca, "raw");
	store_be64(im + 8, 200);
	store_be32(im + 16, 4);
	memcpy(im + 200, "base", 4);
	verdict_is("backing file and format", true, NULL);
	memset(im + 112, 0, 16);
	verdict_is("backing file, no format", true, "backing-file");
	extension(112, 0xe2792aca, ""); /* is to be probed, too */
	verdict_is("backing file, empty format", true, "backing-file");
	good();
	store_be64(im + 8, 200);
	verdict_is("backing offset alone", true, "backing-file");
	good();
	extension(112, 0x44415441, "data");
	verdict_is("data file, no bit", true, "data-file");
	im[79] |= 4;
	l2_set(9, COPIED | 1000 * C);
	verdict_is("data file", true, NULL);
	policy = (struct gate){.safe = true};
}
END_TEST

/* A caller who salvages takes zeros for what is past the end; nothing else
 * becomes fine by it. */
START_TEST(lenient)
{
	unsigned i;

	policy.lenient = true;
	good();
	store_be64(im + 3 * C + 8, COPIED | 90 * C);
	for (i = 2; i < 100; i++)
		l2_set(i, COPIED | (100 + i) * C);
	verdict_is("past the end", true, NULL);
	l2_set(500, COPIED | 7 * C | 2);
	verdict_is("reserved bits behind many", true, "corrupt-table");
	good();
	for (i = 2; i < 20; i++)
		l2_set(i, COPIED | 90 * C);
	for (i = 20; i < 40; i++)
		l2_set(i, COPIED | 5 * C);
	verdict_is("aliasing behind many", true, "aliasing");
	good();
	im_len = 6 * C;
	verdict_is("cut short", true, NULL);
	policy = (struct gate){.safe = true};
}
END_TEST

static void
snapshot_at(size_t at, uint64_t l1, uint32_t entries)
{
	store_be32(im + 60, 1);
	store_be64(im + 64, at);
	store_be64(im + at, l1);
	store_be32(im + at + 8, entries);
	store_be16(im + at + 12, 1);
	store_be16(im + at + 14, 1);
	store_be32(im + at + 36, 16);
	im[at + 56] = '1';
	im[at + 57] = 's';
}

START_TEST(snapshots)
{
	/* cluster 7 holds the table and, 2 KiB on, nothing; L1 in 8 */
	good();
	im_len = 9 * C;
	snapshot_at(7 * C, 8 * C, 2);
	store_be64(im + 8 * C, 4 * C); /* shares the L2: as it should */
	verdict_is("shared with a snapshot", true, NULL);
	store_be64(im + 8 * C + 8, 4 * C);
	verdict_is("shared within a snapshot", true, "aliasing");
	store_be64(im + 8 * C + 8, 9 * C);
	verdict_is("snapshot's L2 past the end", true, "beyond-eof");
	snapshot_at(7 * C, 9 * C, 2);
	verdict_is("snapshot's L1 past the end", true, "beyond-eof");
	verdict_is("that, without reading it", false, "beyond-eof");
	snapshot_at(7 * C, 8 * C + 8, 2);
	verdict_is("snapshot's L1 misaligned", true, "corrupt-table");
	snapshot_at(7 * C, 8 * C, UINT32_MAX);
	verdict_is("snapshot's L1 too large", true, "too-large");
}
END_TEST

START_TEST(content)
{
	struct gate_report r;

	good();
	memcpy(im + 5 * C, "QFI\xfb\0\0\0\3", 8);
	verdict_is("qcow2 in qcow2", true, "foreign-content");
	verdict_is("qcow2 in qcow2, header only", false, NULL);
	good();
	memcpy(im + 5 * C, "LUKS\xba\xbe\0\1", 8);
	verdict_is("LUKS in qcow2", true, "foreign-content");
	good();
	report_of(&r, FORMAT_RAW, false, 0);
	ck_assert_int_eq(r.n_reasons, 1);
	ck_assert_str_eq(r.reasons[0].id, "format-mismatch");
	report_of(&r, FORMAT_QCOW2, false, 4u << 20);
	ck_assert_int_eq(r.n_reasons, 0);
	report_of(&r, FORMAT_QCOW2, false, (4u << 20) - 1);
	ck_assert_int_eq(r.n_reasons, 1);
	ck_assert_str_eq(r.reasons[0].id, "too-large");
	memcpy(im, "KDMV", 4);
	report_of(&r, FORMAT_PROBE, true, 0);
	ck_assert_int_eq(r.n_reasons, 1);
	ck_assert_str_eq(r.reasons[0].id, "unsupported");
	/* a raw disk with a partition table is what raw disks are */
	memset(im, 0, sizeof(im));
	im[446 + 4] = 0x83;
	im[446 + 8] = 1;
	im[446 + 12] = 7;
	im[510] = 0x55;
	im[511] = 0xaa;
	report_of(&r, FORMAT_RAW, true, 0);
	ck_assert_int_eq(r.n_reasons, 0);
}
END_TEST

/* Names in images ------------------------------------------------------- */

static const char *top = tmpdir_path; /* has in/ and out/ */

static void
put(const char *name)
{
	char path[PATH_MAX + 64];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", top, name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, im, im_len), (ssize_t)im_len);
	close(fd);
}

static int
follow(const struct gate *g, const char *image, const char *name,
	char *ret_name, struct err *e)
{
	struct image from = {0};
	char path[PATH_MAX + 64], own[PATH_MAX + 64];
	char raw[] = "raw", qcow2[] = "qcow2";
	struct file *f = NULL;
	int r;

	snprintf(path, sizeof(path), "%s/%s", top, image);
	ck_assert_int_eq(file_open(&from.file, AT_FDCWD, path, FILE_READ, e),
		0);
	strcpy(own, name);
	from.backing = own;
	from.backing_format = strcmp(name, "bomb") == 0 ? qcow2 : raw;
	r = gate_open(g, &from, own, "backing file", &f, e);
	file_close(from.file);
	if (r == 0) {
		strcpy(ret_name, f->name);
		file_close(f);
	}
	return r;
}

START_TEST(references)
{
	char in[PATH_MAX + 64], got[2 * PATH_MAX], want[PATH_MAX + 64];
	char abs[PATH_MAX + 64], link[PATH_MAX + 64];
	const char *dirs[] = {in};
	struct gate none = {0}, allow = {.allow_dirs = dirs, .n_allow = 1};
	struct gate trusted = {.trusted = true};
	static const char *const protocols[] = {
		"json:{\"driver\":\"raw\"}", "nbd://h/x", "http://h/x", "fd:3",
		"rbd:p/x", "a:b", ":", "file:"
	};
	struct err e;
	unsigned i;

	snprintf(in, sizeof(in), "%s/in", top);
	mkdir(in, 0700);
	snprintf(abs, sizeof(abs), "%s/in/sub", top);
	mkdir(abs, 0700);
	snprintf(abs, sizeof(abs), "%s/out", top);
	mkdir(abs, 0700);
	memset(im, 0, sizeof(im));
	im_len = 1;
	put("in/base");
	put("in/sub/ov");
	put("in/with:colon");
	put("out/secret");
	put("out/ov");
	snprintf(link, sizeof(link), "%s/in/link", top);
	ck_assert_int_eq(symlink("../out/secret", link), 0);
	snprintf(link, sizeof(link), "%s/in/good-link", top);
	ck_assert_int_eq(symlink("base", link), 0);

	/* nothing is permitted */
	ck_assert_int_eq(follow(&none, "in/sub/ov", "../base", got, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	/* beneath */
	ck_assert_int_eq(follow(&allow, "in/sub/ov", "../base", got, &e), 0);
	ck_assert_int_eq(follow(&allow, "in/sub/ov", "ov", got, &e), 0);
	ck_assert_int_eq(follow(&allow, "out/ov", "../in/base", got, &e), 0);
	snprintf(abs, sizeof(abs), "%s/in/base", top);
	ck_assert_int_eq(follow(&allow, "out/ov", abs, got, &e), 0);
	ck_assert_str_eq(got, abs);
	ck_assert_int_eq(follow(&allow, "in/base", "good-link", got, &e), 0);
	ck_assert_int_eq(follow(&allow, "in/base", "./with:colon", got, &e),
		0);
	/* not beneath, by any road */
	ck_assert_int_eq(follow(&allow, "in/base", "../out/secret", got, &e),
		-1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(follow(&allow, "in/base", "link", got, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(follow(&allow, "in/base", "sub/../../out/secret", got,
		&e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(follow(&allow, "in/base", "/etc/passwd", got, &e),
		-1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	snprintf(abs, sizeof(abs), "%s/in/../out/secret", top);
	ck_assert_int_eq(follow(&allow, "in/base", abs, got, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(follow(&allow, "in/base", "/proc/self/fd/0", got, &e),
		-1);
	/* the directory itself, and a prefix of its name, are not beneath */
	ck_assert_int_eq(follow(&allow, "in/base", in, got, &e), -1);
	snprintf(abs, sizeof(abs), "%s/innocent", top);
	ck_assert_int_eq(follow(&allow, "in/base", abs, got, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	/* under the whole policy the file itself is looked at, too */
	allow.safe = true;
	ck_assert_int_eq(follow(&allow, "in/sub/ov", "../base", got, &e), 0);
	good();
	store_be64(im + 3 * C + 8, COPIED | 4 * C);
	put("in/bomb");
	ck_assert_int_eq(follow(&allow, "in/base", "bomb", got, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_ptr_nonnull(strstr(e.msg, "safe policy"));
	allow.safe = false;
	ck_assert_int_eq(follow(&allow, "in/base", "bomb", got, &e), 0);
	/* protocols, never */
	for (i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
		ck_assert_int_eq(follow(&allow, "in/base", protocols[i], got,
			&e), -1);
		ck_assert_int_eq(e.kind, ERR_DENIED);
		ck_assert_int_eq(follow(&trusted, "in/base", protocols[i], got,
			&e), -1);
	}
	/* as qemu-img: the name is the one it would show */
	ck_assert_int_eq(follow(&trusted, "in/sub/ov", "../../out/secret", got,
		&e), 0);
	snprintf(want, sizeof(want), "%s/in/sub/../../out/secret", top);
	ck_assert_str_eq(got, want);
	snprintf(abs, sizeof(abs), "file:%s/out/secret", top);
	ck_assert_int_eq(follow(&trusted, "in/sub/ov", abs, got, &e), 0);
	ck_assert_str_eq(got, abs + 5);
	ck_assert_int_eq(follow(&trusted, "in/sub/ov", "gone", got, &e), -1);
	ck_assert_int_eq(e.kind, ERR_IO);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("gate");
	TCase *t = tcase_create("gate");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_set_timeout(t, 60);
	tcase_add_test(t, good_image_passes);
	tcase_add_test(t, header_reasons);
	tcase_add_test(t, names_are_escaped_and_bounded);
	tcase_add_test(t, table_reasons);
	tcase_add_test(t, valid_is_not_hostile);
	tcase_add_test(t, permitted_references);
	tcase_add_test(t, lenient);
	tcase_add_test(t, snapshots);
	tcase_add_test(t, content);
	tcase_add_test(t, references);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
