/* SPDX-License-Identifier: MIT */
/*
 * One L2 entry, decoded (sections "L2 table entry", "Extended L2 Entries").
 * Reserved bits are ignored on reading, as in QEMU; `check` reports them. Pure:
 * whether the host file reaches that far is qcow2_map.c's question.
 */
#include "format/qcow2.h"

#include <inttypes.h>

static int
decode_packed(const struct qcow2_header *h, uint64_t entry,
	struct qcow2_entry *ret, struct err *e)
{
	/* offset in the low bits, then the sectors after the first one */
	unsigned shift = 62 - (h->cluster_bits - 8);
	uint64_t hoff = entry & ((UINT64_C(1) << shift) - 1);
	uint64_t more = (entry & (QCOW2_PACKED - 1)) >> shift;

	if (h->incompatible & QCOW2_DATA_FILE)
		return err_set(e, ERR_CORRUPT, "Compressed cluster entry found "
			"in image with external data file");
	ret->kind = QCOW2_E_PACKED;
	ret->hoff = hoff;
	ret->hlen = (more + 1) * 512 - (hoff & 511);
	return 0;
}

static int
decode_extended(uint64_t bitmap, struct qcow2_entry *r, struct err *e)
{
	uint32_t alloc = (uint32_t)bitmap, zero = (uint32_t)(bitmap >> 32);

	if ((alloc & zero) || (!r->mapped && alloc))
		return err_set(e, ERR_CORRUPT,
			"Invalid cluster entry found (subcluster bitmap 0x%016"
			PRIx64 ")", bitmap);
	if (alloc == UINT32_MAX) {
		r->kind = QCOW2_E_DATA;
	} else if (zero == UINT32_MAX) {
		r->kind = QCOW2_E_ZERO;
	} else if (alloc == 0 && zero == 0) {
		r->kind = QCOW2_E_HOLE;
	} else {
		r->kind = QCOW2_E_SUB;
		r->alloc = alloc;
		r->zero = zero;
	}
	return 0;
}

int
qcow2_entry_decode(const struct qcow2_header *h, uint64_t entry,
	uint64_t bitmap, struct qcow2_entry *ret, struct err *e)
{
	struct qcow2_entry r = {0};

	if (entry & QCOW2_PACKED)
		return decode_packed(h, entry, ret, e);
	r.hoff = entry & QCOW2_L2_OFFSET;
	/* in an external data file, offset 0 is where guest cluster 0 lives:
	 * COPIED tells it from "not allocated", but not beside the zero flag */
	r.mapped = r.hoff != 0 || ((h->incompatible & QCOW2_DATA_FILE) &&
		(entry & QCOW2_COPIED) &&
		(qcow2_has_extl2(h) || !(entry & QCOW2_ZERO)));
	if (r.hoff & (qcow2_cluster_size(h) - 1))
		return err_set(e, ERR_CORRUPT,
			"Cluster allocation offset %#" PRIx64 " unaligned",
			r.hoff);
	if (qcow2_has_extl2(h)) {
		if (decode_extended(bitmap, &r, e))
			return -1;
	} else if (entry & QCOW2_ZERO) {
		if (h->version < 3)
			return err_set(e, ERR_CORRUPT,
				"Zero cluster entry found in pre-v3 image");
		r.kind = QCOW2_E_ZERO;
	} else {
		r.kind = r.mapped ? QCOW2_E_DATA : QCOW2_E_HOLE;
	}
	*ret = r;
	return 0;
}
