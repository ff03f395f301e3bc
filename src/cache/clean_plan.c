/* SPDX-License-Identifier: MIT */
/*
 * The rules of cleaning, each in one place: what is ours to judge, who uses
 * it, who might, how old it is, and what must go for want of room. The first
 * reason that keeps a file is the one that is told.
 */
#include "config.h"

#include "cache/clean_plan.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

/* A base that was born less than this after a disk's last change may have
 * been there: their clocks may be two servers'. */
#define BORN_SLACK 60
/* Nova's own temporaries, seconds: its pre-caching works on them without a
 * lock and, between two steps, without having them open. */
#define LEFTOVER_AGE (24 * 3600)

static bool
verdict(struct clean_plan_file *f, enum clean_plan_verdict v, const char *fmt,
	...) __attribute__((format(printf, 3, 4)));

static bool
verdict(struct clean_plan_file *f, enum clean_plan_verdict v, const char *fmt,
	...)
{
	va_list ap;

	f->verdict = v;
	va_start(ap, fmt);
	vsnprintf(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
	return v == CLEAN_PLAN_REMOVE;
}

static bool
is_leftover(enum layout_kind k)
{
	return k == LAYOUT_PART || k == LAYOUT_CONVERTED;
}

static bool
before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec
				      : a->tv_nsec < b->tv_nsec;
}

static int64_t
limit_of(const struct clean_plan_file *f, const struct clean_plan_limits *l)
{
	if (is_leftover(f->kind))
		return l->min_age > LEFTOVER_AGE ? l->min_age : LEFTOVER_AGE;
	return f->kind == LAYOUT_SIZED || f->kind == LAYOUT_SIZED_OLD
		? l->min_age_resized
		: l->min_age;
}

static int64_t
age_of(const struct clean_plan_file *f, const struct clean_plan_limits *l)
{
	return (int64_t)l->start.tv_sec - (int64_t)f->mtime.tv_sec;
}

bool
clean_plan_aged(const struct clean_plan_file *f,
	const struct clean_plan_limits *l)
{
	return age_of(f, l) >= limit_of(f, l);
}

/* The first of the unreadable disks that may name it. A time that is older
 * than the inode came with a copy: who moves a cache to another file system
 * gives every base a new birth. */
static const struct users_dark *
darkness(const struct clean_plan_file *f, const struct clean_plan_limits *l)
{
	bool told = f->born && f->mtime.tv_sec >= f->born;
	size_t i;

	for (i = 0; i < l->n_dark; i++)
		if (!told || l->dark[i].changed == INT64_MAX ||
			f->born - BORN_SLACK <= l->dark[i].changed)
			return &l->dark[i];
	return NULL;
}

bool
clean_plan_spare(struct clean_plan_file *f, const struct clean_plan_limits *l)
{
	const struct users_dark *d;
	char q[160];

	if (!f->regular)
		return verdict(f, CLEAN_PLAN_KEEP, "no regular file");
	if (!layout_is_base(f->kind) && !is_leftover(f->kind))
		return verdict(f, CLEAN_PLAN_KEEP, "no name of the cache's");
	if (f->users.disks)
		return verdict(f, CLEAN_PLAN_TOUCH, "used by %s%s",
			err_quote(q, sizeof(q), f->users.disk,
				(unsigned)strlen(f->users.disk)),
			f->users.disks > 1 ? " and others" : "");
	if (f->listed_used)
		return verdict(f, CLEAN_PLAN_TOUCH, "said to be in use");
	if (f->holder && layout_is_base(f->kind))
		return verdict(f, CLEAN_PLAN_TOUCH, "open in process %" PRId64,
			f->holder);
	if (f->holder)
		return verdict(f, CLEAN_PLAN_KEEP, "open in process %" PRId64,
			f->holder);
	if (f->pinned)
		return verdict(f, CLEAN_PLAN_KEEP, "pinned");
	if (*l->shared && !f->listed_unused)
		return verdict(f, CLEAN_PLAN_KEEP, "host %s shares the storage",
			l->shared);
	/* what other hosts do not use may be used here */
	d = is_leftover(f->kind) ? NULL : darkness(f, l);
	if (d)
		return verdict(f, CLEAN_PLAN_KEEP, "disk %s cannot be read and "
			"may use it", err_quote(q, sizeof(q), d->disk,
				(unsigned)strlen(d->disk)));
	/* whoever came since the search for users began has touched it */
	if (!before(&f->mtime, &l->start))
		return verdict(f, CLEAN_PLAN_KEEP, "touched since the search "
			"for its users began");
	return true;
}

static void
judge_age(struct clean_plan_file *f, const struct clean_plan_limits *l)
{
	int64_t age = age_of(f, l), limit = limit_of(f, l);

	f->for_room = false;
	if (clean_plan_aged(f, l))
		verdict(f, CLEAN_PLAN_REMOVE, "%s for %" PRId64 " s",
			is_leftover(f->kind) ? "left behind" : "not used", age);
	else if (limit == CLEAN_PLAN_NEVER)
		verdict(f, CLEAN_PLAN_KEEP, "not used for %" PRId64 " s", age);
	else
		verdict(f, CLEAN_PLAN_KEEP,
			"not used for %" PRId64 " s, less than %" PRId64, age,
			limit);
}

/* Bytes that must go in all. */
static uint64_t
needed(const struct clean_plan_limits *l, uint64_t bytes)
{
	/* in KiB a hundredfold fits */
	uint64_t size = l->fs_size / KIB, used = l->fs_used / KIB;
	uint64_t n = 0, low = size * l->low / 100;

	if (l->has_budget && bytes > l->budget)
		n = bytes - l->budget;
	if (l->high && used * 100 > size * l->high && used > low)
		n = units_max(n, (used - low) * KIB);
	return n;
}

/* Longest unused first; equally long: the larger one, then by name, so that
 * the answer does not depend on the order of a directory. */
static int
by_use(const void *a, const void *b)
{
	const struct clean_plan_file *x = *(struct clean_plan_file *const *)a;
	const struct clean_plan_file *y = *(struct clean_plan_file *const *)b;

	if (before(&x->mtime, &y->mtime) || before(&y->mtime, &x->mtime))
		return before(&x->mtime, &y->mtime) ? -1 : 1;
	if (x->bytes != y->bytes)
		return x->bytes > y->bytes ? -1 : 1;
	return strcmp(x->name, y->name);
}

void
clean_plan_make(struct clean_plan_file *v, size_t n,
	const struct clean_plan_limits *l, struct clean_plan_sums *ret)
{
	struct clean_plan_file **spare = calloc(n + 1, sizeof(*spare));
	uint64_t need;
	size_t i, k = 0;

	*ret = (struct clean_plan_sums){0};
	for (i = 0; i < n; i++) {
		ret->bytes += v[i].bytes;
		if (!clean_plan_spare(&v[i], l))
			continue;
		judge_age(&v[i], l);
		if (v[i].verdict == CLEAN_PLAN_REMOVE)
			ret->removed += v[i].bytes;
		else if (spare && !is_leftover(v[i].kind))
			spare[k++] = &v[i];
	}
	need = ret->needed = needed(l, ret->bytes);
	if (k > 1)
		qsort(spare, k, sizeof(*spare), by_use);
	for (i = 0; i < k && ret->removed < need; i++) {
		spare[i]->for_room = true;
		verdict(spare[i], CLEAN_PLAN_REMOVE, "not used for %" PRId64
			" s, and room is needed", age_of(spare[i], l));
		ret->removed += spare[i]->bytes;
	}
	if (ret->removed < need)
		ret->lacking = need - ret->removed;
	free(spare);
}
