/* SPDX-License-Identifier: MIT */
/* The sink into an existing qcow2: placement is qcow2_guest's. */
#include "op/sink.h"

#include "base/units.h"
#include "format/qcow2_guest.h"

static int
inplace_data(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	/* a source's last sector may end behind the image */
	len = units_min(len, s->size - voff);
	if (qcow2_guest_data(s->priv, voff, buf, len, out, e) < 0)
		return -1;
	atomic_store(&s->full, qcow2_guest_full(s->priv));
	return 0;
}

static int
inplace_zero(struct sink *s, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	if (s->fresh)
		return 0;
	len = units_min(len, s->size - voff);
	if (qcow2_guest_zero(s->priv, voff, len, out, e) < 0)
		return -1;
	atomic_store(&s->full, qcow2_guest_full(s->priv));
	return 0;
}

static int
inplace_packed(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	if (qcow2_guest_packed(s->priv, voff, buf, len, out, e) < 0)
		return -1;
	atomic_store(&s->full, qcow2_guest_full(s->priv));
	return 0;
}

static int
inplace_finish(struct sink *s, struct err *e)
{
	if (qcow2_guest_settle(s->priv, e) < 0)
		return -1;
	return qcow2_guest_finish(s->priv, e);
}

static void
inplace_close(struct sink *s)
{
	qcow2_guest_close(s->priv);
}

static const struct sink_ops inplace_sink_ops = {
	.name = "qcow2 in place",
	.data = inplace_data,
	.zero = inplace_zero,
	.packed = inplace_packed,
	.finish = inplace_finish,
	.close = inplace_close,
};

int
sink_inplace_settle(struct sink *s, struct err *e)
{
	if (qcow2_guest_settle(s->priv, e) < 0)
		return -1;
	atomic_store(&s->full, false);
	return 0;
}

int
sink_inplace_open(struct sink *s, struct chain *c,
	const struct qcow2_guest_request *rq, uint64_t unit, bool fresh,
	bool packs, struct err *e)
{
	uint64_t cluster = c->im[0]->cluster_size;
	struct qcow2_guest *g;

	if (qcow2_guest_open(&g, c, rq, e) < 0)
		return -1;
	*s = (struct sink){
		.ops = &inplace_sink_ops,
		.file = c->im[0]->file,
		.data_file = rq->edit.data_file,
		.ordered = true,
		.fresh = fresh,
		.reserve_from = file_reserve_pays(c->im[0]->file)
			? c->im[0]->file->size : UINT64_MAX,
		.unit = 512,
		.zero_unit = unit ? unit : qcow2_guest_unit(g),
		.packs = packs,
		.zero_max = QCOW2_GUEST_ZERO_CLUSTERS * cluster,
		.size = c->size,
		.priv = g,
	};
	/* a cluster is packed whole or is zeros whole */
	if (packs)
		s->unit = s->zero_unit = cluster;
	return 0;
}
