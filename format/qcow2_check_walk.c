/* SPDX-License-Identifier: MIT */
/*
 * L1 and L2 tables, entry by entry in QEMU's order, and the references that
 * they make. Counting is qcow2_counts.c's; what the counts should be is not
 * asked here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2_check_int.h"

#define ALL_ALLOCATED UINT64_C(0x00000000ffffffff)
#define ALL_ZERO UINT64_C(0xffffffff00000000)
#define AHEAD 16 /* entries; a count is fetched before it is needed */

/* One visit of an L2 table, or several at once. */
struct visit {
	uint64_t l2_hoff;
	bool active;
	uint64_t times;        /* as a reference */
	uint64_t active_times; /* of them by the active L1 */
	uint64_t next;  /* host byte behind the cluster before; 0: none */
	unsigned entry_size;
};

static void
corrupt(struct qcow2_check *c, uint64_t times)
{
	c->r->corruptions += times;
	c->suspect = true;
}

bool
qcow2_check_walk_charge(struct qcow2_check *c, uint64_t bytes)
{
	if (bytes > c->budget) {
		if (!c->cut)
			qcow2_check_io_say(c, "ERROR tables overlap, and are "
				"not followed any further");
		c->cut = true;
		corrupt(c, 1);
		return false;
	}
	c->budget -= bytes;
	return true;
}

void
qcow2_check_walk_reset(struct qcow2_check *c)
{
	qcow2_index_free(&c->seen);
	c->n_tables = 0;
	c->again = QCOW2_CHECK_AGAIN;
}

static int
ref_cluster(struct qcow2_check *c, uint64_t clu, unsigned flags, uint64_t times,
	struct err *e)
{
	uint64_t over;

	if (clu >= c->counts.n && qcow2_counts_grow(&c->counts, clu + 1, e))
		return -1;
	if (qcow2_counts_add(&c->counts, clu, times, flags, &over, e))
		return -1;
	if (over == 0)
		return 0;
	qcow2_check_io_say(c, "ERROR: overflow cluster offset=0x%" PRIx64,
		clu << c->h->cluster_bits);
	qcow2_check_io_say(c, "Use qemu-img amend to increase the refcount "
		"entry width or qemu-img convert to create a clean copy if the "
		"image cannot be opened for writing");
	corrupt(c, over);
	return 0;
}

int
qcow2_check_walk_ref(struct qcow2_check *c, uint64_t hoff, uint64_t len,
	unsigned flags, uint64_t times, struct err *e)
{
	uint64_t clu, last;

	if (len == 0)
		return 0;
	/* The last cluster may be there in part. QEMU's numbers are signed. */
	if ((int64_t)(hoff + len - c->file_len) >= (int64_t)c->cluster) {
		qcow2_check_io_say(c, "ERROR: counting reference for region "
			"exceeding the end of the file by one cluster or more: "
			"offset 0x%" PRIx64 " size 0x%" PRIx64, hoff, len);
		corrupt(c, times);
		return 0;
	}
	if (hoff > INT64_MAX) {
		c->r->errors++;
		return qcow2_check_io_stop(c, ENOMEM, e);
	}
	last = (hoff + len - 1) >> c->h->cluster_bits;
	for (clu = hoff >> c->h->cluster_bits; clu <= last; clu++) {
		if (ref_cluster(c, clu, flags, times, e)) {
			c->r->errors++;
			return -1;
		}
	}
	return 0;
}

static int
packed_entry(struct qcow2_check *c, const struct visit *v, uint64_t entry,
	uint64_t bitmap, uint64_t i, struct err *e)
{
	unsigned shift = 62 - (c->h->cluster_bits - 8);
	uint64_t hoff = entry & ((UINT64_C(1) << shift) - 1), len;

	if (entry & QCOW2_COPIED) {
		qcow2_check_io_say(c, "ERROR: coffset=0x%" PRIx64
			": copied flag must never be set for compressed "
			"clusters", hoff);
		entry &= ~QCOW2_COPIED;
		corrupt(c, v->times);
	}
	if (c->external) {
		qcow2_check_io_say(c, "ERROR compressed cluster %" PRIu64
			" with data file, entry=0x%" PRIx64, i, entry);
		corrupt(c, v->times);
		return 0;
	}
	if (bitmap) {
		qcow2_check_io_say(c, "ERROR compressed cluster %" PRIu64
			" with non-zero subcluster allocation bitmap, entry=0x%"
			PRIx64, i, entry);
		corrupt(c, v->times);
		return 0;
	}
	len = (((entry & (QCOW2_PACKED - 1)) >> shift) + 1) * 512 -
		(hoff & 511);
	if (qcow2_check_walk_ref(c, hoff, len, 0, v->times, e))
		return -1;
	/* Neighbours share sectors: each is a fragment. */
	c->r->allocated += v->active_times;
	c->r->packed += v->active_times;
	c->r->fragmented += v->active_times;
	return 0;
}

/* An entry that cannot be right and holds no data reads as zeros from now on.
 * *ret_done: it does. -1 where the table itself cannot be written. */
static int
zero_entry(struct qcow2_check *c, const struct visit *v, uint64_t bitmap,
	uint64_t i, bool *ret_done, struct err *e)
{
	uint64_t hoff = v->l2_hoff + i * v->entry_size;
	const char *what;
	uint8_t b[16];

	store_be64(b, v->entry_size == 16 ? 0 : QCOW2_ZERO);
	store_be64(b + 8, (bitmap | bitmap << 32) & ALL_ZERO);
	if (qcow2_check_io_overlap(c, v->active ? QCOW2_META_L2
			: QCOW2_META_NONE, hoff, v->entry_size, &what, e))
		return -1;
	if (what) {
		if (qcow2_check_io_signal(c, e, "Preventing invalid write on "
			"metadata (overlaps with %s)", what))
			return -1;
		qcow2_check_io_say(c, "ERROR: Overlap check failed");
		c->r->errors++;
		return qcow2_check_io_stop(c, EIO, e);
	}
	if (plan_write(&c->plan, PLAN_IMAGE, hoff, b, v->entry_size, e))
		return -1;
	c->r->corruptions--;
	c->r->corruptions_fixed++;
	*ret_done = true;
	return 0;
}

static int
misaligned_entry(struct qcow2_check *c, const struct visit *v, uint64_t entry,
	uint64_t bitmap, uint64_t i, bool *ret_done, struct err *e)
{
	uint64_t hoff = entry & QCOW2_L2_OFFSET;
	bool data = v->entry_size == 16 ? (bitmap & ALL_ALLOCATED) != 0
		: !(entry & QCOW2_ZERO);
	bool mend = !data && (c->fix & QCOW2_FIX_ERRORS);

	corrupt(c, v->times);
	if (data) {
		qcow2_check_io_say(c, "ERROR offset=%" PRIx64 ": Data cluster "
			"is not properly aligned; L2 entry corrupted.", hoff);
		return 0;
	}
	qcow2_check_io_say(c, "%s offset=%" PRIx64 ": Preallocated cluster is "
		"not properly aligned; L2 entry corrupted.",
		mend ? "Repairing" : "ERROR", hoff);
	return mend && v->times == 1
		? zero_entry(c, v, bitmap, i, ret_done, e) : 0;
}

static int
plain_entry(struct qcow2_check *c, struct visit *v, uint64_t entry,
	uint64_t bitmap, uint64_t i, struct err *e)
{
	uint64_t hoff = entry & QCOW2_L2_OFFSET;
	unsigned flags = 0;
	bool done = false;

	if ((bitmap >> 32) & bitmap) {
		qcow2_check_io_say(c, "ERROR offset=%" PRIx64 ": Allocated "
			"cluster has corrupted subcluster allocation bitmap",
			hoff);
		corrupt(c, v->times);
	}
	if ((hoff & (c->cluster - 1)) &&
		misaligned_entry(c, v, entry, bitmap, i, &done, e))
		return -1;
	if (done)
		return 0;
	if (v->active_times) {
		flags = entry & QCOW2_COPIED ? QCOW2_COUNTS_COPIED
			: QCOW2_COUNTS_SHARED;
		c->r->allocated += v->active_times;
		if (v->next && hoff != v->next)
			c->r->fragmented += v->active_times;
		v->next = hoff + c->cluster;
	}
	if (!c->external)
		return qcow2_check_walk_ref(c, hoff, c->cluster, flags,
			v->times, e);
	/* the data file counts nothing: each cluster is alone */
	c->suspect |= flags == QCOW2_COUNTS_SHARED;
	return 0;
}

static int
any_entry(struct qcow2_check *c, struct visit *v, uint64_t entry,
	uint64_t bitmap, uint64_t i, struct err *e)
{
	bool mapped = (entry & QCOW2_L2_OFFSET) ||
		(c->external && (entry & QCOW2_COPIED));

	if (entry & QCOW2_PACKED)
		return packed_entry(c, v, entry, bitmap, i, e);
	if (entry & QCOW2_L2_RESERVED) {
		qcow2_check_io_say(c, "ERROR found l2 entry with reserved bits "
			"set: %" PRIx64, entry);
		corrupt(c, v->times);
	}
	/* a zero flag makes an entry without a place one that has none */
	if (v->entry_size == 8 && (entry & QCOW2_ZERO))
		mapped = (entry & QCOW2_L2_OFFSET) != 0;
	if (mapped)
		return plain_entry(c, v, entry, bitmap, i, e);
	if (bitmap & ALL_ALLOCATED) {
		qcow2_check_io_say(c, "ERROR: Unallocated cluster has non-zero "
			"subcluster allocation map");
		corrupt(c, v->times);
	}
	return 0;
}

/* The counts are far apart in a fragmented image: ask for them early. */
static void
fetch(const struct qcow2_check *c, uint64_t entry)
{
	uint64_t clu = (entry & QCOW2_L2_OFFSET) >> c->h->cluster_bits;
	const uint8_t *p;

	if (clu >= c->counts.n)
		return;
	p = c->counts.page[clu >> QCOW2_COUNTS_PAGE_BITS];
	if (p)
		__builtin_prefetch(p + (clu & (QCOW2_COUNTS_PAGE - 1)), 1);
}

/* A plain data cluster as it should be: the bulk of every image. */
static bool
easy_entry(struct qcow2_check *c, struct visit *v, uint64_t entry)
{
	uint64_t hoff = entry & QCOW2_L2_OFFSET;
	unsigned flags = entry & QCOW2_COPIED ? QCOW2_COUNTS_COPIED
		: QCOW2_COUNTS_SHARED;

	if ((entry & (QCOW2_PACKED | QCOW2_L2_RESERVED)) || hoff == 0 ||
		(hoff & (c->cluster - 1)) || hoff >= c->file_len ||
		!qcow2_counts_bump(&c->counts, hoff >> c->h->cluster_bits,
			v->active_times ? flags : 0))
		return false;
	c->r->allocated += v->active_times;
	if (v->active_times && v->next && hoff != v->next)
		c->r->fragmented++;
	if (v->active_times)
		v->next = hoff + c->cluster;
	return true;
}

/* Eight entries at once; a table has a multiple of that. */
static bool
eight_zeros(const uint8_t *p)
{
	uint64_t w[8];

	memcpy(w, p, sizeof(w));
	return (w[0] | w[1] | w[2] | w[3] | w[4] | w[5] | w[6] | w[7]) == 0;
}

static int
walk_l2(struct qcow2_check *c, struct visit *v, struct err *e)
{
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(c->h), entry, bitmap = 0;
	bool simple = v->times == 1 && v->entry_size == 8 && !c->external;
	const uint8_t *p = c->l2_buf;
	bool zero;

	if (qcow2_check_io_read(c, v->l2_hoff, c->l2_buf, c->cluster, &zero,
		e)) {
		if (c->eno)
			qcow2_check_io_say(c,
				"ERROR: I/O error in check_refcounts_l2");
		c->r->errors++;
		return -1;
	}
	for (uint64_t i = 0; !zero && i < n; i++) {
		const uint8_t *at = p + i * v->entry_size;

		if (simple && i % 8 == 0 && eight_zeros(at)) {
			i += 7;
			continue;
		}
		entry = load_be64(at);
		if (simple) {
			if (entry && i + AHEAD < n)
				fetch(c, load_be64(at + AHEAD * 8));
			if (entry == 0 || easy_entry(c, v, entry))
				continue;
		} else if (v->entry_size == 16) {
			bitmap = load_be64(at + 8);
		}
		if ((entry | bitmap) != 0 &&
			any_entry(c, v, entry, bitmap, i, e))
			return -1;
	}
	return 0;
}

static int
remember(struct qcow2_check *c, uint64_t hoff, struct err *e)
{
	struct qcow2_check_table *t;

	if (c->n_tables == c->tables_cap) {
		size_t cap = c->tables_cap ? c->tables_cap * 2 : 64;

		t = realloc(c->tables, cap * sizeof(*t));
		if (!t)
			return err_set(e, ERR_NOMEM, "no memory for %zu tables",
				cap);
		c->tables = t;
		c->tables_cap = cap;
	}
	c->tables[c->n_tables] = (struct qcow2_check_table){.hoff = hoff};
	return qcow2_index_add(&c->seen, hoff >> 9, c->n_tables++, e);
}

static int
visit_l2(struct qcow2_check *c, uint64_t hoff, bool active, struct err *e)
{
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(c->h);
	const uint64_t *known = qcow2_index_find(&c->seen, hoff >> 9);
	struct visit v = {
		.l2_hoff = hoff, .active = active, .times = 1,
		.active_times = active,
		.entry_size = qcow2_l2_entry_size(c->h),
	};

	if (known && c->again < n) {
		struct qcow2_check_table *t = &c->tables[*known];

		t->extra++;
		t->extra_active += active;
		return 0;
	}
	if (known)
		c->again -= n;
	/* Aligned ones do not overlap; those that are not could be as many as
	 * the file has sectors. */
	else if ((hoff & (c->cluster - 1)) && hoff < c->file_len &&
		!qcow2_check_walk_charge(c, c->cluster))
		return 0;
	else if (remember(c, hoff, e))
		return -1;
	return walk_l2(c, &v, e);
}

static int
l1_entry(struct qcow2_check *c, uint64_t entry, bool active, struct err *e)
{
	uint64_t hoff = entry & QCOW2_L1_OFFSET;
	unsigned flags = entry & QCOW2_COPIED ? QCOW2_COUNTS_COPIED
		: QCOW2_COUNTS_SHARED;

	if (entry & QCOW2_L1_RESERVED) {
		qcow2_check_io_say(c, "ERROR found L1 entry with reserved bits "
			"set: %" PRIx64, entry);
		corrupt(c, 1);
	}
	/* an entry of nothing but flags has no COPIED that could be wrong */
	if (qcow2_check_walk_ref(c, hoff, c->cluster,
		active && hoff ? flags : 0, 1, e))
		return -1;
	if (hoff & (c->cluster - 1)) {
		qcow2_check_io_say(c, "ERROR l2_offset=%" PRIx64 ": Table is "
			"not cluster aligned; L1 entry corrupted", hoff);
		corrupt(c, 1);
	}
	return visit_l2(c, hoff, active, e);
}

int
qcow2_check_walk_l1(struct qcow2_check *c, uint64_t hoff, uint64_t entries,
	bool active, struct err *e)
{
	uint64_t bytes = entries * 8, n;
	bool zero;

	if (qcow2_check_walk_ref(c, hoff, bytes, 0, 1, e))
		return -1;
	for (uint64_t done = 0; done < bytes; done += n) {
		n = units_min(bytes - done, QCOW2_CHECK_CHUNK);
		if (qcow2_check_io_read(c, hoff + done, c->l1_buf, n, &zero,
			e)) {
			if (c->eno)
				qcow2_check_io_say(c, "ERROR: I/O error in "
					"check_refcounts_l1");
			c->r->errors++;
			return -1;
		}
		if (zero)
			continue;
		if (!active && !qcow2_check_walk_charge(c, n))
			return 0;
		for (uint64_t i = 0; i < n; i += 8) {
			uint64_t entry = load_be64(c->l1_buf + i);

			if (entry && l1_entry(c, entry, active, e))
				return -1;
		}
	}
	return 0;
}

int
qcow2_check_walk_rest(struct qcow2_check *c, struct err *e)
{
	for (size_t i = 0; i < c->n_tables; i++) {
		struct qcow2_check_table *t = &c->tables[i];
		struct visit v = {
			.l2_hoff = t->hoff, .active = t->extra_active != 0,
			.times = t->extra, .active_times = t->extra_active,
			.entry_size = qcow2_l2_entry_size(c->h),
		};

		if (t->extra && walk_l2(c, &v, e))
			return -1;
	}
	return 0;
}
