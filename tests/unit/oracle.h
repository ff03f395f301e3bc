/* SPDX-License-Identifier: MIT */
/*
 * For tests that compare our qcow2 files with genuine qemu-img's: a directory,
 * random options, running command lines, comparing bytes.
 */
#ifndef TESTS_UNIT_ORACLE_H
#define TESTS_UNIT_ORACLE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/units.h"
#include "base/zero.h"
#include "format/qcow2_write.h"

#define PIECE (2 * MIB)
#define BLOCK 4096

extern char **environ;

static char dir[64];
static uint64_t seed_now;

static uint64_t
rnd(uint64_t n)
{
	seed_now ^= seed_now << 13;
	seed_now ^= seed_now >> 7;
	seed_now ^= seed_now << 17;
	return seed_now % n;
}

static char *
path(const char *name)
{
	char *p;

	ck_assert_int_gt(asprintf(&p, "%s/%s", dir, name), 0);
	return p;
}

/* Runs a command line in the test's directory; its exit code. */
static int
run(const char *cmd)
{
	char *line;
	char *argv[] = {(char *)"sh", (char *)"-c", NULL, NULL};
	pid_t pid;
	int st;

	ck_assert_int_gt(asprintf(&line, "cd %s && %s", dir, cmd), 0);
	argv[2] = line;
	ck_assert_int_eq(posix_spawnp(&pid, "sh", NULL, NULL, argv, environ),
		0);
	ck_assert_int_eq(waitpid(pid, &st, 0), pid);
	free(line);
	return WIFEXITED(st) ? WEXITSTATUS(st) : 128;
}

static const char *const prealloc_names[] = {
	"off", "metadata", "falloc", "full"};

/* The options as qemu-img takes them. */
static char *
option_text(const struct qcow2_options *o)
{
	char *s;

	ck_assert_int_gt(asprintf(&s,
		"cluster_size=%u,compat=%s%s%s%s%s,refcount_bits=%u,"
		"preallocation=%s%s%s",
		o->cluster_size, o->version == 2 ? "0.10" : "1.1",
		o->extended_l2 ? ",extended_l2=on" : "",
		o->lazy_refcounts ? ",lazy_refcounts=on" : "",
		o->compression == CODEC_ZSTD ? ",compression_type=zstd" : "",
		o->data_file_raw ? ",data_file_raw=on" : "",
		o->refcount_bits, prealloc_names[o->preallocation],
		o->data_file ? ",data_file=" : "",
		o->data_file ? o->data_file : ""), 0);
	return s;
}

static struct file *
new_file(const char *name)
{
	char *p = path(name);
	struct file *f;
	struct err e = {0};
	char text[512];

	unlink(p);
	if (file_open(&f, AT_FDCWD, p, FILE_WRITE | FILE_CREATE, &e))
		ck_abort_msg("%s", err_text(&e, text, sizeof(text)));
	free(p);
	return f;
}

static void
ok(int r, const struct err *e, const char *what)
{
	char text[1024];

	if (r)
		ck_abort_msg("%s: %s", what, err_text(e, text, sizeof(text)));
}

static void
same(const char *a, const char *b, const char *what)
{
	char *cmd;
	int r;

	ck_assert_int_gt(asprintf(&cmd, "cmp %s %s", a, b), 0);
	r = run(cmd);
	if (r && getenv("BYRE_TEST_KEEP"))
		run("cp -r . /tmp/byre-kept");
	ck_assert_msg(r == 0, "%s and %s differ: %s", a, b, what);
	free(cmd);
}

/* Any valid combination. With data, the sizes stay small. */
static void
random_options(struct qcow2_options *o, bool convert)
{
	unsigned bits = 9 + (unsigned)rnd(convert ? 9 : 13);

	memset(o, 0, sizeof(*o));
	o->version = rnd(5) ? 3 : 2;
	o->refcount_bits = 16;
	if (o->version == 3) {
		o->refcount_bits = 1u << rnd(7);
		o->lazy_refcounts = rnd(3) == 0;
		o->compression = rnd(3) ? CODEC_DEFLATE : CODEC_ZSTD;
		if (rnd(4) == 0) {
			o->extended_l2 = true;
			bits = (unsigned)units_max(bits, 14);
		}
		if (rnd(5) == 0) {
			o->data_file = "data";
			o->data_file_raw = rnd(2);
		}
	}
	/* refcount tables that grow, and grow again */
	if (o->version == 3 && !o->extended_l2 && rnd(2)) {
		o->refcount_bits = 32 << rnd(2);
		bits = 9 + (rnd(4) == 0);
	}
	o->cluster_size = 1u << bits;
	if (rnd(3) == 0)
		o->preallocation = (enum preallocation)rnd(4);
}

/* Sources in which refcount blocks, and often refcount tables, run full. */
static uint64_t
random_size(const struct qcow2_options *o, bool mapped)
{
	uint64_t clusters = rnd(3) ? 1 + rnd(3000) : 1 + rnd(64);
	uint64_t size, max = mapped ? 48 : 4096;

	if (o->cluster_size <= 1024 && o->refcount_bits >= 32)
		clusters = 5000 + rnd(25000);
	size = clusters * o->cluster_size;
	if (rnd(4) == 0)
		size -= rnd(o->cluster_size / 512) * 512;
	if (!mapped && rnd(3) == 0)
		size *= 1 + rnd(64);
	return units_min(size, max * MIB);
}

static void
write_list(struct placed_list *l, struct file *f, struct file *data)
{
	struct err e = {0};
	size_t i;

	for (i = 0; i < l->n; i++)
		ok(file_write(l->v[i].to_data_file ? data : f, l->v[i].buf,
			   l->v[i].len, l->v[i].hoff, &e),
			&e, "write");
	l->n = 0;
}

/* BYRE_TEST_SEED tells other cases. */
static void
seed(int i, uint64_t salt)
{
	const char *s = getenv("BYRE_TEST_SEED");

	seed_now = salt * (uint64_t)(i + 1) +
		(s ? strtoull(s, NULL, 0) * UINT64_C(0x2545f4914f6cdd1d) : 0);
}

static int
rounds(int normal)
{
	return getenv("BYRE_CHECK_LONG") ? normal * 20 : normal;
}

/* Runs the tests in a directory of their own; 77 without qemu-img. */
static int
oracle_main(const char *name, const TTest *const *tests, size_t n)
{
	static const char *const files[] = {"ours", "theirs", "data",
		"theirs.data", "source", "base"};
	Suite *s = suite_create(name);
	TCase *t = tcase_create(name);
	SRunner *r;
	struct statvfs fs;
	int failed;
	size_t i;

	if (system("qemu-img --version >/dev/null 2>&1")) {
		printf("qemu-img is not installed\n");
		return 77;
	}
	/* qemu-img syncs a lot, which costs nothing in memory */
	snprintf(dir, sizeof(dir), "%s/byre-oracle-XXXXXX",
		statvfs("/dev/shm", &fs) == 0 &&
				fs.f_bavail * fs.f_frsize > 512 * MIB &&
				access("/dev/shm", W_OK) == 0
			? "/dev/shm"
			: "/tmp");
	if (!mkdtemp(dir))
		return EXIT_FAILURE;
	tcase_set_timeout(t, 1200);
	for (i = 0; i < n; i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	for (i = 0; i < COUNT_OF(files); i++) {
		char file[128];

		snprintf(file, sizeof(file), "%s/%s", dir, files[i]);
		unlink(file);
	}
	rmdir(dir);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
