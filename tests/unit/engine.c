/* SPDX-License-Identifier: MIT */
/* Every engine must give the answers that a copy in memory gives. */
#include "config.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "io/engine.h"
#include "tests/unit/tmpdir.h"

#define SIZE (300 * 1000)
#define LEN_MAX 65536
#define SLOTS 8

struct variant {
	enum engine_kind kind;
	unsigned depth;
	unsigned flags;
};

static const struct variant variants[] = {
	{ENGINE_THREADS, 0, 0},
	{ENGINE_THREADS, SLOTS, 0},
	{ENGINE_THREADS, SLOTS, FILE_DIRECT},
	{ENGINE_URING, SLOTS, 0},
	{ENGINE_URING, SLOTS, FILE_DIRECT},
};

struct slot {
	struct io_req req;
	uint8_t *mem;
	uint64_t lo, hi; /* what is in flight */
	bool busy;
};

/* False: this variant does not exist on this machine. */
static bool
start(const struct variant *v, struct engine *g, struct file **ret)
{
	struct err e = {0};

	if (v->kind == ENGINE_URING && !engine_uring_works()) {
		ck_assert_int_eq(engine_open(g, v->kind, v->depth, &e), -1);
		ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
		return false;
	}
	unlink("data");
	if (file_open(ret, AT_FDCWD, "data", FILE_WRITE | FILE_CREATE | v->flags,
		    &e)) {
		ck_assert_int_eq(e.kind, ERR_UNSUPPORTED);
		return false;
	}
	ck_assert_int_eq(engine_open(g, v->kind, v->depth, &e), 0);
	return true;
}

static void
check_answer(struct slot *s, const uint8_t *want, uint64_t size)
{
	struct io_req *r = &s->req;
	size_t there = r->hoff >= size ? 0
		: size - r->hoff < r->len ? (size_t)(size - r->hoff) : r->len;

	ck_assert_int_eq(r->eno, 0);
	if (r->op == IO_WRITE) {
		ck_assert_uint_eq(r->done, r->len);
	} else {
		ck_assert_uint_eq(r->done, there);
		ck_assert_mem_eq(r->buf, want + r->hoff, there);
	}
	s->busy = false;
}

static void
reap_one(struct engine *g, const uint8_t *want, uint64_t size)
{
	struct io_req *r = NULL;
	struct err e = {0};

	ck_assert_int_eq(engine_reap(g, true, &r, &e), 0);
	ck_assert_ptr_nonnull(r);
	check_answer(r->tag, want, size);
}

static bool
overlaps(const struct slot *slots, uint64_t lo, uint64_t hi)
{
	unsigned i;

	/* whole pages: an unaligned neighbour shares one with a direct one */
	lo &= ~UINT64_C(4095);
	hi = (hi + 4095) & ~UINT64_C(4095);
	for (i = 0; i < SLOTS; i++)
		if (slots[i].busy && slots[i].lo < hi && lo < slots[i].hi)
			return true;
	return false;
}

/* Puts a random request in the slot; false if another one is in its way. */
static bool
fill(struct slot *s, struct slot *all, struct file *f, uint8_t *want)
{
	struct io_req *r = &s->req;
	size_t i;

	*r = (struct io_req){.file = f, .tag = s, .buf = s->mem};
	r->op = rand() % 2 ? IO_WRITE : IO_READ;
	r->hoff = (uint64_t)(rand() % SIZE);
	r->len = 1 + (size_t)rand() % LEN_MAX;
	if (rand() % 2) {
		r->hoff &= ~UINT64_C(4095);
		r->len = (r->len + 4095) & ~(size_t)4095;
	} else if (rand() % 4 == 0) {
		r->buf = s->mem + 1;
	}
	/* Writes stay inside, so that the size is known; reads do not. */
	if (r->op == IO_WRITE && r->hoff + r->len > SIZE)
		r->len = SIZE - r->hoff;
	if (overlaps(all, r->hoff, r->hoff + r->len))
		return false;
	s->lo = r->hoff & ~UINT64_C(4095);
	s->hi = (r->hoff + r->len + 4095) & ~UINT64_C(4095);
	s->busy = true;
	if (r->op == IO_WRITE) {
		for (i = 0; i < r->len; i++)
			((uint8_t *)r->buf)[i] = (uint8_t)rand();
		memcpy(want + r->hoff, r->buf, r->len);
	}
	return true;
}

START_TEST(random_requests_do_what_memory_does)
{
	const struct variant *v = &variants[_i];
	uint8_t *want, *got;
	struct slot slots[SLOTS] = {0};
	struct err e = {0};
	struct engine g;
	struct file *f;
	unsigned i, k, steps = getenv("BYRE_CHECK_LONG") ? 20000 : 1000;

	if (!start(v, &g, &f))
		return;
	want = calloc(1, SIZE + LEN_MAX + 4096);
	got = malloc(SIZE);
	srand(11);
	for (i = 0; i < SLOTS; i++)
		ck_assert_int_eq(posix_memalign((void **)&slots[i].mem, 65536,
			LEN_MAX + 8192), 0);
	ck_assert_int_eq(file_truncate(f, SIZE, &e), 0);
	for (k = 0; k < steps; k++) {
		struct slot *s = &slots[k % SLOTS];

		while (s->busy)
			reap_one(&g, want, SIZE);
		if (!fill(s, slots, f, want))
			continue;
		ck_assert_int_eq(engine_submit(&g, &s->req, &e), 0);
		if (v->depth == 0)
			reap_one(&g, want, SIZE);
	}
	while (g.out)
		reap_one(&g, want, SIZE);
	ck_assert_int_eq(file_read(f, got, SIZE, 0, &e), 0);
	ck_assert_mem_eq(got, want, SIZE);
	ck_assert_uint_eq(f->size, SIZE);
	engine_close(&g);
	file_close(f);
	for (i = 0; i < SLOTS; i++)
		free(slots[i].mem);
	free(got);
	free(want);
}
END_TEST

START_TEST(faults_are_answers)
{
	const struct variant *v = &variants[_i];
	struct io_req r = {.op = IO_WRITE, .len = 4096}, *back = NULL;
	struct err e = {0};
	void *mem = NULL;
	struct engine g;
	struct file *f;

	if (!start(v, &g, &f))
		return;
	file_close(f);
	ck_assert_int_eq(posix_memalign(&mem, 65536, 65536), 0);
	ck_assert_int_eq(file_open(&f, AT_FDCWD, "data", v->flags, &e), 0);
	r.file = f;
	r.buf = mem;
	ck_assert_int_eq(engine_submit(&g, &r, &e), 0);
	ck_assert_int_eq(engine_reap(&g, true, &back, &e), 0);
	ck_assert_ptr_eq(back, &r);
	ck_assert_uint_eq(r.done, 0);
	ck_assert_int_eq(r.eno, EBADF);
	/* the engine lives on; an empty file has an end at once */
	r.op = IO_READ;
	ck_assert_int_eq(engine_submit(&g, &r, &e), 0);
	ck_assert_int_eq(engine_reap(&g, true, &back, &e), 0);
	ck_assert(back == &r && r.done == 0 && r.eno == 0);
	ck_assert_int_eq(engine_reap(&g, true, &back, &e), 0);
	ck_assert_ptr_null(back);
	engine_close(&g);
	file_close(f);
	free(mem);
}
END_TEST

START_TEST(close_waits_for_what_is_out)
{
	const struct variant *v = &variants[_i];
	struct io_req r[SLOTS] = {0};
	struct err e = {0};
	void *mem = NULL;
	struct engine g;
	struct file *f;
	unsigned i;

	if (v->depth == 0 || !start(v, &g, &f))
		return;
	ck_assert_int_eq(posix_memalign(&mem, 65536, 65536), 0);
	memset(mem, 5, 65536);
	for (i = 0; i < SLOTS; i++) {
		r[i] = (struct io_req){.op = IO_WRITE, .file = f, .buf = mem,
			.len = 65536, .hoff = i * UINT64_C(65536)};
		ck_assert_int_eq(engine_submit(&g, &r[i], &e), 0);
	}
	engine_close(&g);
	free(mem); /* a sanitizer sees an engine that still uses it */
	file_close(f);
}
END_TEST

START_TEST(auto_takes_the_ring_for_direct_files_only)
{
	ck_assert_int_eq(engine_choose(ENGINE_AUTO, false), ENGINE_THREADS);
	ck_assert_int_eq(engine_choose(ENGINE_AUTO, true),
		engine_uring_works() ? ENGINE_URING : ENGINE_THREADS);
	ck_assert_int_eq(engine_choose(ENGINE_URING, false), ENGINE_URING);
}
END_TEST

int
main(void)
{
	Suite *s = suite_create("engine");
	TCase *t = tcase_create("engine");
	int n = (int)(sizeof(variants) / sizeof(variants[0]));
	SRunner *r;
	int failed;

	if (!tmpdir_enter())
		return 99;
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, random_requests_do_what_memory_does, 0, n);
	tcase_add_loop_test(t, faults_are_answers, 0, n);
	tcase_add_loop_test(t, close_waits_for_what_is_out, 0, n);
	tcase_add_test(t, auto_takes_the_ring_for_direct_files_only);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	tmpdir_remove();
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
