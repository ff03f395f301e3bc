/* SPDX-License-Identifier: MIT */
/*
 * Compressed clusters into an image that has some already: one behind the
 * other, as far as one host cluster goes and into the next if that is free.
 * As in QEMU they replace nothing that has a place.
 */
#include "format/qcow2_guest.h"

#include <errno.h>
#include <inttypes.h>

#include "base/units.h"
#include "format/qcow2_guest_int.h"

#define SECTOR 512u

/* One reference more to the cluster that is partly filled; false: it has as
 * many as it can have. */
static int
share_last(struct qcow2_guest *g, bool *ret, struct err *e)
{
	uint64_t cluster = g->packed_end >> g->d.h->cluster_bits;
	struct err why = {0};

	*ret = qcow2_refs_raise(&g->d.refs, cluster, 1, &why) == 0;
	if (*ret || why.kind == ERR_LIMIT)
		return 0;
	if (e)
		*e = why;
	return -1;
}

/* A place for len bytes, counted. */
static int
find_place(struct qcow2_guest *g, uint64_t len, uint64_t *ret, struct err *e)
{
	uint64_t at = g->packed_end, room = -at & (g->cs - 1), next;
	bool shared = false;

	if (room >= len) {
		if (share_last(g, &shared, e) < 0)
			return -1;
		if (shared) {
			*ret = at;
			return 0;
		}
		room = 0;
	}
	if (qcow2_refs_alloc(&g->d.refs, 1, &next, e) < 0)
		return -1;
	*ret = next;
	/* what is left of the last one is used if the new one follows it */
	if (room > 0 && at + room == next) {
		if (share_last(g, &shared, e) < 0)
			return -1;
		if (shared)
			*ret = at;
	}
	return 0;
}

int
qcow2_guest_packed(struct qcow2_guest *g, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e)
{
	const struct qcow2_header *h = g->d.h;
	unsigned shift = 62 - (h->cluster_bits - 8);
	struct qcow2_guest_spot s;
	uint64_t hoff, sectors;

	if (g->d.data_file)
		return err_sys(e, ENOTSUP, "cannot write %" PRIu64
			" bytes at %" PRIu64, g->cs, voff);
	if (qcow2_guest_note(g, voff, g->cs, e) < 0 ||
		qcow2_guest_look(g, voff, true, &s, e) < 0)
		return -1;
	if (s.entry & QCOW2_L2_OFFSET)
		return err_sys(e, EIO, "cannot write %" PRIu64 " bytes at %"
			PRIu64, g->cs, voff);
	if (find_place(g, len, &hoff, e) < 0)
		return -1;
	if (qcow2_refs_may_write(&g->d.refs, QCOW2_META_NONE, hoff, len, e))
		return -1;
	g->packed_end = hoff + len;
	sectors = (hoff + len - 1) / SECTOR - hoff / SECTOR;
	s.alloc = s.zero = 0;
	plan_touch(&g->d.plan, PLAN_IMAGE, hoff + len);
	if (qcow2_guest_store(g, &s, hoff | QCOW2_PACKED | sectors << shift, e))
		return -1;
	return placed_add(out, buf, len, hoff, false, e);
}
