/* SPDX-License-Identifier: MIT */
/*
 * The bitmap directory (section "Bitmaps"), as far as `info` and an open need
 * it: names, flags, granularity, and whether entries and tables make sense: an
 * open loads bitmaps, as QEMU's does. Their bits are not read here.
 */
#include "format/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
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
/* Bytes of tables that an open looks at; those of 16 bitmaps with bits for 512
 * bytes of a disk of 1 TiB, in the smallest clusters. Tables may be shared, so
 * that without a limit a small file could ask for terabytes. */
#define TABLES_MAX (UINT64_C(64) << 20)
#define CHUNK 4096u
#define TABLE_OFFSET UINT64_C(0x00fffffffffffe00)
#define TABLE_RESERVED UINT64_C(0xff000000000001fe)
#define TABLE_ONES UINT64_C(1)

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

/* What was met on the way through the tables. */
struct look {
	struct file *f;
	const struct qcow2_header *h;
	uint64_t *names; /* hashes; 0: an empty slot */
	size_t cap;      /* a power of two, twice as many as names at least */
	uint64_t left;   /* of TABLES_MAX */
	uint8_t *chunk;  /* CHUNK bytes, aligned: the file may be O_DIRECT */
};

/* Two names with one hash are taken for one: nobody has them by accident. */
static bool
met_before(struct look *l, const char *name)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	size_t i;

	for (; *name; name++)
		hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
	hash |= UINT64_C(1) << 63;
	for (i = hash & (l->cap - 1); l->names[i]; i = (i + 1) & (l->cap - 1)) {
		if (l->names[i] == hash)
			return true;
	}
	l->names[i] = hash;
	return false;
}

static int
unreadable(const struct info_bitmap *x, const char *what, int eno,
	struct err *e)
{
	char q[160];

	err_set(e, ERR_CORRUPT, "Could not read %s '%s'%s", what,
		err_quote(q, sizeof(q), x->name, (unsigned)strlen(x->name)),
		what[6] ? "" : " from image");
	if (e)
		e->eno = eno;
	return -1;
}

static bool
table_is_sound(const struct look *l, const uint8_t *table, uint64_t len)
{
	uint64_t mask = qcow2_cluster_size(l->h) - 1;

	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t entry = load_be64(table + i);
		uint64_t hoff = entry & TABLE_OFFSET;

		if ((entry & TABLE_RESERVED) || (hoff & mask) ||
			(hoff && (entry & TABLE_ONES)))
			return false;
	}
	return true;
}

/* What QEMU finds out when it loads the bits. */
static int
look_at(struct look *l, const struct info_bitmap *x, struct err *e)
{
	static const char table_of[] =
		"bitmap_table table from image for bitmap";
	uint64_t len = (uint64_t)x->table_entries * 8, at = 0, n, bytes;
	uint64_t hoff = x->table_offset;

	if (hoff > INT64_MAX - len)
		return unreadable(x, table_of, EIO, e);
	for (; at < len && hoff + at < l->f->size; at += n) {
		uint64_t skip = (hoff + at) % CHUNK;

		if (l->left < CHUNK)
			return 0;
		l->left -= CHUNK;
		n = units_min(len - at, CHUNK - skip);
		if (file_read_padded(l->f, l->chunk, CHUNK, hoff + at - skip,
			NULL, e))
			return -1;
		if (!table_is_sound(l, l->chunk + skip, n))
			return unreadable(x, table_of, EINVAL, e);
	}
	bytes = units_div_up(units_div_up(units_align_down(l->h->size, 512),
		x->granularity), 8);
	return units_div_up(bytes, qcow2_cluster_size(l->h)) ==
		x->table_entries ? 0 : unreadable(x, "bitmap", EINVAL, e);
}

static int
look_at_all(struct look *l, struct err *e)
{
	CLEANUP(qcow2_table_close) struct qcow2_table t = {0};
	struct info_bitmap x;
	struct span view;
	uint64_t len = 0;
	char q[160];
	int r = 0;

	if (qcow2_table_open(&t, l->f, l->h->bitmap_dir_offset,
		l->h->bitmap_dir_size, e))
		return -1;
	for (uint32_t i = 0; i < l->h->n_bitmaps && r == 0; i++) {
		bool again;

		if (qcow2_table_view(&t, ENTRY_LONGEST, &view, e) ||
			entry_decode(view, l->h, &x, &len, e))
			return -1;
		again = met_before(l, x.name);
		if (again && !x.in_use)
			r = err_set(e, ERR_CORRUPT, "Bitmap already exists: %s",
				err_quote(q, sizeof(q), x.name,
					(unsigned)strlen(x.name)));
		else if (!x.in_use)
			r = look_at(l, &x, e);
		free(x.name);
		qcow2_table_skip(&t, len);
	}
	return r;
}

int
qcow2_bitmap_check(struct file *f, const struct qcow2_header *h,
	struct err *e)
{
	struct look l = {.f = f, .h = h, .cap = 16, .left = TABLES_MAX};
	size_t n;
	int r;

	if (!h->has_bitmaps)
		return 0;
	if (walk(f, h, NULL, &n, e))
		return -1;
	while (l.cap < 2 * n)
		l.cap *= 2;
	l.names = calloc(l.cap, sizeof(*l.names));
	l.chunk = buf_alloc_aligned(CHUNK);
	r = l.names && l.chunk ? look_at_all(&l, e)
		: err_set(e, ERR_NOMEM, "no memory for %zu bitmaps", n);
	free(l.names);
	free(l.chunk);
	return r;
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
