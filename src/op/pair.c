/* SPDX-License-Identifier: MIT */
/* Extents of both sides, laid over each other. Reading is fetch.c's, the
 * verdict compare.c's. */
#include "op/pair.h"

#include <stdlib.h>

#include "base/units.h"

static uint64_t
window_size(const struct chain *a, const struct chain *b)
{
	uint64_t w = PAIR_WINDOW;
	unsigned i;

	/* windows hold whole clusters */
	for (i = 0; i < a->n; i++)
		w = units_max(w, a->im[i]->cluster_size);
	for (i = 0; i < b->n; i++)
		w = units_max(w, b->im[i]->cluster_size);
	return w;
}

int
pair_open(struct pair *p, struct chain *first, struct chain *second,
	uint64_t size, struct err *e)
{
	unsigned i, k;

	*p = (struct pair){.size = size};
	p->side[0].chain = first;
	p->side[1].chain = second;
	p->window = window_size(first, second);
	p->same = calloc((size_t)first->n_files * second->n_files,
		sizeof(*p->same));
	if (!p->same)
		return err_set(e, ERR_NOMEM, "no memory for a pair");
	for (i = 0; i < first->n_files; i++)
		for (k = 0; k < second->n_files; k++)
			p->same[i * second->n_files + k] =
				file_same(first->files[i], second->files[k]);
	return 0;
}

void
pair_close(struct pair *p)
{
	free(p->same);
	p->same = NULL;
}

void
pair_window_free(struct pair_window *w)
{
	scan_window_free(&w->side[0]);
	scan_window_free(&w->side[1]);
	free(w->range);
	*w = (struct pair_window){0};
}

/* The extent at the cursor. */
static int
find(struct pair *p, unsigned k, const struct extent **ret, struct err *e)
{
	struct pair_side *s = &p->side[k];
	uint64_t end = s->chain->size;

	while (s->at < s->n &&
		p->cursor >= s->ext[s->at].voff + s->ext[s->at].len)
		s->at++;
	if (s->at == s->n) {
		if (watch_cancelled(p->watch))
			return err_set(e, ERR_CANCELLED, "interrupted");
		s->at = s->n = 0;
		if (p->cursor >= end) {
			s->ext[0] = (struct extent){.voff = p->cursor,
				.len = p->size - p->cursor,
				.kind = EXTENT_ZERO};
			s->n = 1;
		} else if (chain_describe_next(s->chain, UINT32_MAX, &s->pace,
				   p->window, p->cursor, end - p->cursor,
				   s->ext, SCAN_EXTENTS, &s->n, e)) {
			return -1;
		}
	}
	*ret = &s->ext[s->at];
	return 0;
}

static bool
is_zero(const struct extent *x)
{
	return x->kind == EXTENT_ZERO || x->kind == EXTENT_HOLE;
}

/* Both read the same host bytes in the same way. */
static bool
is_shared(const struct pair *p, const struct extent *a, const struct extent *b)
{
	uint64_t skip_a = p->cursor - a->voff, skip_b = p->cursor - b->voff;

	if (a->kind != b->kind ||
		!p->same[a->file * p->side[1].chain->n_files + b->file])
		return false;
	if (a->kind == EXTENT_DATA)
		return a->hoff + skip_a == b->hoff + skip_b;
	return a->hoff == b->hoff && a->hlen == b->hlen &&
		a->plen == b->plen && a->codec == b->codec &&
		a->poff + skip_a == b->poff + skip_b;
}

/* Where the two extents at the cursor stop to be as they are. */
static int
look(struct pair *p, const struct extent *x[2], uint64_t *ret_end,
	unsigned *ret_side, struct err *e)
{
	unsigned k;

	*ret_end = p->size;
	for (k = 0; k < 2; k++) {
		if (find(p, k, &x[k], e)) {
			*ret_side = k;
			return -1;
		}
		*ret_end = units_min(*ret_end, x[k]->voff + x[k]->len);
	}
	return 0;
}

static bool
needs_no_look(const struct pair *p, const struct extent *const x[2])
{
	bool a = is_zero(x[0]), b = is_zero(x[1]);

	return (a && b) || (!a && !b && is_shared(p, x[0], x[1]));
}

/* The piece goes on from the last one: one read, one unpacking. */
static bool
extend(struct window *w, const struct extent *x, const struct chain *c,
	uint64_t voff, uint64_t len)
{
	struct piece *last = w->n ? &w->v[w->n - 1] : NULL;
	uint64_t skip = voff - x->voff;

	if (!last || last->kind != x->kind ||
		last->voff + last->len != voff ||
		last->file != c->files[x->file])
		return false;
	if (x->kind == EXTENT_DATA) {
		if (last->hoff + last->len != x->hoff + skip)
			return false;
		last->hlen += len;
	} else if (last->hoff != x->hoff || last->hlen != x->hlen ||
		last->plen != x->plen ||
		last->poff + last->len != x->poff + skip) {
		return false;
	}
	last->len += len;
	return true;
}

static int
add(struct pair *p, struct pair_window *w, const struct extent *const x[2],
	uint64_t len, struct err *e)
{
	enum pair_kind kind = is_zero(x[0]) ? PAIR_SECOND
		: is_zero(x[1]) ? PAIR_FIRST : PAIR_BOTH;
	unsigned k;

	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		struct pair_range *v = realloc(w->range, cap * sizeof(*v));

		if (!v)
			return err_set(e, ERR_NOMEM, "no memory for %zu ranges",
				cap);
		w->range = v;
		w->cap = cap;
	}
	w->range[w->n++] = (struct pair_range){
		.voff = p->cursor, .len = len, .kind = kind};
	for (k = 0; k < 2; k++) {
		struct chain *c = p->side[k].chain;

		if (is_zero(x[k]) || extend(&w->side[k], x[k], c, p->cursor,
					     len))
			continue;
		if (scan_piece(&w->side[k], x[k], c, 0, p->cursor, len, e))
			return -1;
	}
	return 0;
}

int
pair_next(struct pair *p, struct pair_window *w, unsigned *ret_side,
	struct err *e)
{
	const struct extent *x[2];
	uint64_t from = p->cursor, end, stop;

	w->n = w->side[0].n = w->side[1].n = 0;
	w->len = 0;
	for (;; p->cursor = end) {
		if (p->cursor >= p->size) {
			w->passed = p->cursor - from;
			return 0;
		}
		if (look(p, x, &end, ret_side, e))
			return -1;
		if (!needs_no_look(p, x))
			break;
	}
	w->voff = p->cursor;
	stop = units_min(p->size,
		units_align_down(p->cursor, p->window) + p->window);
	while (p->cursor < stop) {
		struct err later = {0};
		unsigned side;

		/* the next call finds the same fault at its beginning */
		if (look(p, x, &end, &side, &later))
			break;
		end = units_min(end, stop);
		if (!needs_no_look(p, x) &&
			add(p, w, x, end - p->cursor, e))
			return -1;
		p->cursor = end;
	}
	w->len = p->cursor - w->voff;
	w->side[0].voff = w->side[1].voff = w->voff;
	w->side[0].len = w->side[1].len = w->len;
	w->passed = p->cursor - from;
	w->ticket = p->tickets++;
	return 0;
}
