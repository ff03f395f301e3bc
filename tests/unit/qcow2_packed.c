/* SPDX-License-Identifier: MIT */
/*
 * Compressed images against genuine qemu-img convert -c: one call for every
 * cluster, packed when that is smaller than the cluster, else plain. And
 * overlays (convert -B): data, zeros and what the backing file has.
 */
#include "oracle.h"

#include "format/codec.h"

/* A source of clusters that are zero, pack well, badly, or not at all. */
static void
make_mixture(uint64_t size)
{
	char *p = path("source");
	int fd = open(p, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint8_t *buf = malloc(64 * KIB);
	uint64_t at = 0, n, i;
	unsigned kind;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	for (; at < size; at += n) {
		n = units_min(size - at, 512 * (1 + rnd(128)));
		kind = (unsigned)rnd(5);
		if (kind == 4)
			continue;
		for (i = 0; i < n; i++)
			buf[i] = kind == 0 ? 0x11
				: kind == 1 ? (uint8_t)rnd(256)
				: kind == 2 ? (uint8_t)(rnd(3) + i % 7)
					    : (uint8_t)(rnd(100) ? 0 : i);
		ck_assert_int_eq(pwrite(fd, buf, n, (off_t)at), (ssize_t)n);
	}
	free(buf);
	free(p);
	close(fd);
}

static void
feed_packed(struct qcow2_writer *w, const struct qcow2_options *o, int fd,
	struct file *f)
{
	struct codec_params params = {.window_bits = 12};
	struct codec c;
	uint8_t *buf = malloc(o->cluster_size), *out = malloc(o->cluster_size);
	struct placed_list l = {0};
	struct err e = {0};
	uint64_t at, n;
	size_t len;

	ok(codec_open(&c, o->compression, &params, &e), &e, "codec");
	for (at = 0; at < o->size; at += n) {
		n = units_min(o->cluster_size, o->size - at);
		memset(buf, 0, o->cluster_size);
		ck_assert_int_eq(pread(fd, buf, n, (off_t)at), (ssize_t)n);
		if (zero_is(buf, n))
			continue;
		ok(codec_pack(&c, buf, o->cluster_size, out,
			   o->cluster_size - 1, &len, &e),
			&e, "pack");
		if (len)
			ok(qcow2_writer_packed(w, at, out, len, &l, &e), &e,
				"packed");
		else
			ok(qcow2_writer_data(w, at, buf, n, &l, &e), &e,
				"data");
		write_list(&l, f, NULL);
	}
	placed_list_free(&l);
	codec_close(&c);
	free(buf);
	free(out);
}

static void
compare_packed(const struct qcow2_options *o)
{
	char *text = option_text(o), *cmd, *p = path("source");
	struct qcow2_writer *w;
	struct file *f = new_file("ours");
	struct err e = {0};
	int fd;

	make_mixture(o->size);
	run("rm -f theirs");
	ck_assert_int_gt(asprintf(&cmd, "qemu-img convert -q -c -f raw -O qcow2"
		" -o %s source theirs", text), 0);
	ck_assert_msg(run(cmd) == 0, "%s", cmd);
	fd = open(p, O_RDONLY);
	ok(qcow2_writer_open(&w, f, NULL, o, false, &e), &e, cmd);
	qcow2_writer_compressed(w);
	feed_packed(w, o, fd, f);
	ok(qcow2_writer_finish(w, &e), &e, cmd);
	qcow2_writer_close(w);
	close(fd);
	file_close(f);
	same("ours", "theirs", cmd);
	free(p);
	free(cmd);
	free(text);
}

START_TEST(packed_is_qemu_imgs)
{
	struct qcow2_options o;
	int i;

	for (i = 0; i < rounds(25); i++) {
		seed(i, UINT64_C(0xaef17502108ef2d9));
		random_options(&o, true);
		o.preallocation = PREALLOC_OFF;
		o.data_file = NULL;
		o.data_file_raw = false;
		/* zlib's output depends on its build; the host's is used by
		 * qemu-img and by us alike */
		o.size = units_min(random_size(&o, true), 6 * MIB);
		compare_packed(&o);
	}
}
END_TEST

#define UNIT (64 * KIB) /* cluster of the overlay that is the source */
#define UNITS_MAX 256

/* An overlay whose units are in turn left out, data, or zeros. */
static void
make_overlay(unsigned n, uint8_t *kinds)
{
	char *script = path("script"), *cmd;
	FILE *s = fopen(script, "w");
	unsigned i;

	ck_assert_ptr_nonnull(s);
	for (i = 0; i < n; i++) {
		kinds[i] = (uint8_t)(i && rnd(2) ? kinds[i - 1] : rnd(3));
		if (kinds[i] == 1)
			fprintf(s, "write -q -P 0x5a %" PRIu64 " 64k\n",
				i * UNIT);
		if (kinds[i] == 2)
			fprintf(s, "write -q -z %" PRIu64 " 64k\n", i * UNIT);
	}
	fclose(s);
	ck_assert_int_gt(asprintf(&cmd, "rm -f base source theirs data && "
		"truncate -s %" PRIu64 " base && "
		"qemu-img create -q -f qcow2 -b base -F raw source && "
		"qemu-io -f qcow2 source <script >/dev/null && rm script",
		n * UNIT), 0);
	ck_assert_int_eq(run(cmd), 0);
	free(cmd);
	free(script);
}

static void
feed_overlay(struct qcow2_writer *w, unsigned n, const uint8_t *kinds,
	struct file *f, struct file *data)
{
	struct placed_list l = {0};
	struct err e = {0};
	uint8_t *buf = malloc(2 * MIB);
	unsigned i, k;

	memset(buf, 0x5a, 2 * MIB);
	for (i = 0; i < n; i = k) {
		for (k = i + 1; k < n && kinds[k] == kinds[i]; k++)
			if (kinds[i] == 1 && (k - i) * UNIT == 2 * MIB)
				break;
		if (kinds[i] == 1)
			ok(qcow2_writer_data(w, i * UNIT, buf, (k - i) * UNIT,
				   &l, &e),
				&e, "data");
		if (kinds[i] == 2)
			ok(qcow2_writer_zero(w, i * UNIT, (k - i) * UNIT, &l,
				   &e),
				&e, "zero");
		write_list(&l, f, data);
	}
	placed_list_free(&l);
	free(buf);
}

static void
compare_overlay(struct qcow2_options *o)
{
	unsigned n = 1 + (unsigned)rnd(UNITS_MAX);
	uint8_t kinds[UNITS_MAX];
	char *text = option_text(o), *cmd;
	struct file *f = new_file("ours"), *data = NULL;
	struct qcow2_writer *w;
	struct err e = {0};

	make_overlay(n, kinds);
	o->size = n * UNIT;
	o->backing = "base";
	o->backing_format = "raw";
	ck_assert_int_gt(asprintf(&cmd, "qemu-img convert -q -f qcow2 -O qcow2"
		" -B base -F raw -o %s source theirs", text), 0);
	ck_assert_msg(run(cmd) == 0, "%s", cmd);
	if (o->data_file) {
		run("mv data theirs.data");
		data = new_file("data");
	}
	ok(qcow2_writer_open(&w, f, data, o, false, &e), &e, cmd);
	feed_overlay(w, n, kinds, f, data);
	ok(qcow2_writer_finish(w, &e), &e, cmd);
	qcow2_writer_close(w);
	file_close(f);
	file_close(data);
	same("ours", "theirs", cmd);
	if (o->data_file)
		same("data", "theirs.data", cmd);
	free(cmd);
	free(text);
}

START_TEST(overlay_is_qemu_imgs)
{
	struct qcow2_options o;
	int i;

	for (i = 0; i < rounds(25); i++) {
		seed(i, UINT64_C(0x8bb84b93962eacc9));
		random_options(&o, true);
		o.cluster_size = (uint32_t)units_min(o.cluster_size, UNIT);
		o.data_file_raw = false;
		if (!o.extended_l2)
			o.preallocation = PREALLOC_OFF;
		compare_overlay(&o);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		packed_is_qemu_imgs, overlay_is_qemu_imgs};

	return oracle_main("qcow2_packed", tests, COUNT_OF(tests));
}
