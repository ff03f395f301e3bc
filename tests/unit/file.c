/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/clone.h"
#include "io/file.h"
#include "io/sparse.h"
#include "tests/unit/tmpdir.h"

#define RW (FILE_WRITE | FILE_CREATE)

static struct file *
must_open(const char *path, unsigned flags)
{
	struct file *f = NULL;
	struct err e = {0};
	char text[512];

	ck_assert_msg(file_open(&f, AT_FDCWD, path, flags, &e) == 0, "%s",
		err_text(&e, text, sizeof(text)));
	return f;
}

/* NULL where the file system of the test has no O_DIRECT. */
static struct file *
direct_or_null(const char *path, unsigned flags)
{
	struct file *f = NULL;
	struct err e = {0};

	if (file_open(&f, AT_FDCWD, path, flags | FILE_DIRECT, &e) == 0)
		return f;
	ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
	return NULL;
}

START_TEST(only_files_and_block_devices_are_images)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "sock"};
	const char *const names[] = {".", "fifo", "sock", "/dev/null"};
	struct file *f = NULL;
	struct err e;
	unsigned i, w;
	int s;

	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	s = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(s, (struct sockaddr *)&sa, sizeof(sa)), 0);
	for (i = 0; i < 4; i++)
		for (w = 0; w < 2; w++) {
			memset(&e, 0, sizeof(e));
			ck_assert_int_eq(file_open(&f, AT_FDCWD, names[i],
				w ? FILE_WRITE : FILE_READ, &e), -1);
			ck_assert_msg(e.kind == ERR_FORMAT, "%s: %s", names[i],
				e.msg);
			ck_assert_str_eq(e.file, names[i]);
			ck_assert_ptr_null(f);
		}
	close(s);
	ck_assert_int_eq(file_open(&f, AT_FDCWD, "none", 0, &e), -1);
	ck_assert_int_eq(e.kind, ERR_IO);
	ck_assert_int_eq(e.eno, ENOENT);
}
END_TEST

START_TEST(create_never_takes_an_existing_file)
{
	struct file *f = must_open("new", RW);
	struct err e = {0};

	ck_assert(f->writable && !f->is_block && f->size == 0);
	file_close(f);
	ck_assert_int_eq(file_open(&f, AT_FDCWD, "new", RW, &e), -1);
	ck_assert_int_eq(e.eno, EEXIST);
}
END_TEST

START_TEST(beneath_stays_beneath)
{
	struct file *f = NULL;
	struct err e = {0};
	int dir;

	ck_assert_int_eq(mkdir("d", 0700), 0);
	file_close(must_open("out", RW));
	file_close(must_open("d/in", RW));
	ck_assert_int_eq(symlink("../out", "d/link"), 0);
	ck_assert_int_eq(symlink("in", "d/fine"), 0);
	dir = open("d", O_RDONLY | O_DIRECTORY);
	if (file_open(&f, dir, "fine", FILE_BENEATH, &e)) {
		ck_assert_int_eq(e.eno, ENOSYS); /* before Linux 5.6 */
		return;
	}
	file_close(f);
	ck_assert_int_eq(file_open(&f, dir, "link", FILE_BENEATH, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(file_open(&f, dir, "../out", FILE_BENEATH, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(file_open(&f, dir, "fine", FILE_NOFOLLOW, &e), -1);
	ck_assert_int_eq(e.eno, ELOOP);
	close(dir);
}
END_TEST

START_TEST(the_end_of_the_file_is_no_zeros)
{
	struct file *f = must_open("eof", RW);
	char buf[16] = "xxxxxxxxxxxxxxx";
	struct err e = {0};
	size_t got = 99;

	ck_assert_int_eq(file_write(f, "hello", 5, 3, &e), 0);
	ck_assert_int_eq(file_read(f, buf, 6, 3, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	ck_assert_int_eq(file_read_padded(f, buf, 8, 3, &got, &e), 0);
	ck_assert_uint_eq(got, 5);
	ck_assert_mem_eq(buf, "hello\0\0\0x", 9);
	ck_assert_int_eq(file_sync(f, &e), 0);
	file_close(f);
	f = must_open("eof", FILE_READ);
	ck_assert(!f->writable && f->size == 8);
	ck_assert_int_eq(file_write(f, "x", 1, 0, &e), -1);
	ck_assert_int_eq(e.eno, EBADF);
	file_close(f);
}
END_TEST

/* Any offset, length and memory on a direct file, against a copy in memory. */
START_TEST(direct_files_take_any_piece)
{
	enum { SIZE = 70000, STEPS = 400 };
	struct file *f = direct_or_null("direct", RW);
	uint8_t *want = calloc(1, 2 * SIZE), *mem = NULL, *p;
	size_t size = 0, off, len, got, i;
	struct err e = {0};
	struct stat st;
	unsigned k;

	if (!f)
		return;
	ck_assert(f->direct && f->align >= 4096 && f->plain_fd >= 0);
	ck_assert_int_eq(posix_memalign((void **)&mem, 65536, 2 * SIZE), 0);
	srand(7);
	for (k = 0; k < STEPS; k++) {
		off = (size_t)rand() % SIZE;
		len = 1 + (size_t)rand() % SIZE;
		p = mem + (k % 3 ? 0 : rand() % 4096);
		if (k % 4 == 0)
			off &= ~(size_t)4095;
		if (k % 2) {
			for (i = 0; i < len; i++)
				p[i] = (uint8_t)rand();
			memcpy(want + off, p, len);
			size = off + len > size ? off + len : size;
			ck_assert_int_eq(file_write(f, p, len, off, &e), 0);
		} else if (off < size) {
			ck_assert_int_eq(file_read_padded(f, p, len, off,
				&got, &e), 0);
			ck_assert_uint_eq(got, size - off < len ? size - off
								: len);
			ck_assert_mem_eq(p, want + off, got);
		}
		ck_assert_int_eq(fstat(f->fd, &st), 0);
		ck_assert_int_eq(st.st_size, (off_t)size);
	}
	ck_assert_int_eq(file_sync(f, &e), 0);
	file_close(f);
	f = must_open("direct", FILE_READ);
	ck_assert_int_eq(file_read(f, mem, size, 0, &e), 0);
	ck_assert_mem_eq(mem, want, size);
	file_close(f);
	free(mem);
	free(want);
}
END_TEST

START_TEST(a_callers_fd_stays_open)
{
	struct file *f = NULL;
	struct err e = {0};
	int fd = open("fd", O_RDWR | O_CREAT, 0600), p[2];

	ck_assert_int_eq(file_from_fd(&f, fd, "/dev/fdset/7", &e), 0);
	ck_assert(f->writable && !f->direct && f->align == 1);
	file_close(f);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0);
	close(fd);
	ck_assert_int_eq(pipe(p), 0);
	ck_assert_int_eq(file_from_fd(&f, p[0], "pipe", &e), -1);
	ck_assert_int_eq(e.kind, ERR_FORMAT);
	ck_assert_str_eq(e.file, "pipe");
	close(p[0]);
	close(p[1]);
}
END_TEST

START_TEST(a_callers_fd_must_write_where_it_is_told)
{
	struct file *f = NULL;
	struct err e = {0};
	int fd = open("log", O_RDWR | O_CREAT | O_APPEND, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(file_from_fd(&f, fd, "log", &e), -1);
	ck_assert_int_eq(e.kind, ERR_USAGE);
	close(fd);
	/* who only reads is not concerned */
	fd = open("log", O_RDONLY | O_APPEND);
	ck_assert_int_eq(file_from_fd(&f, fd, "log", &e), 0);
	file_close(f);
	close(fd);
}
END_TEST

START_TEST(zero_leaves_holes_and_extends)
{
	enum { MB = 1 << 20 };
	struct file *f = must_open("zero", RW);
	uint8_t *buf = malloc(MB), *nil = calloc(1, MB);
	uint64_t before, after;
	struct err e = {0};

	memset(buf, 0xaa, MB);
	ck_assert_int_eq(file_write(f, buf, MB, 0, &e), 0);
	ck_assert_int_eq(file_sync(f, &e), 0);
	ck_assert_int_eq(file_allocated(f, &before, &e), 0);
	ck_assert_int_eq(file_zero(f, 1000, MB / 2, &e), 0);
	ck_assert_int_eq(file_allocated(f, &after, &e), 0);
	ck_assert_uint_lt(after, before);
	ck_assert_int_eq(file_zero(f, MB - 5, MB, &e), 0);
	ck_assert_int_eq(file_size(f, &after, &e), 0);
	ck_assert_uint_eq(after, 2 * MB - 5);
	ck_assert_int_eq(file_zero(f, 50 * MB, MB, &e), 0);
	ck_assert_int_eq(file_size(f, &after, &e), 0);
	ck_assert_uint_eq(after, 51 * MB);
	ck_assert_int_eq(file_allocated(f, &after, &e), 0);
	ck_assert_uint_lt(after, before);
	memset(nil + 0, 0xaa, 1000);
	memset(nil + 1000 + MB / 2, 0xaa, MB / 2 - 1000 - 5);
	ck_assert_int_eq(file_read(f, buf, MB, 0, &e), 0);
	ck_assert_mem_eq(buf, nil, MB);
	ck_assert_int_eq(file_zero(f, UINT64_MAX - 3, 100, &e), -1);
	ck_assert_int_eq(e.eno, EFBIG);
	file_close(f);
	free(buf);
	free(nil);
}
END_TEST

START_TEST(reserve_keeps_the_size_and_allocate_grows_it)
{
	struct file *f = must_open("reserve", RW);
	struct err e = {0};
	uint64_t size, bytes;
	bool done;

	ck_assert_int_eq(file_reserve(f, 0, 65536, &done, &e), 0);
	ck_assert_int_eq(file_size(f, &size, &e), 0);
	ck_assert_uint_eq(size, 0);
	ck_assert_int_eq(file_allocated(f, &bytes, &e), 0);
	ck_assert(!done || bytes >= 65536);
	ck_assert_int_eq(file_allocate(f, 0, 100000, &e), 0);
	ck_assert_int_eq(file_size(f, &size, &e), 0);
	ck_assert_uint_eq(size, 100000);
	ck_assert_int_eq(file_truncate(f, 7, &e), 0);
	ck_assert_uint_eq(f->size, 7);
	file_close(f);
}
END_TEST

START_TEST(runs_cover_the_file)
{
	struct file *f = must_open("runs", RW);
	uint64_t off, len, data_bytes = 0;
	struct err e = {0};
	bool data;

	ck_assert_int_eq(file_truncate(f, 10 << 20, &e), 0);
	ck_assert_int_eq(file_write(f, "x", 1, 3 << 20, &e), 0);
	ck_assert_int_eq(file_write(f, "x", 1, 7 << 20, &e), 0);
	for (off = 0; off < f->size; off += len) {
		ck_assert_int_eq(sparse_next(f, off, &len, &data, &e), 0);
		ck_assert_uint_gt(len, 0);
		ck_assert_uint_le(off + len, f->size);
		data_bytes += data ? len : 0;
	}
	ck_assert_uint_eq(off, 10 << 20);
	ck_assert_uint_ge(data_bytes, 2);
	file_close(f);
}
END_TEST

START_TEST(a_file_that_shrank_has_no_hole_at_its_end)
{
	struct file *f = must_open("shrank", RW);
	struct err e = {0};
	uint64_t len;
	bool data;

	ck_assert_int_eq(file_truncate(f, 1 << 20, &e), 0);
	ck_assert_int_eq(truncate("shrank", 1 << 16), 0);
	ck_assert_int_eq(sparse_next(f, 1 << 17, &len, &data, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CORRUPT);
	file_close(f);
}
END_TEST

START_TEST(copies_in_the_kernel_are_copies)
{
	struct file *a = must_open("from", RW), *b = must_open("to", RW);
	char buf[8192], got[8192];
	struct err e = {0};
	uint64_t len;
	bool done;

	memset(buf, 'q', sizeof(buf));
	ck_assert_int_eq(file_write(a, buf, sizeof(buf), 0, &e), 0);
	ck_assert_int_eq(clone_range(a, 0, b, 0, 4096, &done, &e), 0);
	ck_assert_int_eq(clone_copy(a, 100, b, 5000, 8000, &len, &e), 0);
	ck_assert_uint_le(len, 8000);
	if (len) {
		ck_assert_int_eq(file_read(b, got, len, 5000, &e), 0);
		ck_assert_mem_eq(got, buf + 100, len);
	}
	/* past the source's end there is nothing to copy */
	ck_assert_int_eq(clone_copy(a, 8192, b, 0, 10, &len, &e), 0);
	ck_assert_uint_eq(len, 0);
	ck_assert(file_same(a, a) && !file_same(a, b));
	file_close(a);
	file_close(b);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("file");
	TCase *t = tcase_create("file");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, only_files_and_block_devices_are_images);
	tcase_add_test(t, create_never_takes_an_existing_file);
	tcase_add_test(t, beneath_stays_beneath);
	tcase_add_test(t, the_end_of_the_file_is_no_zeros);
	tcase_add_test(t, direct_files_take_any_piece);
	tcase_add_test(t, a_callers_fd_stays_open);
	tcase_add_test(t, a_callers_fd_must_write_where_it_is_told);
	tcase_add_test(t, zero_leaves_holes_and_extends);
	tcase_add_test(t, reserve_keeps_the_size_and_allocate_grows_it);
	tcase_add_test(t, runs_cover_the_file);
	tcase_add_test(t, a_file_that_shrank_has_no_hole_at_its_end);
	tcase_add_test(t, copies_in_the_kernel_are_copies);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
