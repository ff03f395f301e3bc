/* SPDX-License-Identifier: MIT */
/*
 * Zero detection works in the sink's unit, aligned to guest bytes, so that
 * where windows begin does not show in the output.
 */
#include "op/emit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/units.h"
#include "base/zero.h"
#include "io/clone.h"
#include "op/pipeline.h"

/* Write-back is started each time so much was written, so that the final
 * flush is short and dirty memory bounded. */
#define FLUSH_EVERY (64 * MIB)
/* Shorter writes find their blocks as fast by themselves. */
#define RESERVE_MIN (64 * KIB)
/* The block size that file systems clone in; unaligned pieces are copied. */
#define CLONE_ALIGN 4096

void
emit_shared_init(struct emit_shared *s, const struct pipeline_request *rq,
	uint64_t window)
{
	bool raw = rq->sink->file && !rq->sink->ordered;

	s->rq = rq;
	s->window = window;
	atomic_init(&s->bytes, 0);
	atomic_init(&s->bytes_read, 0);
	atomic_init(&s->unflushed, 0);
	atomic_init(&s->clone, rq->clone && raw && !rq->digest);
	atomic_init(&s->reserve, rq->sink->reserve_from != UINT64_MAX);
	atomic_init(&s->copy, rq->copy_range && raw && !rq->digest);
}

uint64_t
emit_bytes(struct emit_shared *s)
{
	return atomic_load(&s->bytes);
}

uint64_t
emit_bytes_read(struct emit_shared *s)
{
	return atomic_load(&s->bytes_read);
}

void
emit_count_read(struct emit_shared *s, uint64_t n)
{
	atomic_fetch_add(&s->bytes_read, n);
}

int
emit_open(struct emit *m, struct emit_shared *s, struct err *e)
{
	*m = (struct emit){0};
	if (s->rq->compress) {
		m->packed = buf_alloc_aligned(s->window);
		if (!m->packed)
			return err_set(e, ERR_NOMEM, "no memory to pack");
	}
	if (s->rq->digest) {
		m->leaf = calloc(s->window / DIGEST_BLOCK, sizeof(*m->leaf));
		if (!m->leaf)
			return err_set(e, ERR_NOMEM, "no memory to digest");
	}
	return 0;
}

void
emit_close(struct emit *m)
{
	free(m->run);
	free(m->packed);
	free(m->leaf);
	placed_list_free(&m->placed);
	*m = (struct emit){0};
}

/* The file has all of it, and may be cloned still, and was. */
static bool
clone_piece(struct emit_shared *s, const struct piece *p)
{
	bool done = false;

	if (!atomic_load(&s->clone) || p->hoff + p->len > p->file->size ||
		(p->hoff | p->voff | p->len) % CLONE_ALIGN)
		return false;
	if (clone_range(p->file, p->hoff, s->rq->sink->file, p->voff, p->len,
		    &done, NULL) == 0 && done)
		return true;
	atomic_store(&s->clone, false);
	return false;
}

/* One plain piece inside the kernel; false: by hand, please. */
static bool
move_piece(struct emit_shared *s, const struct piece *p)
{
	struct file *to = s->rq->sink->file;
	uint64_t len = 0;

	if (clone_piece(s, p))
		return true;
	if (p->hoff + p->len > p->file->size || !atomic_load(&s->copy))
		return false;
	if (clone_copy(p->file, p->hoff, to, p->voff, p->len, &len, NULL) == 0
		&& len == p->len)
		return true;
	atomic_store(&s->copy, false);
	return false;
}

bool
emit_clones(const struct emit_shared *s)
{
	return atomic_load(&s->clone);
}

bool
emit_row(struct emit *m, struct emit_shared *s, const struct piece *row)
{
	if (!clone_piece(s, row))
		return false;
	atomic_fetch_add(&s->bytes, row->len);
	m->in_kernel = true;
	m->n = 0;
	return true;
}

bool
emit_in_kernel(struct emit *m, struct emit_shared *s, struct window *w)
{
	uint64_t moved = 0;
	size_t i;

	m->in_kernel = false;
	if (!atomic_load(&s->clone) && !atomic_load(&s->copy))
		return false;
	for (i = 0; i < w->n; i++)
		if (w->v[i].kind != EXTENT_DATA && w->v[i].kind != EXTENT_ZERO)
			return false;
	/* a piece that was moved before another is refused is written again
	 * by hand with the same bytes */
	for (i = 0; i < w->n; i++) {
		if (w->v[i].kind != EXTENT_DATA)
			continue;
		if (!move_piece(s, &w->v[i]))
			return false;
		moved += w->v[i].len;
	}
	for (i = 0; i < w->n; i++)
		if (w->v[i].kind == EXTENT_ZERO && !s->rq->sink->fresh &&
			file_zero(s->rq->sink->file, w->v[i].voff,
				w->v[i].len, NULL))
			return false;
	atomic_fetch_add(&s->bytes, moved);
	m->in_kernel = true;
	m->n = 0;
	return true;
}

static int
add_run(struct emit *m, int kind, uint64_t voff, uint64_t len, struct err *e)
{
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 64;
		struct emit_run *v = realloc(m->run, cap * sizeof(*v));

		if (!v)
			return err_set(e, ERR_NOMEM, "no memory for %zu runs",
				cap);
		m->run = v;
		m->cap = cap;
	}
	m->run[m->n++] = (struct emit_run){
		.voff = voff, .len = len, .kind = kind};
	return 0;
}

/* Cuts a data run into clusters and packs each; what does not get smaller
 * stays data. */
static int
add_packed(struct emit *m, struct emit_shared *s, struct codec *packer,
	const struct window *w, uint8_t *buf, uint64_t voff, uint64_t len,
	struct err *e)
{
	uint64_t unit = s->rq->sink->unit, end = voff + len;

	while (voff < end) {
		uint64_t at = voff - w->voff, n = units_min(unit, end - voff);
		size_t got;

		/* the image's last cluster is packed whole, zero-padded */
		if (n < unit && at + unit <= s->window)
			memset(buf + at + n, 0, unit - n);
		if (codec_pack(packer, buf + at, unit, m->packed + at,
			    unit - 1, &got, e))
			return -1;
		if (add_run(m, got ? RUN_PACKED : RUN_DATA, voff, n, e))
			return -1;
		m->run[m->n - 1].packed_at = at;
		m->run[m->n - 1].packed_len = got;
		voff += n;
	}
	return 0;
}

/* Runs of guest bytes [voff, voff+len), which lie in buf. */
static int
split(struct emit *m, struct emit_shared *s, struct codec *packer,
	const struct window *w, const uint8_t *buf, uint64_t voff,
	uint64_t len, struct err *e)
{
	const struct pipeline_request *rq = s->rq;
	uint64_t unit = rq->sink->zero_unit ? rq->sink->zero_unit
		: rq->sink->unit;
	uint64_t end = voff + len;

	while (voff < end) {
		const uint8_t *p = buf + (voff - w->voff);
		uint64_t into = voff & (unit - 1);
		bool zero = false;
		size_t n = end - voff;
		int r;

		if (!rq->every_byte && into)
			n = units_min(n, unit - into);
		if (!rq->every_byte)
			n = zero_run(p, n, unit, &zero);
		if (!zero && rq->compress)
			r = add_packed(m, s, packer, w, (uint8_t *)buf, voff,
				n, e);
		else
			r = add_run(m, zero ? RUN_ZERO : RUN_DATA, voff, n,
				e);
		if (r)
			return -1;
		voff += n;
	}
	return 0;
}

static void
digest_window(struct emit *m, const struct window *w, const uint8_t *buf)
{
	uint64_t at;

	m->n_leaves = 0;
	for (at = 0; at < w->len; at += DIGEST_BLOCK)
		m->leaf[m->n_leaves++] = digest_leaf(buf + at,
			units_min(DIGEST_BLOCK, w->len - at));
}

/*
 * How qemu-img convert finds the runs to write in what it read at once: it
 * looks at 512-byte sectors, moves the borders between zeros and data to
 * guest-aligned `align`, and writes zeros shorter than `align` that follow
 * data. Bytes of the run at p, which is *ret_zero.
 */
static size_t
run_as_read(const uint8_t *p, size_t len, uint64_t voff, uint64_t align,
	bool *ret_zero)
{
	size_t n = zero_run(p, len, 512, ret_zero), tail;

	tail = (voff + n) & (align - 1);
	if (n >= len || tail == 0)
		return n;
	if (*ret_zero && n <= tail)
		*ret_zero = false;
	return units_min(len, *ret_zero ? n - tail : n + align - tail);
}

static int
split_as_read(struct emit *m, struct emit_shared *s, const uint8_t *p,
	uint64_t voff, size_t len, struct err *e)
{
	uint64_t align = s->rq->find_unit, min = units_min(align, len);

	while (len > 0) {
		size_t n = len, more, at;
		bool zero = false;

		if (!s->rq->every_byte)
			n = run_as_read(p, len, voff, align, &zero);
		/* data goes on over zeros that are too short */
		for (at = n; !zero && at < len; at += more) {
			bool gap;

			more = run_as_read(p + at, len - at, voff + at, align,
				&gap);
			if (!gap)
				n = at + more;
			else if (more >= min)
				break;
		}
		if (add_run(m, zero ? RUN_ZERO : RUN_DATA, voff, n, e))
			return -1;
		p += n;
		voff += n;
		len -= n;
	}
	return 0;
}

/* Each piece is a read of its own; holes are no reads. A raw file that ends
 * within a sector gives a piece that does: zeros fill the sector. */
static int
prepare_as_read(struct emit *m, struct emit_shared *s, const struct window *w,
	uint8_t *buf, struct err *e)
{
	uint64_t from, to, done = w->voff;
	size_t i;

	for (i = 0; i < w->n; i++) {
		const struct piece *p = &w->v[i];

		from = units_max(p->voff, done);
		to = p->voff + p->len;
		if (from >= to || (!s->rq->every_byte &&
				(p->kind == EXTENT_HOLE ||
					p->kind == EXTENT_ZERO)))
			continue;
		done = units_min(units_align_up(to, 512), w->voff + w->len);
		memset(buf + (to - w->voff), 0, done - to);
		if (split_as_read(m, s, buf + (from - w->voff), from,
			    done - from, e))
			return -1;
	}
	return 0;
}

/* Pieces as they are; a run of several of a kind is one. */
static int
prepare_kinds(struct emit *m, const struct window *w, struct err *e)
{
	for (size_t i = 0; i < w->n; i++) {
		const struct piece *p = &w->v[i];
		int kind = p->kind == EXTENT_ZERO ? RUN_ZERO : RUN_DATA;
		struct emit_run *last = m->n ? &m->run[m->n - 1] : NULL;

		if (p->kind == EXTENT_HOLE)
			continue;
		if (last && (int)last->kind == kind &&
			last->voff + last->len == p->voff)
			last->len += p->len;
		else if (add_run(m, kind, p->voff, p->len, e))
			return -1;
	}
	return 0;
}

/* Units of [a, b) in which the two sides differ. */
static int
add_differing(struct emit *m, struct emit_shared *s, const struct window *w,
	const uint8_t *buf, uint64_t a, uint64_t b, struct err *e)
{
	uint64_t unit = s->rq->sink->zero_unit, from = s->rq->zero_from, end;

	for (; a < b; a = end) {
		struct emit_run *last = m->n ? &m->run[m->n - 1] : NULL;
		int kind = a >= from ? RUN_ZERO : RUN_DATA;

		end = units_min(b, units_align_down(a, unit) + unit);
		if (a < from)
			end = units_min(end, units_max(from, a + 1));
		if (memcmp(buf + (a - w->voff), m->other + (a - w->voff),
			    end - a) == 0)
			continue;
		if (last && (int)last->kind == kind &&
			last->voff + last->len == a)
			last->len += end - a;
		else if (add_run(m, kind, a, end - a, e))
			return -1;
	}
	return 0;
}

static int
prepare_diff(struct emit *m, struct emit_shared *s, const struct window *w,
	const uint8_t *buf, struct err *e)
{
	size_t i = 0;

	while (i < w->n) {
		uint64_t a = w->v[i].voff, b = a;

		if (w->v[i].kind == EXTENT_HOLE) {
			i++;
			continue;
		}
		for (; i < w->n && w->v[i].kind != EXTENT_HOLE; i++)
			b = w->v[i].voff + w->v[i].len;
		if (add_differing(m, s, w, buf, a, b, e))
			return -1;
	}
	return 0;
}

int
emit_prepare(struct emit *m, struct emit_shared *s, struct codec *packer,
	const struct window *w, const uint8_t *buf, struct err *e)
{
	size_t i = 0;

	m->n = 0;
	if (s->rq->digest && !s->rq->sink->as_read)
		digest_window(m, w, buf);
	if (s->rq->sink->as_read)
		return prepare_as_read(m, s, w, (uint8_t *)buf, e);
	if (m->other)
		return prepare_diff(m, s, w, buf, e);
	if (s->rq->keep_kinds)
		return prepare_kinds(m, w, e);
	while (i < w->n) {
		uint64_t a = w->v[i].voff, b = a;

		if (w->v[i].kind == EXTENT_HOLE) {
			i++; /* stays unallocated: the backing has it */
			continue;
		}
		for (; i < w->n && w->v[i].kind != EXTENT_HOLE; i++)
			b = w->v[i].voff + w->v[i].len;
		if (split(m, s, packer, w, buf, a, b - a, e))
			return -1;
	}
	return 0;
}

static int
check_limit(const struct emit_shared *s, uint64_t total, struct err *e)
{
	const char *what = s->rq->max_what;

	if (s->rq->max_bytes && total > s->rq->max_bytes)
		return err_set(e, ERR_LIMIT, "more than %" PRIu64
			" bytes of data, %s", s->rq->max_bytes,
			what ? what : "the limit");
	return 0;
}

static int
place_run(struct emit *m, struct emit_shared *s, const struct window *w,
	const uint8_t *buf, const struct emit_run *r, struct err *e)
{
	struct sink *sink = s->rq->sink;
	uint64_t total;

	if (r->kind == RUN_ZERO)
		return sink_zero(sink, r->voff, r->len, &m->placed, e);
	total = atomic_fetch_add(&s->bytes, r->len) + r->len;
	if (check_limit(s, total, e))
		return -1;
	if (r->kind == RUN_PACKED)
		return sink_packed(sink, r->voff, m->packed + r->packed_at,
			r->packed_len, &m->placed, e);
	return sink_data(sink, r->voff, buf + (r->voff - w->voff), r->len,
		&m->placed, e);
}

int
emit_place(struct emit *m, struct emit_shared *s, const struct window *w,
	const uint8_t *buf, struct err *e)
{
	size_t i;

	placed_list_free(&m->placed);
	if (w->empty) {
		if (w->v[0].kind == EXTENT_HOLE)
			return 0;
		return sink_zero(s->rq->sink, w->voff, w->len, &m->placed, e);
	}
	if (m->in_kernel)
		return check_limit(s, emit_bytes(s), e);
	for (i = 0; i < m->n; i++)
		if (place_run(m, s, w, buf, &m->run[i], e))
			return -1;
	return 0;
}

/* One write will do for both. */
static bool
follows(const struct placed *a, const struct placed *b)
{
	return a->to_data_file == b->to_data_file &&
		(const uint8_t *)a->buf + a->len == b->buf &&
		a->hoff + a->len == b->hoff;
}

/* What fails here fails again, and is told, when it is written. */
static void
reserve(struct emit_shared *s, const struct io_req *r)
{
	struct sink *sink = s->rq->sink;
	bool done = false;

	if (r->len < RESERVE_MIN || r->file != sink->file ||
		r->hoff < sink->reserve_from || !atomic_load(&s->reserve))
		return;
	if (file_reserve(sink->file, r->hoff, r->len, &done, NULL) || !done)
		atomic_store(&s->reserve, false);
}

int
emit_requests(struct emit *m, struct emit_shared *s, struct fetch *f,
	struct err *e)
{
	struct sink *sink = s->rq->sink;
	struct io_req *r = NULL;
	size_t i;

	f->n_req = 0;
	for (i = 0; i < m->placed.n; i++) {
		const struct placed *p = &m->placed.v[i];

		if (i > 0 && follows(&m->placed.v[i - 1], p)) {
			r->len += p->len;
			continue;
		}
		r = fetch_add_req(f, e);
		if (!r)
			return -1;
		r->op = IO_WRITE;
		r->file = p->to_data_file ? sink->data_file : sink->file;
		r->buf = (void *)p->buf;
		r->len = p->len;
		r->hoff = p->hoff;
	}
	for (i = 0; i < f->n_req; i++)
		reserve(s, &f->req[i]);
	return 0;
}

void
emit_written(struct emit *m, struct emit_shared *s, const struct fetch *f)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < f->n_req; i++)
		n += f->req[i].len;
	m->in_kernel = false;
	if (!s->rq->flush_early || n == 0)
		return;
	if (atomic_fetch_add(&s->unflushed, n) + n < FLUSH_EVERY)
		return;
	atomic_store(&s->unflushed, 0);
	file_flush_start(s->rq->sink->file);
}
