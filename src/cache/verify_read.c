/* SPDX-License-Identifier: MIT */
/*
 * Leaves come from the pipeline in guest order and are compared one by one. A
 * fault of the disk ends the pipeline; then it starts again with one worker,
 * whose first fault is the one at the tap's place, and behind that block it
 * goes on with all of them.
 */
#include "config.h"

#include "cache/verify_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "op/convert.h"

#define IN_A_ROW_MAX 16

struct pass {
	const struct verify_read_request *rq;
	struct verify_read_result *r;
	struct digest_value zero;
	/* blocks seen: written in turn, read by whoever reports progress */
	_Atomic uint64_t at;
	_Atomic uint64_t rotten, first;
	bool no_memory;
	struct watch watch;
};

void
verify_blocks_free(struct verify_blocks *b)
{
	free(b->v);
	*b = (struct verify_blocks){0};
}

void
verify_read_free(struct verify_read_result *r)
{
	record_leaves_free(&r->made.leaves);
	verify_blocks_free(&r->rotten);
}

static void
add_rotten(struct pass *p, uint64_t block)
{
	struct verify_blocks *b = &p->r->rotten;
	uint64_t from = block * DIGEST_BLOCK;
	struct verify_range *v;

	if (b->count++ == 0) {
		b->first = block;
		atomic_store(&p->first, block);
	}
	atomic_store(&p->rotten, b->count);
	if (b->n && b->v[b->n - 1].to == from) {
		b->v[b->n - 1].to += DIGEST_BLOCK;
		return;
	}
	if (b->n == VERIFY_RANGES_MAX)
		return;
	v = realloc(b->v, (b->n + 1) * sizeof(*v));
	if (!v) {
		p->no_memory = true;
		return;
	}
	b->v = v;
	b->v[b->n++] = (struct verify_range){from, from + DIGEST_BLOCK};
}

static const struct digest_value *
wanted(const struct pass *p, uint64_t block)
{
	const struct record_leaves *l = p->rq->leaves;

	return block < l->n ? &l->v[block] : &p->zero;
}

static void
compare(struct pass *p, uint64_t block, const struct digest_value *leaf)
{
	if (memcmp(wanted(p, block)->b, leaf->b, sizeof(leaf->b)) != 0)
		add_rotten(p, block);
}

/* digest_tap's function. Zeros behind the last leaf are as they should be. */
static void
hear(void *arg, const struct digest_value *leaf, uint64_t zeros)
{
	struct pass *p = arg;
	uint64_t at = atomic_load(&p->at), i, end;

	if (!p->rq->leaves) {
		record_tap_leaf(&p->r->made, leaf, zeros);
		atomic_store(&p->at, at + (leaf ? 1 : zeros));
		return;
	}
	if (leaf) {
		compare(p, at, leaf);
		atomic_store(&p->at, at + 1);
		return;
	}
	end = units_min(at + zeros, units_max(at, p->rq->leaves->n));
	for (i = at; i < end; i++)
		compare(p, i, &p->zero);
	atomic_store(&p->at, at + zeros);
}

/* Where a later pass may go on: it must meet what is rotten again. */
static uint64_t
resume_at(const struct pass *p)
{
	uint64_t at = atomic_load(&p->at);

	if (atomic_load(&p->rotten))
		at = units_min(at, atomic_load(&p->first));
	return at * DIGEST_BLOCK;
}

static void
on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct pass *p = arg;

	watch_progress(p->rq->watch, done, total);
	if (p->rq->mark)
		p->rq->mark(p->rq->mark_arg, resume_at(p),
			atomic_load(&p->rotten));
}

static void
on_note(void *arg, const char *line)
{
	const struct pass *p = arg;

	watch_note(p->rq->watch, line);
}

/* Whether a fault is one of what lies on the disk. */
static bool
is_rot(const struct verify_read_request *rq, const struct err *e)
{
	switch (e->kind) {
	case ERR_CORRUPT:
	case ERR_FORMAT:
		return true;
	case ERR_DENIED:
	case ERR_UNSUPPORTED:
	case ERR_LIMIT:
		/* it was none of that when it was made */
		return rq->format == FORMAT_QCOW2;
	case ERR_IO:
		return e->eno == 0 || e->eno == EIO || e->eno == ENODATA ||
			e->eno == EUCLEAN || e->eno == EBADMSG ||
			e->eno == EILSEQ;
	default:
		return false;
	}
}

/* Collected leaves begin at the beginning. */
static void
start_again(struct pass *p)
{
	record_leaves_free(&p->r->made.leaves);
	p->r->made = (struct record_tap){0};
	atomic_store(&p->at, 0);
}

static int
read_on(struct pass *p, unsigned workers, struct convert_result *c,
	struct err *e)
{
	const struct verify_read_request *rq = p->rq;
	const struct source s = {.dirfd = AT_FDCWD, .fd = rq->fd,
		.format = rq->format, .force_share = true};
	/* what rot makes of a qcow2's header must lead nowhere */
	const struct gate g = {.safe = rq->format == FORMAT_QCOW2};
	const struct digest_tap tap = {.leaf = hear, .arg = p};
	const struct convert_read_request r = {
		.source = &s,
		.gate = &g,
		.from = atomic_load(&p->at) * DIGEST_BLOCK,
		.rate_limit = rq->rate,
		.tap = &tap,
		.workers = workers,
		.engine = ENGINE_AUTO,
		.watch = &p->watch,
	};

	return convert_read(&r, c, e);
}

/* The content ended: what should be behind it is missing. */
static void
end_of_content(struct pass *p)
{
	uint64_t i;

	if (!p->rq->leaves)
		return;
	for (i = atomic_load(&p->at); i < p->rq->leaves->n; i++)
		compare(p, i, &p->zero);
}

/* The disk does not give the block at hand. False: it is no use to go on. */
static bool
pass_over(struct pass *p, const struct err *why, unsigned in_a_row)
{
	struct verify_read_result *r = p->r;

	if (r->why[0] == '\0')
		snprintf(r->why, sizeof(r->why), "%.*s",
			(int)sizeof(r->why) - 1, why->msg);
	add_rotten(p, atomic_load(&p->at));
	r->rotten.unreadable++;
	if (!p->rq->leaves || r->rotten.unreadable == VERIFY_UNREADABLE_MAX)
		return false;
	/* a header or a table that is gone takes everything with it */
	if (p->rq->format == FORMAT_QCOW2 && in_a_row == IN_A_ROW_MAX)
		return false;
	atomic_fetch_add(&p->at, 1);
	return true;
}

static int
run(struct pass *p, struct err *e)
{
	struct verify_read_result *r = p->r;
	bool one = false, whole = p->rq->from == 0;
	struct convert_result c;
	struct err why = {0};
	unsigned in_a_row = 0;
	uint64_t at;

	for (;;) {
		at = atomic_load(&p->at);
		if (read_on(p, one ? 1 : p->rq->workers, &c, &why) == 0)
			break;
		whole = false;
		if (!is_rot(p->rq, &why)) {
			if (e)
				*e = why;
			return -1;
		}
		if (one) {
			in_a_row = atomic_load(&p->at) == at ? in_a_row + 1
				: 1;
			if (!pass_over(p, &why, in_a_row))
				return 0;
		}
		if (!p->rq->leaves && !one)
			start_again(p);
		one = !one;
	}
	r->bytes_read = c.bytes_read;
	r->has_digest = whole;
	r->digest = c.digest;
	end_of_content(p);
	return 0;
}

int
verify_read(const struct verify_read_request *rq,
	struct verify_read_result *ret, struct err *e)
{
	struct pass p = {
		.rq = rq,
		.r = ret,
		.zero = digest_leaf("", 0),
		.watch = {
			.progress = on_progress,
			.note = on_note,
			.cancel = rq->watch ? rq->watch->cancel : NULL,
		},
	};
	int r;

	p.watch.arg = &p;
	*ret = (struct verify_read_result){0};
	atomic_init(&p.at, rq->from / DIGEST_BLOCK);
	r = run(&p, e);
	ret->at = resume_at(&p);
	if (r == 0 && p.no_memory)
		return err_set(e, ERR_NOMEM, "no memory for what is rotten");
	return r;
}
