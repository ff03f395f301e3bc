/* SPDX-License-Identifier: MIT */
/* Bitmaps: the steps of a request, on the list in memory; then one store. */
#include "op/bitmap.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_bitmap_edit.h"

/* An image whose bitmaps are read. */
struct other {
	struct chain *chain;
	struct qcow2_bitmaps list;
};

static void
other_close(struct other *o)
{
	qcow2_bitmaps_free(&o->list);
	if (o->chain)
		chain_close(o->chain);
	*o = (struct other){0};
}

static const struct qcow2_header *
other_header(const struct other *o)
{
	return &qcow2_of(o->chain->im[0])->h;
}

static int
other_open(struct other *o, const struct source *s, const struct gate *g,
	struct err *e)
{
	struct image *im;

	if (source_open(s, g, true, NULL, &o->chain, e) < 0)
		return -1;
	im = o->chain->im[0];
	/* a raw image is one that has none */
	return im->ops->format != FORMAT_QCOW2 ? 0
		: qcow2_bitmaps_load(&o->list, im->file, other_header(o),
			im->size, e);
}

struct work {
	const struct bitmap_request *rq;
	struct qcow2_edit d;
	struct qcow2_bitmaps list;
	struct other other;
};

static int
merge(struct work *w, const char *from, struct err *e)
{
	struct file *f = w->d.plan.file[PLAN_IMAGE];
	struct qcow2_bitmap *src;

	/* the target is looked at first */
	if (!qcow2_bitmaps_find(&w->list, w->rq->name, e))
		return -1;
	if (w->other.chain) {
		const struct qcow2_header *h = NULL;
		struct image *im = w->other.chain->im[0];

		if (im->ops->format == FORMAT_QCOW2)
			h = other_header(&w->other);
		src = qcow2_bitmaps_read(&w->other.list, from, im->file, h, e);
	} else {
		src = qcow2_bitmaps_read(&w->list, from, f, w->d.h, e);
	}
	return src ? qcow2_bitmaps_merge(&w->list, f, w->d.h, w->rq->name, src,
		e) : -1;
}

static int
step(struct work *w, const struct bitmap_step *s, struct err *e)
{
	const char *name = w->rq->name;

	switch (s->action) {
	case BITMAP_ADD:
		return qcow2_bitmaps_add(&w->list, w->d.h, name,
			w->rq->granularity, true, e);
	case BITMAP_REMOVE:
		return qcow2_bitmaps_remove(&w->list, name, e);
	case BITMAP_CLEAR:
		return qcow2_bitmaps_clear(&w->list, w->d.h, name, e);
	case BITMAP_ENABLE:
	case BITMAP_DISABLE:
		return qcow2_bitmaps_enable(&w->list, name,
			s->action == BITMAP_ENABLE, e);
	case BITMAP_MERGE:
		return merge(w, s->from, e);
	}
	return -1;
}

static int
store(struct work *w, struct err *e)
{
	struct qcow2_edit *d = &w->d;

	if ((w->list.n || w->list.n_gone) &&
		(qcow2_bitmaps_store(&w->list, d, d->h, e) < 0 ||
			qcow2_edit_settle(d, e) < 0 ||
			qcow2_refs_write(&d->refs, e) < 0 ||
			plan_barrier(&d->plan, "done", e) < 0))
		return -1;
	return plan_run(&d->plan, e);
}

static int
run_steps(struct work *w, struct bitmap_result *ret, struct err *e)
{
	const struct bitmap_request *rq = w->rq;
	struct err ignored;
	int r = 0;

	ret->stage = BITMAP_STEPS;
	for (unsigned i = 0; i < rq->n_steps && r == 0; i++) {
		ret->step = i;
		r = step(w, &rq->steps[i], e);
	}
	if (r < 0) {
		if (rq->keep_partial)
			(void)store(w, &ignored);
		return -1;
	}
	ret->stage = BITMAP_STORING;
	return store(w, e);
}

static int
run_qcow2(struct work *w, struct inplace *p, struct bitmap_result *ret,
	struct err *e)
{
	const struct bitmap_request *rq = w->rq;
	const struct qcow2_edit_request q = {
		.durable = rq->durable,
		.data_file = p->data,
		.watch = rq->image.watch,
		.tap = rq->tap,
		.tap_arg = rq->tap_arg,
	};
	struct err ignored;
	bool loaded;
	int r;

	if (qcow2_edit_open(&w->d, p->chain, &q, e) < 0)
		return -1;
	r = qcow2_bitmaps_load(&w->list, w->d.plan.file[PLAN_IMAGE], w->d.h,
		p->chain->im[0]->size, e);
	loaded = r == 0;
	if (loaded && rq->source) {
		ret->stage = BITMAP_OPENING_SOURCE;
		r = other_open(&w->other, rq->source, rq->source_gate, e);
	}
	if (r == 0)
		r = run_steps(w, ret, e);
	else if (loaded && rq->keep_partial)
		(void)store(w, &ignored);
	qcow2_bitmaps_free(&w->list);
	qcow2_edit_close(&w->d);
	return r;
}

/* There is nothing but refusals. */
static int
run_raw(const struct bitmap_request *rq, struct bitmap_result *ret,
	struct err *e)
{
	char q[256];

	ret->stage = BITMAP_STEPS;
	if (rq->steps[0].action != BITMAP_ADD)
		return err_set(e, ERR_USAGE, "Dirty bitmap '%s' not found",
			err_quote(q, sizeof(q), rq->name,
				(unsigned)strlen(rq->name)));
	err_set(e, ERR_UNSUPPORTED, "a raw image holds no bitmaps");
	if (e)
		e->eno = ENOTSUP;
	return -1;
}

int
bitmap_run(const struct bitmap_request *rq, struct bitmap_result *ret,
	struct err *e)
{
	CLEANUP(inplace_close) struct inplace p = {0};
	struct work w = {.rq = rq};
	int r;

	*ret = (struct bitmap_result){0};
	if (inplace_open(&p, &rq->image, e) < 0)
		return err_file(e, rq->image.path);
	ret->format = p.format;
	r = p.format == FORMAT_QCOW2 ? run_qcow2(&w, &p, ret, e)
		: run_raw(rq, ret, e);
	other_close(&w.other);
	return r < 0 ? err_file(e, rq->image.path) : 0;
}

int
bitmap_check_source(const struct source *s, const struct gate *g,
	bool skip_broken, struct err *e)
{
	CLEANUP(other_close) struct other o = {0};
	char q[256];

	if (other_open(&o, s, g, e) < 0)
		return err_file(e, s->path);
	if (o.chain->im[0]->ops->format != FORMAT_QCOW2 ||
		other_header(&o)->version < 3)
		return err_set(e, ERR_UNSUPPORTED,
			"Source lacks bitmap support");
	/* QEMU's list has the last one first; so here, and in copy_all */
	for (size_t i = o.list.n; i-- > 0 && !skip_broken;) {
		const char *name = o.list.v[i].name;

		if (o.list.v[i].in_use)
			return err_set(e, ERR_MISMATCH,
				"Cannot copy inconsistent bitmap '%s'",
				err_quote(q, sizeof(q), name,
					(unsigned)strlen(name)));
	}
	return 0;
}

static int
copy_one(struct work *w, const struct qcow2_bitmap *x, struct err *e)
{
	struct other *o = &w->other;
	struct qcow2_bitmap *src;
	char q[256];

	err_quote(q, sizeof(q), x->name, (unsigned)strlen(x->name));
	if (qcow2_bitmaps_add(&w->list, w->d.h, x->name,
		UINT64_C(1) << x->granularity, x->is_auto, e) < 0)
		return err_prefix(e, "Failed to create bitmap %s", q);
	src = qcow2_bitmaps_read(&o->list, x->name, o->chain->im[0]->file,
		other_header(o), e);
	if (!src || qcow2_bitmaps_merge(&w->list,
			w->d.plan.file[PLAN_IMAGE], w->d.h, x->name, src, e) <
			0) {
		struct err ignored;

		(void)qcow2_bitmaps_remove(&w->list, x->name, &ignored);
		return err_prefix(e, "Failed to populate bitmap %s", q);
	}
	/* one at a time in memory */
	qcow2_bits_free(&src->bits);
	src->loaded = false;
	return 0;
}

/* The last of the list goes to `at`. */
static void
move_last(struct qcow2_bitmaps *b, size_t at)
{
	struct qcow2_bitmap x = b->v[b->n - 1];

	memmove(&b->v[at + 1], &b->v[at], (b->n - 1 - at) * sizeof(x));
	b->v[at] = x;
}

static int
copy_all(struct work *w, const struct watch *watch, struct err *e)
{
	size_t first = w->list.n;
	char q[256], note[320];

	for (size_t i = w->other.list.n; i-- > 0;) {
		const struct qcow2_bitmap *x = &w->other.list.v[i];

		if (x->in_use) {
			snprintf(note, sizeof(note),
				"Skipping inconsistent bitmap '%s'",
				err_quote(q, sizeof(q), x->name,
					(unsigned)strlen(x->name)));
			watch_note(watch, note);
			continue;
		}
		if (copy_one(w, x, e) < 0) {
			struct err ignored;

			(void)store(w, &ignored);
			return -1;
		}
		/* in the end they stand in the source's order */
		move_last(&w->list, first);
	}
	return store(w, e);
}

int
bitmap_copy(const struct source *s, const struct gate *g,
	const struct inplace_request *target, bool durable, struct err *e)
{
	CLEANUP(inplace_close) struct inplace p = {0};
	struct qcow2_edit_request q = {.durable = durable,
		.watch = target->watch};
	struct work w = {0};
	int r = -1;

	if (inplace_open(&p, target, e) < 0)
		return err_file(e, target->path);
	q.data_file = p.data;
	if (qcow2_edit_open(&w.d, p.chain, &q, e) < 0)
		return err_file(e, target->path);
	if (other_open(&w.other, s, g, e) == 0 &&
		qcow2_bitmaps_load(&w.list, w.d.plan.file[PLAN_IMAGE], w.d.h,
			p.chain->im[0]->size, e) == 0)
		r = copy_all(&w, target->watch, e);
	qcow2_bitmaps_free(&w.list);
	other_close(&w.other);
	qcow2_edit_close(&w.d);
	return r;
}
