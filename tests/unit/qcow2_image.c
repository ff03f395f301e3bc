/* SPDX-License-Identifier: MIT */
/* Images made by genuine qemu-img and qemu-io, read through extents and
 * compared with what genuine qemu-img makes of them. */
#include "config.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "format/info.h"
#include "format/qcow2.h"
#include "guest.h"
#include "tmpdir.h"

static const char *const variants[] = {
	"-o cluster_size=512",
	"-o cluster_size=512,compat=0.10",
	"-o cluster_size=4k,refcount_bits=1",
	"-o cluster_size=64k",
	"-o cluster_size=64k,compat=0.10",
	"-o cluster_size=2M,refcount_bits=64",
	"-o cluster_size=16k,extended_l2=on",
	"-o cluster_size=64k,extended_l2=on,compression_type=zstd",
	"-o cluster_size=2M,extended_l2=on",
	"-o cluster_size=4k,compression_type=zstd",
	"-o cluster_size=64k,preallocation=metadata",
	"-o cluster_size=64k,lazy_refcounts=on",
};

static const uint64_t windows[] = {512, 65536, 1 << 20, UINT64_MAX};

START_TEST(guest_bytes_equal_qemus)
{
	const char *o = variants[_i];
	bool v2 = strstr(o, "0.10") != NULL;

	guest_sh("qemu-img create -q -f qcow2 %s a.qcow2 5244416", o);
	guest_sh("qemu-io -c 'write -P 1 1000k 300k' -c 'write -P 2 0 512' "
		"-c 'write -P 3 5120k 1536' -c 'write -P 4 1300k 1536' "
		"-c 'write -P 5 2M 1M' a.qcow2 >/dev/null");
	if (!v2)
		guest_sh("qemu-io -c 'write -z 2100k 100k' "
			"-c 'write -z -u 2500k 70k' -c 'write -z 4M 64k' "
			"-c 'discard 2700k 130k' a.qcow2 >/dev/null");
	guest_sh("qemu-img convert -O raw a.qcow2 a.raw");
	for (size_t i = 0; i < 4; i++) {
		struct image *im = guest_open("a.qcow2", 0);

		guest_same(im, "a.raw", windows[i], i % 2 ? 64 : 1);
		image_close(im);
	}
	/* the same, compressed by qemu-img; then patched by qemu-io */
	guest_sh("qemu-img convert -c -O qcow2 %s a.raw c.qcow2 2>/dev/null ||"
		" cp a.qcow2 c.qcow2", o);
	guest_sh("qemu-io -c 'write -P 9 1100k 3k' c.qcow2 >/dev/null");
	guest_sh("qemu-img convert -O raw c.qcow2 c.raw");
	for (size_t i = 0; i < 4; i++) {
		struct image *im = guest_open("c.qcow2", 0);

		guest_same(im, "c.raw", windows[i], i % 2 ? 64 : 1);
		image_close(im);
	}
}
END_TEST

START_TEST(snapshots_are_found_and_read)
{
	struct image *im;
	struct image_info info;
	struct err e;

	guest_sh("qemu-img create -q -f qcow2 s.qcow2 1M");
	guest_sh("qemu-io -c 'write -P 7 0 200k' s.qcow2 >/dev/null");
	guest_sh("qemu-img snapshot -c one s.qcow2");
	guest_sh("qemu-img resize -q s.qcow2 2M");
	guest_sh("qemu-io -c 'write -P 9 100k 1900k' s.qcow2 >/dev/null");
	guest_sh("qemu-img snapshot -c 1 s.qcow2"); /* the name of an id */
	guest_sh("qemu-img convert -l one -O raw s.qcow2 one.raw");
	guest_sh("qemu-img convert -O raw s.qcow2 now.raw");
	im = guest_open("s.qcow2", 0);
	guest_same(im, "now.raw", UINT64_MAX, 64);
	ck_assert_int_eq(image_info(im, &info, &e), 0);
	ck_assert_uint_eq(info.n_snapshots, 2);
	ck_assert_str_eq(info.snapshots[0].id, "1");
	ck_assert_str_eq(info.snapshots[0].name, "one");
	ck_assert_uint_eq(info.snapshots[0].disk_size, 1 << 20);
	ck_assert(info.snapshots[0].has_icount);
	ck_assert_str_eq(info.snapshots[1].name, "1");
	image_info_free(&info);
	ck_assert_int_eq(qcow2_use_snapshot(im, "none", NULL, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_USAGE);
	ck_assert_int_eq(qcow2_use_snapshot(im, "one", NULL, NULL, &e), 0);
	guest_same(im, "one.raw", 65536, 64);
	ck_assert_int_eq(qcow2_use_snapshot(im, "2", NULL, NULL, &e), 0);
	guest_same(im, "now.raw", 65536, 64);
	ck_assert_int_eq(qcow2_use_snapshot(im, "1", NULL, NULL, &e), 0); /* the id wins */
	guest_same(im, "one.raw", 65536, 64);
	image_close(im);
}
END_TEST

START_TEST(bitmaps_and_features_are_told)
{
	struct image *im;
	struct image_info i;
	struct err e;

	guest_sh("qemu-img create -q -f qcow2 -o compression_type=zstd,"
		"refcount_bits=8,extended_l2=on,lazy_refcounts=on -b base.img "
		"-F raw -u b.qcow2 10M");
	guest_sh("qemu-img bitmap --add b.qcow2 first");
	guest_sh("qemu-img bitmap --add -g 2M --disable b.qcow2 second");
	im = guest_open("b.qcow2", IMAGE_INFO);
	ck_assert_str_eq(im->backing, "base.img");
	ck_assert_str_eq(im->backing_format, "raw");
	ck_assert_int_eq(image_info(im, &i, &e), 0);
	ck_assert_uint_eq(i.virtual_size, 10 << 20);
	ck_assert_uint_eq(i.cluster_size, 65536);
	ck_assert_int_eq(i.compression, INFO_ZSTD);
	ck_assert_uint_eq(i.refcount_bits, 8);
	ck_assert(i.extended_l2 && i.lazy_refcounts && i.has_bitmaps);
	ck_assert(!i.dirty && !i.corrupt && !i.encrypted && !i.data_file);
	ck_assert_uint_eq(i.n_bitmaps, 2);
	ck_assert_str_eq(i.bitmaps[0].name, "first");
	ck_assert_uint_eq(i.bitmaps[0].granularity, 65536);
	ck_assert(i.bitmaps[0].is_auto && !i.bitmaps[0].in_use);
	ck_assert_str_eq(i.bitmaps[1].name, "second");
	ck_assert_uint_eq(i.bitmaps[1].granularity, 2 << 20);
	ck_assert(!i.bitmaps[1].is_auto);
	image_info_free(&i);
	image_close(im);
}
END_TEST

START_TEST(encrypted_is_refused_by_name)
{
	struct image *im;
	struct file *f;
	struct err e;

	guest_sh("qemu-img create -q -f qcow2 --object secret,id=s,data=abc "
		"-o encrypt.format=aes,encrypt.key-secret=s e.qcow2 1M "
		"2>/dev/null");
	ck_assert_int_eq(file_open(&f, -100, "e.qcow2", FILE_READ, &e), 0);
	ck_assert_int_eq(image_open(&im, f, FORMAT_QCOW2, 0, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
	ck_assert_str_eq(e.msg, "AES-encrypted qcow2: not supported");
	im = guest_open("e.qcow2", IMAGE_INFO);
	image_close(im);
}
END_TEST

/* What qemu-img packed, packed again by us, is the same bytes. */
START_TEST(packing_equals_qemus)
{
	static const char *const type[] = {"zlib", "zstd"};
	static const struct codec_params params = {0, 12};
	static uint8_t packed[65536], plain[65536], again[65536];
	struct image *im;
	struct codec c = {0};
	struct extent x;
	struct err e;
	size_t n, len, clusters = 0;

	guest_sh("(cat $(command -v qemu-img) | head -c 2000000; seq 200000; "
		"head -c 100000 /dev/urandom | base64) >t.raw && "
		"truncate -s %%512 t.raw");
	guest_sh("qemu-img convert -c -f raw -O qcow2 -o compression_type=%s "
		"t.raw t.qcow2", type[_i]);
	im = guest_open("t.qcow2", 0);
	ck_assert_int_eq(codec_open(&c, (enum codec_kind)_i, &params, &e), 0);
	for (uint64_t at = 0; at < im->size; at += x.len) {
		ck_assert_int_eq(image_describe(im, at, im->size - at, &x, 1,
			&n, &e), 0);
		if (x.kind != EXTENT_PACKED)
			continue;
		ck_assert_int_eq(file_read_padded(im->file, packed, x.hlen,
			x.hoff, NULL, &e), 0);
		ck_assert_int_eq(codec_unpack(&c, packed, x.hlen, plain,
			sizeof(plain), &e), 0);
		ck_assert_int_eq(codec_pack(&c, plain, sizeof(plain), again,
			sizeof(again) - 1, &len, &e), 0);
		ck_assert_uint_gt(len, 0);
		ck_assert_uint_le(len, x.hlen);
		ck_assert_int_eq(memcmp(packed, again, len), 0);
		clusters++;
	}
	ck_assert_uint_gt(clusters, 30);
	codec_close(&c);
	image_close(im);
}
END_TEST

static const struct {
	const char *format, *option;
} foreign[] = {
	{"vmdk", ""},
	{"vmdk", "-o subformat=monolithicFlat"},
	{"vdi", ""},
	{"vpc", ""},
	{"vpc", "-o subformat=fixed"},
	{"vhdx", ""},
	{"qed", ""},
	{"qcow", ""},
	{"parallels", ""},
};

/* Written by hand: making one genuinely measures its own CPU time, and
 * fails on a host whose clock is too coarse for that. */
START_TEST(luks_is_refused_by_name)
{
	struct image *im;
	struct file *f;
	struct err e;

	guest_sh("rm -f f*.img");
	guest_sh("printf 'LUKS\\272\\276\\0\\1' >f.img && truncate -s 2M f.img");
	ck_assert_int_eq(file_open(&f, -100, "f.img", FILE_READ, &e), 0);
	ck_assert_int_eq(image_open(&im, f, FORMAT_PROBE, 0, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
	ck_assert_str_eq(e.msg, "luks: not supported");
}
END_TEST

START_TEST(foreign_formats_are_refused_by_name)
{
	struct image *im;
	struct file *f;
	struct err e;
	char want[64];

	guest_sh("rm -f f*.img");
	guest_sh("qemu-img create -q -f %s %s f.img 2M", foreign[_i].format,
		foreign[_i].option);
	ck_assert_int_eq(file_open(&f, -100, "f.img", FILE_READ, &e), 0);
	ck_assert_int_eq(image_open(&im, f, FORMAT_PROBE, 0, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
	snprintf(want, sizeof(want), "%s: not supported", foreign[_i].format);
	ck_assert_str_eq(e.msg, want);
	ck_assert_str_eq(e.file, "f.img");
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("qcow2_image");
	TCase *t = tcase_create("qcow2_image");
	SRunner *r;
	int failed;

	if (!guest_has_qemu()) {
		puts("qemu-img or qemu-io is not installed");
		return 77;
	}
	if (!tmpdir_enter())
		return 99;
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, guest_bytes_equal_qemus, 0,
		(int)(sizeof(variants) / sizeof(variants[0])));
	tcase_add_test(t, snapshots_are_found_and_read);
	tcase_add_test(t, bitmaps_and_features_are_told);
	tcase_add_test(t, encrypted_is_refused_by_name);
	tcase_add_loop_test(t, packing_equals_qemus, 0, 2);
	tcase_add_loop_test(t, foreign_formats_are_refused_by_name, 0,
		(int)(sizeof(foreign) / sizeof(foreign[0])));
	tcase_add_test(t, luks_is_refused_by_name);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
