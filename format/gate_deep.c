/* SPDX-License-Identifier: MIT */
/*
 * Walks the tables of a hostile qcow2 in time linear in what the file really
 * holds: a table in a hole is not read, an L2 table that several snapshots
 * share is read once and its count remembered. Guest data is not looked at.
 *
 * Within one L1 every guest cluster has a host cluster of its own, so an L2
 * table that turns up twice, or more mapped clusters than the file has, is
 * aliasing: 400 KB could map a terabyte.
 */
#include "format/gate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/buf.h"
#include "base/ck.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2.h"
#include "io/sparse.h"

#define CHUNK (64 * KIB)  /* of a table, read at once */
/* the longest snapshot entry: fixed part, extra data, two 16-bit lengths */
#define SNAPSHOT_VIEW (40 + QCOW2_SNAPSHOT_EXTRA_MAX + 2 * 65535 + 8)
#define BAD_ENTRIES_MAX 8 /* reported; then the walk stops */

/* What is known of one L2 table; key is its host cluster number, 0 if free. */
struct slot {
	uint64_t key;
	uint32_t plain; /* clusters that it maps, packed ones excepted */
	uint32_t turn;  /* the L1 that it was last met in; 0 none */
};

/* 1 Mi slots of 16 bytes: 7/8 of them are 470 TiB of data in 64 KiB clusters,
 * 28 GiB in those of 512 bytes. */
#define SLOTS_MAX (GATE_DEEP_MEMORY / sizeof(struct slot))
#define SLOTS_MIN 64u

struct walk {
	struct file *f;
	const struct qcow2_header *h;
	const struct watch *watch;
	struct gate_report *r;
	uint64_t cluster;
	uint64_t end;      /* of the file, rounded up to a cluster */
	struct slot *slots;
	size_t n_slots;    /* a power of two */
	/* unknown to who made the file: the places of his tables cannot be
	 * chosen so that all fall on one slot */
	uint64_t seed;
	size_t used;
	uint8_t *l1_buf, *l2_buf; /* CHUNK bytes each */
	uint64_t seen;     /* bytes of snapshot L1 tables met */
	uint64_t meta;     /* clusters of header, L1, refcount table, blocks */
	uint64_t plain;    /* clusters mapped by the current L1 */
	uint64_t packed;   /* compressed clusters in all L2 tables */
	uint64_t voff;     /* guest byte of the L2 table at hand */
	uint32_t turn;
	unsigned bad;
	bool deep;
	bool lenient; /* what lies past the end reads as zeros */
	bool whole;
	bool external; /* data clusters lie in another file */
	bool stop;
};

/* One more bad entry; the walk ends after some. */
#define BAD(w, id, ...)                                                        \
	do {                                                                   \
		gate_reason_add((w)->r, id, __VA_ARGS__);                      \
		if (++(w)->bad == BAD_ENTRIES_MAX)                             \
			(w)->stop = true;                                      \
	} while (0)

#define BEYOND(w, ...)                                                         \
	do {                                                                   \
		if (!(w)->lenient)                                             \
			BAD(w, "beyond-eof", __VA_ARGS__);                     \
	} while (0)

static void
aliasing(struct walk *w, uint64_t a, uint64_t b, const char *what)
{
	gate_reason_add(w->r, "aliasing", "%s (0x%" PRIx64 ", 0x%" PRIx64 ")",
		what, a, b);
	w->stop = true;
}

/* The slot of a key, or the free one where it belongs. */
static struct slot *
slot_of(struct walk *w, uint64_t key)
{
	uint64_t x = (key ^ w->seed) * UINT64_C(0x9e3779b97f4a7c15);
	size_t i;

	/* the second round makes neighbours of a seed strangers of another */
	x = (x ^ x >> 32 ^ w->seed) * UINT64_C(0xd6e8feb86659fd93);
	i = (size_t)(x >> 32);
	for (;; i++) {
		i &= w->n_slots - 1;
		if (w->slots[i].key == key || w->slots[i].key == 0)
			return &w->slots[i];
	}
}

static bool
overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* A cluster that is neither in the header, the active L1 nor the refcount
 * table; their places were found to lie in the file. */
static bool
over_metadata(const struct walk *w, uint64_t hoff)
{
	const struct qcow2_header *h = w->h;

	return hoff < w->cluster ||
		overlaps(hoff, w->cluster, h->l1_offset,
			(uint64_t)h->l1_entries * 8) ||
		overlaps(hoff, w->cluster, h->reftable_offset,
			(uint64_t)h->reftable_clusters << h->cluster_bits);
}

/*
 * Reads up to CHUNK bytes of a table at hoff; *ret_len is how far that went,
 * *ret_zero that all of it lies in a hole of the file (or past its end) and
 * buf was not filled. len > 0.
 */
static int
table_chunk(struct walk *w, uint64_t hoff, uint64_t len, uint8_t *buf,
	uint64_t *ret_len, bool *ret_zero, struct err *e)
{
	uint64_t run = 0;
	bool data = false;

	if (watch_cancelled(w->watch))
		return err_set(e, ERR_CANCELLED, "cancelled");
	if (hoff >= w->f->size) {
		*ret_len = len;
		*ret_zero = true;
		return 0;
	}
	if (sparse_next(w->f, hoff, &run, &data, e))
		return -1;
	if (!data && run >= 512) {
		*ret_len = units_min(units_align_down(run, 8), len);
		*ret_zero = true;
		return 0;
	}
	*ret_len = units_min(len, CHUNK);
	*ret_zero = false;
	return file_read_padded(w->f, buf, *ret_len, hoff, NULL, e);
}

/* True if it is one of this file's clusters. */
static bool
check_plain(struct walk *w, uint64_t hoff)
{
	if (w->external)
		return false;
	if (hoff + w->cluster > w->end) {
		BEYOND(w, "data cluster at %" PRIu64 " lies past the end of "
			"the file (%" PRIu64 " bytes)", hoff, w->f->size);
		return false;
	}
	if (over_metadata(w, hoff))
		aliasing(w, hoff, w->cluster, "a data cluster lies over the "
			"header, the L1 or the refcount table (offset, length)");
	else if (slot_of(w, hoff >> w->h->cluster_bits)->key)
		aliasing(w, hoff, w->cluster, "a data cluster lies over an L2 "
			"table (offset, length)");
	return true;
}

/* Bytes from the start of the cluster at guest byte voff on that a guest reads
 * from it. */
static uint64_t
visible(const struct walk *w, const struct qcow2_entry *x, uint64_t voff)
{
	uint64_t n = voff < w->h->size ? w->h->size - voff : 0;
	unsigned last = 32;

	if (x->kind != QCOW2_E_DATA && x->kind != QCOW2_E_SUB)
		return 0;
	if (x->kind == QCOW2_E_SUB)
		while (last > 0 && !(x->alloc & (UINT32_C(1) << (last - 1))))
			last--;
	return units_min(n, w->cluster / 32 * last);
}

/* Snapshots are not what is read; the active state comes first. */
static void
check_whole(struct walk *w, const char *what, uint64_t hoff, uint64_t len)
{
	if (w->whole && w->turn == 1 && hoff + len > w->f->size)
		BEYOND(w, "%s at %" PRIu64 " is cut off by the end of the file "
			"(%" PRIu64 " bytes), and no digest was given by which "
			"the file is whole", what, hoff, w->f->size);
}

/* One L2 entry that is not all zero, of guest byte voff; true if it maps a
 * plain cluster. */
static bool
l2_entry(struct walk *w, uint64_t l2, uint64_t voff, uint64_t entry,
	uint64_t bitmap)
{
	struct qcow2_entry x;
	struct err why;

	if (!(entry & QCOW2_PACKED) && (entry & QCOW2_L2_RESERVED)) {
		BAD(w, "corrupt-table", "L2 table at %" PRIu64 " has an entry "
			"0x%016" PRIx64 " with reserved bits", l2, entry);
		return false;
	}
	if (qcow2_entry_decode(w->h, entry, bitmap, &x, &why)) {
		BAD(w, "corrupt-table", "L2 table at %" PRIu64 ": %s", l2,
			why.msg);
		return false;
	}
	if (x.kind == QCOW2_E_PACKED) {
		w->packed++;
		/* it may end past the end of the file, not begin there */
		if (entry & QCOW2_COPIED)
			BAD(w, "corrupt-table", "L2 table at %" PRIu64 " has a "
				"packed cluster with the copied flag (0x%016"
				PRIx64 ")", l2, entry);
		else if (x.hoff >= w->f->size)
			BEYOND(w, "packed cluster at %" PRIu64
				" begins past the end of the file (%" PRIu64
				" bytes)", x.hoff, w->f->size);
		return false;
	}
	if (!(entry & QCOW2_L2_OFFSET) || !check_plain(w, x.hoff))
		return false;
	check_whole(w, "data cluster", x.hoff, visible(w, &x, voff));
	return true;
}

/* Reads an L2 table; *ret_plain is the number of plain clusters it maps. */
static int
walk_l2(struct walk *w, uint64_t l2, uint32_t *ret_plain, struct err *e)
{
	unsigned size = qcow2_l2_entry_size(w->h);
	uint64_t done, len, i;
	uint32_t plain = 0;
	bool zero;

	for (done = 0; done < w->cluster && !w->stop; done += len) {
		if (table_chunk(w, l2 + done, w->cluster - done, w->l2_buf,
			&len, &zero, e))
			return -1;
		/* an extended entry is not cut in two */
		if (zero && len > size)
			len = units_align_down(len, size);
		for (i = 0; !zero && i < len && !w->stop; i += size) {
			uint64_t entry = load_be64(w->l2_buf + i);
			uint64_t bitmap = size == 16 ?
				load_be64(w->l2_buf + i + 8) : 0;

			if ((entry | bitmap) != 0)
				plain += l2_entry(w, l2, w->voff +
					(done + i) / size * w->cluster, entry,
					bitmap);
		}
	}
	*ret_plain = plain;
	return 0;
}

/* All clusters in use are different ones. The L2 tables of earlier turns need
 * not be this one's, so they count in the first turn only. */
static void
check_count(struct walk *w)
{
	uint64_t held = w->end >> w->h->cluster_bits;
	uint64_t used = w->plain + w->meta + (w->turn == 1 ? w->used : 0);

	if (used > held && !w->stop)
		aliasing(w, used, held, "more clusters are in use than the "
			"file has (used, held)");
}

static int
l1_entry(struct walk *w, uint64_t entry, struct err *e)
{
	uint64_t l2 = entry & QCOW2_L1_OFFSET;
	struct slot *s;

	if (entry & QCOW2_L1_RESERVED)
		BAD(w, "corrupt-table", "an L1 entry 0x%016" PRIx64 " has "
			"reserved bits", entry);
	else if (l2 & (w->cluster - 1))
		BAD(w, "corrupt-table", "L2 table at 0x%" PRIx64 " is not "
			"aligned to clusters of %" PRIu64 " bytes", l2,
			w->cluster);
	else if (l2 != 0 && l2 + w->cluster > w->end)
		BEYOND(w, "L2 table at %" PRIu64 " lies past the "
			"end of the file (%" PRIu64 " bytes)", l2, w->f->size);
	else if (l2 != 0 && over_metadata(w, l2))
		aliasing(w, l2, w->cluster, "an L2 table lies over the header, "
			"the L1 or the refcount table (offset, length)");
	else if (l2 != 0) {
		check_whole(w, "L2 table", l2, w->cluster);
		s = slot_of(w, l2 >> w->h->cluster_bits);
		if (s->key && s->turn == w->turn) {
			aliasing(w, l2, entry, "an L2 table is shared by "
				"several L1 entries (offset, entry)");
			return 0;
		}
		if (!s->key && w->used + 1 > w->n_slots / 8 * 7) {
			gate_reason_add(w->r, "too-large", "has more than %zu "
				"L2 tables", w->used);
			w->stop = true;
			return 0;
		}
		if (!s->key) {
			/* known before it is read: it may name itself */
			s->key = l2 >> w->h->cluster_bits;
			w->used++;
			if (walk_l2(w, l2, &s->plain, e))
				return -1;
		}
		s->turn = w->turn;
		w->plain += s->plain;
		check_count(w);
	}
	return 0;
}

static int
walk_l1(struct walk *w, uint64_t hoff, uint64_t entries, struct err *e)
{
	uint64_t bytes = entries * 8, done, len, i;
	/* guest bytes of one L2 table */
	uint64_t reach = w->cluster / qcow2_l2_entry_size(w->h) * w->cluster;
	bool zero;

	w->turn++;
	w->plain = 0;
	if (w->deep)
		check_whole(w, "L1 table", hoff, bytes);
	for (done = 0; w->deep && done < bytes && !w->stop; done += len) {
		if (table_chunk(w, hoff + done, bytes - done, w->l1_buf, &len,
			&zero, e))
			return -1;
		for (i = 0; !zero && i < len && !w->stop; i += 8) {
			uint64_t entry = load_be64(w->l1_buf + i);

			w->voff = (done + i) / 8 * reach;
			if (entry && l1_entry(w, entry, e))
				return -1;
		}
	}
	return 0;
}

/* The L1 table of a snapshot: its place, and that tables do not share. */
static void
check_snapshot(struct walk *w, const struct info_snapshot *s)
{
	uint64_t bytes = (uint64_t)s->l1_entries * 8, end;

	if (bytes > QCOW2_L1_MAX)
		BAD(w, "too-large", "a snapshot's L1 table has %" PRIu32
			" entries; the limit is %u", s->l1_entries,
			QCOW2_L1_MAX / 8);
	else if (s->l1_offset & (w->cluster - 1))
		BAD(w, "corrupt-table", "a snapshot's L1 table at 0x%" PRIx64
			" is not aligned to clusters of %" PRIu64 " bytes",
			s->l1_offset, w->cluster);
	else if (!ck_add(s->l1_offset, bytes, &end) || end > w->end)
		BEYOND(w, "a snapshot's L1 table at %" PRIu64 ", %"
			PRIu64 " bytes, ends past the end of the file (%" PRIu64
			" bytes)", s->l1_offset, bytes, w->f->size);
	else if ((w->seen += bytes) > w->end)
		aliasing(w, w->seen, w->end, "the snapshots' L1 tables are "
			"larger than the file (bytes, held)");
}

/* The table's entries one by one: the names in it may be 64 MiB. */
static int
walk_snapshots(struct walk *w, struct err *e)
{
	CLEANUP(qcow2_table_close) struct qcow2_table t = {0};
	uint32_t i;

	if (qcow2_table_open(&t, w->f, w->h->snapshots_offset,
		QCOW2_SNAPSHOT_TABLE_MAX + SNAPSHOT_VIEW, e))
		return -1;
	for (i = 0; i < w->h->n_snapshots && !w->stop; i++) {
		struct info_snapshot s = {0};
		unsigned bad = w->bad;
		struct span view;
		struct cursor c;
		struct err why;
		int r = 0;

		if (qcow2_table_view(&t, SNAPSHOT_VIEW, &view, e))
			return -1;
		c = cursor_over(view);
		if (qcow2_snapshot_decode(&c, w->h, &s, &why)) {
			BAD(w, "corrupt-table", "snapshot %" PRIu32 ": %s", i,
				why.msg);
			return 0;
		}
		qcow2_table_skip(&t, view.len - c.left);
		if (t.done > QCOW2_SNAPSHOT_TABLE_MAX) {
			gate_reason_add(w->r, "too-large", "has a snapshot "
				"table of more than %u bytes",
				QCOW2_SNAPSHOT_TABLE_MAX);
			w->stop = true;
		}
		check_snapshot(w, &s);
		if (w->bad == bad && !w->stop)
			r = walk_l1(w, s.l1_offset, s.l1_entries, e);
		free(s.id);
		free(s.name);
		if (r)
			return -1;
	}
	return 0;
}

static int
walk_reftable(struct walk *w, struct err *e)
{
	uint64_t bytes = (uint64_t)w->h->reftable_clusters <<
		w->h->cluster_bits;
	uint64_t done, len, i;
	bool zero;

	for (done = 0; done < bytes && !w->stop; done += len) {
		if (table_chunk(w, w->h->reftable_offset + done, bytes - done,
			w->l1_buf, &len, &zero, e))
			return -1;
		for (i = 0; !zero && i < len && !w->stop; i += 8) {
			uint64_t entry = load_be64(w->l1_buf + i);
			uint64_t hoff = entry & QCOW2_REFTABLE_OFFSET, end;

			if (entry == 0)
				continue;
			w->meta += !w->lenient;
			if (entry & (w->cluster - 1))
				BAD(w, "corrupt-table", "refcount table entry "
					"0x%016" PRIx64 " is not aligned or "
					"has reserved bits", entry);
			else if (!ck_add(hoff, w->cluster, &end) ||
				end > w->end)
				BEYOND(w, "refcount block at %" PRIu64
					" lies past the end of the file (%"
					PRIu64 " bytes)", hoff, w->f->size);
		}
	}
	return 0;
}

/*
 * A stream that makes a whole cluster has a least length: deflate gains 1032
 * times at best, a zstd frame has a header of 6 bytes and a block of 4. More
 * packed clusters than fit in the file share their bytes.
 */
static void
check_packed(struct walk *w)
{
	uint64_t least = w->h->compression ? 10 : w->cluster / 1032 + 1;

	if (w->packed > w->f->size / least)
		aliasing(w, w->packed, w->f->size / least, "more packed "
			"clusters than the file can hold (packed, held)");
}

static int
walk_all(struct walk *w, struct err *e)
{
	const struct qcow2_header *h = w->h;

	/* of a file that was cut short, these may lie past its end */
	if (!w->lenient)
		w->meta = 1 + h->reftable_clusters +
			units_div_up((uint64_t)h->l1_entries * 8, w->cluster);
	if (w->deep && walk_reftable(w, e))
		return -1;
	if (!w->stop && walk_l1(w, h->l1_offset, h->l1_entries, e))
		return -1;
	w->r->mapped = w->plain << h->cluster_bits;
	w->r->packed = w->packed;
	if (!w->stop)
		check_packed(w);
	if (!w->stop && h->n_snapshots)
		return walk_snapshots(w, e);
	return 0;
}

/* As many as there can be L2 tables, and an eighth; nothing grows later. */
static size_t
slots_wanted(const struct walk *w)
{
	uint64_t most = w->h->n_snapshots ? UINT64_MAX : w->h->l1_entries;
	size_t n = SLOTS_MIN;

	most = units_min(most, w->end >> w->h->cluster_bits);
	while (n < SLOTS_MAX && n / 8 * 7 <= most)
		n *= 2;
	return n;
}

int
gate_deep_walk(const struct gate *g, struct file *f,
	const struct qcow2_header *h, bool deep, const struct watch *watch,
	struct gate_report *r, struct err *e)
{
	struct walk w = {.f = f, .h = h, .watch = watch, .r = r,
		.cluster = qcow2_cluster_size(h), .deep = deep,
		.lenient = g->lenient, .whole = g->whole,
		.external = (h->incompatible & QCOW2_DATA_FILE) != 0};
	int status;

	if (!ck_align_up(f->size, w.cluster, &w.end))
		return err_set(e, ERR_LIMIT, "the file is too large");
	w.n_slots = slots_wanted(&w);
	if (getrandom(&w.seed, sizeof(w.seed), GRND_NONBLOCK) < 0)
		w.seed = (uint64_t)(uintptr_t)&w; /* the stack's is, too */
	/* untouched slots cost address space only */
	w.slots = calloc(w.n_slots, sizeof(*w.slots));
	w.l1_buf = buf_alloc_aligned(CHUNK);
	w.l2_buf = buf_alloc_aligned(CHUNK);
	if (w.slots && w.l1_buf && w.l2_buf)
		status = walk_all(&w, e);
	else
		status = err_set(e, ERR_NOMEM, "no memory to walk the tables");
	free(w.slots);
	free(w.l1_buf);
	free(w.l2_buf);
	return status;
}
