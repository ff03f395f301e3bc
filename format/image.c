/* SPDX-License-Identifier: MIT */
/*
 * The one caller of the formats' ops tables: picks the table, asserts the
 * contract on both sides, and owns what an image owns.
 */
#include "format/image.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "format/info.h"
#include "format/qcow2.h"

static const struct image_ops *const known[] = {&raw_ops, &qcow2_ops};

static const struct image_ops *
find_ops(enum format format)
{
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i]->format == format)
			return known[i];
	return NULL;
}

static int
open_inner(struct image *im, enum format format, unsigned flags,
	struct err *e)
{
	struct probe_result probe;

	if (format == FORMAT_PROBE) {
		if (probe_load(im->file, &probe, e))
			return -1;
		format = probe.format;
	}
	im->ops = find_ops(format);
	if (!im->ops)
		return err_set(e, ERR_UNSUPPORTED, "%s: not supported",
			probe_format_name(format));
	return im->ops->open(im, flags, e);
}

int
image_open(struct image **ret, struct file *f, enum format format,
	unsigned flags, const struct watch *w, struct err *e)
{
	CLEANUP(image_close_p) struct image *im = calloc(1, sizeof(*im));

	assert((unsigned)format < FORMAT_COUNT);
	if (!im) {
		file_close(f);
		return err_set(e, ERR_NOMEM, "no memory for an image");
	}
	im->file = f;
	im->flags = flags;
	im->watch = w;
	if (open_inner(im, format, flags, e))
		return err_file(e, f->name);
	*ret = TAKE_PTR(im);
	return 0;
}

int
image_describe(struct image *im, uint64_t voff, uint64_t len,
	struct extent *ret, size_t cap, size_t *ret_n, struct err *e)
{
	uint64_t at = voff;
	size_t n = 0, i;

	assert(len > 0 && cap > 0 && !(im->flags & IMAGE_INFO));
	assert(voff < im->size && len <= im->size - voff);
	if (im->ops->describe(im, voff, len, ret, cap, &n, e))
		return err_file(e, im->file->name);
	assert(n > 0 && n <= cap);
	for (i = 0; i < n; i++) {
		assert(ret[i].voff == at && ret[i].len > 0);
		at += ret[i].len;
	}
	assert(at - voff <= len);
	*ret_n = n;
	return 0;
}

int
image_info(struct image *im, struct image_info *ret, struct err *e)
{
	struct image_info i = {
		.format = im->ops->format,
		.virtual_size = im->size,
		.cluster_size = im->cluster_size,
	};
	int r = 0;

	if (im->backing)
		i.backing = strdup(im->backing);
	if (im->backing_format)
		i.backing_format = strdup(im->backing_format);
	if (!i.backing != !im->backing ||
		!i.backing_format != !im->backing_format)
		r = err_set(e, ERR_NOMEM, "no memory for a name");
	if (r == 0)
		r = im->ops->info(im, &i, e);
	if (r) {
		image_info_free(&i);
		return err_file(e, im->file->name);
	}
	*ret = i;
	return 0;
}

void
image_close(struct image *im)
{
	if (!im)
		return;
	if (im->ops)
		im->ops->close(im);
	file_close(im->data_file);
	file_close(im->file);
	free(im->backing);
	free(im->backing_format);
	free(im->data_name);
	free(im);
}

void
image_close_p(struct image **im)
{
	image_close(*im);
}
