/* SPDX-License-Identifier: MIT */
/* For the tests of who uses a base: disks that are nothing but headers, in an
 * instances directory of two bases. */
#ifndef TESTS_CACHE_USERS_TREE_H
#define TESTS_CACHE_USERS_TREE_H

#include <check.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "cache/store.h"
#include "cache/users.h"

#define A "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
#define B "94983e441c3bd26ebaae4aa1f95129e5e54670f1"

/* The fields that count; the name behind them. */
static inline void
header(uint8_t head[static 1200], uint32_t version, uint64_t at, uint32_t len,
	const char *name)
{
	memset(head, 0, 1200);
	store_be32(head, 0x514649fb);
	store_be32(head + 4, version);
	store_be64(head + 8, at);
	store_be32(head + 16, len);
	store_be32(head + 20, 16);
	if (name)
		memcpy(head + 112, name, strlen(name));
}

static inline void
put(const char *path, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
	close(fd);
}

static inline void
overlay(const char *path, const char *backing)
{
	uint8_t head[1200];

	header(head, 3, 112, (uint32_t)strlen(backing), backing);
	put(path, head, sizeof(head));
}

struct tree {
	struct store s;
	struct users u;
};

static inline void
make_tree(const char *dir, struct tree *t)
{
	struct store_request rq = {.instances = dir, .create = true};
	struct err e = {0};

	memset(t, 0, sizeof(*t));
	ck_assert_int_eq(mkdir(dir, 0700), 0);
	ck_assert_int_eq(chdir(dir), 0);
	rq.instances = ".";
	ck_assert_msg(store_open(&t->s, &rq, &e) == 0, "%s", e.msg);
	put("_base/" A, "raw", 3);
	put("_base/" B, "raw", 3);
	ck_assert_int_eq(mkdir("i", 0700), 0);
}

static inline void
scan(struct tree *t, const char *ignore)
{
	const struct users_request rq = {.store = &t->s,
		.ignore = ignore ? &ignore : NULL, .n_ignore = ignore != NULL};
	struct err e = {0};

	users_free(&t->u);
	ck_assert_msg(users_scan(&rq, &t->u, &e) == 0, "%s %s", e.file, e.msg);
}

static inline unsigned
users(struct tree *t, const char *name)
{
	char path[200];
	struct stat st;

	snprintf(path, sizeof(path), "_base/%s", name);
	ck_assert_int_eq(stat(path, &st), 0);
	return users_of(&t->u, name, &st).disks;
}

static inline void
drop_tree(struct tree *t)
{
	users_free(&t->u);
	store_close(&t->s);
	ck_assert_int_eq(chdir(".."), 0);
}

#endif
