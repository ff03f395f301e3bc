/* SPDX-License-Identifier: MIT */
/*
 * The one caller of the engines. Asserts what both sides promised and counts
 * what is out; how a request is carried is engine_uring.c's or engine_threads.c's.
 */
#include "config.h"

#include "io/engine.h"

#include <assert.h>

enum engine_kind
engine_choose(enum engine_kind asked, bool direct)
{
	if (asked != ENGINE_AUTO)
		return asked;
	/* In the page cache a ring only adds a hand-over. */
	return direct && engine_uring_works() ? ENGINE_URING : ENGINE_THREADS;
}

int
engine_open(struct engine *g, enum engine_kind kind, unsigned depth,
	struct err *e)
{
	assert(depth <= ENGINE_DEPTH_MAX);
	if (kind == ENGINE_AUTO)
		kind = ENGINE_THREADS;
	*g = (struct engine){
		.ops = kind == ENGINE_URING ? &engine_uring_ops
					    : &engine_threads_ops,
		.depth = depth,
	};
	if (g->ops->open(g, depth, e) == 0)
		return 0;
	g->ops = NULL;
	return -1;
}

int
engine_submit(struct engine *g, struct io_req *r, struct err *e)
{
	assert(r->len > 0 && r->buf && r->file);
	assert(g->depth ? g->out < g->depth : g->out == 0);
	r->done = 0;
	r->eno = 0;
	r->next = NULL;
	if (g->ops->submit(g, r, e))
		return -1;
	g->out++;
	return 0;
}

int
engine_reap(struct engine *g, bool wait, struct io_req **ret, struct err *e)
{
	struct io_req *r = NULL;

	if (g->out == 0) {
		*ret = NULL;
		return 0;
	}
	if (g->ops->reap(g, wait, &r, e))
		return -1;
	assert(r || !wait);
	if (r) {
		assert(r->done <= r->len);
		assert(r->eno || r->done == r->len || r->op == IO_READ);
		g->out--;
	}
	*ret = r;
	return 0;
}

void
engine_close(struct engine *g)
{
	if (!g->ops)
		return;
	g->ops->close(g);
	*g = (struct engine){0};
}
