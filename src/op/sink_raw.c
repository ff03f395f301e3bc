/* SPDX-License-Identifier: MIT */
/* The raw sink: a guest byte lies at the same host byte; zeros are holes. */
#include "op/sink.h"

#include <assert.h>

static int
raw_data(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	(void)s;
	return placed_add(out, buf, len, voff, false, e);
}

static int
raw_zero(struct sink *s, uint64_t voff, uint64_t len, struct placed_list *out,
	struct err *e)
{
	(void)out;
	if (s->fresh)
		return 0;
	return file_zero(s->file, voff, len, e);
}

static int
raw_packed(struct sink *s, uint64_t voff, const void *buf, size_t len,
	struct placed_list *out, struct err *e)
{
	(void)s, (void)voff, (void)buf, (void)len, (void)out;
	assert(!"a raw sink takes no packed clusters");
	return err_set(e, ERR_USAGE, "raw images cannot be compressed");
}

static int
raw_finish(struct sink *s, struct err *e)
{
	(void)s, (void)e;
	return 0;
}

/* Before any data: XFS writes all that waits in the cache when a file with
 * data is made longer. An existing file that is longer (-n) keeps its tail. */
static int
extend(struct file *f, uint64_t to, struct err *e)
{
	uint64_t size;

	if (f->is_block)
		return 0;
	if (file_size(f, &size, e))
		return -1;
	return size < to ? file_truncate(f, to, e) : 0;
}

static void
raw_close(struct sink *s)
{
	(void)s;
}

static const struct sink_ops raw_sink_ops = {
	.name = "raw",
	.data = raw_data,
	.zero = raw_zero,
	.packed = raw_packed,
	.finish = raw_finish,
	.close = raw_close,
};

int
sink_raw_open(struct sink *s, struct file *f, uint64_t size, uint64_t unit,
	bool fresh, struct err *e)
{
	if (extend(f, size, e))
		return -1;
	*s = (struct sink){
		.ops = &raw_sink_ops,
		.file = f,
		.fresh = fresh,
		.reserve_from = fresh && file_reserve_pays(f) ? 0 : UINT64_MAX,
		.unit = unit,
		.size = size,
	};
	return 0;
}
