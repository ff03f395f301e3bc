/* SPDX-License-Identifier: MIT */
/* Three descriptions side by side, step by step where none of them changes. */
#include "op/scan_diff.h"

#include "base/units.h"

/* Steps that one window of nothing may take: a call ends. */
#define STEPS_MAX 65536u

void
scan_diff_init(struct scan_diff *s, struct chain *overlay, struct chain *other)
{
	*s = (struct scan_diff){.size = overlay->size};
	s->own.chain = s->old.chain = overlay;
	s->own.base = 1;
	s->other.chain = other;
	s->old.base = s->other.base = UINT32_MAX;
}

void
scan_diff_again(struct scan_diff *s)
{
	s->own.n = s->own.at = 0;
	s->old.n = s->old.at = 0;
}

/* The extent that holds voff. Behind a chain's end there are zeros. */
static int
side_at(const struct scan_diff *s, struct scan_diff_side *d, uint64_t voff,
	const struct extent **ret, struct err *e)
{
	struct chain *c = d->chain;

	while (d->at < d->n && d->ext[d->at].voff + d->ext[d->at].len <= voff)
		d->at++;
	if (d->at == d->n) {
		d->at = 0;
		d->n = 0;
		if (!c || voff >= c->size) {
			d->ext[0] = (struct extent){.voff = voff,
				.len = s->size - voff, .kind = EXTENT_ZERO};
			d->n = 1;
		} else if (chain_describe_next(c, d->base, &d->pace, s->window,
				   voff, units_min(s->size, c->size) - voff,
				   d->ext, SCAN_EXTENTS, &d->n, e)) {
			return -1;
		}
	}
	*ret = &d->ext[d->at];
	return 0;
}

/* From voff on, as far as both go: the same bytes of the same file? */
static bool
same(const struct scan_diff *s, const struct extent *a,
	const struct extent *b, uint64_t voff)
{
	if (a->kind != b->kind)
		return false;
	if (a->kind == EXTENT_ZERO || a->kind == EXTENT_HOLE)
		return true;
	if (!file_same(s->old.chain->files[a->file],
		    s->other.chain->files[b->file]))
		return false;
	if (a->kind == EXTENT_DATA)
		return a->hoff + (voff - a->voff) == b->hoff +
			(voff - b->voff);
	return a->hoff == b->hoff && a->hlen == b->hlen &&
		a->plen == b->plen && a->codec == b->codec &&
		a->poff + (voff - a->voff) == b->poff + (voff - b->voff);
}

struct step {
	uint64_t end;
	bool differs;
	const struct extent *old, *other; /* if it differs */
};

static int
next_step(struct scan_diff *s, uint64_t end, struct step *ret, struct err *e)
{
	uint64_t voff = s->cursor;
	const struct extent *x;
	struct step t = {0};

	if (side_at(s, &s->own, voff, &x, e))
		return -1;
	t.end = units_min(end, x->voff + x->len);
	if (x->kind == EXTENT_HOLE) {
		if (side_at(s, &s->old, voff, &t.old, e) ||
			side_at(s, &s->other, voff, &t.other, e))
			return -1;
		t.end = units_min(t.end, t.old->voff + t.old->len);
		t.end = units_min(t.end, t.other->voff + t.other->len);
		t.differs = !same(s, t.old, t.other, voff);
	}
	*ret = t;
	return 0;
}

static int
add_hole(struct scan_diff *s, struct window *w, uint64_t len, struct err *e)
{
	const struct extent x = {.voff = s->cursor, .kind = EXTENT_HOLE};

	return scan_piece(w, &x, s->old.chain, 0, s->cursor, len, e);
}

/* A stretch of any length in which nothing needs to be looked at. */
static int
take_nothing(struct scan_diff *s, struct window *a, struct err *e)
{
	uint64_t start = s->cursor;
	struct step t;

	for (unsigned i = 0; i < STEPS_MAX && s->cursor < s->size; i++) {
		if (next_step(s, s->size, &t, e))
			return -1;
		if (t.differs)
			break;
		s->cursor = t.end;
	}
	a->len = s->cursor - start;
	a->empty = a->len > 0;
	if (!a->empty)
		return 0;
	s->cursor = start;
	if (add_hole(s, a, a->len, e))
		return -1;
	s->cursor = start + a->len;
	return 0;
}

int
scan_diff_next(struct scan_diff *s, struct window *a, struct window *b,
	struct err *e)
{
	uint64_t end;

	a->n = b->n = 0;
	a->empty = b->empty = false;
	a->voff = b->voff = s->cursor;
	a->len = b->len = 0;
	a->ticket = b->ticket = s->tickets++;
	if (s->cursor >= s->size)
		return 0;
	if (take_nothing(s, a, e))
		return -1;
	if (a->empty)
		return 0;
	end = units_min(s->size,
		units_align_down(s->cursor, s->window) + s->window);
	while (s->cursor < end) {
		uint64_t len;
		struct step t;

		if (next_step(s, end, &t, e))
			return -1;
		len = t.end - s->cursor;
		if (!t.differs) {
			if (add_hole(s, a, len, e) || add_hole(s, b, len, e))
				return -1;
		} else if (scan_piece(a, t.old, s->old.chain, 0,
				   s->cursor, len, e) ||
			scan_piece(b, t.other, s->other.chain, 0,
				s->cursor, len, e)) {
			return -1;
		}
		s->cursor = t.end;
	}
	a->len = b->len = end - a->voff;
	return 0;
}
