/* SPDX-License-Identifier: MIT */
/*
 * Reads are planned before any is submitted. What an image may claim is
 * bounded here: packed input beyond the buffer is read late, one cluster at a
 * time, so that a hostile layout costs time and not memory.
 */
#include "op/fetch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/units.h"

/* Packed neighbours further apart than this are not worth one read. */
#define GAP_MAX (32 * KIB)
/* Room for direct I/O to start and end on its alignment. */
#define IN_SLACK (64 * KIB)

int
fetch_open(struct fetch *f, uint64_t window, struct err *e)
{
	*f = (struct fetch){.buf_cap = window};
	f->buf = buf_alloc_aligned(window + 4096);
	if (!f->buf)
		return err_set(e, ERR_NOMEM,
			"no memory for a window of %" PRIu64 " bytes", window);
	return 0;
}

void
fetch_close(struct fetch *f)
{
	free(f->buf);
	free(f->in);
	free(f->req);
	*f = (struct fetch){0};
}

void
fetch_codecs_close(struct fetch_codecs *c)
{
	unsigned i;

	for (i = 0; i < CODEC_COUNT; i++)
		codec_close(&c->unpack[i]);
	free(c->scratch);
	free(c->late);
	c->scratch = c->late = NULL;
	c->scratch_cap = c->late_cap = 0;
}

struct io_req *
fetch_add_req(struct fetch *f, struct err *e)
{
	if (f->n_req == f->req_cap) {
		size_t cap = f->req_cap ? f->req_cap * 2 : 16;
		struct io_req *v = realloc(f->req, cap * sizeof(*v));

		if (!v) {
			err_set(e, ERR_NOMEM, "no memory for %zu requests",
				cap);
			return NULL;
		}
		f->req = v;
		f->req_cap = cap;
	}
	f->req[f->n_req] = (struct io_req){0};
	return &f->req[f->n_req++];
}

/* Bytes of [hoff, hoff+len) that the file had when it was opened. */
static uint64_t
present(const struct file *f, uint64_t hoff, uint64_t len)
{
	if (hoff >= f->size)
		return 0;
	return units_min(len, f->size - hoff);
}

static int
plan_data(struct fetch *f, struct window *w, struct piece *p, struct err *e)
{
	uint64_t len = present(p->file, p->hoff, p->len);
	uint8_t *to = f->buf + (p->voff - w->voff);
	struct io_req *r;

	if (len < p->len)
		memset(to + len, 0, p->len - len);
	if (len == 0)
		return 0;
	r = fetch_add_req(f, e);
	if (!r)
		return -1;
	r->op = IO_READ;
	r->file = p->file;
	r->buf = to;
	r->len = len;
	r->hoff = p->hoff;
	f->host_bytes += len;
	return 0;
}

/* The input bytes of packed pieces i.. that one read can bring. Returns the
 * index behind the last of them. */
static size_t
packed_run(const struct window *w, size_t i, uint64_t room, uint64_t *ret_a,
	uint64_t *ret_b)
{
	const struct piece *p = &w->v[i];
	uint64_t a = p->hoff, b = p->hoff + p->hlen;

	for (i++; i < w->n; i++) {
		const struct piece *q = &w->v[i];

		if (q->kind != EXTENT_PACKED || q->file != p->file)
			break;
		if (q->hoff < a || q->hoff > b + GAP_MAX)
			break;
		if (q->hoff + q->hlen > a + room)
			break;
		b = units_max(b, q->hoff + q->hlen);
	}
	*ret_a = a;
	*ret_b = b;
	return i;
}

/* One read for pieces [i, ret); those that find no room stay !fetched. */
static int
plan_packed(struct fetch *f, struct window *w, size_t i, size_t *used,
	size_t *ret_next, struct err *e)
{
	struct file *file = w->v[i].file;
	uint64_t align = file->align, a, b, from, len;
	size_t room = f->in_cap - *used, next, k;
	struct io_req *r;

	if (w->v[i].hlen + 2 * align > room) {
		*ret_next = i + 1;
		return 0;
	}
	next = packed_run(w, i, room - 2 * align, &a, &b);
	from = a & ~(align - 1);
	len = present(file, from, b - from);
	for (k = i; k < next; k++) {
		w->v[k].in_off = *used + (size_t)(w->v[k].hoff - from);
		w->v[k].fetched = true;
	}
	*ret_next = next;
	if (len < b - from)
		memset(f->in + *used + len, 0, b - from - len);
	if (len > 0) {
		r = fetch_add_req(f, e);
		if (!r)
			return -1;
		r->op = IO_READ;
		r->file = file;
		r->buf = f->in + *used;
		r->len = len;
		r->hoff = from;
		f->host_bytes += len;
	}
	*used += units_align_up(b - from, units_max(align, 64));
	return 0;
}

/* Input room: what the packed pieces claim, at most twice the window (a
 * descriptor can claim two clusters per cluster). */
static int
make_room(struct fetch *f, const struct window *w, struct err *e)
{
	uint64_t want = 0;
	size_t i;

	for (i = 0; i < w->n; i++)
		if (w->v[i].kind == EXTENT_PACKED)
			want += w->v[i].hlen + 512;
	if (want == 0)
		return 0;
	want = units_min(want, 2 * f->buf_cap) + IN_SLACK;
	return buf_ensure_aligned(&f->in, &f->in_cap,
		units_align_up(want, 256 * KIB), e);
}

int
fetch_plan(struct fetch *f, struct window *w, struct err *e)
{
	size_t i = 0, used = 0;

	f->n_req = 0;
	if (make_room(f, w, e))
		return -1;
	while (i < w->n) {
		struct piece *p = &w->v[i];

		if (p->kind == EXTENT_PACKED) {
			if (plan_packed(f, w, i, &used, &i, e))
				return -1;
			continue;
		}
		if (p->kind == EXTENT_DATA) {
			if (plan_data(f, w, p, e))
				return -1;
		} else {
			memset(f->buf + (p->voff - w->voff), 0, p->len);
		}
		i++;
	}
	return 0;
}

static void
note_salvage(const struct fetch_codecs *c, const struct file *file,
	uint64_t hoff, uint64_t len, const char *why)
{
	char line[600], name[256];

	err_quote(name, sizeof(name), file->name,
		(unsigned)strlen(file->name));
	snprintf(line, sizeof(line), "salvage: %s: %" PRIu64
		" bytes at %" PRIu64 " read as zeros: %s", name, len, hoff,
		why);
	watch_note(c->watch, line);
}

/* What cannot be read sector by sector becomes zeros. */
static void
salvage_read(struct fetch_codecs *c, struct io_req *r)
{
	size_t at, bad = 0;

	for (at = 0; at < r->len; at += 512) {
		size_t len = units_min(512, r->len - at);

		if (file_read(r->file, (uint8_t *)r->buf + at, len,
			    r->hoff + at, NULL) == 0)
			continue;
		memset((uint8_t *)r->buf + at, 0, len);
		bad += len;
	}
	if (bad)
		note_salvage(c, r->file, r->hoff, bad, "cannot be read");
}

static int
check_read(struct fetch_codecs *c, struct io_req *r, struct err *e)
{
	if (r->done == r->len)
		return 0;
	if (c->salvage) {
		salvage_read(c, r);
		return 0;
	}
	if (r->eno)
		err_sys(e, r->eno, "cannot read %zu bytes at %" PRIu64,
			r->len, r->hoff);
	else
		err_set(e, ERR_IO, "the file was cut while being read: "
			"%zu bytes at %" PRIu64 " end after %zu", r->len,
			r->hoff, r->done);
	return err_file(e, r->file->name);
}

static int
unpack_to(struct fetch_codecs *c, const struct piece *p, const uint8_t *in,
	size_t in_len, uint8_t *out, struct err *e)
{
	struct codec *codec = &c->unpack[p->codec];
	bool whole = p->poff == 0 && p->len == p->plen;

	if (!codec->ops && codec_open(codec, p->codec, NULL, e))
		return -1;
	if (whole)
		return codec_unpack(codec, in, in_len, out, p->plen, e);
	/* an overlay with smaller clusters asks for one many times in turn */
	if (c->file != p->file || c->hoff != p->hoff || c->hlen != p->hlen ||
		c->plen != p->plen) {
		c->file = NULL;
		if (buf_ensure_aligned(&c->scratch, &c->scratch_cap, p->plen, e))
			return -1;
		if (codec_unpack(codec, in, in_len, c->scratch, p->plen, e))
			return -1;
		c->file = p->file;
		c->hoff = p->hoff;
		c->hlen = p->hlen;
		c->plen = p->plen;
	}
	memcpy(out, c->scratch + p->poff, p->len);
	return 0;
}

static int
unpack_piece(struct fetch *f, struct fetch_codecs *c, struct piece *p,
	uint8_t *out, struct err *e)
{
	size_t len = present(p->file, p->hoff, p->hlen);
	const uint8_t *in = f->in + p->in_off;
	int r;

	if (!p->fetched) {
		if (buf_ensure_aligned(&c->late, &c->late_cap, p->hlen, e))
			return -1;
		in = c->late;
		f->host_bytes += len;
	}
	r = p->fetched || len == 0
		? 0 : file_read(p->file, c->late, len, p->hoff, e);
	if (r == 0)
		r = unpack_to(c, p, in, len, out, e);
	if (r == 0)
		return 0;
	if (c->salvage) {
		memset(out, 0, p->len);
		note_salvage(c, p->file, p->hoff, p->hlen,
			e ? e->msg : "cannot be unpacked");
		return 0;
	}
	if (e && e->file[0] == '\0')
		err_prefix(e, "compressed cluster at %" PRIu64
			" (guest byte %" PRIu64 ")", p->hoff,
			p->voff - p->poff);
	return err_file(e, p->file->name);
}

int
fetch_finish(struct fetch *f, struct fetch_codecs *c, struct window *w,
	struct err *e)
{
	size_t i;

	for (i = 0; i < f->n_req; i++)
		if (check_read(c, &f->req[i], e))
			return -1;
	for (i = 0; i < w->n; i++) {
		struct piece *p = &w->v[i];

		if (p->kind != EXTENT_PACKED)
			continue;
		if (unpack_piece(f, c, p, f->buf + (p->voff - w->voff), e))
			return -1;
	}
	return 0;
}
