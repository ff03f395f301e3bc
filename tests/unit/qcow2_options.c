/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2.h"
#include "format/qcow2_write.h"

static void
refused(const struct qcow2_options *o, enum err_kind kind, const char *msg)
{
	struct err e = {0};

	ck_assert_int_eq(qcow2_options_check(o, &e), -1);
	ck_assert_str_eq(e.msg, msg);
	ck_assert_int_eq(e.kind, kind);
}

#define REFUSED(kind, msg, ...)                                                \
	refused(&(struct qcow2_options){.size = MIB, __VA_ARGS__}, kind, msg)
#define LEVEL                                                                  \
	"compatibility level 1.1 and above (use version=v3 or greater)"

START_TEST(messages_are_qemu_imgs)
{
	const char *size = "Cluster size must be a power of two between 512 "
		"and 2048k";
	const char *width = "Refcount width must be a power of two and may not "
		"exceed 64 bits";

	REFUSED(ERR_USAGE, size, .cluster_size = 1000);
	REFUSED(ERR_USAGE, size, .cluster_size = 4 * MIB);
	REFUSED(ERR_USAGE, size, .cluster_size = 256);
	REFUSED(ERR_USAGE, width, .refcount_bits = 3);
	REFUSED(ERR_USAGE, width, .refcount_bits = 128);
	REFUSED(ERR_USAGE, "Different refcount widths than 16 bits require "
		"compatibility level 1.1 or above (use version=v3 or greater)",
		.version = 2, .refcount_bits = 8);
	REFUSED(ERR_USAGE, "Lazy refcounts only supported with " LEVEL,
		.version = 2, .lazy_refcounts = true);
	REFUSED(ERR_USAGE, "Extended L2 entries are only supported with " LEVEL,
		.version = 2, .extended_l2 = true);
	REFUSED(ERR_USAGE, "Non-zlib compression type is only supported with "
		LEVEL, .version = 2, .compression = CODEC_ZSTD);
	REFUSED(ERR_USAGE, "External data files are only supported with " LEVEL,
		.version = 2, .data_file = "d");
	REFUSED(ERR_USAGE, "Extended L2 entries are only supported with "
		"cluster sizes of at least 16384 bytes",
		.extended_l2 = true, .cluster_size = 8192);
	REFUSED(ERR_USAGE, "data-file-raw requires data-file",
		.data_file_raw = true);
	REFUSED(ERR_USAGE, "Backing file and data-file-raw cannot be used at "
		"the same time", .data_file_raw = true, .data_file = "d",
		.backing = "b");
	REFUSED(ERR_USAGE, "Backing file and preallocation can only be used at "
		"the same time if extended_l2 is on",
		.preallocation = PREALLOC_METADATA, .backing = "b");
	REFUSED(ERR_USAGE, "Backing format cannot be used without backing file",
		.backing_format = "raw");
}
END_TEST

START_TEST(sizes_have_limits)
{
	const char *big = "The image size is too large for file format "
		"'qcow2' (try using a larger cluster size)";
	struct qcow2_options o = {.cluster_size = 512, .size = 128 * GIB};

	/* 128 GiB need 2^27 L1 entries of 512 * 64 bytes: 32 MiB. */
	ck_assert_int_eq(qcow2_options_check(&o, NULL), 0);
	o.size += 512;
	refused(&o, ERR_LIMIT, big);
	o = (struct qcow2_options){.size = UINT64_C(1) << 63};
	refused(&o, ERR_LIMIT, big);
}
END_TEST

START_TEST(names_have_limits)
{
	struct qcow2_options o = {.size = MIB, .cluster_size = 512,
		.backing_format = "raw"};
	char name[1100];
	struct err e = {0};

	memset(name, 'a', sizeof(name));
	name[376] = 0; /* 512 - 112 - 16 (format) - 8 (end) */
	o.backing = name;
	ck_assert_int_eq(qcow2_options_check(&o, NULL), 0);
	name[376] = 'a';
	name[377] = 0;
	ck_assert_int_eq(qcow2_options_check(&o, &e), -1);
	ck_assert_int_eq(e.kind, ERR_LIMIT);
	o.cluster_size = 65536;
	ck_assert_int_eq(qcow2_options_check(&o, NULL), 0);
	name[377] = 'a';
	name[1023] = 0;
	ck_assert_int_eq(qcow2_options_check(&o, NULL), 0);
	name[1023] = 'a';
	name[1024] = 0;
	ck_assert_int_eq(qcow2_options_check(&o, &e), -1);
	ck_assert_int_eq(e.kind, ERR_LIMIT);
}
END_TEST

/* The bytes of `qemu-img create -o compat=0.10 -b /dev/null -F raw ... 1G`. */
START_TEST(a_v2_header_byte_by_byte)
{
	static const uint8_t want[] = {
		'Q', 'F', 'I', 0xfb, 0, 0, 0, 2, /* magic, version */
		0, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 9, /* name: at, length */
		0, 0, 0, 16, 0, 0, 0, 0, 0x40, 0, 0, 0, /* bits, size */
		0, 0, 0, 0, 0, 0, 0, 2, /* no crypt, L1 entries */
		0, 0, 0, 0, 0, 3, 0, 0, /* L1 */
		0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, /* refcount table */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, /* no snapshots */
		0xe2, 0x79, 0x2a, 0xca, 0, 0, 0, 3, /* backing format */
		'r', 'a', 'w', 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, /* end of extensions */
		'/', 'd', 'e', 'v', '/', 'n', 'u', 'l', 'l', 0,
	};
	struct qcow2_header h = {.version = 2, .cluster_bits = 16, .size = GIB,
		.l1_entries = 2, .l1_offset = 0x30000, .refcount_order = 4,
		.reftable_offset = 0x10000, .reftable_clusters = 1,
		.has_backing_format = true, .backing_format = "raw",
		.backing = "/dev/null"};
	uint8_t out[4096];

	ck_assert_int_eq(qcow2_header_encode(&h, false, NULL, out,
				 sizeof(out), NULL), 0);
	ck_assert_mem_eq(out, want, sizeof(want));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("qcow2_options");
	TCase *t = tcase_create("qcow2_options");
	SRunner *r;
	int failed;

	tcase_add_test(t, messages_are_qemu_imgs);
	tcase_add_test(t, sizes_have_limits);
	tcase_add_test(t, names_have_limits);
	tcase_add_test(t, a_v2_header_byte_by_byte);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
