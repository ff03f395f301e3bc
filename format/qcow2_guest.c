/* SPDX-License-Identifier: MIT */
/*
 * Where guest data goes in an image that has some already. A cluster is a row
 * of units (one, or 32 subclusters), each allocated, zero or a hole; what a
 * write touches becomes allocated. Only entries in memory change here until
 * the segment is settled; bytes around the data are written at once, as they
 * go where no guest looks yet.
 */
#include "format/qcow2_guest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "base/zero.h"
#include "format/chain_read.h"
#include "format/qcow2_check.h"
#include "format/qcow2_guest_int.h"

int
qcow2_guest_open(struct qcow2_guest **ret, struct chain *c,
	const struct qcow2_guest_request *rq, struct err *e)
{
	struct qcow2_guest *g = calloc(1, sizeof(*g));
	const struct qcow2_header *h = &qcow2_of(c->im[0])->h;

	if (!g)
		return err_set(e, ERR_NOMEM, "out of memory");
	g->cs = qcow2_cluster_size(h);
	g->units = qcow2_has_extl2(h) ? QCOW2_SUBCLUSTERS : 1;
	g->unit = g->cs / g->units;
	g->keep_holes = rq->keep_holes && c->n == 1;
	g->same_content = rq->same_content;
	g->edit = rq->edit;
	g->note_unit = rq->note_unit ? rq->note_unit : 1;
	g->fill = malloc(g->cs);
	g->zeros = calloc(1, g->cs);
	if (c->n > 1)
		g->below = (struct chain){.im = c->im + 1, .n = c->n - 1,
			.files = c->files, .n_files = c->n_files,
			.first = c->first + 1, .size = c->im[1]->size};
	if (!g->fill || !g->zeros) {
		err_set(e, ERR_NOMEM, "out of memory");
	} else if (qcow2_edit_open(&g->d, c, &rq->edit, e) == 0) {
		if (qcow2_record_open(&g->record, &g->d, e) == 0) {
			*ret = g;
			return 0;
		}
		qcow2_edit_close(&g->d);
	}
	free(g->fill);
	free(g->zeros);
	free(g);
	return -1;
}

static void
forget_tables(struct qcow2_guest *g)
{
	for (size_t i = 0; i < g->n; i++)
		qcow2_edit_l2_free(&g->table[i]);
	g->n = 0;
}

/* What went wrong need not have to do with this image: QEMU stores the bitmaps
 * of an image that it closes in any case. The counts of what was placed and
 * never settled are in memory only; a new session does not have them. */
static void
store_after_all(struct qcow2_guest *g)
{
	struct chain *c = g->d.chain;
	struct err ignored;

	qcow2_edit_close(&g->d);
	if (qcow2_reload(c->im[0], &ignored) < 0 ||
		qcow2_edit_open(&g->d, c, &g->edit, &ignored) < 0)
		return;
	(void)qcow2_guest_finish(g, &ignored);
}

/* Counts that did not fit into the cache went to the file, and then nothing
 * came to refer to what they count. Any head of a plan is a good image but for
 * such leaks; one that has other faults is left alone. */
static void
give_back_leaks(struct qcow2_guest *g)
{
	struct image *im = g->d.chain->im[0];
	struct qcow2_check_request q = {.durable = g->edit.durable};
	struct qcow2_check_result r;
	struct qcow2_header h;
	struct err ignored;

	qcow2_edit_close(&g->d);
	if (qcow2_reload(im, &ignored) < 0)
		return;
	h = qcow2_of(im)->h;
	if (qcow2_check(im->file, &h, &q, &r, &ignored) < 0 || r.eno ||
		r.errors || r.corruptions || r.leaks == 0)
		return;
	q.fix = QCOW2_FIX_LEAKS;
	(void)qcow2_check(im->file, &h, &q, &r, &ignored);
}

void
qcow2_guest_close(struct qcow2_guest *g)
{
	if (!g)
		return;
	forget_tables(g);
	if (!g->d.plan.failed) {
		if (g->d.refs.written)
			give_back_leaks(g);
		if (g->record.marked)
			store_after_all(g);
	}
	qcow2_record_close(&g->record);
	qcow2_edit_close(&g->d);
	free(g->table);
	free(g->fill);
	free(g->zeros);
	free(g);
}

struct qcow2_edit *
qcow2_guest_edit(struct qcow2_guest *g)
{
	return &g->d;
}

uint64_t
qcow2_guest_unit(const struct qcow2_guest *g)
{
	return g->unit;
}

bool
qcow2_guest_full(const struct qcow2_guest *g)
{
	return g->n * g->cs >= QCOW2_GUEST_TABLES;
}

/* The table of l1x, read once in a segment. *ret NULL: there is none, and it
 * is only to be looked at. */
static int
table_at(struct qcow2_guest *g, uint64_t l1x, bool change,
	struct qcow2_l2 **ret, struct err *e)
{
	struct qcow2_l2 *last = g->n ? &g->table[g->n - 1] : NULL, t;
	uint64_t hoff;

	if (last && last->l1x == l1x) {
		*ret = last;
		return 0;
	}
	if (qcow2_edit_l2_at(&g->d, l1x, &hoff, e) < 0)
		return -1;
	if (hoff == 0 && !change) {
		*ret = NULL;
		return 0;
	}
	/* calls go up: one that was not changed is not needed any more */
	if (last && !last->fresh && last->hi == 0) {
		qcow2_edit_l2_free(last);
		g->n--;
	}
	if (g->n == g->cap) {
		size_t cap = g->cap ? g->cap * 2 : 16;
		struct qcow2_l2 *v = realloc(g->table, cap * sizeof(*v));

		if (!v)
			return err_set(e, ERR_NOMEM, "out of memory");
		g->table = v;
		g->cap = cap;
	}
	if (qcow2_edit_l2_open(&g->d, l1x, &t, e) < 0) {
		qcow2_edit_l2_free(&t);
		return -1;
	}
	g->table[g->n] = t;
	*ret = &g->table[g->n++];
	return 0;
}

int
qcow2_guest_note(struct qcow2_guest *g, uint64_t voff, uint64_t len,
	struct err *e)
{
	uint64_t from = units_align_down(voff, g->note_unit);

	return qcow2_record_note(&g->record, &g->d, from,
		units_align_up(voff + len, g->note_unit) - from, e);
}

uint32_t
qcow2_guest_all_units(const struct qcow2_guest *g)
{
	return g->units == 1 ? 1 : UINT32_MAX;
}

static int
check_place(struct qcow2_guest *g, const struct qcow2_guest_spot *s, struct err *e)
{
	if (g->d.data_file)
		return s->x.hoff == s->voff ? 0 : err_set(e, ERR_CORRUPT,
			"External data file host cluster offset 0x%" PRIx64
			" does not match guest cluster offset: 0x%" PRIx64,
			s->x.hoff, s->voff);
	if (s->x.hoff >= g->d.plan.end[PLAN_IMAGE])
		return err_set(e, ERR_CORRUPT, "cluster at %" PRIu64
			" lies beyond the end of the file", s->x.hoff);
	return 0;
}

int
qcow2_guest_look(struct qcow2_guest *g, uint64_t voff, bool change,
	struct qcow2_guest_spot *s,
	struct err *e)
{
	const struct qcow2_header *h = g->d.h;
	uint64_t bitmap = 0;

	*s = (struct qcow2_guest_spot){.voff = units_align_down(voff, g->cs)};
	s->l2x = (voff >> h->cluster_bits) &
		((UINT64_C(1) << qcow2_l2_bits(h)) - 1);
	if (table_at(g, voff >> (h->cluster_bits + qcow2_l2_bits(h)), change,
		    &s->t, e) < 0)
		return -1;
	if (s->t)
		s->entry = qcow2_edit_l2_get(&g->d, s->t, s->l2x, &bitmap);
	if (qcow2_entry_decode(h, s->entry, bitmap, &s->x, e) < 0)
		return err_prefix(e, "guest offset %" PRIu64, voff);
	if (s->x.kind == QCOW2_E_PACKED) {
		s->alloc = qcow2_guest_all_units(g);
	} else if (g->units > 1) {
		s->alloc = (uint32_t)bitmap;
		s->zero = (uint32_t)(bitmap >> 32);
	} else {
		s->alloc = s->x.kind == QCOW2_E_DATA;
		s->zero = s->x.kind == QCOW2_E_ZERO;
	}
	if (s->x.mapped && check_place(g, s, e) < 0)
		return -1;
	s->own = g->d.data_file ||
		(s->x.mapped && (s->entry & QCOW2_COPIED));
	s->host = g->d.data_file ? s->voff : s->x.hoff;
	return 0;
}

int
qcow2_guest_store(struct qcow2_guest *g,
	struct qcow2_guest_spot *s, uint64_t entry, struct err *e)
{
	uint64_t bitmap = s->alloc | (uint64_t)s->zero << 32;

	/* it was only looked at, and a table was not needed for that */
	if (!s->t && table_at(g, s->voff >> (g->d.h->cluster_bits +
			    qcow2_l2_bits(g->d.h)), true, &s->t, e) < 0)
		return -1;
	qcow2_edit_l2_set(&g->d, s->t, s->l2x, entry, bitmap);
	return 0;
}

int
qcow2_guest_give_up(struct qcow2_guest *g,
	const struct qcow2_guest_spot *s, struct err *e)
{
	if (s->x.kind == QCOW2_E_PACKED)
		return qcow2_edit_drop(&g->d, s->x.hoff, s->x.hlen, e);
	if (!s->x.mapped || g->d.data_file)
		return 0;
	return qcow2_edit_drop(&g->d, s->x.hoff, g->cs, e);
}

static int
read_packed(struct qcow2_guest *g, const struct qcow2_guest_spot *s, uint64_t from,
	uint64_t to, struct err *e)
{
	const struct extent x = {.kind = EXTENT_PACKED, .hoff = s->x.hoff,
		.hlen = s->x.hlen, .poff = (uint32_t)from,
		.plen = (uint32_t)g->cs, .len = to - from,
		.codec = g->d.h->compression ? CODEC_ZSTD : CODEC_DEFLATE};

	return chain_read_packed(g->d.plan.file[PLAN_IMAGE], &x,
		g->fill + from, e);
}

/* Bytes [from, to) of the cluster as the guest sees them, into g->fill. */
static int
gather(struct qcow2_guest *g,
	const struct qcow2_guest_spot *s, uint64_t from, uint64_t to,
	struct err *e)
{
	struct file *f = g->d.plan.file[g->d.data_file ? PLAN_DATA
		: PLAN_IMAGE];
	uint64_t next;

	if (s->x.kind == QCOW2_E_PACKED)
		return read_packed(g, s, from, to, e);
	for (; from < to; from = next) {
		uint64_t k = from / g->unit;
		uint8_t *p = g->fill + from;
		int r = 0;

		next = units_min(to, (k + 1) * g->unit);
		if (s->alloc >> k & 1)
			r = file_read_padded(f, p, next - from,
				s->x.hoff + from, NULL, e);
		else if ((s->zero >> k & 1) || g->below.n == 0)
			memset(p, 0, next - from);
		else
			r = chain_read_guest(&g->below, s->voff + from,
				next - from, p, e);
		if (r < 0)
			return -1;
	}
	return 0;
}

/* Bytes [from, to) of the cluster go to its new place. */
static int
copy(struct qcow2_guest *g,
	const struct qcow2_guest_spot *s, uint64_t host, uint64_t from,
	uint64_t to, struct err *e)
{
	enum plan_file which = g->d.data_file ? PLAN_DATA : PLAN_IMAGE;

	if (from == to)
		return 0;
	if (gather(g, s, from, to, e) < 0)
		return -1;
	if (host + from >= g->d.plan.touched[which] &&
		zero_is(g->fill + from, to - from))
		return 0;
	plan_touch(&g->d.plan, which, host + to);
	return file_write(g->d.plan.file[which], g->fill + from, to - from,
		host + from, e);
}

/* All that surrounds bytes [lo, hi) and has to be there with them. */
static int
surround(struct qcow2_guest *g, const struct qcow2_guest_spot *s, uint64_t host,
	uint64_t lo, uint64_t hi, struct err *e)
{
	uint64_t first = lo / g->unit, last = (hi - 1) / g->unit;
	/* what lies at the place already need not be brought there */
	uint32_t there = s->own ? s->alloc : 0;

	for (uint64_t k = 0; !s->own && k < g->units; k++) {
		if (k == first)
			k = last;
		else if ((s->alloc >> k & 1) && copy(g, s, host, k * g->unit,
			(k + 1) * g->unit, e) < 0)
			return -1;
	}
	if (!(there >> first & 1) &&
		copy(g, s, host, first * g->unit, lo, e) < 0)
		return -1;
	if (!(there >> last & 1) &&
		copy(g, s, host, hi, (last + 1) * g->unit, e) < 0)
		return -1;
	return 0;
}

/* Units from first to last. */
static uint32_t
mask_of(uint64_t first, uint64_t last)
{
	return (uint32_t)((UINT64_C(2) << last) - (UINT64_C(1) << first));
}

/* One write within one cluster. */
static int
place(struct qcow2_guest *g, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	enum plan_file which = g->d.data_file ? PLAN_DATA : PLAN_IMAGE;
	uint64_t lo = voff & (g->cs - 1), hi = lo + len, host;
	uint32_t touched = mask_of(lo / g->unit, (hi - 1) / g->unit);
	struct qcow2_guest_spot s;

	if (qcow2_guest_look(g, voff, true, &s, e) < 0)
		return -1;
	host = s.host;
	if (s.own && !g->d.data_file && qcow2_refs_may_write(&g->d.refs,
		QCOW2_META_NONE, host + lo, len, e) < 0)
		return -1;
	if (!s.own && qcow2_refs_alloc(&g->d.refs, 1, &host, e) < 0)
		return -1;
	if (surround(g, &s, host, lo, hi, e) < 0)
		return -1;
	plan_touch(&g->d.plan, which, host + hi);
	g->data_placed |= which == PLAN_DATA;
	if (!s.own || (touched & ~s.alloc)) {
		if (!s.own && qcow2_guest_give_up(g, &s, e) < 0)
			return -1;
		s.alloc |= touched;
		s.zero &= ~touched;
		if (qcow2_guest_store(g, &s, host | QCOW2_COPIED, e) < 0)
			return -1;
	}
	return placed_add(out, buf, len, host + lo, which == PLAN_DATA, e);
}

int
qcow2_guest_data(struct qcow2_guest *g, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e)
{
	const uint8_t *p = buf;

	if (qcow2_guest_note(g, voff, len, e) < 0)
		return -1;
	while (len > 0) {
		size_t n = units_min(len, g->cs - (voff & (g->cs - 1)));

		if (place(g, voff, p, n, out, e) < 0)
			return -1;
		p += n;
		voff += n;
		len -= n;
	}
	return 0;
}

static int
write_tables(struct qcow2_guest *g, bool fresh, struct err *e)
{
	for (size_t i = 0; i < g->n; i++) {
		if (g->table[i].fresh == fresh &&
			qcow2_edit_l2_write(&g->d, &g->table[i], e) < 0)
			return -1;
	}
	return 0;
}

int
qcow2_guest_settle(struct qcow2_guest *g, struct err *e)
{
	struct qcow2_edit *d = &g->d;

	/* a barrier that was run meanwhile was too early for it */
	if (g->data_placed)
		plan_touch(&d->plan, PLAN_DATA, 0);
	g->data_placed = false;
	/* new tables go with data and counts, in front of the barrier; the
	 * link and the tables that are in use come behind it */
	if (write_tables(g, true, e) < 0 || qcow2_edit_link(d, e) < 0 ||
		write_tables(g, false, e) < 0)
		return -1;
	forget_tables(g);
	if ((d->n_drop && qcow2_edit_settle(d, e) < 0) ||
		plan_run(&d->plan, e) < 0)
		return -1;
	d->refs.written = false;
	return 0;
}

int
qcow2_guest_finish(struct qcow2_guest *g, struct err *e)
{
	if (qcow2_record_store(&g->record, &g->d, e) < 0 ||
		qcow2_refs_flush(&g->d.refs, e) < 0 ||
		plan_barrier(&g->d.plan, "done", e) < 0 ||
		plan_run(&g->d.plan, e) < 0)
		return -1;
	g->d.refs.written = false;
	return 0;
}
