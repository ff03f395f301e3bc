/* SPDX-License-Identifier: MIT */
/*
 * The qcow2 writer against genuine qemu-img: the same options and the same
 * guest content must give the same file, byte for byte. Sources are sparse raw
 * files of random runs; what qemu-img convert does with them (extents, pieces
 * of 2 MiB, 4 KiB zero detection) is done here by feed().
 */
#include "oracle.h"

static void
compare_create(const struct qcow2_options *o)
{
	char *text = option_text(o), *cmd;
	struct qcow2_options ours = *o;
	struct file *f = new_file("ours"), *data = NULL;
	struct err e = {0};

	run("rm -f theirs data");
	ck_assert_int_gt(asprintf(&cmd, "qemu-img create -q -f qcow2 -u %s%s"
		" -o %s theirs %" PRIu64, o->backing ? "-F raw -b " : "",
		o->backing ? o->backing : "", text, o->size), 0);
	ck_assert_msg(run(cmd) == 0, "%s", cmd);
	if (o->data_file) {
		run("mv data theirs.data");
		data = new_file("data");
	}
	ok(qcow2_create(f, data, &ours, false, &e), &e, cmd);
	file_close(f);
	file_close(data);
	same("ours", "theirs", cmd);
	if (o->data_file)
		same("data", "theirs.data", cmd);
	free(cmd);
	free(text);
}

/* What qemu-img does with one piece: runs of blocks that are not zero. */
static void
feed_piece(struct qcow2_writer *w, uint64_t voff, const uint8_t *buf,
	uint64_t len, struct file *f, struct file *data)
{
	struct placed_list out = {0};
	struct err e = {0};
	uint64_t at = 0, n;
	bool zero;

	for (; at < len; at += n) {
		n = zero_run(buf + at, len - at, BLOCK, &zero);
		if (!zero)
			ok(qcow2_writer_data(w, voff + at, buf + at, n, &out,
				   &e),
				&e, "data");
		write_list(&out, f, data);
	}
	placed_list_free(&out);
}

/* Extents as lseek tells them, in pieces from their starts. */
static void
feed(struct qcow2_writer *w, int fd, uint64_t size, struct file *f,
	struct file *data)
{
	uint8_t *buf = malloc(PIECE);
	off_t at = 0, end;
	uint64_t n;

	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		end = lseek(fd, at, SEEK_HOLE);
		for (; at < end; at += (off_t)n) {
			n = units_min(PIECE, (uint64_t)(end - at));
			memset(buf, 0, PIECE);
			ck_assert_int_ge(pread(fd, buf, n, at), 0);
			n = units_min(units_align_up(n, 512),
				size - (uint64_t)at);
			feed_piece(w, (uint64_t)at, buf, n, f, data);
		}
	}
	free(buf);
}

/* A sparse file with runs of data, zeros that are written, and holes. */
static void
make_source(uint64_t size)
{
	char *p = path("source");
	int fd = open(p, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t at = 0, n, i;
	uint8_t *buf = malloc(MIB);
	unsigned kind, style = (unsigned)rnd(3);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
	for (; at < size; at += n) {
		n = 1 + rnd(style == 2 ? 16 * KIB : MIB);
		n = units_min(size - at, n);
		kind = (unsigned)rnd(style == 0 ? 2 : 3);
		if (kind == 2)
			continue;
		for (i = 0; i < n; i++)
			buf[i] = kind ? (uint8_t)rnd(256) : 0;
		if (style == 1)
			memset(buf, 0xa5, n);
		ck_assert_int_eq(pwrite(fd, buf, n, (off_t)at), (ssize_t)n);
	}
	free(buf);
	free(p);
	close(fd);
}

static void
compare_convert(const struct qcow2_options *o)
{
	char *text = option_text(o), *cmd, *p;
	struct qcow2_options ours = *o;
	struct qcow2_writer *w;
	struct file *f = new_file("ours"), *data = NULL;
	struct err e = {0};
	int fd;

	make_source(o->size);
	run("rm -f theirs data");
	ck_assert_int_gt(asprintf(&cmd, "qemu-img convert -q -f raw -O qcow2 "
		"-o %s source theirs", text), 0);
	ck_assert_msg(run(cmd) == 0, "%s", cmd);
	if (o->data_file) {
		run("mv data theirs.data");
		data = new_file("data");
	}
	p = path("source");
	fd = open(p, O_RDONLY);
	ok(qcow2_writer_open(&w, f, data, &ours, false, &e), &e, cmd);
	feed(w, fd, o->size, f, data);
	ok(qcow2_writer_finish(w, &e), &e, cmd);
	qcow2_writer_close(w);
	close(fd);
	file_close(f);
	file_close(data);
	same("ours", "theirs", cmd);
	if (o->data_file)
		same("data", "theirs.data", cmd);
	free(p);
	free(cmd);
	free(text);
}

START_TEST(create_is_qemu_imgs)
{
	struct qcow2_options o;
	int i;

	for (i = 0; i < rounds(40); i++) {
		seed(i, UINT64_C(0x9e3779b97f4a7c15));
		random_options(&o, false);
		o.size = random_size(&o, o.preallocation != PREALLOC_OFF ||
						 o.data_file_raw);
		if (!o.data_file_raw && rnd(4) == 0 &&
			(o.preallocation == PREALLOC_OFF || o.extended_l2))
			o.backing = "some/where/base.img";
		if (o.backing)
			o.backing_format = "raw";
		compare_create(&o);
	}
}
END_TEST

START_TEST(convert_is_qemu_imgs)
{
	struct qcow2_options o;
	int i;

	for (i = 0; i < rounds(40); i++) {
		seed(i, UINT64_C(0xd1b54a32d192ed03));
		random_options(&o, true);
		o.size = random_size(&o, true);
		compare_convert(&o);
	}
}
END_TEST

int
main(void)
{
	const TTest *const tests[] = {
		create_is_qemu_imgs, convert_is_qemu_imgs};

	return oracle_main("qcow2_write", tests, COUNT_OF(tests));
}
