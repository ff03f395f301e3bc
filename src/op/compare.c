/* SPDX-License-Identifier: MIT */
/*
 * Workers take windows of a pair in order, bring both sides into memory and
 * look for the first difference. What stops the search is an event; the one
 * with the lowest ticket is the verdict, so that speed does not choose it.
 */
#include "op/compare.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "base/zero.h"
#include "format/status.h"
#include "io/pool.h"
#include "op/compare_steps.h"
#include "op/fetch.h"
#include "op/pair.h"
#include "op/read.h"

#define SECTOR 512u

struct event {
	bool set;
	uint64_t ticket;
	enum compare_verdict verdict;
	uint64_t voff;
	unsigned side;
	struct err why;
};

struct compare {
	const struct compare_request *rq;
	struct chain *chain[2];
	pthread_mutex_t pair_mutex;
	struct pair pair;
	pthread_mutex_t mutex; /* what follows; inside of pair_mutex */
	struct event first;
	bool failed;
	struct err why;
	uint64_t done, total;  /* guest bytes */
	/* with rq->steps: guest bytes before `taken` were given to workers,
	 * and those from begun[i] on are not done yet by worker i */
	struct compare_steps steps;
	uint64_t shorter; /* bytes, if the sizes differ; else UINT64_MAX */
	uint64_t taken;
	uint64_t begun[POOL_WORKERS_MAX];
	unsigned n_workers;
	struct watch guarded;
};

struct worker {
	struct compare *c;
	unsigned index;
	struct pair_window w;
	struct fetch fetch[2];
	struct fetch_codecs codecs[2];
};

static void
note_event(struct compare *c, const struct event *v)
{
	pthread_mutex_lock(&c->mutex);
	if (!c->first.set || v->ticket < c->first.ticket) {
		c->first = *v;
		c->first.set = true;
	}
	pthread_mutex_unlock(&c->mutex);
}

static int
fail(struct compare *c, const struct err *e)
{
	pthread_mutex_lock(&c->mutex);
	if (!c->failed) {
		c->failed = true;
		c->why = *e;
	}
	pthread_mutex_unlock(&c->mutex);
	return -1;
}

static bool
is_over(struct compare *c)
{
	bool over;

	pthread_mutex_lock(&c->mutex);
	over = c->failed || c->first.set;
	pthread_mutex_unlock(&c->mutex);
	return over;
}

/* Tells the steps that end before upto. Called with the mutex held. */
static void
tell_steps(struct compare *c, uint64_t upto)
{
	if (c->first.set)
		upto = units_min(upto, c->first.voff);
	while (compare_steps_next(&c->steps, upto)) {
		watch_progress(c->rq->watch, c->steps.at, c->total);
		if (c->steps.at == c->shorter && c->rq->on_behind)
			c->rq->on_behind(c->rq->arg);
	}
}

static void
note_taken(struct worker *k, uint64_t from)
{
	struct compare *c = k->c;

	pthread_mutex_lock(&c->mutex);
	c->begun[k->index] = from;
	c->taken = from + k->w.passed;
	pthread_mutex_unlock(&c->mutex);
}

/* The window is done, and all that was passed over before it. */
static void
add_progress(struct worker *k)
{
	struct compare *c = k->c;
	uint64_t upto;
	unsigned i;

	pthread_mutex_lock(&c->mutex);
	c->done += k->w.passed;
	c->begun[k->index] = UINT64_MAX;
	upto = c->taken;
	for (i = 0; i < c->n_workers; i++)
		upto = units_min(upto, c->begun[i]);
	if (c->rq->steps)
		tell_steps(c, upto);
	else
		watch_progress(c->rq->watch, c->done, c->total);
	pthread_mutex_unlock(&c->mutex);
}

static void
guarded_note(void *arg, const char *line)
{
	struct compare *c = arg;

	pthread_mutex_lock(&c->mutex);
	watch_note(c->rq->watch, line);
	pthread_mutex_unlock(&c->mutex);
}

static bool
is_fatal(const struct err *e)
{
	return e->kind == ERR_NOMEM || e->kind == ERR_CANCELLED;
}

static int
give(struct err *e, const struct err *why)
{
	if (e)
		*e = *why;
	return -1;
}

/* The next window; *ret_more false at the end, or when there is no need. */
static int
take(struct worker *k, bool *ret_more, struct err *e)
{
	struct compare *c = k->c;
	struct event v = {.verdict = COMPARE_NO_TABLE};
	uint64_t from;
	int r = 0;

	*ret_more = false;
	k->w.len = k->w.passed = 0;
	if (watch_cancelled(c->rq->watch))
		return err_set(e, ERR_CANCELLED, "interrupted");
	pthread_mutex_lock(&c->pair_mutex);
	if (!is_over(c)) {
		from = c->pair.cursor;
		r = pair_next(&c->pair, &k->w, &v.side, &v.why);
		v.ticket = c->pair.tickets;
		v.voff = c->pair.cursor;
		*ret_more = r == 0 && k->w.len > 0;
		if (r == 0)
			note_taken(k, from);
		if (r && !is_fatal(&v.why))
			note_event(c, &v);
	}
	pthread_mutex_unlock(&c->pair_mutex);
	if (r == 0 && k->w.len == 0 && k->w.passed)
		add_progress(k);
	if (r == 0 || !is_fatal(&v.why))
		return 0;
	return give(e, &v.why);
}

static int
fetch_side(struct worker *k, unsigned side, struct err *e)
{
	struct fetch *f = &k->fetch[side];
	struct window *w = &k->w.side[side];
	size_t i;

	if (w->n == 0)
		return 0;
	if (fetch_plan(f, w, e))
		return -1;
	for (i = 0; i < f->n_req; i++) {
		struct io_req *r = &f->req[i];

		r->done = file_move(r->file, false, r->buf, r->len, r->hoff,
			&r->eno);
	}
	return fetch_finish(f, &k->codecs[side], w, e);
}

/* Offset of the first sector of a, counted from its start, that is not b's
 * (b NULL: not zeros); len if there is none. */
static uint64_t
first_difference(const uint8_t *a, const uint8_t *b, uint64_t len)
{
	uint64_t at, n;

	if (b ? memcmp(a, b, len) == 0 : zero_is(a, len))
		return len;
	for (at = 0; at < len; at += n) {
		n = units_min(SECTOR, len - at);
		if (b ? memcmp(a + at, b + at, n) != 0
		      : !zero_is(a + at, n))
			break;
	}
	return at;
}

/* A range whose bytes are at a and b. */
static bool
differs(const struct pair_range *r, const uint8_t *a, const uint8_t *b,
	uint64_t *ret_voff)
{
	uint64_t at = r->kind == PAIR_BOTH ? first_difference(a, b, r->len)
		: first_difference(r->kind == PAIR_FIRST ? a : b, NULL,
			r->len);

	*ret_voff = r->voff + at;
	return at < r->len;
}

/* Something in the window cannot be read: range by range, to know what comes
 * first, the fault or a difference. */
static int
examine(struct worker *k, struct event *v, struct err *e)
{
	struct compare *c = k->c;
	struct reader reader[2];
	uint8_t *buf[2] = {k->fetch[0].buf, k->fetch[1].buf};
	size_t i;
	unsigned s;

	read_open(&reader[0], c->chain[0]);
	read_open(&reader[1], c->chain[1]);
	for (i = 0; i < k->w.n && !v->set; i++) {
		const struct pair_range *r = &k->w.range[i];
		enum pair_kind without[2] = {PAIR_SECOND, PAIR_FIRST};

		for (s = 0; s < 2 && !v->set; s++) {
			if (r->kind == without[s] ||
				read_at(&reader[s], buf[s], r->len, r->voff,
					&v->why) == 0)
				continue;
			v->verdict = COMPARE_NO_READ;
			v->voff = r->voff;
			v->side = s;
			v->set = true;
		}
		if (!v->set && differs(r, buf[0], buf[1], &v->voff))
			v->set = true;
	}
	read_close(&reader[0]);
	read_close(&reader[1]);
	if (v->set && v->verdict == COMPARE_NO_READ && is_fatal(&v->why))
		return give(e, &v->why);
	return 0;
}

static int
compare_window(struct worker *k, struct err *e)
{
	struct event v = {.verdict = COMPARE_DIFFERENT,
		.ticket = k->w.ticket};
	struct err why = {0};
	size_t i;

	if (fetch_side(k, 0, &why) || fetch_side(k, 1, &why)) {
		if (is_fatal(&why))
			return give(e, &why);
		if (examine(k, &v, e))
			return -1;
	} else {
		for (i = 0; i < k->w.n && !v.set; i++) {
			const struct pair_range *r = &k->w.range[i];
			uint64_t at = r->voff - k->w.voff;

			v.set = differs(r, k->fetch[0].buf + at,
				k->fetch[1].buf + at, &v.voff);
		}
	}
	if (v.set)
		note_event(k->c, &v);
	else
		add_progress(k);
	return 0;
}

static int
work(struct worker *k, struct err *e)
{
	uint64_t window = k->c->pair.window;
	bool more;

	k->codecs[0].watch = k->codecs[1].watch = &k->c->guarded;
	if (fetch_open(&k->fetch[0], window, e) ||
		fetch_open(&k->fetch[1], window, e))
		return -1;
	for (;;) {
		if (take(k, &more, e))
			return -1;
		if (!more)
			return 0;
		if (compare_window(k, e))
			return -1;
	}
}

static int
worker_main(void *arg, unsigned i, struct err *e)
{
	struct compare *c = arg;
	struct worker k = {.c = c, .index = i};
	unsigned s;
	int r;

	r = work(&k, e);
	for (s = 0; s < 2; s++) {
		fetch_close(&k.fetch[s]);
		fetch_codecs_close(&k.codecs[s]);
	}
	pair_window_free(&k.w);
	return r ? fail(c, e) : 0;
}

/* Guest bytes [0, size) of both; an event if there was one. */
static int
contents(struct compare *c, uint64_t size, struct err *e)
{
	uint64_t windows;
	unsigned n;
	int r;

	if (pair_open(&c->pair, c->chain[0], c->chain[1], size, e))
		return -1;
	c->pair.watch = c->rq->watch;
	windows = units_div_up(size, c->pair.window);
	n = c->rq->workers ? c->rq->workers : pool_cpus();
	n = (unsigned)units_max(1, units_min(units_min(n, POOL_WORKERS_MAX),
		windows));
	c->n_workers = n;
	memset(c->begun, 0xff, sizeof(c->begun));
	r = pool_run(n, worker_main, c, e);
	pair_close(&c->pair);
	return r && c->failed ? give(e, &c->why) : r;
}

/* One run of both images' status; *ret_len bytes agree. */
static int
same_status(struct status_walk *const walk[2], uint64_t at, uint64_t size,
	uint64_t *ret_len, struct event *v, struct err *e)
{
	struct status s[2];
	unsigned k;

	for (k = 0; k < 2; k++) {
		if (status_above(walk[k], at, size - at, &s[k], &v->why) == 0)
			continue;
		if (is_fatal(&v->why))
			return give(e, &v->why);
		v->verdict = COMPARE_NO_TABLE;
		v->side = k;
		v->set = true;
		return 0;
	}
	if ((s[0].flags ^ s[1].flags) & ~(unsigned)STATUS_PACKED) {
		v->verdict = COMPARE_STATUS;
		v->set = true;
		return 0;
	}
	*ret_len = units_min(s[0].len, s[1].len);
	if (!(s[0].flags & STATUS_ZERO) && s[0].flags & STATUS_PRESENT)
		*ret_len = units_min(*ret_len, COMPARE_READ_MAX);
	return 0;
}

static int
statuses(const struct compare_request *rq, uint64_t size, struct event *v,
	struct err *e)
{
	CLEANUP(chain_close_p) struct chain *a = NULL;
	CLEANUP(chain_close_p) struct chain *b = NULL;
	CLEANUP(status_close_p) struct status_walk *first = NULL;
	CLEANUP(status_close_p) struct status_walk *second = NULL;
	struct source s[2] = {rq->source[0], rq->source[1]};
	uint64_t at, len = 0;

	/* the tables as they are: another opening, for nothing is read by it */
	s[0].verbatim = s[1].verbatim = true;
	if (source_open(&s[0], &rq->gate[0], false, NULL, &a, e) ||
		source_open(&s[1], &rq->gate[1], false, NULL, &b, e) ||
		status_open(&first, a, true, e) ||
		status_open(&second, b, true, e))
		return -1;
	for (at = 0; at < size && !v->set; at += len) {
		if (watch_cancelled(rq->watch))
			return err_set(e, ERR_CANCELLED, "interrupted");
		v->voff = at;
		if (same_status((struct status_walk *[2]){first, second}, at,
			    size, &len, v, e))
			return -1;
	}
	return 0;
}

static int
run(struct compare *c, struct compare_result *ret, struct err *e)
{
	uint64_t a = ret->size[0], b = ret->size[1];
	uint64_t size = units_max(a, b);
	struct event strict = {0};
	const struct event *v = &strict;

	c->total = units_max(size, 1);
	c->shorter = a == b ? UINT64_MAX : units_min(a, b);
	if (c->rq->steps)
		watch_progress(c->rq->watch, 0, c->total);
	if (c->rq->strict && a != b) {
		ret->verdict = COMPARE_SIZES;
		return 0;
	}
	if (c->rq->strict && statuses(c->rq, size, &strict, e))
		return -1;
	size = strict.set ? strict.voff : size;
	if (contents(c, size, e))
		return -1;
	if (c->rq->steps)
		tell_steps(c, size);
	if (c->first.set)
		v = &c->first;
	if (v->set) {
		ret->verdict = v->verdict;
		ret->voff = v->voff;
		ret->side = v->side;
		ret->why = v->why;
	}
	ret->behind = a != b && (!v->set || v->voff >= units_min(a, b));
	return 0;
}

int
compare_run(const struct compare_request *rq, struct compare_result *ret,
	struct err *e)
{
	struct compare c = {.rq = rq};
	struct compare_result result = {.verdict = COMPARE_SAME};
	unsigned k;
	int r = 0;

	for (k = 0; k < 2 && r == 0; k++) {
		r = source_open(&rq->source[k], &rq->gate[k], false,
			rq->watch, &c.chain[k], &result.why);
		if (r == 0)
			result.size[k] = units_align_up(c.chain[k]->size, 512);
		else
			result.side = k;
	}
	if (r && is_fatal(&result.why)) {
		give(e, &result.why);
	} else if (r) {
		result.verdict = COMPARE_NO_OPEN;
		r = 0;
	} else if (rq->steps && compare_steps_open(&c.steps, c.chain[0],
				       c.chain[1], e)) {
		r = -1;
	} else {
		c.guarded = (struct watch){.note = guarded_note, .arg = &c};
		pthread_mutex_init(&c.pair_mutex, NULL);
		pthread_mutex_init(&c.mutex, NULL);
		r = run(&c, &result, e);
		pthread_mutex_destroy(&c.pair_mutex);
		pthread_mutex_destroy(&c.mutex);
	}
	compare_steps_close(&c.steps);
	chain_close(c.chain[0]);
	chain_close(c.chain[1]);
	if (r == 0)
		*ret = result;
	return r;
}
