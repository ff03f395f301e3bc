/* SPDX-License-Identifier: MIT */
/* The list of bitmaps, and what may be done to it. Storing is
 * qcow2_bitmap_store.c's. */
#include "format/qcow2_bitmap_edit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define GRANULARITY_MIN 512u
#define GRANULARITY_DEFAULT_MIN 4096u
#define GRANULARITY_DEFAULT_MAX 65536u

static int
grow(struct qcow2_bitmaps *b, struct err *e)
{
	size_t cap = b->cap ? b->cap * 2 : 8;
	struct qcow2_bitmap *v;

	if (b->n < b->cap)
		return 0;
	v = realloc(b->v, cap * sizeof(*v));
	if (!v)
		return err_set(e, ERR_NOMEM, "out of memory");
	b->v = v;
	b->cap = cap;
	return 0;
}

int
qcow2_bitmaps_load(struct qcow2_bitmaps *b, struct file *f,
	const struct qcow2_header *h, uint64_t size, struct err *e)
{
	struct info_bitmap *v;
	size_t n;

	*b = (struct qcow2_bitmaps){.size = size, .old_size = size};
	if (qcow2_bitmap_load(f, h, &v, &n, e) < 0)
		return -1;
	b->v = calloc(units_max(n, 1), sizeof(*b->v));
	b->cap = n;
	if (!b->v) {
		qcow2_bitmap_free(v, n);
		return err_set(e, ERR_NOMEM, "out of memory");
	}
	for (; b->n < n; b->n++) {
		struct info_bitmap *x = &v[b->n];

		b->v[b->n] = (struct qcow2_bitmap){
			.name = TAKE_PTR(x->name),
			.granularity =
				(unsigned)__builtin_ctzll(x->granularity),
			.in_use = x->in_use,
			.is_auto = x->is_auto,
			.table_hoff = x->table_offset,
			.table_entries = x->table_entries,
		};
	}
	qcow2_bitmap_free(v, n);
	return 0;
}

void
qcow2_bitmaps_free(struct qcow2_bitmaps *b)
{
	for (size_t i = 0; i < b->n; i++) {
		free(b->v[i].name);
		qcow2_bits_free(&b->v[i].bits);
	}
	free(b->v);
	free(b->gone);
	*b = (struct qcow2_bitmaps){0};
}

static struct qcow2_bitmap *
find(struct qcow2_bitmaps *b, const char *name)
{
	for (size_t i = 0; i < b->n; i++) {
		if (strcmp(b->v[i].name, name) == 0)
			return &b->v[i];
	}
	return NULL;
}

struct qcow2_bitmap *
qcow2_bitmaps_find(struct qcow2_bitmaps *b, const char *name, struct err *e)
{
	struct qcow2_bitmap *x = find(b, name);
	char q[256];

	if (!x)
		err_set(e, ERR_USAGE, "Dirty bitmap '%s' not found",
			err_quote(q, sizeof(q), name, (unsigned)strlen(name)));
	return x;
}

static int
check_usable(const struct qcow2_bitmap *x, struct err *e)
{
	char q[256];

	if (x->in_use)
		return err_set(e, ERR_MISMATCH,
			"Bitmap '%s' is inconsistent and cannot be used",
			err_quote(q, sizeof(q), x->name,
				(unsigned)strlen(x->name)));
	return 0;
}

int
qcow2_bitmaps_leave(struct qcow2_bitmaps *b, struct qcow2_bitmap *x,
	struct err *e)
{
	if (x->table_hoff == 0)
		return 0;
	if (b->n_gone == b->gone_cap) {
		size_t cap = b->gone_cap ? b->gone_cap * 2 : 8;
		struct qcow2_bitmap_gone *v = realloc(b->gone,
			cap * sizeof(*v));

		if (!v)
			return err_set(e, ERR_NOMEM, "out of memory");
		b->gone = v;
		b->gone_cap = cap;
	}
	b->gone[b->n_gone++] = (struct qcow2_bitmap_gone){x->table_hoff,
		x->table_entries};
	x->table_hoff = 0;
	return 0;
}

int
qcow2_bitmaps_need(struct qcow2_bitmaps *b, struct qcow2_bitmap *x,
	struct file *f, const struct qcow2_header *h, struct err *e)
{
	char q[256];

	if (x->loaded)
		return 0;
	if (qcow2_bits_load(&x->bits, f, h, b->old_size, x->granularity,
		    x->table_hoff, x->table_entries, e) < 0)
		return err_prefix(e, "Could not read bitmap '%s' from image",
			err_quote(q, sizeof(q), x->name,
				(unsigned)strlen(x->name)));
	x->loaded = true;
	return b->size == b->old_size ? 0
		: qcow2_bits_resize(&x->bits, b->size, e);
}

struct qcow2_bitmap *
qcow2_bitmaps_read(struct qcow2_bitmaps *b, const char *name, struct file *f,
	const struct qcow2_header *h, struct err *e)
{
	struct qcow2_bitmap *x = qcow2_bitmaps_find(b, name, e);

	if (!x || check_usable(x, e) < 0 ||
		qcow2_bitmaps_need(b, x, f, h, e) < 0)
		return NULL;
	return x;
}

static int
check_new(struct qcow2_bitmaps *b, const struct qcow2_header *h,
	const char *name, unsigned granularity, struct err *e)
{
	uint64_t bytes = units_div_up(units_div_up(b->size,
		UINT64_C(1) << granularity), 8);
	uint64_t dir = units_align_up(24 + strlen(name), 8);

	if (h->version < 3)
		return err_set(e, ERR_UNSUPPORTED,
			"Cannot store dirty bitmaps in qcow2 v2 files");
	if (b->size == 0)
		return err_set(e, ERR_UNSUPPORTED,
			"an empty disk has no bitmaps");
	if (bytes > QCOW2_BITS_MAX ||
		bytes > (uint64_t)QCOW2_BITMAP_TABLE_MAX << h->cluster_bits)
		return err_set(e, ERR_LIMIT, "Too much space will be occupied "
			"by the bitmap. Use larger granularity");
	if (strlen(name) > QCOW2_BITMAP_NAME_MAX)
		return err_set(e, ERR_LIMIT, "Name length exceeds maximum (%u "
			"characters)", QCOW2_BITMAP_NAME_MAX);
	for (size_t i = 0; i < b->n; i++)
		dir += units_align_up(24 + strlen(b->v[i].name), 8);
	if (b->n >= QCOW2_BITMAPS_MAX)
		return err_set(e, ERR_LIMIT, "Maximum number of persistent "
			"bitmaps is already reached");
	if (dir > UINT64_C(1024) * QCOW2_BITMAPS_MAX)
		return err_set(e, ERR_LIMIT,
			"Not enough space in the bitmap directory");
	return 0;
}

int
qcow2_bitmaps_add(struct qcow2_bitmaps *b, const struct qcow2_header *h,
	const char *name, uint64_t granularity, bool is_auto, struct err *e)
{
	struct qcow2_bitmap x = {.is_auto = is_auto, .loaded = true};
	char q[256];

	if (*name == '\0')
		return err_set(e, ERR_USAGE, "Bitmap name cannot be empty");
	if (granularity == 0)
		granularity = units_min(GRANULARITY_DEFAULT_MAX, units_max(
			GRANULARITY_DEFAULT_MIN, qcow2_cluster_size(h)));
	if (granularity < GRANULARITY_MIN || granularity > INT32_MAX + 1u ||
		(granularity & (granularity - 1)))
		return err_set(e, ERR_USAGE, "Granularity must be power of 2 "
			"and at least %u", GRANULARITY_MIN);
	if (find(b, name))
		return err_set(e, ERR_USAGE, "Bitmap already exists: %s",
			err_quote(q, sizeof(q), name, (unsigned)strlen(name)));
	x.granularity = (unsigned)__builtin_ctzll(granularity);
	if (check_new(b, h, name, x.granularity, e) < 0 || grow(b, e) < 0 ||
		qcow2_bits_new(&x.bits, b->size, x.granularity,
			h->cluster_bits, e) < 0)
		return -1;
	x.name = strdup(name);
	if (!x.name) {
		qcow2_bits_free(&x.bits);
		return err_set(e, ERR_NOMEM, "out of memory");
	}
	b->v[b->n++] = x;
	return 0;
}

int
qcow2_bitmaps_remove(struct qcow2_bitmaps *b, const char *name, struct err *e)
{
	struct qcow2_bitmap *x = qcow2_bitmaps_find(b, name, e);

	if (!x || qcow2_bitmaps_leave(b, x, e) < 0)
		return -1;
	free(x->name);
	qcow2_bits_free(&x->bits);
	b->n--;
	memmove(x, x + 1, (size_t)(b->v + b->n - x) * sizeof(*x));
	return 0;
}

int
qcow2_bitmaps_clear(struct qcow2_bitmaps *b, const struct qcow2_header *h,
	const char *name, struct err *e)
{
	struct qcow2_bitmap *x = qcow2_bitmaps_find(b, name, e);

	if (!x || check_usable(x, e) < 0)
		return -1;
	qcow2_bits_free(&x->bits);
	x->loaded = true;
	return qcow2_bits_new(&x->bits, b->size, x->granularity,
		h->cluster_bits, e);
}

int
qcow2_bitmaps_enable(struct qcow2_bitmaps *b, const char *name, bool on,
	struct err *e)
{
	struct qcow2_bitmap *x = qcow2_bitmaps_find(b, name, e);

	if (!x || check_usable(x, e) < 0)
		return -1;
	x->is_auto = on;
	return 0;
}

int
qcow2_bitmaps_merge(struct qcow2_bitmaps *b, struct file *f,
	const struct qcow2_header *h, const char *name,
	const struct qcow2_bitmap *src, struct err *e)
{
	struct qcow2_bitmap *x = qcow2_bitmaps_find(b, name, e);

	if (!x || check_usable(x, e) < 0 || check_usable(src, e) < 0)
		return -1;
	if (src->bits.size != b->size)
		return err_set(e, ERR_USAGE, "Bitmaps are of different sizes "
			"(destination size is %" PRIu64 ", source size is %"
			PRIu64 ") and can't be merged", b->size,
			src->bits.size);
	if (x == src)
		return 0;
	if (qcow2_bitmaps_need(b, x, f, h, e) < 0)
		return -1;
	return qcow2_bits_merge(&x->bits, &src->bits, e);
}

int
qcow2_bitmaps_resize(struct qcow2_bitmaps *b, uint64_t size, struct err *e)
{
	for (size_t i = 0; i < b->n; i++) {
		if (check_usable(&b->v[i], e) < 0)
			return -1;
	}
	for (size_t i = 0; i < b->n; i++) {
		struct qcow2_bitmap *x = &b->v[i];

		/* the others when they are read */
		if (x->loaded && qcow2_bits_resize(&x->bits, size, e) < 0)
			return -1;
	}
	b->size = size;
	return 0;
}
