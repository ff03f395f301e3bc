/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "cache/store.h"
#include "cache/store_lock.h"
#include "tests/unit/tmpdir.h"

#define NAME "84983e441c3bd26ebaae4aa1f95129e5e54670f1"

/* In the place of the C library's, so that they can fail. */
static int stat_fails; /* fstatat's errno, or 0 */
static int stale;      /* so often it is followed by an fstat with ESTALE */
static bool stale_next;

int
fstat(int fd, struct stat *st)
{
	char path[64];

	if (stale_next) {
		stale_next = false;
		errno = ESTALE;
		return -1;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return stat(path, st);
}

int
fstatat(int dirfd, const char *name, struct stat *st, int flags)
{
	int fd, r;

	if (stat_fails) {
		errno = stat_fails;
		return -1;
	}
	fd = openat(dirfd, name, O_PATH | O_CLOEXEC |
			(flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0));
	r = fd < 0 ? -1 : fstat(fd, st);
	if (fd >= 0)
		close(fd);
	stale_next = stale > 0;
	stale -= stale_next;
	return r;
}

static struct store
open_store(const char *dir)
{
	struct store_request rq = {.instances = dir, .create = true};
	struct store s;
	struct err e = {0};

	mkdir(dir, 0700);
	ck_assert_msg(store_open(&s, &rq, &e) == 0, "%s: %s", e.file, e.msg);
	return s;
}

static int
text_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	bool ok = fd >= 0 &&
		write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return ok ? 0 : -1;
}

START_TEST(directories_are_made)
{
	struct store s = open_store("a");
	struct store_request rq = {.instances = "a///"};
	struct store t;
	struct err e = {0};

	ck_assert_int_eq(access("a/_base/.byre/staging", F_OK), 0);
	ck_assert_int_eq(access("a/_base/.byre/records", F_OK), 0);
	ck_assert_int_eq(access("a/_base/.byre/quarantine", F_OK), 0);
	ck_assert_int_eq(access("a/locks", F_OK), 0);
	ck_assert_int_eq(s.instances[0], '/');
	ck_assert(!s.apart);
	/* again, as it is */
	ck_assert_int_eq(store_open(&t, &rq, &e), 0);
	ck_assert_str_eq(t.instances, s.instances);
	ck_assert_str_eq(t.base, s.base);
	store_close(&t);
	store_close(&s);
	store_close(&s);
}
END_TEST

START_TEST(nothing_is_made_to_look)
{
	struct store_request rq = {.instances = "b"};
	struct store s;
	struct err e = {0};

	ck_assert_int_eq(store_open(&s, &rq, &e), -1);
	ck_assert_int_eq(e.eno, ENOENT);
	mkdir("b", 0700);
	ck_assert_int_eq(store_open(&s, &rq, &e), -1);
	ck_assert_int_eq(e.eno, ENOENT);
	mkdir("b/_base", 0700);
	ck_assert_int_eq(store_open(&s, &rq, &e), 0);
	ck_assert_int_eq(s.state_fd, -1);
	ck_assert_int_eq(s.locks_fd, -1);
	ck_assert_int_eq(access("b/_base/.byre", F_OK), -1);
	ck_assert_int_eq(access("b/locks", F_OK), -1);
	store_close(&s);
}
END_TEST

START_TEST(planted_links_are_refused)
{
	struct store_request rq = {.instances = "c", .create = true};
	struct store s;
	struct stat st;
	struct err e = {0};
	bool there;
	int fd = -2;

	mkdir("c", 0700);
	mkdir("elsewhere", 0700);
	ck_assert_int_eq(symlink("../elsewhere", "c/_base"), 0);
	ck_assert_int_eq(store_open(&s, &rq, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	unlink("c/_base");
	mkdir("c/_base", 0700);
	ck_assert_int_eq(symlink("../../elsewhere", "c/_base/.byre"), 0);
	ck_assert_int_eq(store_open(&s, &rq, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	unlink("c/_base/.byre");
	ck_assert_int_eq(rmdir("c/locks"), 0);
	ck_assert_int_eq(symlink("../elsewhere", "c/locks"), 0);
	ck_assert_int_eq(store_open(&s, &rq, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	unlink("c/locks");

	s = open_store("c");
	ck_assert_int_eq(text_file("secret", "secret"), 0);
	ck_assert_int_eq(symlink("../../secret", "c/_base/" NAME), 0);
	ck_assert_int_eq(mkdir("c/_base/dir", 0700), 0);
	ck_assert_int_eq(mkfifo("c/_base/pipe", 0600), 0);
	ck_assert_int_eq(store_file(s.base_fd, NAME, O_RDONLY, &fd, NULL, &e),
		-1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_str_eq(e.file, NAME);
	ck_assert_int_eq(store_file(s.base_fd, "dir", O_RDONLY, &fd, NULL,
		&e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	/* neither is waited for a writer, or a reader */
	ck_assert_int_eq(store_file(s.base_fd, "pipe", O_RDONLY, &fd, NULL,
		&e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(store_file(s.base_fd, "pipe", O_WRONLY, &fd, NULL,
		&e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(store_file(s.base_fd, "../locks", O_RDONLY, &fd,
		NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(fd, -2);
	ck_assert_int_eq(store_stat(s.base_fd, NAME, &there, &st, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(store_stat(s.base_fd, "none", &there, &st, &e), 0);
	ck_assert(!there);
	ck_assert_int_eq(store_file(s.base_fd, "none", O_RDONLY, &fd, &st,
		&e), 0);
	ck_assert_int_eq(fd, -1);
	store_close(&s);
}
END_TEST

START_TEST(publishing_never_replaces)
{
	struct store s = open_store("d");
	struct store_stage a, b;
	struct err e = {0};
	struct stat st;
	bool taken = true;

	umask(077);
	ck_assert_int_eq(store_stage_open(&s, NAME, &a, &e), 0);
	ck_assert_int_eq(write(a.fd, "one", 3), 3);
	ck_assert_int_eq(store_stage_open(&s, NAME, &b, &e), 0);
	ck_assert_int_eq(write(b.fd, "other", 5), 5);
	ck_assert_int_eq(access("d/_base/" NAME, F_OK), -1);
	ck_assert_int_eq(store_stage_publish(&s, &a, NAME, &taken, &e), 0);
	ck_assert(!taken);
	ck_assert_int_eq(fstat(a.fd, &st), 0);
	ck_assert_uint_eq(st.st_nlink, 1);
	/* whatever the umask: a guest's user reads it */
	ck_assert_uint_eq(st.st_mode & 07777, 0644);
	ck_assert_int_eq(store_stage_publish(&s, &b, NAME, &taken, &e), 0);
	ck_assert(taken);
	store_stage_drop(&s, &a);
	store_stage_drop(&s, &b);
	store_stage_drop(&s, &b);
	ck_assert_int_eq(stat("d/_base/" NAME, &st), 0);
	ck_assert_int_eq(st.st_size, 3);
	ck_assert_int_eq(rmdir("d/_base/.byre/staging"), 0);
	store_close(&s);
}
END_TEST

START_TEST(a_stage_is_locked_while_it_is_open)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct store s = open_store("e");
	struct store_stage a;
	struct err e = {0};
	char path[128];
	int fd;

	ck_assert_int_eq(store_stage_open(&s, NAME, &a, &e), 0);
	snprintf(path, sizeof(path), "e/_base/.byre/staging/%s", a.name);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &whole), -1);
	store_stage_drop(&s, &a);
	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &whole), 0);
	close(fd);
	ck_assert_int_eq(access(path, F_OK), -1);
	store_close(&s);
}
END_TEST

START_TEST(quarantine_and_clock)
{
	struct store s = open_store("f");
	struct timespec now, then = {.tv_sec = 1000};
	struct timespec times[2] = {then, then};
	char as[LAYOUT_NAME + 40], path[256];
	struct err e = {0};
	struct stat st;

	ck_assert_int_eq(text_file("f/_base/" NAME, "x"), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, "f/_base/" NAME, times, 0), 0);
	ck_assert_int_eq(store_now(&s, &now, &e), 0);
	ck_assert_int_gt(now.tv_sec, 1000);
	ck_assert_int_eq(store_touch(&s, NAME, NULL, &e), 0);
	ck_assert_int_eq(stat("f/_base/" NAME, &st), 0);
	ck_assert_int_ge(st.st_mtim.tv_sec, now.tv_sec);
	ck_assert_int_eq(store_touch(&s, "none", NULL, &e), -1);
	ck_assert_int_eq(store_quarantine(&s, NAME, as, &e), 0);
	ck_assert_int_eq(access("f/_base/" NAME, F_OK), -1);
	snprintf(path, sizeof(path), "f/_base/.byre/quarantine/%s", as);
	ck_assert_int_eq(access(path, F_OK), 0);
	store_close(&s);
}
END_TEST

/* What fasteners does, in a process of its own: lockf on the whole file. */
static bool
nova_can_lock(const char *path)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0644);

		_exit(fd >= 0 && lockf(fd, F_TLOCK, 0) == 0 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

START_TEST(locks_exclude_nova_and_each_other)
{
	struct store s = open_store("g");
	struct store_lock a = STORE_LOCK_NONE, b = STORE_LOCK_NONE;
	struct err e = {0};
	bool waited = true;
	int to[2], pid;
	char c;

	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &a, &waited, &e),
		0);
	ck_assert(!waited);
	ck_assert_int_eq(access("g/locks/nova-" NAME, F_OK), 0);
	ck_assert(!nova_can_lock("g/locks/nova-" NAME));
	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &b, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_BUSY);
	store_lock_release(&a);
	store_lock_release(&a);
	ck_assert(nova_can_lock("g/locks/nova-" NAME));

	/* and the other way round */
	ck_assert_int_eq(pipe(to), 0);
	pid = fork();
	if (pid == 0) {
		int fd = open("g/locks/nova-" NAME, O_RDWR);

		if (lockf(fd, F_TLOCK, 0) || write(to[1], "x", 1) != 1)
			_exit(1);
		pause();
	}
	ck_assert_int_eq(read(to[0], &c, 1), 1);
	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &a, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_BUSY);
	ck_assert_str_eq(e.file, "nova-" NAME);
	kill(pid, SIGKILL);
	ck_assert_int_eq(store_lock(&s, NAME, true, NULL, &a, NULL, &e), 0);
	waitpid(pid, NULL, 0);
	store_lock_release(&a);
	store_close(&s);
}
END_TEST

/* Nova unlinks a lock file when it is done: one who waited with the old file
 * open has locked nothing. */
START_TEST(a_lock_without_a_name_is_none)
{
	struct store s = open_store("h");
	struct store_lock a = STORE_LOCK_NONE, b = STORE_LOCK_NONE;
	struct err e = {0};
	struct stat st, named;

	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &a, NULL, &e), 0);
	ck_assert_int_eq(unlink("h/locks/nova-" NAME), 0);
	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &b, NULL, &e), 0);
	ck_assert_int_eq(fstat(b.fd, &st), 0);
	ck_assert_int_eq(stat("h/locks/nova-" NAME, &named), 0);
	ck_assert_uint_eq(st.st_ino, named.st_ino);
	store_lock_release(&a);
	store_lock_release(&b);
	ck_assert_int_eq(access("h/locks/nova-" NAME, F_OK), 0);
	store_close(&s);
}
END_TEST

START_TEST(a_name_that_cannot_be_looked_at)
{
	struct store s = open_store("j");
	struct store_lock a = STORE_LOCK_NONE, b = STORE_LOCK_NONE;
	struct err e = {0};

	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &a, NULL, &e), 0);
	ck_assert(store_lock_stands(&s, &a));
	stat_fails = EIO;
	ck_assert(!store_lock_stands(&s, &a));
	store_lock_release(&a);
	ck_assert_int_eq(store_lock(&s, NAME, true, NULL, &b, NULL, &e), -1);
	stat_fails = 0;
	ck_assert_int_eq(e.kind, ERR_IO);
	ck_assert_int_eq(e.eno, EIO);
	ck_assert_str_eq(e.file, "nova-" NAME);
	ck_assert_int_eq(b.fd, -1);
	/* and nobody holds it now */
	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &b, NULL, &e), 0);
	store_lock_release(&b);
	store_close(&s);
}
END_TEST

/* The same, removed on another host of an NFS, and made anew there. */
START_TEST(a_lock_that_is_stale_is_none)
{
	struct store s = open_store("k");
	struct store_lock a = STORE_LOCK_NONE;
	struct err e = {0};

	stale = 2;
	ck_assert_msg(store_lock(&s, NAME, false, NULL, &a, NULL, &e) == 0,
		"%s: %s", e.file, e.msg);
	ck_assert_int_eq(stale, 0);
	ck_assert(store_lock_stands(&s, &a));
	stale = 1;
	ck_assert(!store_lock_stands(&s, &a));
	store_lock_release(&a);
	store_close(&s);
}
END_TEST

START_TEST(waiting_can_be_cancelled)
{
	struct store s = open_store("i");
	struct store_lock a = STORE_LOCK_NONE, b = STORE_LOCK_NONE;
	atomic_int stop = 1;
	struct watch w = {.cancel = &stop};
	struct err e = {0};

	ck_assert_int_eq(store_lock(&s, NAME, true, &w, &a, NULL, &e), 0);
	ck_assert_int_eq(store_lock(&s, NAME, true, &w, &b, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_CANCELLED);
	ck_assert_int_eq(b.fd, -1);
	store_lock_release(&a);
	/* a link in the place of a lock file leads nowhere */
	ck_assert_int_eq(unlink("i/locks/nova-" NAME), 0);
	ck_assert_int_eq(symlink("../victim", "i/locks/nova-" NAME), 0);
	ck_assert_int_eq(store_lock(&s, NAME, false, NULL, &a, NULL, &e), -1);
	ck_assert_int_eq(e.kind, ERR_DENIED);
	ck_assert_int_eq(access("i/victim", F_OK), -1);
	store_close(&s);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("store");
	TCase *t = tcase_create("store");
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_add_test(t, directories_are_made);
	tcase_add_test(t, nothing_is_made_to_look);
	tcase_add_test(t, planted_links_are_refused);
	tcase_add_test(t, publishing_never_replaces);
	tcase_add_test(t, a_stage_is_locked_while_it_is_open);
	tcase_add_test(t, quarantine_and_clock);
	tcase_add_test(t, locks_exclude_nova_and_each_other);
	tcase_add_test(t, a_lock_without_a_name_is_none);
	tcase_add_test(t, a_name_that_cannot_be_looked_at);
	tcase_add_test(t, a_lock_that_is_stale_is_none);
	tcase_add_test(t, waiting_can_be_cancelled);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
