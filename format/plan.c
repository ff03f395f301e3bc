/* SPDX-License-Identifier: MIT */
/*
 * The list and its execution. Knows nothing of images: the order, and with it
 * all crash safety, is the planner's.
 */
#include "format/plan.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/preallocate.h"

void
plan_init(struct plan *p, struct file *image, struct file *data, bool durable)
{
	*p = (struct plan){.file = {image, data}, .durable = durable};
	p->end[PLAN_IMAGE] = image->size;
	p->end[PLAN_DATA] = data ? data->size : 0;
	memcpy(p->touched, p->end, sizeof(p->touched));
}

void
plan_forget(struct plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		free(p->op[i].data);
	p->n = 0;
	p->bytes = 0;
}

void
plan_free(struct plan *p)
{
	plan_forget(p);
	free(p->op);
	p->op = NULL;
	p->cap = 0;
}

static int
append(struct plan *p, const struct plan_op *op, struct err *e)
{
	assert(p->file[op->file]);
	if (p->n == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 32;
		struct plan_op *v = realloc(p->op, cap * sizeof(*v));

		if (!v)
			return err_set(e, ERR_NOMEM, "out of memory");
		p->op = v;
		p->cap = cap;
	}
	p->op[p->n++] = *op;
	p->open_writes = op->kind != PLAN_BARRIER;
	return 0;
}

static int
make_room(struct plan *p, uint64_t len, struct err *e)
{
	if (p->n < PLAN_OPS && p->bytes + len <= PLAN_BYTES)
		return 0;
	return plan_run(p, e);
}

int
plan_write(struct plan *p, enum plan_file f, uint64_t hoff, const void *data,
	uint64_t len, struct err *e)
{
	struct plan_op op = {PLAN_WRITE, f, hoff, len};

	if (len == 0)
		return 0;
	if (make_room(p, len, e) < 0)
		return -1;
	op.data = malloc(len);
	if (!op.data)
		return err_set(e, ERR_NOMEM, "out of memory");
	memcpy(op.data, data, len);
	if (append(p, &op, e) < 0) {
		free(op.data);
		return -1;
	}
	p->bytes += len;
	p->end[f] = units_max(p->end[f], hoff + len);
	p->touched[f] = units_max(p->touched[f], hoff + len);
	return 0;
}

int
plan_range(struct plan *p, enum plan_kind kind, enum plan_file f, uint64_t hoff,
	uint64_t len, struct err *e)
{
	struct plan_op *last = p->n ? &p->op[p->n - 1] : NULL;
	struct plan_op op = {kind, f, hoff, len};

	assert(kind == PLAN_CLEAR || kind == PLAN_FILL ||
		kind == PLAN_ALLOCATE);
	if (len == 0)
		return 0;
	p->end[f] = units_max(p->end[f], hoff + len);
	if (last && last->kind == kind && last->file == f) {
		if (last->hoff + last->len == hoff) {
			last->len += len;
			return 0;
		}
		if (hoff + len == last->hoff) {
			last->hoff = hoff;
			last->len += len;
			return 0;
		}
	}
	return make_room(p, 0, e) < 0 ? -1 : append(p, &op, e);
}

int
plan_truncate(struct plan *p, enum plan_file f, uint64_t len, struct err *e)
{
	struct plan_op op = {PLAN_TRUNCATE, f, len, 0};

	p->end[f] = len;
	p->touched[f] = units_min(p->touched[f], len);
	return make_room(p, 0, e) < 0 ? -1 : append(p, &op, e);
}

void
plan_touch(struct plan *p, enum plan_file f, uint64_t end)
{
	p->open_writes = true;
	p->data_dirty |= f == PLAN_DATA;
	p->end[f] = units_max(p->end[f], end);
	p->touched[f] = units_max(p->touched[f], end);
}

int
plan_barrier(struct plan *p, const char *why, struct err *e)
{
	struct plan_op op = {.kind = PLAN_BARRIER, .why = why};

	return p->open_writes ? append(p, &op, e) : 0;
}

int
plan_go_on(const struct plan *p, struct err *e)
{
	return watch_cancelled(p->watch)
		? err_set(e, ERR_CANCELLED, "interrupted") : 0;
}

/* Room that could not be had as a whole is used by nobody. */
static int
make_space(const struct plan *p, const struct plan_op *op, struct err *e)
{
	struct file *f = p->file[op->file];
	struct err ignored;
	uint64_t was, is;
	int r;

	if (file_size(f, &was, e) < 0)
		return -1;
	r = preallocate_range(f, op->hoff, op->hoff + op->len,
		op->kind == PLAN_FILL ? PREALLOC_FULL : PREALLOC_FALLOC,
		p->watch, false, e);
	if (r < 0 && !f->is_block && file_size(f, &is, &ignored) == 0 &&
		is > was)
		(void)file_truncate(f, was, &ignored);
	return r;
}

static int
sync_all(struct plan *p, struct err *e)
{
	bool both = p->data_dirty;

	p->data_dirty = false;
	if (!p->durable)
		return 0;
	if (both && file_sync(p->file[PLAN_DATA], e) < 0)
		return -1;
	return file_sync(p->file[PLAN_IMAGE], e);
}

/* A device has the length it has. */
static int
cut(struct file *f, uint64_t len, struct err *e)
{
	if (!f->is_block)
		return file_truncate(f, len, e);
	if (len > f->size)
		return err_sys(e, ENOSPC, "the device ends at %" PRIu64,
			f->size);
	return 0;
}

static int
run_one(struct plan *p, const struct plan_op *op, struct err *e)
{
	struct file *f = p->file[op->file];

	p->data_dirty |= op->file == PLAN_DATA;
	switch (op->kind) {
	case PLAN_WRITE:
		return file_write(f, op->data, op->len, op->hoff, e);
	case PLAN_CLEAR:
		return file_zero(f, op->hoff, op->len, e);
	case PLAN_FILL:
	case PLAN_ALLOCATE:
		return make_space(p, op, e);
	case PLAN_TRUNCATE:
		return cut(f, op->hoff, e);
	case PLAN_BARRIER:
		p->failed = sync_all(p, e) < 0;
		return p->failed ? -1 : 0;
	}
	return 0;
}

int
plan_run(struct plan *p, struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < p->n && r == 0; i++) {
		if (p->tap)
			p->tap(p->tap_arg, &p->op[i]);
		r = run_one(p, &p->op[i], e);
	}
	plan_forget(p);
	return r;
}
