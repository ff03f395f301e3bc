/* SPDX-License-Identifier: MIT */
/* Chains made by genuine qemu-img, read through extents and compared with what
 * genuine qemu-img makes of them; and what must not be opened. */
#include "config.h"

#include <check.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/chain.h"
#include "guest.h"
#include "tmpdir.h"

static const struct gate trusted = {.trusted = true};

static int
try_open(struct chain **ret, const char *name, const struct gate *g,
	struct err *e)
{
	struct chain_request rq = {.gate = g};
	struct file *f;

	ck_assert_int_eq(file_open(&f, -100, name, FILE_READ, e), 0);
	return chain_open(ret, f, &rq, e);
}

static uint8_t *
chain_read(struct chain *c, uint64_t window, size_t cap)
{
	uint8_t *buf = calloc(1, c->size + 1);
	uint64_t at = 0;
	struct extent x[64];
	struct err e = {0};
	char text[1024];
	size_t n, i;

	while (at < c->size) {
		uint64_t len = window < c->size - at ? window : c->size - at;
		uint64_t end = at + len;

		if (chain_describe(c, UINT32_MAX, at, len, x, cap, &n, &e) ||
			n == 0 || n > cap)
			ck_abort_msg("%s", err_text(&e, text, sizeof(text)));
		for (i = 0; i < n; i++) {
			if (x[i].voff != at || x[i].len == 0 ||
				x[i].len > end - at ||
				x[i].kind == EXTENT_HOLE)
				ck_abort_msg("bad extent at %llu",
					(unsigned long long)at);
			guest_run(c->files[x[i].file], &x[i], buf + at);
			at += x[i].len;
		}
	}
	return buf;
}

static void
same(const char *name, const char *raw)
{
	static const size_t caps[] = {1, 2, 3, 7, 64};
	struct chain *c;
	struct err e;
	uint8_t *a, *b;
	char text[1024];
	FILE *f = fopen(raw, "rb");

	ck_assert_msg(try_open(&c, name, &trusted, &e) == 0, "%s",
		err_text(&e, text, sizeof(text)));
	b = calloc(1, c->size + 1);
	ck_assert_uint_eq(fread(b, 1, c->size + 1, f), c->size);
	fclose(f);
	for (size_t i = 0; i < 5; i++) {
		a = chain_read(c, i % 2 ? 1 << 20 : UINT64_MAX, caps[i]);
		ck_assert_int_eq(memcmp(a, b, c->size), 0);
		free(a);
	}
	free(b);
	chain_close(c);
}

static const char *const sizes[][3] = {
	{"3M", "3M", "3M"},
	{"1537k", "2M", "3M"}, /* each overlay longer */
	{"3M", "2M", "1M"},    /* and shorter */
	{"3M", "1M", "3M"},    /* the bottom's tail must not shine through */
	{"1000", "2M", "2M"},  /* an odd raw base */
};

START_TEST(three_images_equal_qemus)
{
	const char *const *s = sizes[_i];

	guest_sh("rm -f *.raw *.qcow2; head -c $(( $(numfmt --from=iec "
		"$(echo %s | tr k K)) )) /dev/urandom >base.raw", s[0]);
	guest_sh("mkdir -p sub && qemu-img create -q -f qcow2 -b ../base.raw "
		"-F raw -o cluster_size=4k sub/mid.qcow2 %s", s[1]);
	guest_sh("qemu-img create -q -f qcow2 -b sub/mid.qcow2 -F qcow2 "
		"-o cluster_size=16k,extended_l2=on top.qcow2 %s", s[2]);
	guest_sh("qemu-io -c 'write -P 1 100k 9k' -c 'write -z 200k 64k' "
		"-c 'write -P 2 500k 300k' sub/mid.qcow2 >/dev/null");
	guest_sh("qemu-io -c 'write -P 3 104k 2k' -c 'write -z 520k 20k' "
		"-c 'write -P 4 900k 512' -c 'write -P 5 0 512' top.qcow2 "
		">/dev/null");
	guest_sh("qemu-img convert -O raw top.qcow2 top.raw");
	same("top.qcow2", "top.raw");
	guest_sh("qemu-img convert -O qcow2 -c base.raw base2.qcow2");
	guest_sh("qemu-img rebase -u -b ../base2.qcow2 -F qcow2 "
		"sub/mid.qcow2 && qemu-img convert -O raw top.qcow2 top.raw");
	same("top.qcow2", "top.raw");
}
END_TEST

/* An overlay in pieces over a packed base: neither may the overlay's answer
 * leave no room for the base's, nor may the whole overlay be described for
 * each handful of the base's clusters. */
START_TEST(answers_in_pieces_are_full)
{
	struct chain_pace pace = {0};
	struct chain *c;
	struct extent x[512];
	struct err e;
	size_t n, calls = 0, extents = 0;
	uint64_t at = 0, asked = 0;

	guest_sh("seq 9999999 | head -c 16M >b.raw; qemu-img convert -c -O qcow2 "
		"-o cluster_size=4k b.raw b.qcow2");
	guest_sh("qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 "
		"-o cluster_size=4k o.qcow2");
	guest_sh("seq 0 24 16376 | sed 's/.*/write -P 1 &k 4k/' | "
		"qemu-io o.qcow2 >/dev/null");
	ck_assert_int_eq(try_open(&c, "o.qcow2", &trusted, &e), 0);
	while (at < c->size) {
		/* at most: the end is rounded up to the unit */
		uint64_t ask = pace.ask + (1 << 20);

		asked += ask < c->size - at ? ask : c->size - at;
		ck_assert_int_eq(chain_describe_next(c, UINT32_MAX, &pace,
			1 << 20, at, c->size - at, x, 512, &n, &e), 0);
		at = x[n - 1].voff + x[n - 1].len;
		extents += n;
		calls++;
	}
	ck_assert_uint_eq(at, c->size);
	ck_assert_msg(extents / calls >= 128, "%zu extents in %zu calls",
		extents, calls);
	ck_assert_msg(asked <= 3 * c->size, "%" PRIu64 " bytes asked for",
		asked);
	/* without a pace: not one extent at a time either */
	ck_assert_int_eq(chain_describe(c, UINT32_MAX, 0, c->size, x, 512, &n,
		&e), 0);
	ck_assert_uint_ge(n, 128);
	chain_close(c);
}
END_TEST

START_TEST(base_keeps_holes)
{
	struct chain *c;
	struct extent x[8];
	struct err e;
	size_t n;

	guest_sh("truncate -s 1M b.raw");
	guest_sh("qemu-img create -q -f qcow2 -b b.raw -F raw o.qcow2 2M");
	guest_sh("qemu-io -c 'write -P 1 64k 64k' o.qcow2 >/dev/null");
	ck_assert_int_eq(try_open(&c, "o.qcow2", &trusted, &e), 0);
	ck_assert_int_eq(chain_describe(c, 1, 0, 2 << 20, x, 8, &n, &e), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(x[0].kind, EXTENT_HOLE);
	ck_assert_int_eq(x[1].kind, EXTENT_DATA);
	ck_assert_int_eq(x[2].kind, EXTENT_HOLE);
	ck_assert_uint_eq(x[2].len, (2 << 20) - (128 << 10));
	ck_assert_int_eq(chain_describe(c, UINT32_MAX, 0, 2 << 20, x, 8, &n,
		&e), 0);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(x[2].kind, EXTENT_ZERO);
	ck_assert_int_eq(x[2].depth, 1);
	chain_close(c);
}
END_TEST

START_TEST(external_data_file)
{
	guest_sh("qemu-img create -q -f qcow2 -o data_file=d.raw d.qcow2 3M");
	guest_sh("qemu-io -c 'write -P 1 0 3k' -c 'write -P 2 1M 100k' "
		"-c 'write -z 1100k 200k' d.qcow2 >/dev/null");
	guest_sh("qemu-img convert -O raw d.qcow2 dd.raw");
	same("d.qcow2", "dd.raw");
	guest_sh("qemu-img create -q -f qcow2 -o data_file=r.raw,"
		"data_file_raw=on r.qcow2 3M");
	guest_sh("qemu-io -c 'write -P 1 5k 3k' r.qcow2 >/dev/null");
	guest_sh("qemu-img convert -O raw r.qcow2 rr.raw");
	same("r.qcow2", "rr.raw");
}
END_TEST

START_TEST(loops_and_depth_are_limited)
{
	struct gate shallow = {.trusted = true, .depth_max = 2};
	struct chain *c;
	struct err e;

	guest_sh("qemu-img create -q -f qcow2 -u -b l2.qcow2 -F qcow2 "
		"l1.qcow2 1M && qemu-img create -q -f qcow2 -u -b l1.qcow2 "
		"-F qcow2 l2.qcow2 1M");
	ck_assert_int_eq(try_open(&c, "l1.qcow2", &trusted, &e), -1);
	ck_assert_int_eq(e.kind, ERR_LIMIT);
	ck_assert_ptr_nonnull(strstr(e.msg, "creates an infinite loop"));
	guest_sh("qemu-img create -q -f qcow2 n0.qcow2 1M && for i in 1 2; do "
		"qemu-img create -q -f qcow2 -u -b n$((i-1)).qcow2 -F qcow2 "
		"n$i.qcow2 1M; done");
	ck_assert_int_eq(try_open(&c, "n1.qcow2", &shallow, &e), 0);
	ck_assert_uint_eq(c->n, 2);
	chain_close(c);
	ck_assert_int_eq(try_open(&c, "n2.qcow2", &shallow, &e), -1);
	ck_assert_int_eq(e.kind, ERR_LIMIT);
}
END_TEST

START_TEST(nothing_is_opened_without_leave)
{
	const struct gate none = {0};
	struct chain *c;
	struct err e;

	guest_sh("truncate -s 1M p.raw && qemu-img create -q -f qcow2 -b p.raw "
		"-F raw p.qcow2 && qemu-img create -q -f qcow2 -u -b q.raw "
		"-F vmdk q.qcow2 1M && qemu-img create -q -f qcow2 -u "
		"-b gone.raw -F raw g.qcow2 1M && cp p.raw q.raw && "
		"sed -i s/vmdk/wxyz/ q.qcow2");
	ck_assert_int_eq(try_open(&c, "p.qcow2", &none, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(try_open(&c, "q.qcow2", &trusted, &e), -1);
	ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
	ck_assert_int_eq(try_open(&c, "g.qcow2", &trusted, &e), -1);
	ck_assert_int_eq(e.kind, ERR_IO);
}
END_TEST

START_TEST(full_names)
{
	static const char *const t[][3] = {
		{"a/b.qcow2", "c.raw", "a/c.raw"},
		{"b.qcow2", "c.raw", "c.raw"},
		{"/x/y/b", "../c", "/x/y/../c"},
		{"/x/b", "/c", "/c"},
		{"/x/b", "nbd://h/e", "nbd://h/e"},
		{"/x/b", "json:{}", "json:{}"},
		{"/x/b", "d/e:f", "/x/d/e:f"},
		{"file:b", "c", "file:c"},
		{"file:/x/b", "c", "file:/x/c"},
	};

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		char *s = chain_full_name(t[i][0], t[i][1]);

		ck_assert_str_eq(s, t[i][2]);
		free(s);
	}
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("chain");
	TCase *t = tcase_create("chain");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_set_timeout(t, 120);
	tcase_add_test(t, full_names);
	if (guest_has_qemu()) {
		tcase_add_loop_test(t, three_images_equal_qemus, 0,
			(int)(sizeof(sizes) / sizeof(sizes[0])));
		tcase_add_test(t, base_keeps_holes);
		tcase_add_test(t, answers_in_pieces_are_full);
		tcase_add_test(t, external_data_file);
		tcase_add_test(t, loops_and_depth_are_limited);
		tcase_add_test(t, nothing_is_opened_without_leave);
	}
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
