/* SPDX-License-Identifier: MIT */
/*
 * Growing from a size that ends inside a cluster: the rest of that cluster
 * becomes visible. QEMU writes zeros there (with copy on write) when a backing
 * file would show, and leaves it alone otherwise.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/chain_read.h"
#include "format/qcow2_grow.h"

#define ALL_ALLOCATED UINT64_C(0xffffffff)

int
qcow2_head_load(struct qcow2_edit *d, struct qcow2_head *ret, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h);
	uint64_t voff = units_align_down(d->old_size, cs);
	CLEANUP_FREE uint8_t *p = NULL;

	*ret = (struct qcow2_head){.voff = voff};
	if (voff == d->old_size)
		return 0;
	p = calloc(1, cs);
	if (!p)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (chain_read_guest(d->chain, voff, d->old_size - voff, p, e) < 0)
		return -1;
	ret->p = TAKE_PTR(p);
	return 0;
}

void
qcow2_head_free(struct qcow2_head *head)
{
	free(head->p);
	head->p = NULL;
}

/* The whole cluster anew, and the entry to it; the old place is dropped. */
static int
copy(struct qcow2_edit *d, struct qcow2_head *head, struct qcow2_l2 *t,
	uint64_t l2x, uint64_t entry, const struct qcow2_entry *x,
	struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h), hoff = head->voff, len = cs;
	enum plan_file f = PLAN_IMAGE;

	if (d->data_file) {
		f = PLAN_DATA;
		len = units_min(cs, d->rq->new_size - head->voff);
	} else {
		if (qcow2_refs_alloc(&d->refs, 1, &hoff, e) < 0)
			return -1;
		if (x->kind == QCOW2_E_PACKED) {
			if (qcow2_edit_drop(d, x->hoff, x->hlen, e) < 0)
				return -1;
		} else if ((entry & QCOW2_L2_OFFSET) &&
			qcow2_edit_drop(d, entry & QCOW2_L2_OFFSET, cs, e) <
				0) {
			return -1;
		}
	}
	qcow2_edit_l2_set(d, t, l2x, hoff | QCOW2_COPIED, ALL_ALLOCATED);
	return plan_write(&d->plan, f, hoff, head->p, len, e);
}

/* The tail of a plain cluster that is ours alone. */
static int
zero_tail(struct qcow2_edit *d, struct qcow2_head *head, uint64_t hoff,
	struct err *e)
{
	uint64_t cs = qcow2_cluster_size(d->h);
	uint64_t from = d->old_size - head->voff, to = cs;
	enum plan_file f = PLAN_IMAGE;

	if (d->data_file) {
		f = PLAN_DATA;
		to = units_min(cs, d->rq->new_size - head->voff);
	}
	return plan_write(&d->plan, f, hoff + from, head->p + from, to - from,
		e);
}

static int
fix_entry(struct qcow2_edit *d, struct qcow2_head *head, struct qcow2_l2 *t,
	bool allocate, bool zero, struct err *e)
{
	uint64_t l2x = (head->voff >> d->h->cluster_bits) &
		((UINT64_C(1) << qcow2_l2_bits(d->h)) - 1);
	uint64_t bitmap, entry = qcow2_edit_l2_get(d, t, l2x, &bitmap);
	bool own = (entry & QCOW2_COPIED) || d->data_file;
	struct qcow2_entry x;

	if (qcow2_entry_decode(d->h, entry, bitmap, &x, e) < 0)
		return -1;
	if (x.kind == QCOW2_E_ZERO)
		return 0;
	if (x.kind == QCOW2_E_HOLE && entry == 0)
		return allocate || zero
			? copy(d, head, t, l2x, entry, &x, e)
			: 0;
	/* What cannot be written in place is copied when it is allocated; the
	 * copy is zero behind the old end. */
	if (!zero && !(allocate && (x.kind == QCOW2_E_PACKED || !own)))
		return 0;
	if (x.kind == QCOW2_E_DATA && own && !qcow2_has_extl2(d->h))
		return zero_tail(d, head, x.hoff, e);
	return copy(d, head, t, l2x, entry, &x, e);
}

int
qcow2_head_fix(struct qcow2_edit *d, struct qcow2_head *head, bool allocate,
	bool zero, struct err *e)
{
	struct qcow2_l2 t;
	int r;

	if (!head->p)
		return 0;
	r = qcow2_edit_l2_open(d,
		head->voff >> (d->h->cluster_bits + qcow2_l2_bits(d->h)), &t,
		e);
	if (r == 0)
		r = fix_entry(d, head, &t, allocate, zero, e);
	if (r == 0)
		return qcow2_edit_l2_close(d, &t, e);
	qcow2_edit_l2_free(&t);
	return -1;
}
