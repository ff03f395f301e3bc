/* SPDX-License-Identifier: MIT */
/* The qcow2 sink: placement is the streaming writer's. */
#include "op/sink.h"

#include "base/units.h"

static int
qcow2_data(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	return qcow2_writer_data(s->priv, voff, buf, len, out, e);
}

static int
qcow2_zero(struct sink *s, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	if (s->fresh || voff >= s->zero_end)
		return 0;
	len = units_min(len, s->zero_end - voff);
	return qcow2_writer_zero(s->priv, voff, len, out, e);
}

static int
qcow2_packed(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	return qcow2_writer_packed(s->priv, voff, buf, len, out, e);
}

static int
qcow2_finish(struct sink *s, struct err *e)
{
	return qcow2_writer_finish(s->priv, e);
}

static void
qcow2_close(struct sink *s)
{
	qcow2_writer_close(s->priv);
}

static const struct sink_ops qcow2_sink_ops = {
	.name = "qcow2",
	.data = qcow2_data,
	.zero = qcow2_zero,
	.packed = qcow2_packed,
	.finish = qcow2_finish,
	.close = qcow2_close,
};

int
sink_qcow2_open(struct sink *s, struct file *f, struct file *data,
	const struct qcow2_options *o, uint64_t backing_size, bool packs,
	bool durable, struct err *e)
{
	uint64_t cluster = o->cluster_size ? o->cluster_size : 64 * KIB;
	bool as_read = !packs && !o->backing;
	struct qcow2_writer *w;

	if (qcow2_writer_open(&w, f, data, o, durable, e))
		return -1;
	if (packs)
		qcow2_writer_compressed(w);
	*s = (struct sink){
		.ops = &qcow2_sink_ops,
		.file = f,
		.data_file = data,
		.ordered = true,
		.packs = packs,
		/* a new image without backing reads as zeros */
		.fresh = o->backing == NULL,
		.reserve_from = file_reserve_pays(f) ? 0 : UINT64_MAX,
		.as_read = as_read,
		.unit = as_read ? 512 : cluster,
		.size = o->size,
		.zero_end = units_align_up(backing_size, cluster),
		.priv = w,
	};
	/* over a backing file a subcluster is what hides it */
	if (!packs && !as_read && o->extended_l2)
		s->unit = cluster / 32;
	return 0;
}
