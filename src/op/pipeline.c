/* SPDX-License-Identifier: MIT */
/*
 * Workers, turns and slots. Each worker keeps a few windows ("slots") in
 * flight, oldest first: reads out -> unpacked -> placed in its turn -> writes
 * out. What happens to one window is in fetch.c and emit.c.
 *
 * No deadlock: a worker waits for a turn only with its oldest unplaced
 * window, and the globally oldest one is some worker's oldest.
 */
#include "op/pipeline.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "io/pool.h"
#include "op/emit.h"
#include "op/fetch.h"
#include "op/scan_diff.h"

/* Memory per worker goes to slots: window plus packed input plus packed
 * output, up to this much, but two slots at least when I/O is queued. */
#define SLOT_MEMORY (6 * MIB)
#define SLOTS_MAX 8
#define REQS_PER_SLOT 64
/* Longest clone: between two of them an interrupt is heard. */
#define ROW_MAX (1024 * MIB)

struct slot {
	struct window w;
	struct fetch f;
	struct window other; /* of a diff: the other side */
	struct fetch other_f;
	struct emit m;
	enum { SLOT_FREE, SLOT_READING, SLOT_WRITING } state;
};

struct pipeline {
	const struct pipeline_request *rq;
	pthread_mutex_t scan_mutex; /* scan, and nothing else is held */
	struct scan scan;
	struct pool_order order;    /* the turns: sink and digest */
	struct digest digest;       /* in turn */
	pthread_mutex_t watch_mutex;
	struct watch guarded;       /* notes, one at a time */
	uint64_t done;              /* guest bytes, under watch_mutex */
	uint64_t total;
	bool failed;                /* under watch_mutex */
	struct err why;             /* of the first worker that failed */
	struct timespec started;
	struct emit_shared shared;
	unsigned slots;
	enum engine_kind engine;
	unsigned depth;
};

struct worker {
	struct pipeline *p;
	struct engine engine;
	struct fetch_codecs codecs;
	struct codec packer;
	struct slot slot[SLOTS_MAX];
	unsigned head, used; /* ring of slots, oldest at head */
	bool ended;
};

/* A request that direct I/O would not take is done here and now. */
static int
submit(struct worker *k, struct slot *s, struct io_req *r, struct err *e)
{
	const struct file *f = r->file;
	uint64_t mask = f->align - 1;
	struct err why;
	int bad;

	r->tag = s;
	if (f->direct && (((uintptr_t)r->buf | r->len | r->hoff) & mask)) {
		bad = r->op == IO_READ
			? file_read(r->file, r->buf, r->len, r->hoff, &why)
			: file_write(r->file, r->buf, r->len, r->hoff, &why);
		r->done = bad ? 0 : r->len;
		r->eno = bad ? why.eno : 0;
		return 0;
	}
	/* an inline engine (depth 0) holds one finished request */
	while (k->engine.out >= units_max(k->engine.depth, 1)) {
		struct io_req *d;

		if (engine_reap(&k->engine, true, &d, e))
			return -1;
		((struct slot *)d->tag)->f.out--;
	}
	if (engine_submit(&k->engine, r, e))
		return -1;
	s->f.out++;
	return 0;
}

static int
drain(struct worker *k, struct slot *s, struct err *e)
{
	while (s->f.out > 0) {
		struct io_req *d;

		if (engine_reap(&k->engine, true, &d, e))
			return -1;
		((struct slot *)d->tag)->f.out--;
	}
	return 0;
}

static int
submit_all(struct worker *k, struct slot *s, struct fetch *f, struct err *e)
{
	size_t i;

	for (i = 0; i < f->n_req; i++)
		if (submit(k, s, &f->req[i], e))
			return -1;
	return 0;
}

static int
check_stop(struct pipeline *p, struct err *e)
{
	if (watch_cancelled(p->rq->watch))
		return err_set(e, ERR_CANCELLED, "interrupted");
	if (pool_order_stopped(&p->order))
		return err_set(e, ERR_CANCELLED, "stopped by another worker");
	return 0;
}

/* A long row that the file system shares is one window: a clone costs the
 * same whatever its length. */
static int
next_window(struct pipeline *p, struct slot *s, struct err *e)
{
	struct piece row;

	s->m.in_kernel = false;
	if (emit_clones(&p->shared)) {
		if (scan_row(&p->scan, ROW_MAX, &row, e))
			return -1;
		if (row.len > p->scan.window &&
			emit_row(&s->m, &p->shared, &row)) {
			scan_pass(&p->scan, row.len, &s->w);
			return 0;
		}
	}
	return scan_next(&p->scan, &s->w, e);
}

/* Takes the next window and starts its reads. */
static int
begin(struct worker *k, struct slot *s, struct err *e)
{
	struct pipeline *p = k->p;
	int r;

	if (check_stop(p, e))
		return -1;
	pthread_mutex_lock(&p->scan_mutex);
	s->w.len = 0;
	if (atomic_load(&p->rq->sink->full))
		r = 0;
	else if (p->rq->diff)
		r = scan_diff_next(p->rq->diff, &s->w, &s->other, e);
	else
		r = next_window(p, s, e);
	pthread_mutex_unlock(&p->scan_mutex);
	if (r)
		return -1;
	if (s->w.len == 0) {
		k->ended = true;
		return 0;
	}
	s->f.n_req = s->other_f.n_req = 0;
	s->state = SLOT_READING;
	k->used++;
	if (s->w.empty || s->m.in_kernel || emit_in_kernel(&s->m, &p->shared, &s->w))
		return 0;
	if (fetch_plan(&s->f, &s->w, e) || submit_all(k, s, &s->f, e))
		return -1;
	if (!p->rq->diff)
		return 0;
	if (fetch_plan(&s->other_f, &s->other, e))
		return -1;
	return submit_all(k, s, &s->other_f, e);
}

/* Sleeps until what was written, or read, is due. Naps are short, so that an
 * interrupt is heard. */
static void
hold_rate(struct pipeline *p)
{
	struct timespec now, nap;
	uint64_t due, spent;

	while (check_stop(p, NULL) == 0) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		spent = (uint64_t)(now.tv_sec - p->started.tv_sec) *
				1000000000u + (uint64_t)now.tv_nsec -
			(uint64_t)p->started.tv_nsec;
		due = (uint64_t)((double)(p->rq->rate_reads
				? emit_bytes_read(&p->shared)
				: emit_bytes(&p->shared)) /
			(double)p->rq->rate_limit * 1e9);
		if (due <= spent)
			return;
		due = units_min(due - spent, 200000000u);
		nap = (struct timespec){.tv_nsec = (long)due};
		nanosleep(&nap, NULL);
	}
}

static uint64_t
data_in(const struct window *w)
{
	uint64_t sum = 0;

	if (w->n == 0) /* a row that was passed */
		return w->len;
	for (size_t i = 0; i < w->n; i++)
		if (w->v[i].kind == EXTENT_DATA || w->v[i].kind == EXTENT_PACKED)
			sum += w->v[i].len;
	return sum;
}

/* The windows as they will come, looked at before the work begins. */
static int
count_data(struct pipeline *p, struct err *e)
{
	CLEANUP_FREE struct scan *s = malloc(sizeof(*s));
	struct window w = {0};
	int r;

	if (!s)
		return err_set(e, ERR_NOMEM, "no memory to count data");
	*s = p->scan;
	p->total = 0;
	do {
		r = check_stop(p, e) < 0 ? -1 : scan_next(s, &w, e);
		if (r == 0 && w.len > 0)
			p->total += data_in(&w);
	} while (r == 0 && w.len > 0);
	scan_window_free(&w);
	return r;
}

static void
add_progress(struct pipeline *p, const struct slot *s)
{
	const struct watch *w = p->rq->watch;
	uint64_t n = p->rq->count_data ? data_in(&s->w) : s->w.len;

	pthread_mutex_lock(&p->watch_mutex);
	p->done += n;
	if (n > 0 && p->total > 0)
		watch_progress(w, units_min(p->done, p->total), p->total);
	pthread_mutex_unlock(&p->watch_mutex);
	if (p->rq->rate_limit)
		hold_rate(p);
}

static void
add_digest(struct pipeline *p, const struct slot *s)
{
	size_t i;

	if (p->scan.as_read) {
		if (s->w.empty)
			digest_feed_zeros(&p->digest, s->w.len);
		else
			digest_feed(&p->digest, s->f.buf, s->w.len);
		return;
	}
	if (s->w.empty) {
		digest_add_zeros(&p->digest,
			units_div_up(s->w.len, DIGEST_BLOCK));
		return;
	}
	for (i = 0; i < s->m.n_leaves; i++)
		digest_add_leaf(&p->digest, &s->m.leaf[i]);
}

/* From the arrival of its bytes to the start of its writes. */
static int
process(struct worker *k, struct slot *s, struct err *e)
{
	struct pipeline *p = k->p;
	const struct pipeline_request *rq = p->rq;
	bool turns = rq->sink->ordered || rq->digest;
	int r = 0;

	if (drain(k, s, e))
		return -1;
	if (!s->w.empty && !s->m.in_kernel) {
		if (fetch_finish(&s->f, &k->codecs, &s->w, e) ||
			(rq->diff && fetch_finish(&s->other_f, &k->codecs,
				&s->other, e)))
			return -1;
		s->m.other = rq->diff ? s->other_f.buf : NULL;
		if (emit_prepare(&s->m, &p->shared, &k->packer, &s->w,
			    s->f.buf, e))
			return -1;
	}
	if (turns) {
		if (!pool_order_wait(&p->order, s->w.ticket))
			return err_set(e, ERR_CANCELLED,
				"stopped by another worker");
		if (rq->digest)
			add_digest(p, s);
	}
	r = emit_place(&s->m, &p->shared, &s->w, s->f.buf, e);
	if (turns)
		pool_order_done(&p->order, s->w.ticket);
	if (r || emit_requests(&s->m, &p->shared, &s->f, e))
		return -1;
	s->state = SLOT_WRITING;
	return submit_all(k, s, &s->f, e);
}

/* Waits for the oldest slot's writes and frees it. */
static int
retire(struct worker *k, struct slot *s, struct err *e)
{
	size_t i;

	if (drain(k, s, e))
		return -1;
	for (i = 0; i < s->f.n_req; i++) {
		struct io_req *r = &s->f.req[i];

		if (r->done == r->len)
			continue;
		err_sys(e, r->eno ? r->eno : EIO,
			"cannot write %zu bytes at %" PRIu64, r->len,
			r->hoff);
		return err_file(e, r->file->name);
	}
	emit_written(&s->m, &k->p->shared, &s->f);
	emit_count_read(&k->p->shared, s->f.host_bytes + s->other_f.host_bytes);
	s->f.host_bytes = s->other_f.host_bytes = 0;
	s->state = SLOT_FREE;
	k->head = (k->head + 1) % k->p->slots;
	k->used--;
	add_progress(k->p, s);
	return 0;
}

static int
work(struct worker *k, struct err *e)
{
	unsigned slots = k->p->slots, i;

	while (!k->ended || k->used > 0) {
		while (!k->ended && k->used < slots)
			if (begin(k, &k->slot[(k->head + k->used) % slots], e))
				return -1;
		/* writing slots come first in the ring, then reading ones */
		for (i = 0; i < k->used; i++)
			if (k->slot[(k->head + i) % slots].state ==
				SLOT_READING)
				break;
		if (i < k->used &&
			process(k, &k->slot[(k->head + i++) % slots], e))
			return -1;
		/* half of the slots may be writing while others read */
		if (i > slots / 2 || (i > 0 && i == k->used))
			if (retire(k, &k->slot[k->head], e))
				return -1;
	}
	return 0;
}

static int
open_worker(struct worker *k, struct err *e)
{
	const struct pipeline_request *rq = k->p->rq;
	unsigned i;

	k->codecs.salvage = rq->salvage;
	k->codecs.watch = &k->p->guarded;
	/* a ring for each worker may be more than a limit of memory or files
	 * allows, though one works */
	if (engine_open(&k->engine, k->p->engine, k->p->depth, e) &&
		(rq->engine != ENGINE_AUTO ||
			engine_open(&k->engine, ENGINE_THREADS, k->p->depth,
				e)))
		return -1;
	if (rq->compress &&
		codec_open(&k->packer, rq->codec, &rq->codec_params, e))
		return -1;
	for (i = 0; i < k->p->slots; i++) {
		if (fetch_open(&k->slot[i].f, k->p->scan.window, e) ||
			(rq->diff && fetch_open(&k->slot[i].other_f,
				k->p->scan.window, e)))
			return -1;
		if (emit_open(&k->slot[i].m, &k->p->shared, e))
			return -1;
	}
	return 0;
}

static void
close_worker(struct worker *k)
{
	unsigned i;

	/* first the engine: what is out still uses the slots' memory */
	if (k->engine.ops)
		engine_close(&k->engine);
	for (i = 0; i < SLOTS_MAX; i++) {
		fetch_close(&k->slot[i].f);
		fetch_close(&k->slot[i].other_f);
		scan_window_free(&k->slot[i].other);
		emit_close(&k->slot[i].m);
		scan_window_free(&k->slot[i].w);
	}
	fetch_codecs_close(&k->codecs);
	codec_close(&k->packer);
}

/* The first fault is what the caller hears of; the others only stopped. */
static int
fail(struct pipeline *p, const struct err *e)
{
	pthread_mutex_lock(&p->watch_mutex);
	if (!p->failed) {
		p->failed = true;
		p->why = *e;
	}
	pthread_mutex_unlock(&p->watch_mutex);
	pool_order_stop(&p->order);
	return -1;
}

static int
worker_main(void *arg, unsigned i, struct err *e)
{
	struct pipeline *p = arg;
	struct worker *k = calloc(1, sizeof(*k));
	int r;

	(void)i;
	if (!k) {
		err_set(e, ERR_NOMEM, "no memory for a worker");
		return fail(p, e);
	}
	k->p = p;
	r = open_worker(k, e);
	if (r == 0)
		r = work(k, e);
	if (r)
		fail(p, e);
	close_worker(k);
	free(k);
	return r;
}

/* Windows hold whole clusters of source and target. */
static uint64_t
window_size(const struct pipeline_request *rq)
{
	uint64_t w = units_max(PIPELINE_WINDOW,
		units_max(rq->sink->unit, rq->sink->zero_unit));
	unsigned i, k;

	if (rq->sink->as_read)
		return 2 * MIB;

	for (i = 0; i < rq->n_src; i++)
		for (k = 0; k < rq->src[i].chain->n; k++)
			w = units_max(w,
				rq->src[i].chain->im[k]->cluster_size);
	return w;
}

static void
guarded_note(void *arg, const char *line)
{
	struct pipeline *p = arg;

	pthread_mutex_lock(&p->watch_mutex);
	watch_note(p->rq->watch, line);
	pthread_mutex_unlock(&p->watch_mutex);
}

static bool
any_direct(const struct pipeline_request *rq)
{
	unsigned i;

	if (rq->sink->file && rq->sink->file->direct)
		return true;
	for (i = 0; i < rq->n_src; i++)
		if (rq->src[i].chain->files[0]->direct)
			return true;
	return false;
}

static void
set_up(struct pipeline *p, const struct pipeline_request *rq)
{
	bool queued;

	p->rq = rq;
	p->scan.src = rq->src;
	p->scan.n_src = rq->n_src;
	p->scan.base = rq->base;
	p->scan.cow = rq->cow;
	p->scan.unit = rq->sink->unit;
	p->scan.cursor = rq->from;
	p->done = rq->from;
	p->total = rq->size;
	p->scan.size = rq->size;
	p->scan.zero_max = rq->sink->zero_max;
	p->scan.window = window_size(rq);
	p->scan.cut_holes = rq->every_byte;
	p->scan.as_read = rq->sink->as_read;
	p->scan.salvage = rq->salvage;
	p->guarded = (struct watch){.note = guarded_note, .arg = p};
	p->scan.watch = &p->guarded;
	p->engine = engine_choose(rq->engine, any_direct(rq));
	/* on the page cache a queue gains nothing: requests run inline */
	queued = p->engine == ENGINE_URING || any_direct(rq);
	p->depth = queued ? SLOTS_MAX * REQS_PER_SLOT / 4 : 0;
	p->slots = 1;
	if (queued)
		p->slots = (unsigned)units_max(2, units_min(SLOTS_MAX,
			SLOT_MEMORY / (2 * p->scan.window)));
	digest_init(&p->digest);
	p->digest.tap = rq->digest_tap;
	pool_order_init(&p->order);
	pthread_mutex_init(&p->scan_mutex, NULL);
	pthread_mutex_init(&p->watch_mutex, NULL);
	clock_gettime(CLOCK_MONOTONIC, &p->started);
	emit_shared_init(&p->shared, rq, p->scan.window);
	if (rq->diff)
		rq->diff->window = p->scan.window;
}

int
pipeline_run(const struct pipeline_request *rq, struct pipeline_result *ret,
	struct err *e)
{
	struct pipeline *p = calloc(1, sizeof(*p));
	uint64_t windows;
	unsigned n;
	int r;

	if (!p)
		return err_set(e, ERR_NOMEM, "no memory for the pipeline");
	set_up(p, rq);
	windows = units_div_up(rq->size - rq->from, p->scan.window);
	n = rq->workers ? rq->workers : pool_cpus();
	n = (unsigned)units_max(1, units_min(units_min(n, POOL_WORKERS_MAX),
		windows));
	r = rq->count_data ? count_data(p, e) : 0;
	if (r == 0)
		r = pool_run(n, worker_main, p, e);
	if (r && p->failed && e)
		*e = p->why;
	if (r == 0) {
		ret->bytes_data = emit_bytes(&p->shared);
		ret->end = rq->diff ? rq->diff->cursor : p->scan.cursor;
		ret->bytes_zero = ret->end - rq->from - ret->bytes_data;
		ret->bytes_read = emit_bytes_read(&p->shared);
		digest_feed_end(&p->digest);
		if (rq->digest)
			ret->digest = digest_root(&p->digest);
	}
	pthread_mutex_destroy(&p->scan_mutex);
	pthread_mutex_destroy(&p->watch_mutex);
	pool_order_destroy(&p->order);
	free(p);
	return r;
}
