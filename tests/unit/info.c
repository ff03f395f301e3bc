/* SPDX-License-Identifier: MIT */
/* Texts of info that qemu-img 7.2 printed once for images with these facts;
 * tests/compat/info.sh asks it again where it is installed. */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "format/luks.h"
#include "op/info.h"

START_TEST(sizes)
{
	static const struct {
		uint64_t v;
		const char *text;
	} t[] = {
		{0, "0 B"}, {1, "1 B"}, {999, "999 B"}, {1000, "0.977 KiB"},
		{1024, "1 KiB"}, {4096, "4 KiB"}, {77777, "76 KiB"},
		{1023999, "1e+03 KiB"}, {1024000, "0.977 MiB"},
		{2297856, "2.19 MiB"}, {UINT64_C(5) << 40, "5 TiB"},
		{UINT64_MAX, "16 EiB"},
	};
	struct buf b = BUF_INIT;
	size_t i;

	for (i = 0; i < COUNT_OF(t); i++) {
		buf_clear(&b);
		info_size_text(t[i].v, &b);
		ck_assert_str_eq(b.p, t[i].text);
	}
	buf_free(&b);
}
END_TEST

static struct info_snapshot snaps[] = {
	{.id = "1", .name = "s1", .date_sec = 1600000000, .date_nsec = 5,
		.vm_clock_nsec = UINT64_C(442801234567890),
		.vm_state_size = 12345678},
	{.id = "2", .name = "q\"\n", .vm_clock_nsec = UINT64_MAX,
		.date_sec = UINT32_MAX, .date_nsec = UINT32_MAX,
		.vm_state_size = UINT64_MAX, .has_icount = true,
		.icount = UINT64_MAX - 1},
};
static struct info_bitmap bitmaps[] = {
	{.name = "b0", .granularity = 65536, .in_use = true, .is_auto = true},
	{.name = "b1", .granularity = 131072},
};
static struct info_image image = {
	.name = "sub/x.q", .actual_size = 462848,
	.full_backing = "sub/../b.raw",
	.i = {
		.format = FORMAT_QCOW2, .virtual_size = 1024,
		.cluster_size = 65536, .dirty = true, .encrypted = true,
		.backing = "../b.raw", .backing_format = "raw",
		.snapshots = snaps, .n_snapshots = 2, .version = 3,
		.refcount_bits = 16, .corrupt = true, .has_bitmaps = true,
		.bitmaps = bitmaps, .n_bitmaps = 2, .data_file = "d.raw",
		.data_file_bit = true, .data_file_raw = true,
		.crypt_method = 1,
	},
};

START_TEST(json_text)
{
	struct info_result r = {.v = &image, .n = 1};
	struct buf b = BUF_INIT;

	info_json(&r, false, &b);
	ck_assert_str_eq(b.p,
"{\n"
"    \"backing-filename-format\": \"raw\",\n"
"    \"snapshots\": [\n"
"        {\n"
"            \"vm-clock-nsec\": 234567890,\n"
"            \"name\": \"s1\",\n"
"            \"date-sec\": 1600000000,\n"
"            \"date-nsec\": 5,\n"
"            \"vm-clock-sec\": 442801,\n"
"            \"id\": \"1\",\n"
"            \"vm-state-size\": 12345678\n"
"        },\n"
"        {\n"
"            \"icount\": -2,\n"
"            \"vm-clock-nsec\": 709551615,\n"
"            \"name\": \"q\\\"\\n\",\n"
"            \"date-sec\": 4294967295,\n"
"            \"date-nsec\": 4294967295,\n"
"            \"vm-clock-sec\": 18446744073,\n"
"            \"id\": \"2\",\n"
"            \"vm-state-size\": -1\n"
"        }\n"
"    ],\n"
"    \"virtual-size\": 1024,\n"
"    \"filename\": \"sub/x.q\",\n"
"    \"cluster-size\": 65536,\n"
"    \"format\": \"qcow2\",\n"
"    \"actual-size\": 462848,\n"
"    \"format-specific\": {\n"
"        \"type\": \"qcow2\",\n"
"        \"data\": {\n"
"            \"compat\": \"1.1\",\n"
"            \"compression-type\": \"zlib\",\n"
"            \"lazy-refcounts\": false,\n"
"            \"bitmaps\": [\n"
"                {\n"
"                    \"flags\": [\n"
"                        \"in-use\",\n"
"                        \"auto\"\n"
"                    ],\n"
"                    \"name\": \"b0\",\n"
"                    \"granularity\": 65536\n"
"                },\n"
"                {\n"
"                    \"flags\": [\n"
"                    ],\n"
"                    \"name\": \"b1\",\n"
"                    \"granularity\": 131072\n"
"                }\n"
"            ],\n"
"            \"refcount-bits\": 16,\n"
"            \"data-file\": \"d.raw\",\n"
"            \"encrypt\": {\n"
"                \"format\": \"aes\"\n"
"            },\n"
"            \"data-file-raw\": true,\n"
"            \"corrupt\": true,\n"
"            \"extended-l2\": false\n"
"        }\n"
"    },\n"
"    \"full-backing-filename\": \"sub/../b.raw\",\n"
"    \"encrypted\": true,\n"
"    \"backing-filename\": \"../b.raw\",\n"
"    \"dirty-flag\": true\n"
"}\n");
	buf_free(&b);
}
END_TEST

START_TEST(human_text)
{
	struct info_image two[2] = {image, {.name = "r.raw",
		.actual_size = 4096,
		.i = {.format = FORMAT_RAW, .virtual_size = 1024}}};
	struct info_result r = {.v = two, .n = 2};
	struct buf b = BUF_INIT;

	setenv("TZ", "UTC", 1);
	tzset();
	info_human(&r, true, &b);
	ck_assert_str_eq(b.p,
"image: sub/x.q\n"
"file format: qcow2\n"
"virtual size: 1 KiB (1024 bytes)\n"
"disk size: 452 KiB\n"
"encrypted: yes\n"
"cluster_size: 65536\n"
"cleanly shut down: no\n"
"backing file: ../b.raw (actual path: sub/../b.raw)\n"
"backing file format: raw\n"
"Snapshot list:\n"
"ID        TAG               VM SIZE                DATE     VM CLOCK"
"     ICOUNT\n"
"1         s1               11.8 MiB 2020-09-13 12:26:40123:00:01.234"
"           \n"
"2         q\"\n"
"                16 EiB 2106-02-07 06:28:155124095:34:33.709         -2\n"
"Format specific information:\n"
"    compat: 1.1\n"
"    compression type: zlib\n"
"    lazy refcounts: false\n"
"    bitmaps:\n"
"        [0]:\n"
"            flags:\n"
"                [0]: in-use\n"
"                [1]: auto\n"
"            name: b0\n"
"            granularity: 65536\n"
"        [1]:\n"
"            flags:\n"
"            name: b1\n"
"            granularity: 131072\n"
"    refcount bits: 16\n"
"    data file: d.raw\n"
"    encrypt:\n"
"        format: aes\n"
"    data file raw: true\n"
"    corrupt: true\n"
"    extended l2: false\n"
"\n"
"image: r.raw\n"
"file format: raw\n"
"virtual size: 1 KiB (1024 bytes)\n"
"disk size: 4 KiB\n");
	buf_free(&b);
}
END_TEST

static uint8_t luks[LUKS_HEADER];

static void
luks_header(const char *cipher, const char *mode, uint32_t key_bytes)
{
	unsigned i;

	memset(luks, 0, sizeof(luks));
	memcpy(luks, "LUKS\xba\xbe\0\1", 8);
	strcpy((char *)luks + 8, cipher);
	strcpy((char *)luks + 40, mode);
	strcpy((char *)luks + 72, "sha256");
	store_be32(luks + 104, 4040);
	store_be32(luks + 108, key_bytes);
	store_be32(luks + 164, 9163);
	strcpy((char *)luks + 168, "cedd237f-cfd2-45ed-b0c2-0f0e4b1691b6");
	for (i = 0; i < 8; i++) {
		store_be32(luks + 208 + 48 * i, i ? 0xdead : 0xac71f3);
		store_be32(luks + 208 + 48 * i + 40, 8 + 504 * i);
		store_be32(luks + 208 + 48 * i + 44, 4000);
	}
	store_be32(luks + 212, 34822);
}

static int
luks_takes(struct info_luks *l, size_t len)
{
	return luks_decode((struct span){luks, len}, l, NULL);
}

START_TEST(luks_headers)
{
	struct info_luks l;
	size_t i;

	luks_header("aes", "xts-plain64", 64);
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), 0);
	ck_assert_str_eq(l.cipher_alg, "aes-256");
	ck_assert_str_eq(l.cipher_mode, "xts");
	ck_assert_str_eq(l.ivgen_alg, "plain64");
	ck_assert_str_eq(l.ivgen_hash_alg, "");
	ck_assert_str_eq(l.hash_alg, "sha256");
	ck_assert_uint_eq(l.payload_offset, 2068480);
	ck_assert_uint_eq(l.iterations, 9163);
	ck_assert(l.slots[0].active && !l.slots[1].active);
	ck_assert_uint_eq(l.slots[0].iterations, 34822);
	ck_assert_uint_eq(l.slots[1].key_offset, 262144);
	luks_header("aes", "cbc-essiv:sha256", 16);
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), 0);
	ck_assert_str_eq(l.cipher_alg, "aes-128");
	ck_assert_str_eq(l.ivgen_hash_alg, "sha256");
	/* cut anywhere; a name that fills its field; unknown names */
	for (i = 0; i < sizeof(luks); i++)
		ck_assert_int_eq(luks_takes(&l, i), -1);
	memset(luks + 8, 'a', 32);
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), -1);
	luks_header("rot13", "cbc-plain", 16);
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), -1);
	luks_header("aes", "xts", 64);
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), -1);
	luks_header("aes", "cbc-essiv", 16);
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), -1);
	luks_header("aes", "xts-plain64", 65);
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), -1);
	luks_header("aes", "xts-plain64", 64);
	luks[211] ^= 1;
	ck_assert_int_eq(luks_takes(&l, sizeof(luks)), -1);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("info");
	TCase *t = tcase_create("info");
	SRunner *r;
	int failed;

	tcase_add_test(t, sizes);
	tcase_add_test(t, json_text);
	tcase_add_test(t, human_text);
	tcase_add_test(t, luks_headers);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
