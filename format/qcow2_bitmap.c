/* SPDX-License-Identifier: MIT */
/*
 * The bitmap directory (section "Bitmaps"), as far as `info` and an open need
 * it: names, flags, granularity, and whether the entries make sense. The
 * bitmaps' own tables and bits are not read here.
 */
#include "format/qcow2.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define ENTRY_FIXED 24u
#define ENTRY_LONGEST (ENTRY_FIXED + 65535u + 8u)
#define FLAG_IN_USE 1u
#define FLAG_AUTO 2u
#define FLAGS_RESERVED (~3u)
#define TYPE_DIRTY_TRACKING 1u
#define GRANULARITY_MIN 9u  /* log2 */
#define GRANULARITY_MAX 31u /* log2 */
/* bytes of one bitmap; QEMU holds them in memory */
#define BITMAP_BYTES_MAX (UINT64_C(512) << 20)

struct entry {
	uint64_t table_offset;
	uint32_t table_entries;
	uint32_t flags;
	uint8_t type;
	uint8_t granularity; /* log2 of bytes */
	uint16_t name_len;
	uint32_t extra_len;
};

static bool
entry_is_sound(const struct entry *n, const struct qcow2_header *h)
{
	uint64_t bytes;

	if (n->table_entries == 0 || n->table_offset == 0 ||
		(n->table_offset & (qcow2_cluster_size(h) - 1)) ||
		n->table_entries > QCOW2_BITMAP_TABLE_MAX ||
		n->granularity > GRANULARITY_MAX ||
		n->granularity < GRANULARITY_MIN ||
		(n->flags & FLAGS_RESERVED) ||
		n->name_len > QCOW2_BITMAP_NAME_MAX ||
		n->type != TYPE_DIRTY_TRACKING)
		return false;
	/* 2^27 entries of at most 2^21 bytes: no overflow */
	bytes = (uint64_t)n->table_entries << h->cluster_bits;
	if (bytes > BITMAP_BYTES_MAX)
		return false;
	/* one that is in use may have been left behind by a resize; the shift
	 * is 29 + 3 + 31 bits at most */
	return (n->flags & FLAG_IN_USE) ||
		units_align_down(h->size, 512) <= bytes * 8 << n->granularity;
}

/* Decodes the entry at the front of view; *ret_len is its padded length. */
static int
entry_decode(struct span view, const struct qcow2_header *h,
	struct info_bitmap *ret, uint64_t *ret_len, struct err *e)
{
	struct cursor c = cursor_over(view);
	struct entry n;
	const uint8_t *name;
	char quoted[128];
	uint64_t len;

	n.table_offset = cursor_be64(&c);
	n.table_entries = cursor_be32(&c);
	n.flags = cursor_be32(&c);
	n.type = cursor_u8(&c);
	n.granularity = cursor_u8(&c);
	n.name_len = cursor_be16(&c);
	n.extra_len = cursor_be32(&c);
	len = units_align_up((uint64_t)ENTRY_FIXED + n.name_len + n.extra_len,
		8);
	if (c.overrun || len > view.len) {
		/* a view is cut at the directory's end or behind the longest
		 * entry that has no extra data */
		if (!c.overrun && n.extra_len && view.len >= ENTRY_LONGEST)
			return err_set(e, ERR_UNSUPPORTED,
				"Bitmap extra data is not supported");
		return err_set(e, ERR_CORRUPT, "Broken bitmap directory");
	}
	if (n.extra_len)
		return err_set(e, ERR_UNSUPPORTED,
			"Bitmap extra data is not supported");
	name = cursor_take(&c, n.name_len);
	if (!entry_is_sound(&n, h))
		return err_set(e, ERR_CORRUPT,
			"Bitmap '%s' doesn't satisfy the constraints",
			err_quote(quoted, sizeof(quoted), name, n.name_len));
	ret->name = strndup((const char *)name, n.name_len);
	if (!ret->name)
		return err_set(e, ERR_NOMEM, "no memory for a bitmap's name");
	ret->table_offset = n.table_offset;
	ret->table_entries = n.table_entries;
	ret->granularity = UINT64_C(1) << n.granularity;
	ret->in_use = (n.flags & FLAG_IN_USE) != 0;
	ret->is_auto = (n.flags & FLAG_AUTO) != 0;
	*ret_len = len;
	return 0;
}

/* Fills v (h->n_bitmaps long, zeroed; NULL: looks only); *ret_n counts what is
 * in it, also on failure. */
static int
read_entries(struct qcow2_table *t, const struct qcow2_header *h,
	struct info_bitmap *v, size_t *ret_n, struct err *e)
{
	struct info_bitmap one;
	struct span view;
	uint64_t len = 0;

	for (*ret_n = 0; t->done < t->len;) {
		if (qcow2_table_view(t, ENTRY_LONGEST, &view, e))
			return -1;
		if (view.len < ENTRY_FIXED)
			return err_set(e, ERR_CORRUPT,
				"Broken bitmap directory");
		if (*ret_n == h->n_bitmaps)
			return err_set(e, ERR_CORRUPT, "More bitmaps found than"
				" specified in header extension (%" PRIu32 ")",
				h->n_bitmaps);
		if (entry_decode(view, h, v ? &v[*ret_n] : &one, &len, e))
			return -1;
		if (!v)
			free(one.name);
		(*ret_n)++;
		qcow2_table_skip(t, len);
	}
	if (*ret_n != h->n_bitmaps)
		return err_set(e, ERR_CORRUPT, "Less bitmaps found than "
			"specified in header extension (%zu of %" PRIu32 ")",
			*ret_n, h->n_bitmaps);
	return 0;
}

static int
walk(struct file *f, const struct qcow2_header *h, struct info_bitmap *v,
	size_t *ret_n, struct err *e)
{
	CLEANUP(qcow2_table_close) struct qcow2_table t = {0};

	*ret_n = 0;
	if (h->bitmap_dir_size == 0)
		return err_set(e, ERR_CORRUPT,
			"Requested bitmap directory size is zero");
	if (qcow2_table_open(&t, f, h->bitmap_dir_offset, h->bitmap_dir_size,
		e))
		return -1;
	return read_entries(&t, h, v, ret_n, e);
}

int
qcow2_bitmap_check(struct file *f, const struct qcow2_header *h,
	struct err *e)
{
	size_t n;

	return h->has_bitmaps ? walk(f, h, NULL, &n, e) : 0;
}

int
qcow2_bitmap_load(struct file *f, const struct qcow2_header *h,
	struct info_bitmap **ret, size_t *ret_n, struct err *e)
{
	struct info_bitmap *v;
	size_t n;

	if (!h->has_bitmaps) {
		*ret = NULL;
		*ret_n = 0;
		return 0;
	}
	v = calloc(h->n_bitmaps, sizeof(*v));
	if (!v)
		return err_set(e, ERR_NOMEM, "no memory for %" PRIu32
			" bitmaps", h->n_bitmaps);
	if (walk(f, h, v, &n, e)) {
		qcow2_bitmap_free(v, n);
		return -1;
	}
	*ret = v;
	*ret_n = n;
	return 0;
}

void
qcow2_bitmap_free(struct info_bitmap *v, size_t n)
{
	size_t i;

	for (i = 0; v && i < n; i++)
		free(v[i].name);
	free(v);
}
