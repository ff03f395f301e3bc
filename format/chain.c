/* SPDX-License-Identifier: MIT */
/*
 * Opens an image with all that it stands on, and answers for the whole chain.
 * The only place that opens a file because an image said so, and it does so
 * through the gate alone.
 */
#include "format/chain.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ck.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2.h"
#include "io/lock.h"

#define SAID_MAX 8 /* times that a message says "backing file" */

static int
lock_reader(struct file *f, bool shared, const struct chain_request *rq,
	struct err *e)
{
	if (rq->force_share)
		return 0;
	if (lock_image(f, LOCK_READER_USE,
		    shared ? LOCK_RAW_READER_KEEP : LOCK_READER_KEEP, e))
		return err_file(e, f->name);
	return 0;
}

/* Locks what is about to be opened; where the format decides how, it is found
 * out first. */
static int
lock_format(struct file *f, enum format *format,
	const struct chain_request *rq, struct err *e)
{
	struct probe_result probe;

	if (rq->share_raw && !rq->force_share && *format == FORMAT_PROBE) {
		if (probe_load(f, &probe, e))
			return err_file(e, f->name);
		*format = probe.format;
	}
	return lock_reader(f, rq->share_raw && *format == FORMAT_RAW, rq, e);
}

/* Makes room for one more image: three tables grow together. */
static int
grow(struct chain *c, struct err *e)
{
	size_t n = c->n + 1u;
	void *im = realloc(c->im, n * sizeof(*c->im));
	void *files, *first;

	if (im)
		c->im = im;
	files = realloc(c->files, 2 * n * sizeof(*c->files));
	if (files)
		c->files = files;
	first = realloc(c->first, n * sizeof(*c->first));
	if (first)
		c->first = first;
	if (!im || !files || !first)
		return err_set(e, ERR_NOMEM, "no memory for a chain of %zu "
			"images", n);
	return 0;
}

static int
open_data_file(struct image *im, const char *path,
	const struct chain_request *rq, struct err *e)
{
	int r = path ? file_open(&im->data_file, AT_FDCWD, path,
			im->file->direct ? FILE_DIRECT : FILE_READ, e)
		: gate_open(rq->gate, im, im->data_name, "data file",
			&im->data_file, e);
	if (r == 0 && lock_reader(im->data_file, false, rq, e) == 0)
		return 0;
	/* a refusal is the image's, and says so by itself */
	return e && e->file[0] ? err_prefix(e, "data file") : -1;
}

/* A file that is in the chain already stands on itself. */
static int
check_loop(const struct chain *c, const struct file *f, struct err *e)
{
	char quoted[256];
	unsigned i;

	for (i = 0; i < c->n; i++)
		if (file_same(c->im[i]->file, f))
			return err_set(e, ERR_LIMIT, "Backing file '%s' creates"
				" an infinite loop.", err_quote(quoted,
				sizeof(quoted), f->name,
				(unsigned)strlen(f->name)));
	return 0;
}

/* Appends the image in f, which is taken. */
static int
append(struct chain *c, struct file *f, enum format format,
	const struct chain_request *rq, struct err *e)
{
	const struct gate *g = rq->gate;
	unsigned flags = (g->lenient ? IMAGE_LENIENT : IMAGE_READ) |
		(rq->verbatim ? IMAGE_VERBATIM : IMAGE_READ);
	const char *data_path = c->n == 0 ? rq->data_path : NULL;
	struct image *im;

	if (rq->check && c->n == 0)
		flags |= IMAGE_CHECK;
	if (grow(c, e) || (!(rq->no_locks && c->n == 0) &&
				  lock_format(f, &format, rq, e))) {
		file_close(f);
		return -1;
	}
	if (image_open(&im, f, format, flags, rq->watch, e))
		return -1;
	c->im[c->n] = im;
	c->first[c->n] = c->n_files;
	c->n++;
	c->files[c->n_files++] = im->file;
	if (g->size_max && im->size > g->size_max) {
		err_set(e, ERR_LIMIT, "virtual size %" PRIu64 " exceeds the "
			"limit of %" PRIu64 " bytes", im->size, g->size_max);
		return err_file(e, im->file->name);
	}
	if (data_path && !im->needs_data_file) {
		err_set(e, ERR_USAGE, "'data-file' can only be set for images "
			"with an external data file");
		return err_file(e, im->file->name);
	}
	if (im->needs_data_file && !im->data_name && !data_path) {
		err_set(e, ERR_CORRUPT,
			"'data-file' is required for this image");
		return err_file(e, im->file->name);
	}
	if (im->needs_data_file && !rq->no_data_file) {
		if (open_data_file(im, data_path, rq, e))
			return err_file(e, im->file->name);
		c->files[c->n_files++] = im->data_file;
	}
	return 0;
}

/* The backing file of the chain's last image. */
static int
open_backing(struct chain *c, const struct chain_request *rq, struct err *e)
{
	const struct image *from = c->im[c->n - 1];
	unsigned max = rq->gate->depth_max ? rq->gate->depth_max :
		GATE_DEPTH_MAX;
	enum format format = FORMAT_PROBE;
	CLEANUP_FREE char *plain = NULL;
	struct file *f;
	char quoted[64];

	if (c->n >= max)
		return err_set(e, ERR_LIMIT,
			"the backing chain is longer than %u images", max);
	if (from->backing_format) {
		format = probe_format_from_name(from->backing_format);
		/* what QEMU's users write for a plain file */
		if (strcmp(from->backing_format, "file") == 0)
			format = FORMAT_RAW;
		if (format == FORMAT_PROBE)
			return err_set(e, ERR_UNSUPPORTED,
				"Unknown driver '%s'", err_quote(quoted,
				sizeof(quoted), from->backing_format,
				(unsigned)strlen(from->backing_format)));
	} else if (rq->gate->trusted && gate_is_json(from->backing) &&
		gate_json(from->backing, &plain, &format, e)) {
		return -1;
	}
	if (gate_open(rq->gate, from, from->backing, "backing file", &f, e))
		return -1;
	if (check_loop(c, f, e)) {
		file_close(f);
		return -1;
	}
	return append(c, f, format, rq, e);
}

/* As QEMU says it: once for each image on the way down. */
static int
below(struct err *e, unsigned depth)
{
	unsigned i;

	for (i = 0; i < depth && i < SAID_MAX; i++)
		err_prefix(e, "Could not open backing file");
	return -1;
}

int
chain_open(struct chain **ret, struct file *top,
	const struct chain_request *rq, struct err *e)
{
	CLEANUP(chain_close_p) struct chain *c = calloc(1, sizeof(*c));

	if (!c) {
		file_close(top);
		return err_set(e, ERR_NOMEM, "no memory for an image");
	}
	if (append(c, top, rq->format, rq, e))
		return -1;
	if (rq->snapshot) {
		struct image *im = c->im[0];

		if (im->ops->format != FORMAT_QCOW2)
			err_set(e, ERR_USAGE, "%s images have no snapshots",
				im->ops->name);
		if (im->ops->format != FORMAT_QCOW2 ||
			qcow2_use_snapshot(im, rq->snapshot, rq->snapshot_id,
				rq->snapshot_name, e))
			return err_file(e, im->file->name);
	}
	while (!rq->no_backing && c->im[c->n - 1]->backing) {
		const struct image *from = c->im[c->n - 1];
		unsigned depth = c->n;

		if (open_backing(c, rq, e)) {
			err_file(e, from->file->name);
			return below(e, depth);
		}
	}
	c->size = c->im[0]->size;
	*ret = TAKE_PTR(c);
	return 0;
}

void
chain_close(struct chain *c)
{
	unsigned i;

	if (!c)
		return;
	for (i = 0; i < c->n; i++)
		image_close(c->im[i]);
	free(c->im);
	free(c->files);
	free(c->first);
	free(c);
}

void
chain_close_p(struct chain **c)
{
	chain_close(*c);
}

/*
 * The caller's array is answer and stack at once: finished extents grow from
 * its front, unfinished ones wait in guest order at its back. Every extent of
 * every image is described once, and nothing is allocated however deep the
 * chain is.
 */
struct resolve {
	struct chain *c;
	unsigned depth; /* images to look into */
	struct extent *v;
	size_t n;     /* finished, at the front */
	size_t stack; /* index of the next unfinished one; cap when empty */
	size_t cap;
};

static void
finish(struct resolve *r, const struct extent *x)
{
	struct extent *last = r->n ? &r->v[r->n - 1] : NULL;

	if (last && last->kind == x->kind && last->depth == x->depth &&
		(x->kind == EXTENT_ZERO || x->kind == EXTENT_HOLE) &&
		!last->flags && !x->flags)
		last->len += x->len;
	else
		r->v[r->n++] = *x;
}

/* Puts the description of [voff, voff+len) of image depth on the stack. It
 * leaves room for what the images below say of its holes: a full stack would
 * have to be given up for one extent of theirs. */
static int
push(struct resolve *r, unsigned depth, uint64_t voff, uint64_t len,
	struct err *e)
{
	struct image *im = r->c->im[depth];
	struct extent *v = r->v + r->n;
	size_t space = r->stack - r->n, n, i;
	size_t take = depth + 1u < r->depth ? (space + 1) / 2 : space;
	struct extent rest = {.kind = EXTENT_ZERO, .depth = (uint16_t)depth};
	uint64_t inside = voff < im->size ? units_min(len, im->size - voff) : 0;
	uint64_t at = voff;

	n = 0;
	if (inside && image_describe(im, voff, inside, v, take, &n, e))
		return -1;
	for (i = 0; i < n; i++) {
		at += v[i].len;
		v[i].depth = (uint16_t)depth;
		v[i].file = (uint16_t)(r->c->first[depth] + v[i].file);
	}
	/* behind the end of a shorter backing there are zeros, as if it had
	 * them; without room for them, the answer ends here */
	if (at == voff + inside && inside < len && n < space) {
		rest.voff = at;
		rest.len = voff + len - at;
		v[n++] = rest;
		at = voff + len;
	}
	if (at < voff + len)
		r->stack = r->cap;
	/* the first one on top; the two places may overlap */
	memmove(r->v + r->stack - n, v, n * sizeof(*v));
	r->stack -= n;
	return 0;
}

int
chain_describe(struct chain *c, uint32_t base, uint64_t voff, uint64_t len,
	struct extent *ret, size_t cap, size_t *ret_n, struct err *e)
{
	struct resolve r = {.c = c, .v = ret, .stack = cap, .cap = cap,
		.depth = c->n < base ? c->n : base};

	assert(base > 0 && cap > 0);
	if (push(&r, 0, voff, len, e))
		return -1;
	while (r.stack < cap) {
		struct extent x = ret[r.stack++];

		if (x.kind != EXTENT_HOLE) {
			finish(&r, &x);
		} else if (x.depth + 1u < r.depth) {
			/* what is found so far is a good answer */
			if (push(&r, x.depth + 1u, x.voff, x.len, e)) {
				if (r.n == 0)
					return -1;
				break;
			}
		} else {
			if (x.depth + 1u != base)
				x.kind = EXTENT_ZERO;
			x.file = 0;
			finish(&r, &x);
		}
	}
	*ret_n = r.n;
	return 0;
}

int
chain_describe_next(struct chain *c, uint32_t base, struct chain_pace *p,
	uint64_t unit, uint64_t voff, uint64_t len, struct extent *ret,
	size_t cap, size_t *ret_n, struct err *e)
{
	uint64_t end, got;

	if (c->n > 1 && p->ask < len &&
		ck_add(voff, p->ask ? p->ask : unit, &end) &&
		ck_align_up(end, unit, &end))
		len = units_min(len, end - voff);
	if (chain_describe(c, base, voff, len, ret, cap, ret_n, e))
		return -1;
	got = ret[*ret_n - 1].voff + ret[*ret_n - 1].len - voff;
	if (got < len)
		p->ask = got;
	else if (!ck_mul(len, 2, &p->ask))
		p->ask = UINT64_MAX;
	return 0;
}

/* QEMU's reading of a name: a colon before any slash ends a protocol. */
static bool
has_protocol(const char *name)
{
	return name[strcspn(name, ":/")] == ':';
}

char *
chain_full_name(const char *overlay, const char *backing)
{
	const char *slash = strrchr(overlay, '/');
	const char *colon = has_protocol(overlay) ? strchr(overlay, ':') : NULL;
	size_t dir = slash ? (size_t)(slash + 1 - overlay) :
		colon ? (size_t)(colon + 1 - overlay) : 0;
	char *full;

	if (backing[0] == '/' || has_protocol(backing))
		return strdup(backing);
	full = malloc(dir + strlen(backing) + 1);
	if (!full)
		return NULL;
	memcpy(full, overlay, dir);
	strcpy(full + dir, backing);
	return full;
}
