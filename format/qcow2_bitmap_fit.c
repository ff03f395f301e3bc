/* SPDX-License-Identifier: MIT */
/*
 * Whether the bitmaps of an image may stay as they are when it grows: each
 * one's table must have exactly as many entries as the new size needs (section
 * "Bitmaps"); its new bits are the unused ones of its last cluster, zero.
 */
#include "format/qcow2_grow.h"

#include "base/cleanup.h"
#include "base/units.h"

#define ENTRY_FIXED 24u
#define FLAG_IN_USE 1u

static bool
fits(struct cursor *c, const struct qcow2_header *h, uint64_t size)
{
	uint64_t bits;
	uint32_t entries, flags;
	uint8_t granularity;

	cursor_be64(c); /* the table's place */
	entries = cursor_be32(c);
	flags = cursor_be32(c);
	cursor_u8(c); /* type */
	granularity = cursor_u8(c);
	if (granularity > 63 || (flags & FLAG_IN_USE))
		return false;
	bits = units_div_up(size, UINT64_C(1) << granularity);
	return units_div_up(units_div_up(bits, 8), qcow2_cluster_size(h)) ==
		entries;
}

int
qcow2_bitmap_fit(struct file *f, const struct qcow2_header *h, uint64_t size,
	bool *ret, struct err *e)
{
	CLEANUP(qcow2_table_close) struct qcow2_table t = {0};

	if (qcow2_table_open(&t, f, h->bitmap_dir_offset, h->bitmap_dir_size,
		    e) < 0)
		return -1;
	*ret = true;
	for (uint32_t i = 0; i < h->n_bitmaps && *ret; i++) {
		struct cursor c;
		struct span v;
		uint64_t len;

		if (qcow2_table_view(&t, ENTRY_FIXED, &v, e) < 0)
			return -1;
		c = cursor_over(v);
		*ret = fits(&c, h, size);
		len = cursor_be16(&c); /* the name */
		len += cursor_be32(&c);
		if (c.overrun)
			return err_set(e, ERR_CORRUPT,
				"Broken bitmap directory");
		qcow2_table_skip(&t, units_align_up(ENTRY_FIXED + len, 8));
	}
	return 0;
}
