/* SPDX-License-Identifier: MIT */
/*
 * Windows are aligned to their size, so that every cluster and every digest
 * block lies in one of them. Extents are asked for in batches and cut.
 */
#include "op/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/units.h"
#include "format/qcow2.h"

#define READ_MAX (2 * MIB) /* what qemu-img convert reads at once */

void
scan_window_free(struct window *w)
{
	free(w->v);
	w->v = NULL;
	w->n = w->cap = 0;
}

static struct piece *
add_piece(struct window *w, struct err *e)
{
	if (w->n == w->cap) {
		size_t cap = w->cap ? w->cap * 2 : 64;
		struct piece *v = realloc(w->v, cap * sizeof(*v));

		if (!v) {
			err_set(e, ERR_NOMEM, "no memory for %zu extents", cap);
			return NULL;
		}
		w->v = v;
		w->cap = cap;
	}
	w->v[w->n] = (struct piece){0};
	return &w->v[w->n++];
}

/* Salvage: an undescribable stretch up to the next cluster reads as zeros. */
static void
salvage_extent(struct scan *s, struct chain *c, uint64_t voff, uint64_t len,
	const struct err *why)
{
	uint64_t unit = c->im[0]->cluster_size ? c->im[0]->cluster_size : 512;
	uint64_t end = units_align_down(voff, unit) + unit;
	char line[640], text[560];

	err_text(why, text, sizeof(text));
	snprintf(line, sizeof(line), "salvage: guest bytes %" PRIu64
		" to %" PRIu64 " read as zeros: %s", voff,
		units_min(end, voff + len), text);
	watch_note(s->watch, line);
	s->ext[0] = (struct extent){
		.voff = voff,
		.len = units_min(end, voff + len) - voff,
		.kind = EXTENT_ZERO,
	};
	s->n = 1;
}

/* Fills s->ext from the cursor; at least one extent. */
static int
refill(struct scan *s, struct err *e)
{
	const struct scan_source *src = &s->src[s->src_at];
	uint64_t voff, left;
	int r;

	while (s->cursor >= src->start + src->size)
		src = &s->src[++s->src_at];
	voff = s->cursor - src->start;
	left = src->size - voff;
	s->at = 0;
	s->n = 0;
	s->ext_start = src->start;
	s->ext_chain = src->chain;
	if (voff >= src->chain->size) { /* rounded up to a sector */
		s->ext[0] = (struct extent){
			.voff = voff, .len = left, .kind = EXTENT_ZERO};
		s->n = 1;
		return 0;
	}
	left = units_min(left, src->chain->size - voff);
	/* where reads must be QEMU's, no extent is cut but where it ends */
	if (s->as_read || src->start % s->window != 0)
		r = chain_describe(src->chain, s->base, voff, left, s->ext,
			SCAN_EXTENTS, &s->n, e);
	else
		r = chain_describe_next(src->chain, s->base, &s->pace,
			s->window, voff, left, s->ext, SCAN_EXTENTS, &s->n, e);
	if (r == 0)
		return 0;
	if (!s->salvage || !e || e->kind == ERR_NOMEM)
		return -1;
	salvage_extent(s, src->chain, voff, left, e);
	return 0;
}

int
scan_piece(struct window *w, const struct extent *x, struct chain *c,
	uint64_t start, uint64_t voff, uint64_t len, struct err *e)
{
	uint64_t skip = voff - (start + x->voff);
	struct piece *p = add_piece(w, e);

	if (!p)
		return -1;
	p->voff = voff;
	p->len = len;
	p->kind = x->kind;
	p->codec = x->codec;
	if (x->kind == EXTENT_DATA) {
		p->file = c->files[x->file];
		p->hoff = x->hoff + skip;
		p->hlen = len;
	} else if (x->kind == EXTENT_PACKED) {
		p->file = c->files[x->file];
		p->hoff = x->hoff;
		p->hlen = x->hlen;
		p->poff = x->poff + (uint32_t)skip;
		p->plen = x->plen;
	}
	return 0;
}

/* One piece from the cursor, at most up to end. */
static int
take_piece(struct scan *s, struct window *w, uint64_t end, struct err *e)
{
	const struct extent *x;
	uint64_t stop;

	if (s->at == s->n && refill(s, e))
		return -1;
	x = &s->ext[s->at];
	stop = units_min(end, s->ext_start + x->voff + x->len);
	if (scan_piece(w, x, s->ext_chain, s->ext_start, s->cursor,
		    stop - s->cursor, e))
		return -1;
	s->cursor = stop;
	if (stop == s->ext_start + x->voff + x->len)
		s->at++;
	return 0;
}

/* Appends what the target's backing has in [voff, voff+len). */
static int
add_cow(struct scan *s, struct window *w, uint64_t voff, uint64_t len,
	struct err *e)
{
	struct extent x[16];
	size_t n, i;

	while (len > 0) {
		uint64_t done = 0;

		if (voff >= s->cow->size) {
			struct extent z = {.voff = voff, .len = len,
				.kind = EXTENT_ZERO};

			return scan_piece(w, &z, s->cow, 0, voff, len, e);
		}
		if (chain_describe(s->cow, UINT32_MAX, voff,
			    units_min(len, s->cow->size - voff), x,
			    COUNT_OF(x), &n, e))
			return -1;
		for (i = 0; i < n; i++) {
			if (scan_piece(w, &x[i], s->cow, 0, x[i].voff,
				    x[i].len, e))
				return -1;
			done += x[i].len;
		}
		voff += done;
		len -= done;
	}
	return 0;
}

/* True if target cluster [a, b) has a part that is not HOLE. */
static bool
touched(const struct window *w, uint64_t a, uint64_t b)
{
	size_t i;

	for (i = 0; i < w->n; i++)
		if (w->v[i].kind != EXTENT_HOLE && w->v[i].voff < b &&
			w->v[i].voff + w->v[i].len > a)
			return true;
	return false;
}

/* A HOLE piece p of w: whole untouched clusters stay holes. */
static int
fill_hole(struct scan *s, const struct window *w, const struct piece *p,
	struct window *full, struct err *e)
{
	uint64_t a = p->voff, end = p->voff + p->len;

	while (a < end) {
		uint64_t first = units_align_down(a, s->unit);
		uint64_t b = units_min(end, first + s->unit);
		struct extent x = {.voff = a, .kind = EXTENT_HOLE};

		if (a == first && end - a >= s->unit)
			b = a + units_align_down(end - a, s->unit);
		else if (touched(w, first, first + s->unit))
			x.kind = EXTENT_ZERO;
		x.len = b - a;
		if (x.kind == EXTENT_ZERO) {
			if (add_cow(s, full, a, b - a, e))
				return -1;
		} else if (scan_piece(full, &x, s->cow, 0, a, b - a, e)) {
			return -1;
		}
		a = b;
	}
	return 0;
}

/* A new cluster of the target hides its backing: where one is part HOLE, the
 * rest must be copied up. */
static int
fill_partial_clusters(struct scan *s, struct window *w, struct err *e)
{
	struct window full = {0};
	size_t i;
	int r = 0;

	for (i = 0; i < w->n && r == 0; i++) {
		struct piece *q;

		if (w->v[i].kind == EXTENT_HOLE) {
			r = fill_hole(s, w, &w->v[i], &full, e);
			continue;
		}
		q = add_piece(&full, e);
		if (q)
			*q = w->v[i];
		else
			r = -1;
	}
	if (r) {
		scan_window_free(&full);
		return -1;
	}
	free(w->v);
	w->v = full.v;
	w->n = full.n;
	w->cap = full.cap;
	return 0;
}

/* A long hole at a window's start becomes one empty window; its end is a
 * window's end, or the end of all. */
static bool
take_hole(struct scan *s, struct window *w)
{
	const struct extent *x = &s->ext[s->at];
	uint64_t end = s->ext_start + x->voff + x->len;

	if (x->kind != EXTENT_HOLE && x->kind != EXTENT_ZERO)
		return false;
	if (s->cursor % s->window != 0)
		return false;
	if (s->zero_max && x->kind == EXTENT_ZERO)
		end = units_min(end, s->cursor + s->zero_max);
	if (end < s->size)
		end = units_align_down(end, s->window);
	if (end <= s->cursor)
		return false;
	w->len = end - s->cursor;
	w->empty = true;
	w->n = 0;
	if (scan_piece(w, x, s->ext_chain, s->ext_start, s->cursor, w->len,
		    NULL))
		return false;
	s->cursor = end;
	if (end == s->ext_start + x->voff + x->len)
		s->at++;
	return true;
}

/* Guest bytes that one slice of the source's L2 tables maps: QEMU reports no
 * extent across two of them. */
static uint64_t
slice_bytes(const struct image *im)
{
	uint64_t c = im->cluster_size, entry;

	if (im->ops->format != FORMAT_QCOW2 || c == 0)
		return UINT64_MAX;
	entry = qcow2_l2_entry_size(&((struct qcow2 *)im->priv)->h);
	return units_min(c, 64 * KIB) / entry * c;
}

/* Where the read ends that holds the cursor. */
static uint64_t
read_end(const struct scan *s)
{
	const struct extent *x = &s->ext[s->at];
	uint64_t slice = slice_bytes(s->ext_chain->im[0]);
	uint64_t at = s->cursor - s->ext_start; /* in the source */
	uint64_t start = x->voff, end = x->voff + x->len;
	uint64_t unit, cut;

	if (slice != UINT64_MAX) {
		start = units_max(start, at - at % slice);
		end = units_min(end, at - at % slice + slice);
	}
	/* a run that ends within a cluster of the source is cut at that
	 * cluster's start, and the rest is looked at for itself */
	unit = s->ext_chain->im[0]->cluster_size;
	cut = unit ? units_align_down(end, unit) : end;
	if (cut > start && at < cut)
		end = cut;
	else if (cut > start)
		start = cut;
	if (x->kind == EXTENT_DATA || x->kind == EXTENT_PACKED || s->cut_holes)
		end = units_min(end,
			start + ((at - start) / READ_MAX + 1) * READ_MAX);
	return s->ext_start + end;
}

static int
next_as_read(struct scan *s, struct window *w, struct err *e)
{
	while (s->cursor < s->size) {
		const struct extent *x;
		uint64_t end;
		bool hole;

		if (s->at == s->n && refill(s, e))
			return -1;
		x = &s->ext[s->at];
		hole = !s->cut_holes && (x->kind == EXTENT_HOLE ||
			x->kind == EXTENT_ZERO);
		end = hole ? s->ext_start + x->voff + x->len : read_end(s);
		if (w->n > 0 && end - w->voff > s->window)
			break;
		if (take_piece(s, w, end, e))
			return -1;
		w->len = s->cursor - w->voff;
		if (hole && w->n == 1 && w->len > s->window) {
			w->empty = true;
			break;
		}
	}
	return 0;
}

static void
begin_window(struct scan *s, struct window *w)
{
	w->n = 0;
	w->empty = false;
	w->voff = s->cursor;
	w->len = 0;
	w->ticket = s->tickets++;
}

int
scan_row(struct scan *s, uint64_t max, struct piece *ret, struct err *e)
{
	const struct extent *x;
	uint64_t skip, len;
	size_t i;

	*ret = (struct piece){0};
	if (s->as_read || s->cursor >= s->size || s->cursor % s->window)
		return 0;
	if (s->at == s->n && refill(s, e))
		return -1;
	x = &s->ext[s->at];
	if (x->kind != EXTENT_DATA)
		return 0;
	skip = s->cursor - (s->ext_start + x->voff);
	len = x->len - skip;
	for (i = s->at + 1; i < s->n && len < max; i++) {
		if (s->ext[i].kind != EXTENT_DATA ||
			s->ext[i].file != x->file ||
			s->ext[i].hoff != x->hoff + skip + len)
			break;
		len += s->ext[i].len;
	}
	ret->voff = s->cursor;
	ret->kind = EXTENT_DATA;
	ret->file = s->ext_chain->files[x->file];
	ret->hoff = x->hoff + skip;
	ret->hlen = ret->len =
		units_align_down(units_min(len, max), s->window);
	return 0;
}

void
scan_pass(struct scan *s, uint64_t len, struct window *w)
{
	begin_window(s, w);
	w->len = len;
	s->cursor += len;
	while (s->at < s->n && s->ext_start + s->ext[s->at].voff +
			s->ext[s->at].len <= s->cursor)
		s->at++;
}

int
scan_next(struct scan *s, struct window *w, struct err *e)
{
	uint64_t end;
	bool holes = false;

	begin_window(s, w);
	if (s->cursor >= s->size)
		return 0;
	if (s->as_read)
		return next_as_read(s, w, e);
	if (s->at == s->n && refill(s, e))
		return -1;
	if (!s->cut_holes && take_hole(s, w))
		return 0;
	end = units_min(s->size,
		units_align_down(s->cursor, s->window) + s->window);
	while (s->cursor < end) {
		if (take_piece(s, w, end, e))
			return -1;
		holes |= w->v[w->n - 1].kind == EXTENT_HOLE;
	}
	w->len = end - w->voff;
	if (holes && s->cow)
		return fill_partial_clusters(s, w, e);
	return 0;
}
