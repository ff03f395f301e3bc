/* SPDX-License-Identifier: MIT */
/*
 * The COPIED flags of the active tables against the refcounts: the flag says
 * that a cluster may be written in place, so it must be there where the count
 * is 1, and nowhere else. Runs only where the walk gave a reason to.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2_check_int.h"

struct copied {
	struct qcow2_check *c;
	bool mend;
	uint64_t wrong; /* flags of the table that was looked at last */
	bool written;   /* a flag was */
};

static bool
is_wrong(uint64_t entry, uint64_t count)
{
	return (count == 1) != ((entry & QCOW2_COPIED) != 0);
}

static uint64_t
corrected(uint64_t entry, uint64_t count)
{
	return count == 1 ? entry | QCOW2_COPIED : entry & ~QCOW2_COPIED;
}

/* A count too high does less harm than a flag too many. */
static int
write_flags(struct copied *p, uint64_t hoff, const uint8_t *b, uint64_t len,
	struct err *e)
{
	if (!p->written && plan_barrier(&p->c->plan, "counts before flags", e))
		return -1;
	p->written = true;
	return plan_write(&p->c->plan, PLAN_IMAGE, hoff, b, len, e);
}

static void
tally(struct copied *p, uint64_t n)
{
	if (p->mend)
		p->c->r->corruptions_fixed += n;
	else
		p->c->r->corruptions += n;
}

/* A write over other metadata is refused, and the image marked. */
static int
check_place(struct copied *p, enum qcow2_meta own, uint64_t hoff,
	uint64_t len, struct err *e)
{
	struct qcow2_check *c = p->c;
	const char *what;

	if (qcow2_check_io_overlap(c, own, hoff, len, &what, e))
		return -1;
	if (!what)
		return 0;
	if (qcow2_check_io_signal(c, e, "Preventing invalid write on metadata "
		"(overlaps with %s)", what))
		return -1;
	if (own == QCOW2_META_L2)
		qcow2_check_io_say(c, "ERROR: Could not write L2 table; "
			"metadata overlap check failed: %s", strerror(EIO));
	c->r->errors++;
	return qcow2_check_io_stop(c, EIO, e);
}

/* One entry of an L2 table; *ret_entry is what it should be. */
static int
l2_entry(struct copied *p, uint64_t entry, uint64_t *ret_entry, struct err *e)
{
	struct qcow2_check *c = p->c;
	uint64_t hoff = entry & QCOW2_L2_OFFSET, count = 1;
	bool mapped = hoff != 0 || (c->external && (entry & QCOW2_COPIED) &&
		(qcow2_has_extl2(c->h) || !(entry & QCOW2_ZERO)));
	bool known;

	*ret_entry = entry;
	if ((entry & QCOW2_PACKED) || !mapped)
		return 0;
	if (!c->external) {
		if (qcow2_check_blocks_count(c, hoff >> c->h->cluster_bits,
			&count, &known, e))
			return -1;
		if (!known)
			return 0;
	}
	if (!is_wrong(entry, count))
		return 0;
	p->wrong++;
	qcow2_check_io_say(c, "%s OFLAG_COPIED data cluster: l2_entry=%" PRIx64
		" refcount=%" PRIu64, p->mend ? "Repairing" : "ERROR", entry,
		count);
	*ret_entry = corrected(entry, count);
	return 0;
}

static int
l2_table(struct copied *p, uint64_t hoff, struct err *e)
{
	struct qcow2_check *c = p->c;
	unsigned size = qcow2_l2_entry_size(c->h);
	uint64_t lo = 0, hi = 0, entry;
	bool zero;

	p->wrong = 0;
	if (qcow2_check_io_read(c, hoff, c->l2_buf, c->cluster, &zero, e)) {
		if (c->eno)
			qcow2_check_io_say(c, "ERROR: Could not read L2 "
				"table: %s", strerror(c->eno));
		c->r->errors++;
		return -1;
	}
	if (zero)
		return 0;
	for (uint64_t at = 0; at < c->cluster; at += size) {
		uint64_t old = load_be64(c->l2_buf + at);

		if (old == 0)
			continue;
		if (l2_entry(p, old, &entry, e))
			return -1;
		if (entry == old)
			continue;
		store_be64(c->l2_buf + at, entry);
		lo = hi == 0 ? at : lo;
		hi = at + size;
	}
	if (hi == 0 || !p->mend) {
		tally(p, p->wrong);
		return 0;
	}
	c->r->corruptions += p->wrong; /* until they are gone */
	if (check_place(p, QCOW2_META_L2, hoff, c->cluster, e))
		return -1;
	c->r->corruptions -= p->wrong;
	tally(p, p->wrong);
	/* whole sectors: a table has few dirty ones */
	lo = units_align_down(lo, 512);
	hi = units_align_up(hi, 512);
	return write_flags(p, hoff + lo, c->l2_buf + lo, hi - lo, e);
}

static int
visit_l2(struct copied *p, uint64_t hoff, struct err *e)
{
	struct qcow2_check *c = p->c;
	uint64_t n = UINT64_C(1) << qcow2_l2_bits(c->h);
	const uint64_t *known = qcow2_index_find(&c->seen, hoff >> 9);

	/* what was wrong is mended by now, or still as wrong */
	if (known && (*known == 0 || p->mend))
		return 0;
	if (known && c->again < n) {
		c->r->corruptions += *known;
		return 0;
	}
	if (known) {
		c->again -= n;
		return l2_table(p, hoff, e);
	}
	if ((hoff & (c->cluster - 1)) && hoff < c->file_len &&
		!qcow2_check_walk_charge(c, c->cluster))
		return 0;
	if (l2_table(p, hoff, e))
		return -1;
	return qcow2_index_add(&c->seen, hoff >> 9, p->wrong, e);
}

static int
l1_entry(struct copied *p, uint64_t i, uint64_t entry, struct err *e)
{
	struct qcow2_check *c = p->c;
	uint64_t hoff = entry & QCOW2_L1_OFFSET, count;
	uint64_t at = c->h->l1_offset + i * 8;
	uint8_t b[8];
	bool known;

	if (hoff == 0)
		return 0;
	if (qcow2_check_blocks_count(c, hoff >> c->h->cluster_bits, &count,
		&known, e))
		return -1;
	if (!known)
		return 0;
	if (is_wrong(entry, count)) {
		qcow2_check_io_say(c, "%s OFLAG_COPIED L2 cluster: l1_index=%"
			PRIu64 " l1_entry=%" PRIx64 " refcount=%" PRIu64,
			p->mend ? "Repairing" : "ERROR", i, entry, count);
		if (p->mend) {
			c->r->corruptions++;
			if (check_place(p, QCOW2_META_L1, at, 8, e))
				return -1;
			c->r->corruptions--;
			store_be64(b, corrected(entry, count));
			if (write_flags(p, at, b, 8, e))
				return -1;
		}
		tally(p, 1);
	}
	return visit_l2(p, hoff, e);
}

int
qcow2_check_copied(struct qcow2_check *c, struct err *e)
{
	struct copied p = {.c = c};
	uint64_t bytes = (uint64_t)c->h->l1_entries * 8, n;
	bool zero;

	if (c->fix & QCOW2_FIX_ERRORS)
		p.mend = true;
	else if (c->fix & QCOW2_FIX_LEAKS)
		/* the counts are right now, if all went well */
		p.mend = !c->r->errors && !c->r->corruptions && !c->r->leaks;
	qcow2_check_walk_reset(c);
	for (uint64_t done = 0; done < bytes; done += n) {
		n = units_min(bytes - done, QCOW2_CHECK_CHUNK);
		if (qcow2_check_io_read(c, c->h->l1_offset + done, c->l1_buf,
			n, &zero, e))
			return -1;
		for (uint64_t i = 0; !zero && i < n; i += 8) {
			uint64_t entry = load_be64(c->l1_buf + i);

			if (entry && l1_entry(&p, (done + i) / 8, entry, e))
				return -1;
		}
	}
	return 0;
}
