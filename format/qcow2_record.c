/* SPDX-License-Identifier: MIT */
/* Which bitmaps record, their flags in the directory on disk, and the note of
 * what was written. Storing is qcow2_bitmap_store.c's. */
#include "format/qcow2_record.h"

#include <errno.h>
#include <string.h>

#include "base/units.h"

#define ENTRY_FIXED 24u
#define FLAGS_AT 12u /* in an entry; it does not cross a sector's end */
#define FLAG_IN_USE 1u
#define FLAG_AUTO 2u

static bool
records(const struct qcow2_bitmap *x)
{
	return x->is_auto && !x->in_use;
}

int
qcow2_record_open(struct qcow2_record *r, struct qcow2_edit *d, struct err *e)
{
	unsigned finest = 0;

	*r = (struct qcow2_record){0};
	if (!d->h->has_bitmaps)
		return 0;
	if (qcow2_bitmaps_load(&r->list, d->plan.file[PLAN_IMAGE], d->h,
		    d->old_size, e) < 0)
		return -1;
	for (size_t i = 0; i < r->list.n; i++) {
		const struct qcow2_bitmap *x = &r->list.v[i];

		if (records(x))
			finest = finest ? (unsigned)units_min(finest,
				x->granularity) : x->granularity;
	}
	if (finest && qcow2_bits_new(&r->log, d->old_size, finest,
		d->h->cluster_bits, e) == 0)
		return 0;
	qcow2_bitmaps_free(&r->list);
	return finest ? -1 : 0;
}

void
qcow2_record_close(struct qcow2_record *r)
{
	qcow2_bitmaps_free(&r->list);
	qcow2_bits_free(&r->log);
	*r = (struct qcow2_record){0};
}

static uint64_t
entry_len(const struct qcow2_bitmap *x)
{
	return units_align_up(ENTRY_FIXED + strlen(x->name), 8);
}

/* A name with a byte of zero in it is shorter here than on disk. */
static int
check_directory(const struct qcow2_record *r, struct qcow2_edit *d,
	struct err *e)
{
	uint64_t len = 0;

	for (size_t i = 0; i < r->list.n; i++)
		len += entry_len(&r->list.v[i]);
	if (len == d->h->bitmap_dir_size)
		return qcow2_refs_may_write(&d->refs, QCOW2_META_BITMAPS,
			d->h->bitmap_dir_offset, len, e);
	err_set(e, ERR_CORRUPT, "Can't update bitmap directory");
	if (e)
		e->eno = EINVAL;
	return -1;
}

/* In place: any of the marks may be lost or there, as long as nothing else
 * has changed. */
static int
mark(struct qcow2_record *r, struct qcow2_edit *d, struct err *e)
{
	uint64_t hoff = d->h->bitmap_dir_offset;
	uint8_t flags[4];

	if (check_directory(r, d, e) < 0)
		return -1;
	store_be32(flags, FLAG_IN_USE | FLAG_AUTO);
	for (size_t i = 0; i < r->list.n; i++) {
		const struct qcow2_bitmap *x = &r->list.v[i];

		if (records(x) && plan_write(&d->plan, PLAN_IMAGE,
			hoff + FLAGS_AT, flags, sizeof(flags), e) < 0)
			return -1;
		hoff += entry_len(x);
	}
	if (plan_barrier(&d->plan, "bitmaps in use before guest data", e) <
			0 ||
		plan_run(&d->plan, e) < 0)
		return -1;
	r->marked = true;
	return 0;
}

int
qcow2_record_note(struct qcow2_record *r, struct qcow2_edit *d, uint64_t voff,
	uint64_t len, struct err *e)
{
	if (r->list.n == 0 || len == 0)
		return 0;
	if (!r->marked && mark(r, d, e) < 0)
		return -1;
	return qcow2_bits_mark(&r->log, voff, len, e);
}

int
qcow2_record_store(struct qcow2_record *r, struct qcow2_edit *d, struct err *e)
{
	if (!r->marked)
		return 0;
	/* tried once: the list does not know how far a failed store came */
	r->marked = false;
	d->plan.watch = NULL; /* stopped here, they would stay in use */
	r->list.log = &r->log;
	if (qcow2_bitmaps_store(&r->list, d, d->h, e) < 0)
		return -1;
	return qcow2_edit_settle(d, e);
}
