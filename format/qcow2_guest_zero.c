/* SPDX-License-Identifier: MIT */
/*
 * Zeros into an existing image: units that are covered whole get the flag and
 * lose their cluster, as QEMU does it for zeros that may unmap; what is left
 * of others is written. Version 2 has no flag.
 */
#include "base/units.h"
#include "format/qcow2_guest_int.h"

/* Whether the backing files have nothing but zeros there. */
static int
below_zero(struct qcow2_guest *g, uint64_t voff, uint64_t len, bool *ret,
	struct err *e)
{
	struct extent x[8];
	size_t n;

	*ret = false;
	if (g->below.n == 0 || voff >= g->below.size)
		len = 0;
	else
		len = units_min(len, g->below.size - voff);
	while (len > 0) {
		if (chain_describe(&g->below, UINT32_MAX, voff, len, x,
			    COUNT_OF(x), &n, e) < 0)
			return -1;
		for (size_t i = 0; i < n; i++) {
			if (x[i].kind != EXTENT_ZERO)
				return 0;
			voff += x[i].len;
			len -= x[i].len;
		}
	}
	*ret = true;
	return 0;
}

/* The whole cluster without bytes. */
static int
zero_cluster(struct qcow2_guest *g, struct qcow2_guest_spot *s, struct err *e)
{
	uint64_t entry = 0;

	if (s->x.kind == QCOW2_E_ZERO && !s->x.mapped)
		return 0;
	if (g->keep_holes && s->entry == 0 && s->alloc == 0 && s->zero == 0)
		return 0;
	/* the data file keeps its bytes at their place */
	if (g->d.data_file)
		entry = s->entry;
	else if (qcow2_guest_give_up(g, s, e) < 0)
		return -1;
	s->alloc = 0;
	s->zero = qcow2_guest_all_units(g);
	return qcow2_guest_store(g, s, g->units == 1 ? entry | QCOW2_ZERO : entry, e);
}

enum way {
	WAY_NONE,  /* it reads as zeros */
	WAY_FLAG,  /* the unit becomes a zero unit */
	WAY_WRITE,
};

/* How unit k becomes zeros in [from, to) of the cluster. */
static int
way_of(struct qcow2_guest *g,
	const struct qcow2_guest_spot *s, uint64_t k, uint64_t from,
	uint64_t to, enum way *ret, struct err *e)
{
	uint64_t start = k * g->unit, end = start + g->unit;
	bool v3 = g->d.h->version >= 3, whole = from == start && to == end;
	bool zero = false;

	*ret = WAY_WRITE;
	if (s->zero >> k & 1) {
		*ret = WAY_NONE;
		return 0;
	}
	if (s->x.kind == QCOW2_E_PACKED && g->units > 1)
		return 0;
	if (g->keep_holes && !(s->alloc >> k & 1)) {
		*ret = WAY_NONE;
		return 0;
	}
	if (v3 && whole) {
		*ret = WAY_FLAG;
		return 0;
	}
	if (s->alloc >> k & 1)
		return 0;
	/* a hole: what is around the zeros may be zeros too */
	if (below_zero(g, s->voff + start, g->unit, &zero, e) < 0)
		return -1;
	if (zero && !v3)
		/* Over a backing file QEMU writes them all the same. Where one
		 * is about to come below, a hole would show it: QEMU 7.2
		 * loses the zeros there. */
		*ret = g->below.n == 0 && !g->same_content ? WAY_NONE
			: WAY_WRITE;
	else if (zero)
		*ret = WAY_FLAG;
	else if (v3 && below_zero(g, s->voff + start, from - start, &zero,
			e) == 0 && zero &&
		below_zero(g, s->voff + to, end - to, &zero, e) == 0 && zero)
		*ret = WAY_FLAG;
	return 0;
}

static int
write_zeros(struct qcow2_guest *g, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	return len ? qcow2_guest_data(g, voff, g->zeros, len, out, e) : 0;
}

/* Bytes [lo, hi) of the cluster of s, unit by unit. */
static int
zero_units(struct qcow2_guest *g,
	struct qcow2_guest_spot *s, uint64_t lo, uint64_t hi,
	struct placed_list *out, struct err *e)
{
	uint64_t run = lo, next, at, visible;
	uint32_t flag = 0;

	for (at = lo; at < hi; at = next) {
		uint64_t k = at / g->unit;
		enum way way;

		next = units_min(hi, (k + 1) * g->unit);
		if (way_of(g, s, k, at, next, &way, e) < 0)
			return -1;
		if (way == WAY_FLAG)
			flag |= UINT32_C(1) << k;
		if (way == WAY_WRITE)
			continue;
		if (write_zeros(g, s->voff + run, at - run, out, e) < 0)
			return -1;
		run = next;
	}
	/* what the image's end cuts off is nobody's */
	visible = units_min(hi, g->d.old_size - s->voff);
	if (run < visible &&
		write_zeros(g, s->voff + run, visible - run, out, e) < 0)
		return -1;
	if (flag == 0)
		return 0;
	/* the writes may have changed it */
	if (qcow2_guest_look(g, s->voff, true, s, e) < 0)
		return -1;
	if (g->units == 1)
		return zero_cluster(g, s, e);
	s->alloc &= ~flag;
	s->zero |= flag;
	return qcow2_guest_store(g, s, s->entry, e);
}

int
qcow2_guest_zero(struct qcow2_guest *g, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	unsigned shift = g->d.h->cluster_bits + qcow2_l2_bits(g->d.h);
	uint64_t end = voff + len;
	struct qcow2_guest_spot s;

	if (qcow2_guest_note(g, voff, len, e) < 0)
		return -1;
	/* the image's last unit may be short and is whole all the same */
	if (end == g->d.old_size)
		end = units_align_up(end, g->unit);
	if (g->d.data_file && (g->d.h->autoclear & QCOW2_AUTOCLEAR_RAW)) {
		plan_touch(&g->d.plan, PLAN_DATA, voff);
		if (file_zero(g->d.data_file, voff, len, e) < 0)
			return -1;
	}
	while (voff < end) {
		uint64_t lo = voff & (g->cs - 1);
		uint64_t hi = units_min(lo + (end - voff), g->cs);
		int r;

		if (qcow2_guest_look(g, voff, false, &s, e) < 0)
			return -1;
		if (g->keep_holes && !s.t) {
			voff = ((voff >> shift) + 1) << shift;
			continue;
		}
		if (lo == 0 && hi == g->cs && g->d.h->version >= 3)
			r = zero_cluster(g, &s, e);
		else
			r = zero_units(g, &s, lo, hi, out, e);
		if (r < 0)
			return -1;
		voff += hi - lo;
	}
	return 0;
}
