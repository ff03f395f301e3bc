/* SPDX-License-Identifier: MIT */
/*
 * Guest bytes to extents: the walk through L1 and L2 (section "Cluster
 * mapping"). Entries are copied out of the cache in batches and decoded
 * without its lock; nothing is allocated.
 *
 * Unlike QEMU, which reads zeros past the end of the file, a reference to
 * there is an error: it is what a truncated download looks like. A cluster
 * that the file's end cuts is fine.
 */
#include "format/qcow2.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "base/units.h"

#define L1_BATCH 512u /* entries; 4 KiB of stack */
#define L2_BATCH 512u /* entries; 8 KiB of stack with extended L2 */
/* L2 entries that one call looks at, so that a call on a huge contiguous
 * image ends: 512 KiB of tables, 4 GiB of guest at 64 KiB clusters */
#define L2_CALL_MAX 65536u
/* QEMU keeps L2 tables in slices of this size at most */
#define SLICE_BYTES (64 * KIB)

struct walk {
	struct image *im;
	struct qcow2 *q;
	struct extent *v; /* the answer */
	size_t n, cap;
	bool full;        /* an extent did not fit any more */
	uint64_t end;     /* guest byte behind the request */
	uint64_t data_size;  /* bytes of the file that holds data */
	uint64_t data_end;   /* that, rounded up to a cluster */
	uint64_t table_end;  /* the same of the image file */
	uint16_t data_index; /* extent.file of data */
	uint64_t budget;     /* L2 entries that may still be looked at */
	uint64_t l2_hoff;    /* the table that is looked at */
};

static void
add(struct walk *w, const struct extent *x)
{
	struct extent *last = w->n ? &w->v[w->n - 1] : NULL;

	if (last && last->kind == x->kind && x->kind != EXTENT_PACKED &&
		last->flags == x->flags &&
		((x->kind != EXTENT_DATA && !x->flags) ||
			last->hoff + last->len == x->hoff)) {
		last->len += x->len;
		if (x->kind == EXTENT_DATA)
			last->hlen += x->len;
		return;
	}
	if (w->n == w->cap)
		w->full = true;
	else
		w->v[w->n++] = *x;
}

static void
add_plain(struct walk *w, enum extent_kind kind, uint64_t voff, uint64_t len)
{
	add(w, &(struct extent){.voff = voff, .len = len,
		.kind = (uint8_t)kind});
}

static void
add_mapped(struct walk *w, enum extent_kind kind, uint64_t voff, uint64_t len,
	uint64_t hoff)
{
	add(w, &(struct extent){.voff = voff, .len = len, .hoff = hoff,
		.kind = (uint8_t)kind, .flags = EXTENT_MAPPED,
		.file = w->data_index});
}

static void
add_hole(struct walk *w, bool mapped, uint64_t voff, uint64_t len,
	uint64_t hoff)
{
	if (mapped && (w->im->flags & IMAGE_VERBATIM))
		add_mapped(w, EXTENT_HOLE, voff, len, hoff);
	else
		add_plain(w, EXTENT_HOLE, voff, len);
}

/* What lies behind the file's end, within a cluster that begins before it. */
static void
add_data(struct walk *w, uint64_t voff, uint64_t len, uint64_t hoff)
{
	uint64_t have = 0;

	if (w->im->flags & IMAGE_VERBATIM)
		have = len;
	else if (hoff < w->data_size)
		have = units_min(len, w->data_size - hoff);
	if (have)
		add(w, &(struct extent){.voff = voff, .len = have,
			.hoff = hoff, .hlen = have, .kind = EXTENT_DATA,
			.file = w->data_index});
	if (have < len && !w->full)
		add_plain(w, EXTENT_ZERO, voff + have, len - have);
}

/* A reference past the end: an error, or (lenient) a note once. */
static int
past_end(struct walk *w, const char *what, uint64_t hoff, uint64_t voff,
	uint64_t file_size, struct err *e)
{
	if (!(w->im->flags & IMAGE_LENIENT))
		return err_set(e, ERR_CORRUPT, "%s at %" PRIu64 " (for guest "
			"offset %" PRIu64 ") lies past the end of the file (%"
			PRIu64 " bytes)", what, hoff, voff, file_size);
	if (!atomic_exchange(&w->q->noted, true)) {
		struct err note;
		char line[700];

		err_set(&note, ERR_CORRUPT, "%s at %" PRIu64 " lies past the "
			"end of the file (%" PRIu64 " bytes): such parts are "
			"read as zeros", what, hoff, file_size);
		err_file(&note, w->im->file->name);
		watch_note(w->im->watch, err_text(&note, line, sizeof(line)));
	}
	return 0;
}

/* Guest bytes [voff, end) of a cluster that begins at guest byte start. */
static int
add_sub(struct walk *w, const struct qcow2_entry *n, uint64_t start,
	uint64_t voff, uint64_t end, bool gone)
{
	uint64_t sub = qcow2_cluster_size(&w->q->h) / QCOW2_SUBCLUSTERS;
	uint64_t next;

	for (; voff < end && !w->full; voff = next) {
		uint64_t i = (voff - start) / sub;
		uint64_t hoff = n->hoff + (voff - start);

		next = units_min(end, start + (i + 1) * sub);
		if (n->zero >> i & 1) {
			if (n->mapped)
				add_mapped(w, EXTENT_ZERO, voff, next - voff,
					hoff);
			else
				add_plain(w, EXTENT_ZERO, voff, next - voff);
		} else if (!(n->alloc >> i & 1)) {
			add_hole(w, n->mapped, voff, next - voff, hoff);
		} else if (gone) {
			add_plain(w, EXTENT_ZERO, voff, next - voff);
		} else {
			add_data(w, voff, next - voff, hoff);
		}
	}
	return 0;
}

static int
add_packed(struct walk *w, const struct qcow2_entry *n, uint64_t start,
	uint64_t voff, uint64_t end, struct err *e)
{
	if (n->hoff >= w->im->file->size &&
		!(w->im->flags & IMAGE_VERBATIM)) {
		if (past_end(w, "a compressed cluster", n->hoff, voff,
			w->im->file->size, e))
			return -1;
		add_plain(w, EXTENT_ZERO, voff, end - voff);
		return 0;
	}
	add(w, &(struct extent){
		.voff = voff,
		.len = end - voff,
		.hoff = n->hoff,
		.hlen = n->hlen,
		.poff = (uint32_t)(voff - start),
		.plen = (uint32_t)qcow2_cluster_size(&w->q->h),
		.kind = EXTENT_PACKED,
		.codec = w->q->h.compression ? CODEC_ZSTD : CODEC_DEFLATE,
	});
	return 0;
}

/* Says where the entry is that was not decoded; the index counts as QEMU's
 * does, in a slice of the table. */
static int
bad_entry(const struct walk *w, uint64_t voff, struct err *e)
{
	const struct qcow2_header *h = &w->q->h;
	uint64_t slice = units_min(qcow2_cluster_size(h), SLICE_BYTES) /
		qcow2_l2_entry_size(h);
	size_t n = e ? strlen(e->msg) : 0;

	if (n)
		snprintf(e->msg + n, sizeof(e->msg) - n, " (L2 offset: %#"
			PRIx64 ", L2 index: %#" PRIx64 ")", w->l2_hoff,
			(voff >> h->cluster_bits) % slice);
	return err_prefix(e, "guest offset %" PRIu64, voff);
}

/* One L2 entry, for guest bytes [voff, end) within its cluster. */
static int
add_entry(struct walk *w, uint64_t entry, uint64_t bitmap, uint64_t voff,
	uint64_t end, struct err *e)
{
	uint64_t start = units_align_down(voff,
		qcow2_cluster_size(&w->q->h));
	uint64_t hoff;
	struct qcow2_entry n;
	bool gone = false;

	if (qcow2_entry_decode(&w->q->h, entry, bitmap, &n, e))
		return bad_entry(w, voff, e);
	if (n.kind == QCOW2_E_PACKED)
		return add_packed(w, &n, start, voff, end, e);
	if (n.mapped && w->data_index == 1 && n.hoff != start)
		return err_set(e, ERR_CORRUPT,
			"External data file host cluster offset 0x%" PRIx64
			" does not match guest cluster offset: 0x%" PRIx64,
			n.hoff, start);
	hoff = n.hoff + (voff - start);
	if ((n.kind == QCOW2_E_DATA || (n.kind == QCOW2_E_SUB && n.alloc)) &&
		n.hoff >= w->data_end && !(w->im->flags & IMAGE_VERBATIM)) {
		if (past_end(w, "a data cluster", n.hoff, voff, w->data_size,
			e))
			return -1;
		gone = true;
	}
	switch (n.kind) {
	case QCOW2_E_HOLE:
		add_hole(w, n.mapped, voff, end - voff, hoff);
		return 0;
	case QCOW2_E_ZERO:
		if (n.mapped)
			add_mapped(w, EXTENT_ZERO, voff, end - voff, hoff);
		else
			add_plain(w, EXTENT_ZERO, voff, end - voff);
		return 0;
	case QCOW2_E_SUB:
		return add_sub(w, &n, start, voff, end, gone);
	default:
		if (gone)
			add_plain(w, EXTENT_ZERO, voff, end - voff);
		else
			add_data(w, voff, end - voff, hoff);
		return 0;
	}
}

/* Guest bytes [voff, end) that one L2 table maps. */
static int
walk_l2(struct walk *w, uint64_t l2_hoff, uint64_t voff, uint64_t end,
	struct err *e)
{
	const struct qcow2_header *h = &w->q->h;
	unsigned size = qcow2_l2_entry_size(h);
	uint64_t in_table = (UINT64_C(1) << qcow2_l2_bits(h)) - 1;
	uint8_t batch[L2_BATCH * 16];

	w->l2_hoff = l2_hoff;
	while (voff < end && !w->full && w->budget) {
		uint64_t l2x = voff >> h->cluster_bits & in_table;
		uint64_t left = ((end - 1) >> h->cluster_bits) -
			(voff >> h->cluster_bits) + 1;
		uint64_t n = units_min(units_min(left, L2_BATCH), w->budget);
		uint64_t i;

		if (qcow2_cache_read(w->q->cache, l2_hoff + l2x * size, batch,
			n * size, e))
			return err_prefix(e, "L2 table at %" PRIu64, l2_hoff);
		w->budget -= n;
		for (i = 0; i < n && !w->full; i++) {
			const uint8_t *p = batch + i * size;
			uint64_t next = units_min(end,
				((voff >> h->cluster_bits) + 1)
					<< h->cluster_bits);

			if (add_entry(w, load_be64(p),
				size == 16 ? load_be64(p + 8) : 0, voff, next,
				e))
				return -1;
			voff = next;
		}
	}
	return 0;
}

/* L1 entry l1x, for guest bytes [voff, end) in its reach. */
static int
walk_l1_entry(struct walk *w, uint64_t l1x, uint64_t entry, uint64_t voff,
	uint64_t end, struct err *e)
{
	uint64_t l2_hoff = entry & QCOW2_L1_OFFSET;

	if (l2_hoff & (qcow2_cluster_size(&w->q->h) - 1))
		return err_set(e, ERR_CORRUPT, "L2 table offset %#" PRIx64
			" unaligned (L1 index: %#" PRIx64 ")", l2_hoff, l1x);
	if (l2_hoff >= w->table_end) {
		/* a table of zeros is what QEMU finds there */
		if (!(w->im->flags & IMAGE_VERBATIM) &&
			past_end(w, "an L2 table", l2_hoff, voff,
				w->im->file->size, e))
			return -1;
		add_plain(w, EXTENT_HOLE, voff, end - voff);
		return 0;
	}
	return walk_l2(w, l2_hoff, voff, end, e);
}

static int
walk_l1(struct walk *w, uint64_t voff, struct err *e)
{
	const struct qcow2 *q = w->q;
	unsigned shift = q->h.cluster_bits + qcow2_l2_bits(&q->h);
	uint8_t batch[L1_BATCH * 8];

	while (voff < w->end && !w->full && w->budget) {
		uint64_t l1x = voff >> shift, n, i, j, next;

		if (l1x >= q->l1_entries) {
			add_plain(w, EXTENT_HOLE, voff, w->end - voff);
			return 0;
		}
		n = units_min(((w->end - 1) >> shift) - l1x + 1,
			units_min(q->l1_entries - l1x, L1_BATCH));
		if (qcow2_cache_read(q->cache, q->l1_offset + l1x * 8, batch,
			n * 8, e))
			return err_prefix(e, "L1 table");
		for (i = 0; i < n && !w->full && w->budget; i = j) {
			uint64_t entry = load_be64(batch + i * 8) &
				QCOW2_L1_OFFSET;

			/* entries of nothing are taken together */
			for (j = i + 1; !entry && j < n; j++)
				if (load_be64(batch + j * 8) & QCOW2_L1_OFFSET)
					break;
			next = units_min(w->end, (l1x + j) << shift);
			if (!entry)
				add_plain(w, EXTENT_HOLE, voff, next - voff);
			else if (walk_l1_entry(w, l1x + i, entry, voff, next,
				e))
				return -1;
			voff = next;
		}
	}
	return 0;
}

int
qcow2_map_describe(struct image *im, uint64_t voff, uint64_t len,
	struct extent *ret, size_t cap, size_t *ret_n, struct err *e)
{
	struct qcow2 *q = qcow2_of(im);
	uint64_t cluster = qcow2_cluster_size(&q->h);
	bool external = (q->h.incompatible & QCOW2_DATA_FILE) != 0;
	struct walk w = {
		.im = im,
		.q = q,
		.v = ret,
		.cap = cap,
		.end = voff + len,
		.data_index = external ? 1 : 0,
		.budget = L2_CALL_MAX,
	};

	if (external && !im->data_file)
		return err_set(e, ERR_USAGE,
			"the external data file is not open");
	w.data_size = external ? im->data_file->size : im->file->size;
	if (!ck_align_up(w.data_size, cluster, &w.data_end) ||
		!ck_align_up(im->file->size, cluster, &w.table_end))
		return err_set(e, ERR_LIMIT, "the file is too large");
	/* what was found before a bad entry is a good answer; the next call
	 * begins with the bad one */
	if (walk_l1(&w, voff, e) && w.n == 0)
		return -1;
	*ret_n = w.n;
	return 0;
}
