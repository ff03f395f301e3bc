/* SPDX-License-Identifier: MIT */
/* Resize: the new size; a qcow2 is the format's to change, a raw image is its
 * file. */
#include "op/resize.h"

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_update.h"
#include "op/inplace.h"

#define SECTOR 512

static int
decide_size(const struct resize_request *rq, uint64_t old, uint64_t *ret,
	struct err *e)
{
	uint64_t size = rq->size;

	if (rq->relative > 0 && !(old <= INT64_MAX && size <= INT64_MAX - old))
		size = 0;
	else if (rq->relative > 0)
		size += old;
	else if (rq->relative < 0)
		size = size < old ? old - size : 0;
	if (size == 0 || size > INT64_MAX)
		return err_set(e, ERR_USAGE, "New image size must be positive");
	if (size <= old && rq->preallocation != PREALLOC_OFF)
		return err_set(e, ERR_USAGE,
			"Preallocation can only be used for growing images");
	if (size < old && !rq->shrink)
		return err_set(e, ERR_USAGE, RESIZE_NEEDS_SHRINK);
	*ret = size;
	return 0;
}

/* A raw file that cannot get all the room keeps its old length. */
static int
grow_raw(const struct resize_request *rq, struct file *f, uint64_t from,
	uint64_t to, struct err *e)
{
	struct err ignored;
	int r = preallocate_range(f, from, to, rq->preallocation, rq->watch,
		true, e);

	if (r < 0)
		(void)file_truncate(f, from, &ignored);
	return r;
}

static int
resize_raw(const struct resize_request *rq, struct file *f,
	struct resize_result *ret, struct err *e)
{
	uint64_t size;

	/* A guest sees whole sectors. */
	ret->old_size = units_align_up(f->size, SECTOR);
	if (decide_size(rq, ret->old_size, &size, e) < 0)
		return -1;
	if (f->is_block)
		return err_set(e, ERR_UNSUPPORTED,
			"a block device cannot be resized");
	if (rq->preallocation == PREALLOC_METADATA)
		return err_set(e, ERR_UNSUPPORTED,
			"Unsupported preallocation mode: metadata");
	ret->new_size = size;
	if (rq->preallocation != PREALLOC_OFF) {
		if (grow_raw(rq, f, f->size, size, e) < 0)
			return -1;
	} else if (file_truncate(f, size, e) < 0) {
		return -1;
	}
	return rq->durable ? file_sync(f, e) : 0;
}

static int
resize_qcow2(const struct resize_request *rq, struct inplace *p,
	struct resize_result *ret, struct err *e)
{
	struct qcow2_resize q = {
		.shrink = rq->shrink,
		.preallocation = rq->preallocation,
		.durable = rq->durable,
		.data_file = p->data,
		.watch = rq->watch,
		.tap = rq->tap,
		.tap_arg = rq->tap_arg,
	};

	ret->old_size = p->chain->im[0]->size;
	if (decide_size(rq, ret->old_size, &q.new_size, e) < 0)
		return -1;
	if (p->data && p->data->is_block)
		return err_set(e, ERR_UNSUPPORTED,
			"a block device cannot be resized");
	ret->new_size = q.new_size;
	return qcow2_resize(p->chain, &q, e);
}

int
resize_run(const struct resize_request *rq, struct resize_result *ret,
	struct err *e)
{
	const struct inplace_request ir = {
		.dirfd = rq->dirfd,
		.path = rq->path,
		.format = rq->format,
		.allow_probed = rq->allow_probed,
		.data_path = rq->data_path,
		.no_locks = rq->no_locks,
		.gate = rq->gate,
		.watch = rq->watch,
	};
	CLEANUP(inplace_close) struct inplace p = {0};
	struct resize_result r = {0};

	if (inplace_open(&p, &ir, e) < 0)
		return err_file(e, rq->path);
	r.format = p.format;
	if ((p.format == FORMAT_RAW ? resize_raw(rq, p.file, &r, e)
			: resize_qcow2(rq, &p, &r, e)) < 0)
		return err_file(e, rq->path);
	*ret = r;
	return 0;
}
