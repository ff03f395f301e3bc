/* SPDX-License-Identifier: MIT */
/* The only caller of the sinks' tables, and the null sink of digests. */
#include "op/sink.h"

#include <assert.h>

int
sink_data(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	assert(len > 0 && voff % s->unit == 0);
	assert(len % s->unit == 0 || voff + len >= s->size);
	return s->ops->data(s, voff, buf, len, out, e);
}

int
sink_zero(struct sink *s, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	assert(len > 0 && voff % s->unit == 0);
	return s->ops->zero(s, voff, len, out, e);
}

int
sink_packed(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	assert(s->packs && len > 0 && voff % s->unit == 0);
	return s->ops->packed(s, voff, buf, len, out, e);
}

int
sink_finish(struct sink *s, struct err *e)
{
	return s->ops->finish(s, e);
}

void
sink_close(struct sink *s)
{
	if (s->ops)
		s->ops->close(s);
	s->ops = NULL;
}

static int
null_data(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	(void)s, (void)voff, (void)buf, (void)len, (void)out, (void)e;
	return 0;
}

static int
null_zero(struct sink *s, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	(void)s, (void)voff, (void)len, (void)out, (void)e;
	return 0;
}

static int
null_finish(struct sink *s, struct err *e)
{
	(void)s, (void)e;
	return 0;
}

static void
null_close(struct sink *s)
{
	(void)s;
}

static const struct sink_ops null_ops = {
	.name = "null",
	.data = null_data,
	.zero = null_zero,
	.packed = null_data,
	.finish = null_finish,
	.close = null_close,
};

int
sink_null_open(struct sink *s, uint64_t size, struct err *e)
{
	(void)e;
	*s = (struct sink){
		.ops = &null_ops, .unit = 1, .size = size, .fresh = true,
		.reserve_from = UINT64_MAX};
	return 0;
}
