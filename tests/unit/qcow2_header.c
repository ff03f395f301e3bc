/* SPDX-License-Identifier: MIT */
/* Every limit of the header: the last value that is taken and the first that
 * is not, and the order of the complaints. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "format/qcow2.h"
#include "qcow2_bytes.h"

#define LEN 65536

static uint8_t b[LEN];
static struct qcow2_header h;
static struct err e;

static void
setup(void)
{
	memset(b, 0, sizeof(b));
	put_header(b, 16, 1 << 20, 1);
}

static int
decode(bool info)
{
	memset(&e, 0, sizeof(e));
	return qcow2_header_decode((struct span){b, LEN}, info, &h, &e);
}

static void
good(void)
{
	ck_assert_msg(decode(false) == 0, "%s", e.msg);
}

static void
bad(enum err_kind kind, const char *text)
{
	struct qcow2_header before;

	memset(&h, 0x5a, sizeof(h));
	before = h;
	ck_assert_int_eq(decode(false), -1);
	ck_assert_msg(strncmp(e.msg, text, strlen(text)) == 0,
		"'%s', not '%s'", e.msg, text);
	ck_assert_int_eq(e.kind, kind);
	/* outputs are untouched on failure */
	ck_assert_int_eq(memcmp(&h, &before, sizeof(h)), 0);
}

START_TEST(a_sound_header)
{
	put64(b, 80, 1 | UINT64_C(1) << 40); /* unknown compatible bits */
	good();
	ck_assert_uint_eq(h.version, 3);
	ck_assert_uint_eq(h.cluster_bits, 16);
	ck_assert_uint_eq(h.size, 1 << 20);
	ck_assert_uint_eq(h.l1_entries, 1);
	ck_assert_uint_eq(h.l1_offset, 3 << 16);
	ck_assert_uint_eq(h.reftable_offset, 1 << 16);
	ck_assert_uint_eq(h.compatible, 1 | UINT64_C(1) << 40);
	ck_assert_uint_eq(h.refcount_order, 4);
	ck_assert_uint_eq(h.extensions_at, 112);
	ck_assert_uint_eq(h.extensions_end, 112);
}
END_TEST

START_TEST(version_2_has_no_feature_fields)
{
	put32(b, 4, 2);
	memset(b + 72, 0, 100);
	put_ext(b, 72, QCOW2_EXT_BACKING_FORMAT, "raw", 3);
	good();
	ck_assert_uint_eq(h.refcount_order, 4);
	ck_assert_uint_eq(h.header_length, 72);
	ck_assert_uint_eq(h.incompatible, 0);
	ck_assert_str_eq(h.backing_format, "raw");
}
END_TEST

START_TEST(a_short_file_reads_as_zeros)
{
	ck_assert_int_eq(qcow2_header_decode((struct span){b, 104}, false, &h,
		&e), 0);
	ck_assert_int_eq(qcow2_header_decode((struct span){b, 3}, false, &h,
		&e), -1);
	ck_assert_int_eq(e.kind, ERR_FORMAT);
	ck_assert_int_eq(qcow2_header_decode((struct span){b, 20}, false, &h,
		&e), -1);
	ck_assert_str_eq(e.msg, "Unsupported cluster size: 2^0");
}
END_TEST

START_TEST(magic_version_cluster)
{
	b[3] = 0xfa;
	bad(ERR_FORMAT, "Image is not in qcow2 format");
	b[3] = 0xfb;
	put32(b, 4, 1);
	bad(ERR_FORMAT, "Unsupported qcow2 version 1");
	put32(b, 4, 4);
	bad(ERR_FORMAT, "Unsupported qcow2 version 4");
	put32(b, 4, 3);
	put32(b, 20, 8);
	bad(ERR_LIMIT, "Unsupported cluster size: 2^8");
	put32(b, 20, 22);
	bad(ERR_LIMIT, "Unsupported cluster size: 2^22");
	put32(b, 20, 0xffffffff);
	bad(ERR_LIMIT, "Unsupported cluster size: 2^4294967295");
	put_header(b, 9, 512, 1);
	good();
	put_header(b, 21, 512, 1);
	good();
}
END_TEST

START_TEST(header_length)
{
	put32(b, 100, 103);
	bad(ERR_CORRUPT, "qcow2 header too short");
	put32(b, 100, 104);
	b[104] = 9; /* an extension now, no compression type */
	b[104] = 0;
	good();
	put32(b, 100, 105); /* no multiple of 8 is fine */
	good();
	put32(b, 100, 65536);
	good();
	put32(b, 100, 65537);
	bad(ERR_CORRUPT, "qcow2 header exceeds cluster size");
}
END_TEST

START_TEST(compression_type)
{
	b[104] = 1;
	bad(ERR_CORRUPT, "qcow2: Compression type incompatible feature bit must "
		"be set");
	put64(b, 72, QCOW2_COMPRESSION);
	good();
	ck_assert_uint_eq(h.compression, 1);
	b[104] = 0;
	bad(ERR_CORRUPT, "qcow2: Compression type incompatible feature bit must "
		"not be set");
	b[104] = 2;
	bad(ERR_UNSUPPORTED, "qcow2: unknown compression type: 2");
	/* the byte does not belong to a header of 104 bytes */
	put32(b, 100, 104);
	put64(b, 72, 0);
	b[104] = 0;
	b[105] = 7;
	good();
	ck_assert_uint_eq(h.unknown_extensions, 1);
}
END_TEST

START_TEST(unknown_features_are_named)
{
	uint8_t table[96] = {0};

	put64(b, 72, UINT64_C(1) << 5 | UINT64_C(1) << 63);
	bad(ERR_UNSUPPORTED, "Unsupported qcow2 feature(s): Unknown incompatible"
		" feature: 8000000000000020");
	table[1] = 5;
	memset(table + 2, 'n', 46); /* no NUL where the name is full */
	table[48] = 0;
	table[49] = 63;
	memcpy(table + 50, "a\033b", 3);
	put_ext(b, 112, QCOW2_EXT_FEATURES, table, sizeof(table));
	bad(ERR_UNSUPPORTED, "Unsupported qcow2 feature(s): "
		"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn, a\\x1bb");
}
END_TEST

START_TEST(subclusters_and_refcounts)
{
	put64(b, 72, QCOW2_EXTL2);
	put_header(b, 14, 512, 1);
	good();
	put_header(b, 13, 512, 1);
	bad(ERR_LIMIT, "Unsupported subcluster size: 256");
	setup();
	put32(b, 96, 6);
	good();
	put32(b, 96, 7);
	bad(ERR_LIMIT, "Reference count entry width too large");
	put32(b, 96, 0);
	good();
	put32(b, 56, 0);
	bad(ERR_CORRUPT, "Image does not contain a reference count table");
	put32(b, 56, 128); /* 8 MiB */
	good();
	put32(b, 56, 129);
	bad(ERR_LIMIT, "Reference count table too large");
	put32(b, 56, 1);
	put64(b, 48, 65535);
	bad(ERR_CORRUPT, "Reference count table offset invalid");
	put64(b, 48, UINT64_C(0x7fffffffffff0000));
	bad(ERR_CORRUPT, "Reference count table offset invalid");
	put64(b, 48, UINT64_C(0x7ffffffffffe0000));
	good();
}
END_TEST

START_TEST(snapshots_and_l1)
{
	put32(b, 60, 65536);
	good();
	put32(b, 60, 65537);
	bad(ERR_LIMIT, "Snapshot table too large");
	put32(b, 60, 0);
	put64(b, 64, 1);
	bad(ERR_CORRUPT, "Snapshot table offset invalid");
	put64(b, 64, 0);
	put32(b, 36, 4194304);
	good();
	put32(b, 36, 4194305);
	bad(ERR_LIMIT, "Active L1 table too large");
	put32(b, 36, 1);
	put64(b, 40, 512);
	bad(ERR_CORRUPT, "Active L1 table offset invalid");
	put64(b, 40, 3 << 16);
	put64(b, 24, UINT64_C(512) << 20); /* one L1 entry reaches that far */
	good();
	put64(b, 24, (UINT64_C(512) << 20) + 1);
	bad(ERR_CORRUPT, "L1 table is too small");
	put64(b, 24, UINT64_MAX);
	bad(ERR_LIMIT, "Image is too big");
	put_header(b, 9, UINT64_C(32768) * INT32_MAX, 4194304);
	bad(ERR_CORRUPT, "L1 table is too small");
	put_header(b, 9, UINT64_C(32768) * INT32_MAX + 1, 4194304);
	bad(ERR_LIMIT, "Image is too big");
	setup();
	put64(b, 24, 0);
	put32(b, 36, 0);
	good();
}
END_TEST

START_TEST(encryption_is_told_after_the_tables)
{
	put32(b, 32, 3);
	bad(ERR_UNSUPPORTED, "Unsupported encryption method 3");
	put32(b, 56, 0);
	bad(ERR_CORRUPT, "Image does not contain");
	setup();
	put32(b, 32, 1);
	good();
	put32(b, 32, 2);
	bad(ERR_CORRUPT, "Missing CRYPTO header for crypt method 2");
	put_ext(b, 112, QCOW2_EXT_CRYPTO, "\0\0\0\0\0\4\0\0\0\0\0\0\0\0\2\0",
		16);
	good();
	ck_assert(h.has_crypto);
	ck_assert_uint_eq(h.crypto_offset, 0x40000);
	b[127] = 1;
	bad(ERR_CORRUPT, "Encryption header offset '262145' is not a multiple");
	put32(b, 116, 15);
	bad(ERR_CORRUPT, "CRYPTO header extension size 15");
	put32(b, 32, 1);
	bad(ERR_CORRUPT, "CRYPTO header extension only expected with LUKS");
}
END_TEST

START_TEST(extensions_end_where_they_should)
{
	put_ext(b, 112, QCOW2_EXT_BACKING_FORMAT, "123456789012345", 15);
	put_ext(b, 136, 0x12345678, "x", 1);
	put_ext(b, 152, QCOW2_EXT_END, "", 0);
	put_ext(b, 160, QCOW2_EXT_DATA_FILE, "hidden", 6);
	good();
	ck_assert_str_eq(h.backing_format, "123456789012345");
	ck_assert_uint_eq(h.unknown_extensions, 1);
	ck_assert_uint_eq(h.extensions_end, 152);
	ck_assert(!h.has_data_file);
	put32(b, 116, 16);
	bad(ERR_LIMIT, "ERROR: ext_backing_format: len=16 too large (>=16)");
	/* a backing name at 112 hides them all */
	put64(b, 8, 112);
	good();
	ck_assert(!h.has_backing_format);
	/* one that leaves room for half a header */
	put64(b, 8, 116);
	bad(ERR_CORRUPT, "Header extension too large");
	put64(b, 8, 120);
	put32(b, 116, 1);
	bad(ERR_CORRUPT, "Header extension too large");
	put32(b, 116, UINT32_MAX);
	bad(ERR_CORRUPT, "Header extension too large");
	/* data up to the very end, no END mark */
	setup();
	put32(b, 112, 0x777);
	put32(b, 116, LEN - 120);
	good();
	put32(b, 116, LEN - 119);
	bad(ERR_CORRUPT, "Header extension too large");
}
END_TEST

START_TEST(backing_name)
{
	memset(b + 512, 'n', 2000);
	put64(b, 8, 512);
	put32(b, 16, 1023);
	good();
	ck_assert_uint_eq(strlen(h.backing), 1023);
	put32(b, 16, 1024);
	bad(ERR_LIMIT, "Backing file name too long");
	put64(b, 8, LEN - 2);
	put32(b, 16, 2);
	good();
	put32(b, 16, 3);
	bad(ERR_LIMIT, "Backing file name too long");
	put64(b, 8, LEN);
	put32(b, 16, 0);
	good();
	ck_assert_str_eq(h.backing, "");
	put64(b, 8, LEN + 1);
	bad(ERR_CORRUPT, "Invalid backing file offset");
	put64(b, 8, 0); /* a length alone means nothing to QEMU */
	put32(b, 16, 99999);
	good();
	ck_assert_str_eq(h.backing, "");
	ck_assert_uint_eq(h.backing_len, 99999);
}
END_TEST

START_TEST(data_file)
{
	put_ext(b, 112, QCOW2_EXT_DATA_FILE, "a\0b", 3);
	good();
	ck_assert(h.has_data_file);
	ck_assert_str_eq(h.data_file, "a");
	put64(b, 72, QCOW2_DATA_FILE);
	good();
	put64(b, 72, 0);
	put64(b, 88, QCOW2_AUTOCLEAR_RAW);
	bad(ERR_CORRUPT, "data-file-raw requires a data file");
	ck_assert_int_eq(decode(true), 0);
	setup();
	put64(b, 72, QCOW2_DATA_FILE);
	good(); /* whoever opens it may know the name */
	ck_assert(!h.has_data_file);
}
END_TEST

START_TEST(bitmaps_extension)
{
	uint8_t x[24] = {0};

	store_be32(x, 1);
	store_be64(x + 8, 32);
	store_be64(x + 16, 65536);
	put_ext(b, 112, QCOW2_EXT_BITMAPS, x, 24);
	good();
	ck_assert(!h.has_bitmaps); /* stale: the autoclear bit is not set */
	put64(b, 88, QCOW2_AUTOCLEAR_BITMAPS);
	good();
	ck_assert(h.has_bitmaps);
	ck_assert_uint_eq(h.bitmap_dir_offset, 65536);
	put32(b, 120, 65535);
	good();
	put32(b, 120, 65536);
	bad(ERR_LIMIT, "bitmaps_ext: Image has 65536 bitmaps");
	put32(b, 120, 0);
	bad(ERR_CORRUPT, "found bitmaps extension with zero bitmaps");
	put32(b, 120, 1);
	put32(b, 124, 1);
	bad(ERR_CORRUPT, "bitmaps_ext: Reserved field is not zero");
	put32(b, 124, 0);
	put64(b, 128, 1024 * 65535);
	good();
	put64(b, 128, 1024 * 65535 + 1);
	bad(ERR_LIMIT, "bitmaps_ext: bitmap directory size (67107841)");
	put64(b, 128, 32);
	put64(b, 136, 65536 + 512);
	bad(ERR_CORRUPT, "bitmaps_ext: invalid bitmap directory offset");
	put64(b, 128, 65536);
	put64(b, 136, -UINT64_C(65536)); /* the end wraps to 0 */
	bad(ERR_CORRUPT, "Failed to read bitmap directory");
	put32(b, 116, 23);
	bad(ERR_CORRUPT, "bitmaps_ext: Invalid extension length");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("qcow2_header");
	TCase *t = tcase_create("qcow2_header");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_sound_header);
	tcase_add_test(t, version_2_has_no_feature_fields);
	tcase_add_test(t, a_short_file_reads_as_zeros);
	tcase_add_test(t, magic_version_cluster);
	tcase_add_test(t, header_length);
	tcase_add_test(t, compression_type);
	tcase_add_test(t, unknown_features_are_named);
	tcase_add_test(t, subclusters_and_refcounts);
	tcase_add_test(t, snapshots_and_l1);
	tcase_add_test(t, encryption_is_told_after_the_tables);
	tcase_add_test(t, extensions_end_where_they_should);
	tcase_add_test(t, backing_name);
	tcase_add_test(t, data_file);
	tcase_add_test(t, bitmaps_extension);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
