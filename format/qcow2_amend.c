/* SPDX-License-Identifier: MIT */
/* Changes of what an image is: its version, and fields of its header. */
#include "format/qcow2_amend.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_reheader.h"
#include "format/qcow2_snapshot_edit.h"
#include "format/qcow2_turn.h"

#define SEEN_MAX (UINT64_C(1) << 31) /* clusters: 256 MiB of bits */
/* Snapshots' L1 tables may have so many bytes more than the file: they may be
 * shared, and a small file could ask for terabytes. */
#define L1_FREE (UINT64_C(64) << 20)
#define GO_ON_STEP 4096u /* L1 entries between two looks whether to stop */

int
qcow2_amend_header(struct qcow2_edit *d, const struct qcow2_header *want,
	struct err *e)
{
	if (qcow2_edit_reheader(d, want, e) < 0)
		return -1;
	return plan_barrier(&d->plan, "done", e);
}

int
qcow2_amend_upgrade(struct qcow2_edit *d, struct err *e)
{
	struct qcow2_header want;
	struct info_snapshot *v = NULL;
	bool rewrite = false;
	size_t n = 0;

	if (qcow2_snapshot_load(d->plan.file[PLAN_IMAGE], d->h, &v, &n, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		rewrite |= v[i].short_extra;
	qcow2_snapshot_free(v, n);
	if (rewrite && qcow2_snapshot_rewrite(d, e) < 0)
		return -1;
	want = *d->h;
	want.version = 3;
	return qcow2_amend_header(d, &want, e);
}

#define HELD_MAX 64u /* each has a barrier's cost at most once */
#define HELD_BYTES (8u << 20)

/* What QEMU says of a downgrade that met bad tables. */
#define TURNING "Failed to turn zero into data clusters"

/* All L1 tables, the active one first. */
struct zeros {
	struct qcow2_edit *d;
	struct qcow2_turn turn;
	/* what is done with a table: looked at, or changed */
	int (*visit)(struct zeros *z, uint64_t hoff, struct err *e);
	uint8_t *seen; /* L2 tables visited: a bit for each cluster */
	uint64_t end;  /* of the file, when it began */
	const struct watch *watch;
	uint64_t visited, entries; /* of all L1 tables */
	uint8_t *table;
	/* changed tables, until the clusters they lead to are on disk */
	struct {
		uint64_t hoff;
		uint8_t *p;
	} held[HELD_MAX];
	unsigned n_held;
	bool backed;
	bool packed; /* compressed clusters were met */
};

static bool
saw(struct zeros *z, uint64_t hoff)
{
	uint64_t c = hoff >> z->d->h->cluster_bits;
	bool seen = z->seen[c / 8] >> c % 8 & 1;

	z->seen[c / 8] |= 1u << c % 8;
	return seen;
}

/* A zero cluster that must stay zero: a data cluster of zeros, with as many
 * references as the table has. */
static int
make_data(struct zeros *z, uint64_t table, uint64_t *ret, struct err *e)
{
	struct qcow2_edit *d = z->d;
	uint64_t cs = qcow2_cluster_size(d->h), hoff, count;
	CLEANUP_FREE uint8_t *zeros = calloc(1, cs);

	if (!zeros)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (qcow2_refs_get(&d->refs, table >> d->h->cluster_bits, &count, e) <
			0 ||
		qcow2_refs_alloc(&d->refs, 1, &hoff, e) < 0)
		return -1;
	if (count > 1 && qcow2_refs_raise(&d->refs, hoff >> d->h->cluster_bits,
		count - 1, e) < 0)
		return -1;
	*ret = hoff | (count == 1 ? QCOW2_COPIED : 0);
	return plan_write(&d->plan, PLAN_IMAGE, hoff, zeros, cs, e);
}

static int
write_held(struct zeros *z, struct err *e)
{
	struct qcow2_edit *d = z->d;
	uint64_t cs = qcow2_cluster_size(d->h);

	if (z->backed && z->n_held && qcow2_refs_flush(&d->refs, e) < 0)
		return -1;
	for (unsigned i = 0; i < z->n_held; i++) {
		if (qcow2_refs_may_write(&d->refs, QCOW2_META_L2,
			    z->held[i].hoff, cs, e) < 0 ||
			plan_write(&d->plan, PLAN_IMAGE, z->held[i].hoff,
				z->held[i].p, cs, e) < 0)
			return -1;
		free(z->held[i].p);
		z->held[i].p = NULL;
	}
	z->n_held = 0;
	return 0;
}

/* What zero clusters had in the file, with the flags that go with it. The
 * references are gone from the disk. */
static int
drop_places(struct zeros *z, struct err *e)
{
	struct qcow2_edit *d = z->d;
	int r = 0;

	/* without snapshots nobody else's flag can change with a count */
	if (d->h->n_snapshots == 0) {
		for (size_t i = 0; i < d->n_drop; i++) {
			if (qcow2_refs_drop_times(&d->refs, d->drop[i].hoff,
				    d->drop[i].len, d->drop[i].times, e) < 0)
				return -1;
		}
		d->n_drop = 0;
		return qcow2_refs_write(&d->refs, e);
	}
	if (d->n_drop == 0)
		return 0;
	z->turn = (struct qcow2_turn){.d = d};
	/* The counts go down when the header turns: behind a barrier. */
	r = qcow2_turn_begin(&z->turn, d, e);
	for (size_t i = 0; i < d->n_drop && r == 0; i++)
		r = qcow2_turn_range(&z->turn, d->drop[i].hoff, d->drop[i].len,
			-(int64_t)d->drop[i].times, e);
	d->n_drop = 0;
	if (r == 0)
		r = qcow2_turn_run(&z->turn, d->l1, d->l1_entries, d->l1_hoff,
			e);
	qcow2_turn_end(&z->turn);
	return r;
}

static int
expand_table(struct zeros *z, uint64_t hoff, struct err *e)
{
	struct qcow2_edit *d = z->d;
	uint64_t cs = qcow2_cluster_size(d->h), n = cs / 8, entry, count;
	bool changed = false;

	if (plan_run(&d->plan, e) < 0 ||
		file_read_padded(d->plan.file[PLAN_IMAGE], z->table, cs, hoff,
			NULL, e) < 0 ||
		qcow2_refs_get(&d->refs, hoff >> d->h->cluster_bits, &count,
			e) < 0)
		return -1;
	for (uint64_t k = 0; k < n; k++) {
		uint64_t new = 0;

		entry = load_be64(z->table + k * 8);
		if ((entry & QCOW2_PACKED) || !(entry & QCOW2_ZERO))
			continue;
		if ((entry & QCOW2_L2_OFFSET) && qcow2_edit_drop_times(d,
			entry & QCOW2_L2_OFFSET, cs, count, e) < 0)
			return -1;
		if (z->backed && make_data(z, hoff, &new, e) < 0)
			return -1;
		store_be64(z->table + k * 8, new);
		changed = true;
	}
	if (!changed)
		return 0;
	z->held[z->n_held].hoff = hoff;
	z->held[z->n_held++].p = z->table;
	z->table = malloc(cs);
	if (!z->table)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (d->n_drop >= QCOW2_DROPS_MAX) {
		if (write_held(z, e) < 0)
			return -1;
		return d->h->n_snapshots ? drop_places(z, e)
			: qcow2_edit_settle(d, e);
	}
	return z->n_held < HELD_MAX && z->n_held * cs < HELD_BYTES ? 0
		: write_held(z, e);
}

/* What expand_table will give up is counted as often as that takes. */
static int
look_at_table(struct zeros *z, uint64_t hoff, struct err *e)
{
	struct qcow2_edit *d = z->d;
	uint64_t cs = qcow2_cluster_size(d->h), n = cs / 8, count, v;
	uint64_t last = 0, sum = 0; /* of neighbours that lead to one place */

	if (file_read_padded(d->plan.file[PLAN_IMAGE], z->table, cs, hoff,
		    NULL, e) < 0 ||
		qcow2_refs_get(&d->refs, hoff >> d->h->cluster_bits, &count,
			e) < 0)
		return -1;
	for (uint64_t k = 0; k < n; k++) {
		uint64_t entry = load_be64(z->table + k * 8);
		uint64_t at = entry & QCOW2_L2_OFFSET;

		z->packed |= (entry & QCOW2_PACKED) != 0;
		if ((entry & QCOW2_PACKED) || !(entry & QCOW2_ZERO))
			continue;
		if (at & (cs - 1)) {
			qcow2_refs_corrupt(&d->refs, e, "Cluster allocation "
				"offset %#" PRIx64 " unaligned (L2 offset: %#"
				PRIx64 ", L2 index: %#" PRIx64 ")", at, hoff,
				k);
			return err_prefix(e, TURNING);
		}
		/* one without a place is as good as its table */
		at = at && count ? at : hoff;
		sum = at == last && at != hoff ? sum + count : count;
		last = at;
		if (qcow2_refs_get(&d->refs, at >> d->h->cluster_bits, &v, e) <
			0)
			return -1;
		if (v == 0 || v < sum)
			return err_set(e, ERR_CORRUPT, "cluster %" PRIu64
				" is referred to %" PRIu64 " times and has "
				"refcount %" PRIu64, at >> d->h->cluster_bits,
				units_max(sum, 1), v);
	}
	return 0;
}

/* l1 NULL: the active one, which may move meanwhile. */
static int
visit_l1(struct zeros *z, const uint8_t *l1, uint64_t entries, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(z->d->h);

	for (uint64_t i = 0; i < entries; i++) {
		uint64_t hoff = (l1 ? load_be64(l1 + i * 8)
				: qcow2_edit_l1_get(z->d, i)) &
			QCOW2_L1_OFFSET;

		watch_progress(z->watch, z->visited++, z->entries);
		if (i % GO_ON_STEP == 0 && plan_go_on(&z->d->plan, e) < 0)
			return -1;
		if (hoff == 0)
			continue;
		if (hoff & (cs - 1)) {
			qcow2_refs_corrupt(&z->d->refs, e, "L2 table offset %#"
				PRIx64 " unaligned (L1 index: %#" PRIx64 ")",
				hoff, i);
			return err_prefix(e, TURNING);
		}
		if (hoff >= z->end)
			return err_set(e, ERR_CORRUPT, "L2 table at %" PRIu64
				" lies beyond the end of the file", hoff);
		if (!saw(z, hoff) && (plan_go_on(&z->d->plan, e) < 0 ||
			z->visit(z, hoff, e) < 0))
			return -1;
	}
	return 0;
}

static int
check_place(struct qcow2_edit *d, const struct info_snapshot *s, struct err *e)
{
	bool large = (uint64_t)s->l1_entries * 8 > QCOW2_L1_MAX;
	uint64_t mask = qcow2_cluster_size(d->h) - 1;

	if (!large && !(s->l1_offset & mask) &&
		s->l1_offset <= INT64_MAX - QCOW2_L1_MAX)
		return 0;
	err_set(e, large ? ERR_LIMIT : ERR_CORRUPT, "%s", large
		? "Snapshot L1 table too large"
		: "Snapshot L1 table offset invalid");
	if (e)
		e->eno = large ? EFBIG : EINVAL;
	return -1;
}

static int
visit_all(struct zeros *z, const struct info_snapshot *v, size_t n,
	struct err *e)
{
	struct qcow2_edit *d = z->d;

	z->entries = 0;
	/* those that are too large are refused below, in their turn */
	for (size_t i = 0; i < n; i++)
		if ((uint64_t)v[i].l1_entries * 8 <= QCOW2_L1_MAX)
			z->entries += v[i].l1_entries;
	if (z->entries * 8 > z->end + L1_FREE)
		return err_set(e, ERR_CORRUPT, "the snapshots' L1 tables have "
			"%" PRIu64 " bytes, more than the file (%" PRIu64 ")",
			z->entries * 8, z->end);
	z->entries += d->l1_entries;
	if (visit_l1(z, NULL, d->l1_entries, e) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		uint64_t len = (uint64_t)v[i].l1_entries * 8;
		CLEANUP_FREE uint8_t *l1 = NULL;

		if (check_place(d, &v[i], e) < 0)
			return -1;
		l1 = malloc(units_max(len, 8));
		if (!l1)
			return err_set(e, ERR_NOMEM, "out of memory");
		if (file_read_padded(d->plan.file[PLAN_IMAGE], l1, len,
			    v[i].l1_offset, NULL, e) < 0 ||
			visit_l1(z, l1, v[i].l1_entries, e) < 0)
			return -1;
	}
	return 0;
}

static int
check_snapshots(const struct info_snapshot *v, size_t n, bool any_size,
	uint64_t size, struct err *e)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].vm_state_size > UINT32_MAX ||
			(!any_size && v[i].disk_size != size))
			return err_set(e, ERR_USAGE, "Internal snapshots "
				"prevent downgrade of image");
	return 0;
}

static int
check_header(struct qcow2_edit *d, const struct info_snapshot *v, size_t n,
	unsigned bits, bool resized, struct err *e)
{
	uint64_t bad = d->h->incompatible & ~(uint64_t)QCOW2_COMPRESSION;

	if (bits != 16)
		return err_set(e, ERR_USAGE,
			"compat=0.10 requires refcount_bits=16");
	if (d->h->incompatible & QCOW2_DATA_FILE)
		return err_set(e, ERR_USAGE,
			"Cannot downgrade an image with a data file");
	if (check_snapshots(v, n, resized, d->old_size, e) < 0)
		return -1;
	if (bad)
		return err_set(e, ERR_USAGE, "Cannot downgrade an image with "
			"incompatible features 0x%" PRIx64 " set", bad);
	return 0;
}

static int
zeros_open(struct zeros *z, struct qcow2_edit *d, struct info_snapshot **ret_v,
	size_t *ret_n, struct err *e)
{
	*z = (struct zeros){
		.d = d,
		.backed = d->h->backing[0] != '\0',
		.end = d->plan.end[PLAN_IMAGE],
		.table = malloc(qcow2_cluster_size(d->h)),
	};
	if (z->end >> d->h->cluster_bits <= SEEN_MAX)
		z->seen = calloc((z->end >> d->h->cluster_bits) / 8 + 1, 1);
	if (!z->table || !z->seen)
		return err_set(e, ERR_NOMEM, "out of memory");
	return qcow2_snapshot_load(d->plan.file[PLAN_IMAGE], d->h, ret_v,
		ret_n, e);
}

static void
zeros_close(struct zeros *z)
{
	free(z->table);
	free(z->seen);
	for (unsigned i = 0; i < z->n_held; i++)
		free(z->held[i].p);
}

int
qcow2_amend_may_downgrade(struct qcow2_edit *d, unsigned bits, bool resized,
	struct err *e)
{
	CLEANUP(zeros_close) struct zeros z = {0};
	struct info_snapshot *v = NULL;
	size_t n = 0;
	int r;

	r = zeros_open(&z, d, &v, &n, e);
	z.visit = look_at_table;
	if (r == 0)
		r = check_header(d, v, n, bits, resized, e);
	if (r == 0)
		r = visit_all(&z, v, n, e);
	qcow2_snapshot_free(v, n);
	if (r == 0 && z.packed && (d->h->incompatible & QCOW2_COMPRESSION))
		return err_set(e, ERR_USAGE, "Cannot downgrade an image with "
			"zstd compression type and existing compressed "
			"clusters");
	return r;
}

int
qcow2_amend_downgrade(struct qcow2_edit *d, const struct watch *w,
	struct err *e)
{
	CLEANUP(zeros_close) struct zeros z = {0};
	struct qcow2_header want;
	struct info_snapshot *v = NULL;
	size_t n = 0;
	int r;

	r = zeros_open(&z, d, &v, &n, e);
	z.visit = expand_table;
	z.watch = w;
	if (r == 0)
		r = check_snapshots(v, n, false, d->old_size, e);
	if (r == 0)
		r = visit_all(&z, v, n, e);
	qcow2_snapshot_free(v, n);
	if (r < 0 || write_held(&z, e) < 0)
		return -1;
	want = *d->h;
	want.version = 2;
	want.incompatible = want.compatible = want.autoclear = 0;
	want.compression = 0;
	want.has_bitmaps = false;
	/* The header waits for the tables, and so the counts need not. */
	if (qcow2_edit_reheader(d, &want, e) < 0 || drop_places(&z, e) < 0)
		return -1;
	return plan_barrier(&d->plan, "done", e);
}
