/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps: the directory, their tables and what those refer to. The directory
 * and the tables of all that are not in use were found sound when the image was
 * opened.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/units.h"
#include "format/qcow2_check_int.h"

#define ENTRY_FIXED 24u
#define TABLE_RESERVED UINT64_C(0xff000000000001fe)
#define TABLE_OFFSET QCOW2_L2_OFFSET
#define TABLE_ALL_ONES UINT64_C(1)

static bool
entry_is_sound(const struct qcow2_check *c, uint64_t entry)
{
	uint64_t hoff = entry & TABLE_OFFSET;

	if (entry & TABLE_RESERVED)
		return false;
	return hoff == 0 || (!(entry & TABLE_ALL_ONES) &&
		!(hoff & (c->cluster - 1)));
}

struct entry {
	uint64_t table_hoff, entries;
};

/* The directory's entry at *at, which moves on to the next. */
static int
read_entry(struct qcow2_check *c, uint64_t *at, struct entry *ret,
	struct err *e)
{
	uint8_t b[ENTRY_FIXED];

	if (qcow2_check_io_read(c, *at, b, sizeof(b), NULL, e))
		return -1;
	ret->table_hoff = load_be64(b);
	ret->entries = load_be32(b + 8);
	/* behind it: the extra data, and the name */
	*at = units_align_up(*at + ENTRY_FIXED + load_be32(b + 20) +
		load_be16(b + 18), 8);
	return 0;
}

/* Whether all entries of a table are sound. */
static int
table_is_sound(struct qcow2_check *c, const struct entry *n, bool *ret,
	struct err *e)
{
	uint64_t bytes = n->entries * 8, len;
	bool zero;

	*ret = true;
	for (uint64_t done = 0; done < bytes; done += len) {
		len = units_min(bytes - done, QCOW2_CHECK_CHUNK);
		if (qcow2_check_io_read(c, n->table_hoff + done, c->l1_buf, len,
			&zero, e))
			return -1;
		if (zero)
			continue;
		if (!qcow2_check_walk_charge(c, len))
			return 0;
		for (uint64_t i = 0; i < len; i += 8) {
			*ret = entry_is_sound(c, load_be64(c->l1_buf + i));
			if (!*ret)
				return 0;
		}
	}
	return 0;
}

static int
count_table(struct qcow2_check *c, uint64_t hoff, uint64_t entries,
	struct err *e)
{
	uint64_t bytes = entries * 8, n;
	bool zero;

	for (uint64_t done = 0; done < bytes; done += n) {
		n = units_min(bytes - done, QCOW2_CHECK_CHUNK);
		if (qcow2_check_io_read(c, hoff + done, c->l1_buf, n, &zero,
			e))
			return -1;
		for (uint64_t i = 0; !zero && i < n; i += 8) {
			uint64_t entry = load_be64(c->l1_buf + i);

			if ((entry & TABLE_OFFSET) &&
				qcow2_check_walk_ref(c, entry & TABLE_OFFSET,
					c->cluster, 0, 1, e))
				return -1;
		}
	}
	return 0;
}

int
qcow2_check_bitmaps_count(struct qcow2_check *c, struct err *e)
{
	uint64_t at = c->h->bitmap_dir_offset;
	struct entry n;
	bool sound;

	if (!c->h->has_bitmaps)
		return 0;
	if (qcow2_check_walk_ref(c, at, c->h->bitmap_dir_size, 0, 1, e))
		return -1;
	for (uint32_t i = 0; i < c->h->n_bitmaps; i++) {
		if (read_entry(c, &at, &n, e) ||
			qcow2_check_walk_ref(c, n.table_hoff, n.entries * 8, 0,
				1, e) ||
			table_is_sound(c, &n, &sound, e))
			return -1;
		if (!sound) {
			c->r->corruptions++;
			return qcow2_check_io_stop(c, EINVAL, e);
		}
		if (!c->cut &&
			count_table(c, n.table_hoff, n.entries, e))
			return -1;
	}
	return 0;
}
