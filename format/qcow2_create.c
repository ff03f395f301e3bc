/* SPDX-License-Identifier: MIT */
/*
 * A new image without guest data: preallocation, and the order in which an
 * image that was built in memory and on disk becomes valid (everything else,
 * a barrier, the header).
 */
#include "config.h"

#include "format/qcow2_create.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"

static int
go_on(const struct watch *w, struct err *e)
{
	return watch_cancelled(w)
		? err_set(e, ERR_CANCELLED, "interrupted") : 0;
}

/* Every guest cluster is mapped by write requests of QEMU's largest size. */
static int
map_by_requests(struct qcow2_place *p, enum preallocation mode,
	const struct watch *w, struct err *e)
{
	uint64_t max = units_align_down(INT32_MAX, qcow2_cluster_size(&p->h));
	struct qcow2_run run = {0};
	uint64_t voff, was = p->data_end;

	for (voff = 0; voff < p->h.size; voff += run.len) {
		uint64_t n = units_min(max, p->h.size - voff);

		if (go_on(w, e) ||
			qcow2_place_data(p, voff, n, true, &run, e))
			return -1;
		/* An old refcount table was here: what is mapped must read
		 * as zeros. QEMU 7.2 would leave the table's bytes. */
		if (!p->data && qcow2_alloc_stale(&p->a, run.hoff,
			    run.len + run.tail) &&
			preallocate_range(p->f, run.hoff,
				run.hoff + run.len + run.tail, PREALLOC_FULL,
				w, false, e))
			return -1;
	}
	qcow2_place_reach(p, run.hoff + run.len);
	return p->data ? preallocate_range(p->data, was, p->data_end, mode, w,
				 false, e) : 0;
}

/* One area for all data, with refcounts in front of it; L2 tables go where
 * they find room. */
static int
map_area(struct qcow2_place *p, enum preallocation mode,
	const struct watch *w, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(&p->h), from = p->a.end;
	uint64_t n = units_div_up(p->h.size, cs), start, got;
	uint64_t tables = (n >> qcow2_l2_bits(&p->h)) + 1;

	tables += (n & ((UINT64_C(1) << qcow2_l2_bits(&p->h)) - 1)) != 0;
	if (qcow2_alloc_used(&p->a, &start, e) ||
		qcow2_alloc_area(&p->a, start, n + tables, true, &start, e) ||
		qcow2_alloc_take_at(&p->a, start, n, &got, e))
		return -1;
	if (got != n)
		return err_set(e, ERR_LIMIT, "Failed to allocate data clusters");
	from = units_max(from, p->a.end);
	if ((!p->a.fresh && preallocate_range(p->f, start, start + n * cs,
			PREALLOC_FULL, w, false, e)) ||
		preallocate_range(p->f, from, start + n * cs, mode, w, false,
			e))
		return -1;
	qcow2_alloc_reach(&p->a, start + n * cs);
	return qcow2_place_map(p, 0, start, n * cs, e);
}

static int
preallocate(struct qcow2_place *p, enum preallocation mode,
	const struct watch *w, struct err *e)
{
	if (mode == PREALLOC_OFF || !p->h.size)
		return 0;
	if (mode == PREALLOC_METADATA || p->data)
		return map_by_requests(p, mode, w, e);
	return map_area(p, mode, w, e);
}

/* The tables of a new image are mostly zeros, which stay holes. They get their
 * room all the same: QEMU takes an image with less room than refcounts for a
 * preallocated one, and then looks for zeros in the holes of the file and not
 * in the tables alone. */
static int
reserve_tables(struct qcow2_place *p, struct err *e)
{
	bool done;

	return p->f->is_block ? 0
		: file_reserve(p->f, 0, p->a.end, &done, e);
}

int
qcow2_create_begin(struct qcow2_place *p, struct file *f, struct file *data,
	const struct qcow2_options *o, struct err *e)
{
	enum preallocation mode = o->preallocation;

	if (qcow2_options_check(o, e) || qcow2_place_open(p, f, data, o, e) ||
		reserve_tables(p, e))
		return -1;
	/* The raw data file must be mapped 1:1, or it would not be what the
	 * guest sees. */
	if (o->data_file_raw && mode == PREALLOC_OFF)
		mode = PREALLOC_METADATA;
	if (p->data && mode == PREALLOC_OFF)
		p->data_end = p->h.size;
	return preallocate(p, mode, o->watch, e);
}

/* Regular files get their length; the tail may be a hole. */
static int
set_length(struct file *f, uint64_t end, struct err *e)
{
	uint64_t size;

	if (f->is_block)
		return 0;
	if (file_size(f, &size, e))
		return -1;
	return size < end ? file_truncate(f, end, e) : 0;
}

int
qcow2_create_end(struct qcow2_place *p, bool durable, struct err *e)
{
	uint64_t cs = qcow2_cluster_size(&p->h);
	CLEANUP_FREE uint8_t *head = malloc(cs);

	if (!head)
		return err_sys(e, ENOMEM, "cannot make a header");
	if (qcow2_place_flush(p, e) || set_length(p->f, p->a.end, e) ||
		(p->data && set_length(p->data, p->data_end, e)))
		return -1;
	if (durable && ((p->data && file_sync(p->data, e)) ||
			file_sync(p->f, e)))
		return -1;
	p->h.reftable_offset = p->a.table_hoff;
	p->h.reftable_clusters = (uint32_t)units_div_up(p->a.entries * 8, cs);
	if (qcow2_header_encode(&p->h, qcow2_options_features(&p->h), NULL,
		    head, cs, e) ||
		qcow2_alloc_write(&p->a, head, cs, 0, true, e))
		return -1;
	return durable ? file_sync(p->f, e) : 0;
}

int
qcow2_create(struct file *f, struct file *data, const struct qcow2_options *o,
	bool durable, struct err *e)
{
	struct qcow2_place p = {0};
	int r;

	r = qcow2_create_begin(&p, f, data, o, e);
	if (!r)
		r = qcow2_create_end(&p, durable, e);
	qcow2_place_close(&p);
	return r;
}
