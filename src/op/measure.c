/* SPDX-License-Identifier: MIT */
/*
 * Counts what a copy of the source would have to hold, by the status of its
 * guest bytes: qemu-img's sum, with its rounding. The sizes of metadata are
 * qcow2_measure.c's.
 */
#include "op/measure.h"

#include <inttypes.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/units.h"
#include "format/qcow2.h"
#include "format/qcow2_measure.h"
#include "format/status.h"

#define RUNS_PER_LOOK 4096 /* between two looks at whether to stop */

static uint32_t
cluster_of(const struct measure_request *rq)
{
	return rq->cluster_size ? rq->cluster_size : 65536;
}

static unsigned
bits_of(const struct measure_request *rq)
{
	return rq->refcount_bits ? rq->refcount_bits : 16;
}

int
measure_check(const struct measure_request *rq, struct err *e)
{
	uint32_t cluster = cluster_of(rq);
	unsigned bits = bits_of(rq);

	if (rq->target != FORMAT_QCOW2)
		return 0;
	if (cluster & (cluster - 1) || cluster < 1u << QCOW2_CLUSTER_BITS_MIN ||
		cluster > 1u << QCOW2_CLUSTER_BITS_MAX)
		return err_set(e, ERR_USAGE, "Cluster size must be a power of "
			"two between 512 and 2048k");
	if (rq->extended_l2 && cluster < QCOW2_SUBCLUSTERS * 512)
		return err_set(e, ERR_USAGE, "Extended L2 entries are only "
			"supported with cluster sizes of at least %u bytes",
			QCOW2_SUBCLUSTERS * 512);
	if (bits > 64 || bits & (bits - 1))
		return err_set(e, ERR_USAGE, "Refcount width must be a power "
			"of two and may not exceed 64 bits");
	if (rq->version == 2 && bits != 16)
		return err_set(e, ERR_USAGE, "Different refcount widths than "
			"16 bits require compatibility level 1.1 or above "
			"(use compat=1.1 or greater)");
	if (!qcow2_measure_fits(rq->size, cluster, rq->extended_l2))
		return err_set(e, ERR_LIMIT, "The image size is too large "
			"(try using a larger cluster size)");
	return 0;
}

/* Guest bytes that a copy would hold as data, in clusters of the target. */
static int
count(const struct measure_request *rq, struct chain *c, uint64_t *ret,
	struct err *e)
{
	CLEANUP(status_close_p) struct status_walk *w = NULL;
	uint64_t cluster = cluster_of(rq), sum = 0, at, n;
	unsigned runs = 0;

	if (status_open(&w, c, false, e))
		return -1;
	for (at = 0; at < c->size; at += n) {
		struct status s;

		if (++runs % RUNS_PER_LOOK == 0 && watch_cancelled(rq->watch))
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (status_above(w, at, c->size - at, &s, e))
			return -1;
		n = s.len;
		if (s.flags & STATUS_ZERO || !(s.flags & STATUS_DATA))
			continue;
		n = units_align_up(at + n, cluster) - at;
		sum += at % cluster + n;
	}
	*ret = sum;
	return 0;
}

/* What the copy must hold beside its metadata; bitmaps too. */
static int
measure_source(const struct measure_request *rq, struct chain *c,
	uint64_t size, struct measure_result *r, uint64_t *ret_data,
	struct err *e)
{
	struct image *top = c->im[0];
	struct info_bitmap *v = NULL;
	size_t n = 0;

	if (rq->backing)
		*ret_data = size;
	else if (count(rq, c, ret_data, e))
		return err_file(e, top->file->name);
	if (rq->version == 2 || top->ops->format != FORMAT_QCOW2 ||
		qcow2_of(top)->h.version < 3)
		return 0;
	if (qcow2_bitmap_load(top->file, &qcow2_of(top)->h, &v, &n, e))
		return err_file(e, top->file->name);
	r->has_bitmaps = true;
	r->bitmaps = qcow2_measure_bitmaps(v, n, c->size, cluster_of(rq));
	qcow2_bitmap_free(v, n);
	return 0;
}

static int
measure_qcow2(const struct measure_request *rq, struct chain *c,
	struct measure_result *r, struct err *e)
{
	uint64_t size = units_align_up(c ? c->size : rq->size, cluster_of(rq));
	uint64_t data = 0;

	if (c && measure_source(rq, c, size, r, &data, e))
		return -1;
	if (rq->all)
		data = size;
	r->full = qcow2_measure_full(size, cluster_of(rq), bits_of(rq),
		rq->extended_l2);
	/* metadata for all clusters is counted, used or not */
	r->required = r->full - size + data;
	return 0;
}

int
measure_run(const struct measure_request *rq, struct measure_result *ret,
	bool *ret_opened, struct err *e)
{
	CLEANUP(chain_close_p) struct chain *c = NULL;
	struct measure_result r = {0};

	if (measure_check(rq, e))
		return -1;
	if (rq->source) {
		struct source s = *rq->source;

		s.verbatim = true;
		if (source_open(&s, rq->gate, false, rq->watch, &c, e))
			return -1;
	}
	if (ret_opened)
		*ret_opened = true;
	if (rq->target == FORMAT_QCOW2) {
		if (measure_qcow2(rq, c, &r, e))
			return -1;
	} else {
		r.full = units_align_up(c ? c->size : rq->size, 512);
		r.required = r.full;
	}
	*ret = r;
	return 0;
}

void
measure_text(const struct measure_result *r, bool json, struct buf *out)
{
	struct json_out j = {.out = out, .pretty = true};

	if (!json) {
		buf_fmt(out, "required size: %" PRIu64 "\n"
			"fully allocated size: %" PRIu64 "\n", r->required,
			r->full);
		if (r->has_bitmaps)
			buf_fmt(out, "bitmaps size: %" PRIu64 "\n",
				r->bitmaps);
		return;
	}
	json_open_object(&j, NULL);
	if (r->has_bitmaps)
		json_u64(&j, "bitmaps", r->bitmaps);
	json_u64(&j, "required", r->required);
	json_u64(&j, "fully-allocated", r->full);
	json_close_object(&j);
	buf_char(out, '\n');
}
