/* SPDX-License-Identifier: MIT */
#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "format/probe.h"
#include "io/file.h"

static uint8_t head[65536], tail[512];

static void
setup(void)
{
	memset(head, 0, sizeof(head));
	memset(tail, 0, sizeof(tail));
}

static struct probe_result
look(void)
{
	return probe_bytes((struct span){head, sizeof(head)},
		(struct span){tail, sizeof(tail)});
}

static const struct {
	size_t at;
	const char *bytes;
	size_t len;
	enum format format, qemu;
} cases[] = {
#define C(at, s, f, q) {at, s, sizeof(s) - 1, f, q}
	C(0, "QFI\xfb\0\0\0\2", FORMAT_QCOW2, FORMAT_QCOW2),
	C(0, "QFI\xfb\0\0\0\3", FORMAT_QCOW2, FORMAT_QCOW2),
	C(0, "QFI\xfb\0\0\0\x63", FORMAT_QCOW2, FORMAT_QCOW2),
	C(0, "QFI\xfb\0\0\0\1", FORMAT_QCOW1, FORMAT_QCOW1),
	C(0, "QFI\xfb\0\0\0\0", FORMAT_QCOW2, FORMAT_RAW),
	C(0, "QED\0", FORMAT_QED, FORMAT_QED),
	C(0, "KDMV\1\0\0\0", FORMAT_VMDK, FORMAT_VMDK),
	C(0, "COWD\1\0\0\0", FORMAT_VMDK, FORMAT_VMDK),
	C(0, "\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0", FORMAT_VMDK,
		FORMAT_RAW),
	C(0, "# Disk DescriptorFile\nversion=1\n", FORMAT_VMDK, FORMAT_VMDK),
	C(0, "#x\r\n  \r\nversion=3\r\n", FORMAT_VMDK, FORMAT_VMDK),
	C(0, "# x\nversion=4\n", FORMAT_RAW, FORMAT_RAW),
	C(0, "# x\n x\nversion=1\n", FORMAT_RAW, FORMAT_RAW),
	C(64, "\x7f\x10\xda\xbe", FORMAT_VDI, FORMAT_VDI),
	C(0, "conectix\0\0\0\2", FORMAT_VPC, FORMAT_VPC),
	C(0, "vhdxfile", FORMAT_VHDX, FORMAT_VHDX),
	C(0, "LUKS\xba\xbe\0\1", FORMAT_LUKS, FORMAT_LUKS),
	C(0, "LUKS\xba\xbe\0\2", FORMAT_LUKS, FORMAT_RAW),
	C(0, "WithoutFreeSpace\2\0\0\0", FORMAT_PARALLELS, FORMAT_PARALLELS),
	C(0, "WithouFreSpacExt\2\0\0\0", FORMAT_PARALLELS, FORMAT_PARALLELS),
	C(0, "<?xml version='1.0'?>\n<Parallels_disk_image Version=\"1.0\">",
		FORMAT_PLOOP, FORMAT_RAW),
	C(0, "Bochs Virtual HD Image", FORMAT_BOCHS, FORMAT_RAW),
	C(0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t "
		"iso9660 /dev/cloop $1\n", FORMAT_CLOOP, FORMAT_CLOOP),
#undef C
};

START_TEST(headers_are_named)
{
	size_t n = (size_t)_i;
	struct probe_result r;

	setup();
	memcpy(head + cases[n].at, cases[n].bytes, cases[n].len);
	r = look();
	ck_assert_str_eq(probe_format_name(r.format),
		probe_format_name(cases[n].format));
	ck_assert_int_eq(r.also, FORMAT_RAW);
	ck_assert_str_eq(probe_format_name(
		probe_qemu((struct span){head, 512})),
		probe_format_name(cases[n].qemu));
	/* cut short anywhere, it must not read past the end */
	for (size_t len = 0; len < 200; len++) {
		uint8_t *cut = malloc(len ? len : 1);

		memcpy(cut, head, len);
		probe_bytes((struct span){cut, len}, (struct span){cut, len});
		probe_qemu((struct span){cut, len});
		free(cut);
	}
}
END_TEST

START_TEST(bochs_as_qemu_knows_it)
{
	setup();
	memcpy(head, "Bochs Virtual HD Image", 22);
	memcpy(head + 32, "Redolog", 7);
	memcpy(head + 48, "Growing", 7);
	head[70] = 2;
	ck_assert_int_eq(probe_qemu((struct span){head, 512}), FORMAT_BOCHS);
}
END_TEST

START_TEST(vhd_footer_needs_its_checksum)
{
	uint32_t sum = 0;

	setup();
	memcpy(tail, "conectix\0\0\0\2\0\1\0\0", 16);
	tail[63] = 2;
	ck_assert_int_eq(look().format, FORMAT_RAW);
	for (size_t i = 0; i < 512; i++)
		sum += tail[i];
	store_be32(tail + 64, ~sum);
	ck_assert_int_eq(look().format, FORMAT_VPC);
	ck_assert_int_eq(probe_qemu((struct span){head, 512}), FORMAT_RAW);
	tail[100] ^= 1;
	ck_assert_int_eq(look().format, FORMAT_RAW);
}
END_TEST

START_TEST(dmg_trailer)
{
	setup();
	memcpy(tail, "koly\0\0\0\4\0\0\2\0", 12);
	ck_assert_int_eq(look().format, FORMAT_DMG);
}
END_TEST

START_TEST(partitions_and_iso_are_raw)
{
	struct probe_result r;

	setup();
	memcpy(head + 510, "\x55\xaa", 2);
	memcpy(head + 446, "\x80\0\1\0\x83\xfe\xff\xff\0\x08\0\0\0\0\1\0", 16);
	memcpy(head + 512, "EFI PART", 8);
	memcpy(head + 32769, "CD001", 5);
	r = look();
	ck_assert_int_eq(r.format, FORMAT_RAW);
	ck_assert_uint_eq(r.content, CONTENT_MBR | CONTENT_GPT | CONTENT_ISO);
}
END_TEST

START_TEST(fat_superfloppy_is_raw_without_mbr)
{
	struct probe_result r;

	setup();
	memcpy(head, "\xeb\x3c\x90mkfs.fat", 11);
	memcpy(head + 54, "FAT16   ", 8);
	/* boot code where a partition table would be */
	memcpy(head + 446, "\xac\x22\xc0\x74\x0b\x56\xb4\x0e\xbb\x07", 10);
	memcpy(head + 510, "\x55\xaa", 2);
	r = look();
	ck_assert_int_eq(r.format, FORMAT_RAW);
	ck_assert_uint_eq(r.content, CONTENT_NONE);
}
END_TEST

START_TEST(polyglots_have_a_second_match)
{
	struct probe_result r;

	setup();
	memcpy(head, "QFI\xfb\0\0\0\3", 8);
	memcpy(head + 64, "\x7f\x10\xda\xbe", 4);
	r = look();
	ck_assert_int_eq(r.format, FORMAT_QCOW2);
	ck_assert_int_eq(r.also, FORMAT_VDI);
}
END_TEST

START_TEST(vmdk_text_behind_long_comments)
{
	setup();
	memset(head, '#', 2000);
	memcpy(head + 2000, "\nversion=1\n", 11);
	ck_assert_int_eq(look().format, FORMAT_VMDK);
	ck_assert_int_eq(probe_qemu((struct span){head, 512}), FORMAT_RAW);
}
END_TEST

START_TEST(names_go_both_ways)
{
	for (int i = FORMAT_RAW; i < FORMAT_COUNT; i++)
		ck_assert_int_eq(probe_format_from_name(
			probe_format_name((enum format)i)), i);
	ck_assert_int_eq(probe_format_from_name("vhd"), FORMAT_VPC);
	ck_assert_int_eq(probe_format_from_name("qcow"), FORMAT_QCOW1);
	ck_assert_int_eq(probe_format_from_name("no such"), FORMAT_PROBE);
	ck_assert_int_eq(probe_format_from_name("probe"), FORMAT_PROBE);
}
END_TEST

/* What is cut between two looks must not pass as raw. */
START_TEST(a_file_that_was_cut_is_nothing)
{
	static const uint64_t sizes[] = {1000, PROBE_HEAD + 70000};
	struct probe_result p;
	struct file *f;
	struct err e;
	FILE *t;

	for (unsigned i = 0; i < 2; i++) {
		t = tmpfile();
		ck_assert_ptr_nonnull(t);
		ck_assert_int_eq(ftruncate(fileno(t), (off_t)sizes[i]), 0);
		ck_assert_int_eq(file_from_fd(&f, fileno(t), "cut", &e), 0);
		ck_assert_int_eq(probe_load(f, &p, &e), 0);
		ck_assert_int_eq(p.format, FORMAT_RAW);
		ck_assert_int_eq(ftruncate(fileno(t), (off_t)sizes[i] - 600),
			0);
		ck_assert_int_eq(probe_load(f, &p, &e), -1);
		ck_assert_int_eq(e.kind, ERR_CORRUPT);
		ck_assert_str_eq(e.file, "cut");
		file_close(f);
		fclose(t);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("probe");
	TCase *t = tcase_create("probe");
	SRunner *r;
	int failed;

	tcase_add_loop_test(t, headers_are_named, 0,
		(int)(sizeof(cases) / sizeof(cases[0])));
	tcase_add_test(t, bochs_as_qemu_knows_it);
	tcase_add_test(t, vhd_footer_needs_its_checksum);
	tcase_add_test(t, dmg_trailer);
	tcase_add_test(t, partitions_and_iso_are_raw);
	tcase_add_test(t, fat_superfloppy_is_raw_without_mbr);
	tcase_add_test(t, polyglots_have_a_second_match);
	tcase_add_test(t, vmdk_text_behind_long_comments);
	tcase_add_test(t, names_go_both_ways);
	tcase_add_test(t, a_file_that_was_cut_is_nothing);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
