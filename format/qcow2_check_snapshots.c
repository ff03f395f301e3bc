/* SPDX-License-Identifier: MIT */
/*
 * The snapshot table as the check sees it: it may be broken, and then part of
 * it may be given up. Names are not kept; a message reads them again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2_check_int.h"

#define FIXED 40u       /* bytes of an entry before its extra data */
#define EXTRA_LEAST 16u /* of version 3 */
#define N_SNAPSHOTS_AT 60 /* in the header: number, then offset */

/* One record's lengths. */
struct record {
	uint64_t at; /* host byte */
	uint32_t extra;
	uint16_t id_len, name_len;
};

static uint64_t
record_len(const struct record *r)
{
	return (uint64_t)FIXED + r->extra + r->id_len + r->name_len;
}

static int
read_record(struct qcow2_check *c, uint64_t at, struct record *ret,
	struct qcow2_check_snapshot *ret_s, struct err *e)
{
	uint8_t b[FIXED];
	struct cursor k = cursor_over((struct span){b, sizeof(b)});

	if (qcow2_check_io_read(c, at, b, sizeof(b), NULL, e))
		return -1;
	ret->at = ret_s->at = at;
	ret_s->l1_hoff = cursor_be64(&k);
	ret_s->l1_entries = cursor_be32(&k);
	ret->id_len = cursor_be16(&k);
	ret->name_len = cursor_be16(&k);
	ret->extra = load_be32(b + 36);
	return 0;
}

/* "Check failed" behind two lines of reasons. */
static int
refuse(struct qcow2_check *c, int eno, const char *hint, uint32_t n,
	struct err *e)
{
	c->snapshot_r.errors++;
	c->n_snapshots = c->snapshots_len = 0;
	if (hint)
		qcow2_check_io_say(c, "You can force-remove %s%s with qemu-img "
			"check -r all", n ? "all " : "", hint);
	return qcow2_check_io_stop(c, eno, e);
}

static int
refuse_rest(struct qcow2_check *c, int eno, uint32_t n, struct err *e)
{
	char hint[64];

	snprintf(hint, sizeof(hint), "%" PRIu32 " overhanging snapshots", n);
	return refuse(c, eno, hint, n, e);
}

static int
check_place(struct qcow2_check *c, struct err *e)
{
	uint64_t n = c->h->n_snapshots, at = c->h->snapshots_offset;
	uint32_t over = n > QCOW2_SNAPSHOTS_MAX
		? (uint32_t)(n - QCOW2_SNAPSHOTS_MAX) : 0;

	if (over) {
		qcow2_check_io_report(c, "ERROR snapshot table too large");
		return refuse_rest(c, EFBIG, over, e);
	}
	if ((uint64_t)INT64_MAX - n * FIXED < at || (at & (c->cluster - 1))) {
		qcow2_check_io_report(c, "ERROR snapshot table offset invalid");
		return refuse(c, EINVAL, NULL, 0, e);
	}
	return 0;
}

struct table {
	uint64_t len;  /* of what is kept, as QEMU would store it */
	uint64_t cut;  /* snapshots that are given up */
	uint64_t trimmed; /* entries with too much extra data */
};

static int
one_record(struct qcow2_check *c, struct table *t, uint64_t *at, uint32_t i,
	bool *ret_end, struct err *e)
{
	bool mend = (c->fix & QCOW2_FIX_ERRORS) != 0;
	uint64_t base = c->h->snapshots_offset;
	uint32_t left = c->h->n_snapshots - i;
	struct record r;

	*ret_end = false;
	if (read_record(c, units_align_up(*at, 8), &r, &c->snapshots[i], e)) {
		if (c->eno)
			qcow2_check_io_report(c, "ERROR failed to read the "
				"snapshot table: Failed to read snapshot "
				"table: %s", strerror(c->eno));
		c->snapshot_r.errors++;
		c->n_snapshots = 0;
		return -1;
	}
	t->len = units_align_up(t->len, 8) + record_len(&r);
	if (r.extra > QCOW2_SNAPSHOT_EXTRA_MAX) {
		if (!mend) {
			qcow2_check_io_report(c, "ERROR failed to read the "
				"snapshot table: Too much extra metadata in "
				"snapshot table entry %" PRIu32, i);
			return refuse(c, EFBIG, "this extra metadata", 0, e);
		}
		qcow2_check_io_say(c, "Discarding too much extra metadata in "
			"snapshot table entry %" PRIu32 " (%" PRIu32 " > %u)",
			i, r.extra, QCOW2_SNAPSHOT_EXTRA_MAX);
		t->trimmed++;
		t->len -= r.extra - QCOW2_SNAPSHOT_EXTRA_MAX;
	}
	if (t->len <= QCOW2_SNAPSHOT_TABLE_MAX &&
		r.at + record_len(&r) - base <= INT32_MAX) {
		*at = r.at + record_len(&r);
		c->n_snapshots++;
		return 0;
	}
	if (!mend) {
		qcow2_check_io_report(c, "ERROR failed to read the snapshot "
			"table: Snapshot table is too big");
		return refuse_rest(c, EFBIG, left, e);
	}
	qcow2_check_io_say(c, "Discarding %" PRIu32 " overhanging snapshots "
		"(snapshot table is too big)", left);
	t->cut += left;
	*ret_end = true;
	return 0;
}

/* Version 3 wants the size of the disk and of the VM state. */
static int
find_incomplete(struct qcow2_check *c, struct err *e)
{
	struct qcow2_check_snapshot s;
	struct record r;

	for (uint64_t i = 0; c->h->version >= 3 && i < c->n_snapshots; i++) {
		if (read_record(c, c->snapshots[i].at, &r, &s, e))
			return -1;
		if (r.extra >= EXTRA_LEAST)
			continue;
		c->snapshot_r.corruptions++;
		qcow2_check_io_say(c, "%s snapshot table entry %" PRIu64
			" is incomplete", c->fix & QCOW2_FIX_ERRORS
				? "Repairing" : "ERROR", i);
	}
	return 0;
}

static int
store_number(struct qcow2_check *c, struct err *e)
{
	uint8_t b[4];

	store_be32(b, c->h->n_snapshots);
	return plan_write(&c->plan, PLAN_IMAGE, N_SNAPSHOTS_AT, b, sizeof(b),
		e);
}

int
qcow2_check_snapshots_load(struct qcow2_check *c, struct err *e)
{
	struct table t = {0};
	uint64_t at = c->h->snapshots_offset;
	bool end = false;

	if (c->h->n_snapshots > QCOW2_SNAPSHOTS_MAX &&
		(c->fix & QCOW2_FIX_ERRORS)) {
		t.cut = c->h->n_snapshots - QCOW2_SNAPSHOTS_MAX;
		qcow2_check_io_say(c, "Discarding %" PRIu64
			" overhanging snapshots", t.cut);
		c->h->n_snapshots = QCOW2_SNAPSHOTS_MAX;
	}
	if (check_place(c, e))
		return -1;
	c->snapshots = calloc(units_max(c->h->n_snapshots, 1),
		sizeof(*c->snapshots));
	if (!c->snapshots)
		return err_set(e, ERR_NOMEM, "no memory for snapshots");
	for (uint32_t i = 0; i < c->h->n_snapshots && !end; i++) {
		if (one_record(c, &t, &at, i, &end, e))
			return -1;
	}
	c->snapshots_len = c->n_snapshots || t.cut
		? at - c->h->snapshots_offset : 0;
	c->snapshot_r.corruptions += t.cut + t.trimmed;
	if (t.cut) {
		c->h->n_snapshots = (uint32_t)c->n_snapshots;
		if (store_number(c, e))
			return -1;
		c->snapshot_r.corruptions_fixed += t.cut;
		c->snapshot_r.corruptions -= t.cut;
	}
	return find_incomplete(c, e);
}

/* "ID (NAME)", escaped and cut. */
static void
name_of(struct qcow2_check *c, uint64_t at, char *out, unsigned cap)
{
	struct qcow2_check_snapshot s;
	char id[96], name[192];
	uint8_t b[128];
	struct record r;
	struct err e;
	unsigned n;

	snprintf(out, cap, "(unreadable)");
	if (read_record(c, at, &r, &s, &e))
		return;
	at += FIXED + r.extra;
	n = (unsigned)units_min(r.id_len, sizeof(b));
	if (qcow2_check_io_read(c, at, b, n, NULL, &e))
		return;
	err_quote(id, sizeof(id), b, (unsigned)strnlen((char *)b, n));
	n = (unsigned)units_min(r.name_len, sizeof(b));
	if (qcow2_check_io_read(c, at + r.id_len, b, n, NULL, &e))
		return;
	err_quote(name, sizeof(name), b, (unsigned)strnlen((char *)b, n));
	snprintf(out, cap, "%s (%s)", id, name);
}

int
qcow2_check_snapshots_walk(struct qcow2_check *c, struct err *e)
{
	char name[320];

	if (c->external && c->n_snapshots) {
		qcow2_check_io_say(c, "ERROR %" PRIu64 " snapshots in image "
			"with data file", c->n_snapshots);
		c->r->corruptions++;
	}
	for (uint64_t i = 0; i < c->n_snapshots; i++) {
		const struct qcow2_check_snapshot *s = &c->snapshots[i];
		bool aligned = !(s->l1_hoff & (c->cluster - 1));

		if (aligned && s->l1_entries <= QCOW2_L1_MAX / 8) {
			if (qcow2_check_walk_l1(c, s->l1_hoff, s->l1_entries,
				false, e))
				return -1;
			continue;
		}
		name_of(c, s->at, name, sizeof(name));
		if (!aligned)
			qcow2_check_io_say(c, "ERROR snapshot %s l1_offset=%#"
				PRIx64 ": L1 table is not cluster aligned; "
				"snapshot table entry corrupted", name,
				s->l1_hoff);
		else
			qcow2_check_io_say(c, "ERROR snapshot %s l1_size=%#"
				PRIx32 ": L1 table is too large; snapshot "
				"table entry corrupted", name, s->l1_entries);
		c->r->corruptions++;
	}
	return 0;
}
