/* SPDX-License-Identifier: MIT */
/*
 * Extents, cut and named as QEMU's block layer does (block/io.c's block status,
 * over those of qcow2, raw and file). What the tables say is qcow2_map.c's and
 * raw.c's; whether an image has its metadata preallocated qcow2_prealloc.c's.
 */
#include "format/status.h"

#include <assert.h>
#include <limits.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2.h"
#include "io/sparse.h"

#define EXTENTS 256 /* asked for at once; 12 KiB a layer */
/* QEMU keeps L2 tables in slices of this size at most; no run spans two. Where
 * its cache does not hold all tables of the disk, they are smaller. */
#define SLICE_BYTES (64 * KIB)
#define SLICE_BYTES_LARGE (4 * KIB)
#define TABLES_CACHED (32 * MIB)

struct layer {
	struct extent *ext; /* owned; NULL until the layer is asked */
	size_t n, at;
	uint64_t slice;     /* guest bytes; 0: no slices (raw) */
	/* clusters that were reserved without data are looked for in the
	 * file's holes: */
	bool prealloc;
	uint64_t run, run_end; /* host bytes of one kind, found last */
	bool run_data;
};

struct status_walk {
	struct chain *chain;
	bool exact;
	struct layer *layer; /* one per image; owned */
};

int
status_open(struct status_walk **ret, struct chain *chain, bool exact,
	struct err *e)
{
	struct status_walk *w = calloc(1, sizeof(*w));

	if (w)
		w->layer = calloc(chain->n, sizeof(*w->layer));
	if (!w || !w->layer) {
		free(w);
		return err_set(e, ERR_NOMEM, "no memory for a walk");
	}
	w->chain = chain;
	w->exact = exact;
	*ret = w;
	return 0;
}

void
status_close(struct status_walk *w)
{
	unsigned i;

	if (!w)
		return;
	for (i = 0; i < w->chain->n; i++)
		free(w->layer[i].ext);
	free(w->layer);
	free(w);
}

void
status_close_p(struct status_walk **w)
{
	status_close(*w);
}

/* Guest bytes that one slice maps. */
static uint64_t
slice_of(struct image *im)
{
	unsigned entry = qcow2_l2_entry_size(&qcow2_of(im)->h);
	uint64_t tables = units_align_up(units_div_up(im->size,
		im->cluster_size) * entry, im->cluster_size);

	return units_min(im->cluster_size, tables > TABLES_CACHED
		? SLICE_BYTES_LARGE : SLICE_BYTES) / entry * im->cluster_size;
}

static int
layer_begin(struct layer *l, struct image *im, struct err *e)
{
	l->ext = calloc(EXTENTS, sizeof(*l->ext));
	if (!l->ext)
		return err_set(e, ERR_NOMEM, "no memory for extents");
	if (im->ops->format != FORMAT_QCOW2)
		return 0;
	l->slice = slice_of(im);
	l->prealloc = qcow2_prealloc_detect(im);
	return 0;
}

/* The extent that holds guest byte voff of layer depth. */
static int
find(struct status_walk *w, unsigned depth, uint64_t voff,
	const struct extent **ret, struct err *e)
{
	struct image *im = w->chain->im[depth];
	struct layer *l = &w->layer[depth];

	if (!l->ext && layer_begin(l, im, e))
		return -1;
	while (l->at < l->n &&
		voff >= l->ext[l->at].voff + l->ext[l->at].len)
		l->at++;
	if (l->at == l->n || voff < l->ext[l->at].voff) {
		l->at = l->n = 0;
		if (image_describe(im, voff, im->size - voff, l->ext, EXTENTS,
			    &l->n, e))
			return -1;
	}
	*ret = &l->ext[l->at];
	return 0;
}

/* Data of preallocated clusters, as the host file has it: a hole there is
 * zeros, and what lies past its end too. */
static int
look_below(struct layer *l, struct file *f, struct status *s, struct err *e)
{
	if (s->hoff >= f->size) {
		s->flags |= STATUS_ZERO;
		return 0;
	}
	if (s->hoff < l->run || s->hoff >= l->run_end) {
		if (sparse_next(f, s->hoff, &l->run_end, &l->run_data, e))
			return -1;
		l->run = s->hoff;
		l->run_end += s->hoff;
	}
	if (l->run_data) {
		s->len = units_min(s->len, l->run_end - s->hoff);
		return 0;
	}
	s->flags |= STATUS_ZERO;
	/* a hole that reaches the end goes on behind it */
	if (l->run_end < f->size)
		s->len = units_min(s->len, l->run_end - s->hoff);
	return 0;
}

static unsigned
flags_of(const struct extent *x, bool raw)
{
	unsigned placed = raw || x->flags & EXTENT_MAPPED ? STATUS_PLACED : 0;

	switch ((enum extent_kind)x->kind) {
	case EXTENT_DATA:
		return STATUS_DATA | STATUS_PLACED | STATUS_PRESENT;
	case EXTENT_PACKED:
		return STATUS_DATA | STATUS_PACKED | STATUS_PRESENT;
	case EXTENT_ZERO:
		return STATUS_ZERO | STATUS_PRESENT | placed;
	case EXTENT_HOLE:
		return placed;
	}
	return 0;
}

/* One layer's own answer. Behind its end: no bytes and END. */
static int
layer_status(struct status_walk *w, unsigned depth, uint64_t voff,
	uint64_t len, struct status *ret, struct err *e)
{
	struct chain *c = w->chain;
	struct image *im = c->im[depth];
	bool raw = im->ops->format == FORMAT_RAW;
	struct layer *l = &w->layer[depth];
	const struct extent *x;
	uint64_t skip, room;

	*ret = (struct status){.depth = depth};
	if (voff >= im->size) {
		ret->flags = STATUS_END;
		return 0;
	}
	if (find(w, depth, voff, &x, e))
		return -1;
	skip = voff - x->voff;
	room = units_min(len, im->size - voff);
	len = units_min(room, x->len - skip);
	/* Without the cache QEMU asks in whole sectors: data at a file's odd
	 * end are as long as the last one. */
	if (raw && im->file->direct && x->kind == EXTENT_DATA &&
		voff + len == im->file->size)
		len = room;
	if (l->slice && (w->exact || x->kind == EXTENT_DATA))
		len = units_min(units_min(len, INT_MAX),
			l->slice - voff % l->slice);
	ret->len = len;
	ret->flags = flags_of(x, raw);
	if (ret->flags & STATUS_PLACED) {
		ret->hoff = raw ? voff : x->hoff + skip;
		ret->file = c->files[c->first[depth] + x->file];
	}
	if (!(ret->flags & (STATUS_DATA | STATUS_ZERO)) &&
		(depth + 1 == c->n || voff >= c->im[depth + 1]->size))
		ret->flags |= STATUS_ZERO;
	if (l->prealloc && x->kind == EXTENT_DATA &&
		look_below(l, c->files[c->first[depth] + x->file], ret, e))
		return -1;
	if (voff + ret->len == im->size)
		ret->flags |= STATUS_END;
	return 0;
}

int
status_map(struct status_walk *w, uint64_t voff, uint64_t len,
	struct status *ret, struct err *e)
{
	unsigned depth = 0;

	for (;; depth++) {
		if (layer_status(w, depth, voff, len, ret, e))
			return -1;
		/* a layer that has nothing says zeros when none below can
		 * have something: this ends */
		if (ret->flags & (STATUS_DATA | STATUS_ZERO))
			return 0;
		assert(depth + 1 < w->chain->n && ret->len > 0);
		len = ret->len;
	}
}

int
status_above(struct status_walk *w, uint64_t voff, uint64_t len,
	struct status *ret, struct err *e)
{
	uint64_t end;
	unsigned depth;

	if (layer_status(w, 0, voff, len, ret, e))
		return -1;
	if (ret->flags & STATUS_PRESENT)
		return 0;
	end = ret->flags & STATUS_END ? voff + ret->len : 0;
	len = ret->len;
	for (depth = 1; depth < w->chain->n; depth++) {
		if (layer_status(w, depth, voff, len, ret, e))
			return -1;
		if (ret->len == 0) {
			/* the layer above left it to one that is too short */
			ret->len = len;
			ret->flags = STATUS_ZERO | STATUS_PRESENT;
			break;
		}
		if (ret->flags & STATUS_PRESENT) {
			/* its end is not the end of the top */
			ret->flags &= ~(unsigned)STATUS_END;
			break;
		}
		len = ret->len;
	}
	if (voff + ret->len == end)
		ret->flags |= STATUS_END;
	return 0;
}
