/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "cache/backing.h"
#include "cache/clean.h"
#include "cache/disk_info.h"
#include "cache/holders.h"
#include "cache/store.h"
#include "cache/users.h"
#include "tests/cache/users_tree.h"
#include "tests/unit/tmpdir.h"

static enum backing_kind
kind(uint32_t version, uint64_t at, uint32_t len, size_t have)
{
	uint8_t head[1200];
	struct backing b;

	header(head, version, at, len, "name");
	backing_decode((struct span){head, have}, &b);
	ck_assert_int_eq(b.kind == BACKING_UNTOLD, b.why != NULL);
	return b.kind;
}

START_TEST(headers)
{
	static const uint8_t raw[4] = {'r', 'a', 'w', 0};
	struct backing b;

	backing_decode((struct span){raw, sizeof(raw)}, &b);
	ck_assert_int_eq(b.kind, BACKING_NONE);
	backing_decode((struct span){raw, 0}, &b);
	ck_assert_int_eq(b.kind, BACKING_NONE);
	ck_assert_int_eq(kind(2, 0, 0, 1200), BACKING_NONE);
	ck_assert_int_eq(kind(3, 112, 0, 1200), BACKING_NONE);
	ck_assert_int_eq(kind(1, 112, 4, 1200), BACKING_NAMED);
	ck_assert_int_eq(kind(2, 112, 4, 1200), BACKING_NAMED);
	ck_assert_int_eq(kind(3, 112, 1023, 1200), BACKING_NAMED);
	ck_assert_int_eq(kind(3, 112, 1024, 1200), BACKING_UNTOLD);
	ck_assert_int_eq(kind(3, 65532, 4, 1200), BACKING_NAMED);
	ck_assert_int_eq(kind(3, 65533, 4, 1200), BACKING_UNTOLD);
	ck_assert_int_eq(kind(3, UINT64_MAX, 4, 1200), BACKING_UNTOLD);
	ck_assert_int_eq(kind(1, UINT64_MAX, 4, 1200), BACKING_UNTOLD);
	ck_assert_int_eq(kind(0, 112, 4, 1200), BACKING_UNTOLD);
	ck_assert_int_eq(kind(4, 112, 4, 1200), BACKING_UNTOLD);
	ck_assert_int_eq(kind(3, 112, 4, 23), BACKING_UNTOLD);
}
END_TEST

START_TEST(names_are_read)
{
	uint8_t head[1200], far[8192] = {0};
	struct backing b;
	int fd;

	overlay("o", "/x/base");
	fd = open("o", O_RDONLY);
	ck_assert_int_eq(backing_read(fd, &b), 0);
	ck_assert_str_eq(b.name, "/x/base");
	close(fd);
	/* behind the first page */
	header(head, 3, 8000, 4, NULL);
	memcpy(far, head, sizeof(head));
	memcpy(far + 8000, "base", 4);
	put("o", far, sizeof(far));
	fd = open("o", O_RDONLY);
	ck_assert_int_eq(backing_read(fd, &b), 0);
	ck_assert_str_eq(b.name, "base");
	close(fd);
	/* cut off in it */
	put("o", far, 8002);
	fd = open("o", O_RDONLY);
	ck_assert_int_eq(backing_read(fd, &b), 0);
	ck_assert_int_eq(b.kind, BACKING_UNTOLD);
	close(fd);
}
END_TEST

START_TEST(by_name_path_and_inode)
{
	struct tree t;

	make_tree("a", &t);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 0);
	/* the last part counts wherever it leads */
	overlay("i/disk", "/nowhere/" A);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	ck_assert_uint_eq(users(&t, B), 0);
	/* relative to the disk; a link to the base; two disks */
	overlay("i/disk", "../_base/" A);
	ck_assert_int_eq(link("_base/" B, "other"), 0);
	overlay("i/disk.local", "../other");
	overlay("i/disk.swap", "../other");
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	ck_assert_uint_eq(users(&t, B), 2);
	ck_assert_uint_eq(t.u.disks, 4);
	ck_assert_uint_eq(t.u.instances, 1);
	/* and what else is there is no disk */
	overlay("i/console.log", "/nowhere/" A);
	overlay("i/disk.info", "/nowhere/" A);
	overlay("i/libvirt.xml", "/nowhere/" A);
	overlay("compute_nodes", "/nowhere/" A);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	drop_tree(&t);
}
END_TEST

START_TEST(down_the_chain)
{
	struct tree t;
	char name[40], below[60];
	int i;

	make_tree("b", &t);
	ck_assert_int_eq(mkdir("deep", 0700), 0);
	overlay("deep/0", "../_base/" A);
	for (i = 1; i < 100; i++) {
		snprintf(name, sizeof(name), "deep/%d", i);
		snprintf(below, sizeof(below), "%d", i - 1);
		overlay(name, below);
	}
	/* beyond instances, json: too */
	ck_assert_int_eq(rename("deep", "../deep"), 0);
	overlay("i/disk", "../../deep/99");
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	overlay("i/disk.rescue", "json:{\"driver\": \"raw\", \"file\": "
		"{\"driver\": \"file\", \"filename\": \"_base/" B "\"}}");
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, B), 1);
	ck_assert_uint_eq(t.u.n_dark, 0);
	/* a loop ends */
	overlay("i/disk", "disk.x");
	overlay("i/disk.x", "disk");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	/* one base on another */
	unlink("i/disk.rescue");
	overlay("_base/" B, A);
	scan(&t, NULL);
	ck_assert_uint_eq(users(&t, A), 1);
	ck_assert_uint_eq(users(&t, B), 0);
	drop_tree(&t);
}
END_TEST

START_TEST(unreadable_is_dark)
{
	static const char cut[] = "QFI\xfb\0\0\0\3";
	struct tree t;

	make_tree("c", &t);
	put("i/disk", cut, sizeof(cut) - 1);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	ck_assert(strstr(t.u.dark[0].disk, "/i/disk"));
	ck_assert_int_lt(t.u.dark[0].changed, INT64_MAX);
	scan(&t, "i/disk");
	ck_assert_uint_eq(t.u.n_dark, 0);
	scan(&t, "disk");
	ck_assert_uint_eq(t.u.n_dark, 0);
	scan(&t, "isk");
	ck_assert_uint_eq(t.u.n_dark, 1);
	scan(&t, "/i/disk");
	ck_assert_uint_eq(t.u.n_dark, 1);
	/* a raw disk whose guest plays games */
	put("i/disk.info", "{\"/old/i/disk\": \"raw\"}", 23);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	put("i/disk.info", "{\"/old/i/disk\": \"qcow2\"}", 25);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	/* a disk that leads elsewhere, and one that leads to nothing */
	overlay("../away", "/nowhere/" B);
	unlink("i/disk");
	ck_assert_int_eq(symlink("../../away", "i/disk"), 0);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	ck_assert_uint_eq(users(&t, B), 1);
	unlink("../away");
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 1);
	/* no rights: root has them all */
	unlink("i/disk");
	if (geteuid() != 0) {
		put("i/disk", "raw", 3);
		ck_assert_int_eq(chmod("i/disk", 0), 0);
		scan(&t, NULL);
		ck_assert_uint_eq(t.u.n_dark, 1);
		unlink("i/disk");
		ck_assert_int_eq(chmod("i", 0), 0);
		scan(&t, NULL);
		ck_assert_uint_eq(t.u.n_dark, 1);
		ck_assert(t.u.dark[0].changed == INT64_MAX);
		scan(&t, "i/");
		ck_assert_uint_eq(t.u.n_dark, 0);
		ck_assert_int_eq(chmod("i", 0700), 0);
	}
	/* what is no file at all is no disk */
	ck_assert_int_eq(mkfifo("i/disk", 0600), 0);
	scan(&t, NULL);
	ck_assert_uint_eq(t.u.n_dark, 0);
	drop_tree(&t);
}
END_TEST

START_TEST(more_roots)
{
	struct tree t;
	const char *root = "../root";
	struct users_request rq = {.store = &t.s, .roots = &root, .n_roots = 1};
	struct err e = {0};

	make_tree("d", &t);
	ck_assert_int_eq(mkdir("../root", 0700), 0);
	ck_assert_int_eq(mkdir("../root/j", 0700), 0);
	overlay("../root/j/disk.eph0", "/x/" A);
	ck_assert_int_eq(users_scan(&rq, &t.u, &e), 0);
	ck_assert_uint_eq(users(&t, A), 1);
	root = "../nosuch";
	users_free(&t.u);
	ck_assert_int_eq(users_scan(&rq, &t.u, &e), -1);
	ck_assert_int_eq(e.eno, ENOENT);
	drop_tree(&t);
}
END_TEST

START_TEST(apart_needs_roots)
{
	struct tree t;
	struct clean_request rq = {.store = &t.s, .dry_run = true};
	struct clean_result r;
	struct err e = {0};
	const char *root;

	make_tree("e", &t);
	t.s.apart = true;
	ck_assert_int_eq(clean_run(&rq, &r, &e), -1);
	ck_assert_int_eq(e.kind, ERR_USAGE);
	root = t.s.instances;
	rq.roots = (struct clean_list){&root, 1};
	ck_assert_int_eq(clean_run(&rq, &r, &e), 0);
	clean_free(&r);
	drop_tree(&t);
}
END_TEST

START_TEST(who_holds_a_file)
{
	int fd, other;
	struct flock fl = {.l_type = F_RDLCK, .l_whence = SEEK_SET,
		.l_start = 100, .l_len = 1};
	enum holders_answer free_is;

	put("held", "x", 1);
	fd = open("held", O_RDONLY);
	free_is = holders_ask(fd);
	ck_assert_int_ne(free_is, HOLDERS_HELD);
	other = open("held", O_RDONLY);
	if (free_is == HOLDERS_FREE)
		ck_assert_int_eq(holders_ask(fd), HOLDERS_HELD);
	/* QEMU's locks tell wherever there are locks */
	ck_assert_int_eq(fcntl(other, F_OFD_SETLK, &fl), 0);
	ck_assert_int_eq(holders_ask(fd), HOLDERS_HELD);
	close(other);
	ck_assert_int_eq(holders_ask(fd), free_is);
	ck_assert(!holders_writing(fd));
	other = open("held", O_RDONLY);
	ck_assert(!holders_writing(fd));
	close(other);
	other = open("held", O_WRONLY);
	ck_assert(holders_writing(fd) == (free_is == HOLDERS_FREE));
	close(other);
	close(fd);
}
END_TEST

static char *
edit(const char *text, const char *disk, const char *format)
{
	struct buf out = BUF_INIT;
	struct err e = {0};

	if (disk_info_edit(text, disk, format, &out, NULL, &e)) {
		buf_free(&out);
		return NULL;
	}
	return buf_take(&out);
}

START_TEST(disk_info)
{
	char *p;

	p = edit("", "/i/disk", "qcow2");
	ck_assert_str_eq(p, "{\"/i/disk\": \"qcow2\"}");
	free(p);
	p = edit("{\"/i/disk.local\": \"raw\"}\n", "/i/disk", "qcow2");
	ck_assert_str_eq(p,
		"{\"/i/disk.local\": \"raw\", \"/i/disk\": \"qcow2\"}");
	free(p);
	p = edit("{\"/i/disk\": \"raw\", \"b\": \"raw\"}", "/i/disk", "qcow2");
	ck_assert_str_eq(p, "{\"/i/disk\": \"qcow2\", \"b\": \"raw\"}");
	free(p);
	p = edit("{\"/i/disk\": \"raw\", \"b\": \"raw\"}", "/i/disk", NULL);
	ck_assert_str_eq(p, "{\"b\": \"raw\"}");
	free(p);
	ck_assert_ptr_null(edit("{", "/i/disk", "raw"));
	ck_assert_ptr_null(edit("[]", "/i/disk", "raw"));
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("users");
	TCase *t = tcase_create("users");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, headers);
	tcase_add_test(t, names_are_read);
	tcase_add_test(t, by_name_path_and_inode);
	tcase_add_test(t, down_the_chain);
	tcase_add_test(t, unreadable_is_dark);
	tcase_add_test(t, more_roots);
	tcase_add_test(t, apart_needs_roots);
	tcase_add_test(t, who_holds_a_file);
	tcase_add_test(t, disk_info);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
