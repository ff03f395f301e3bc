/* SPDX-License-Identifier: MIT */
/*
 * Resize: open and lock, decide the format (a guest can make a raw disk look
 * like a qcow2, so a guess is never written to unless the caller says so), the
 * new size, and hand a qcow2 to the format. A raw image is its file.
 */
#include "op/resize.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/chain.h"
#include "format/qcow2_update.h"
#include "io/lock.h"

#define SECTOR 512
#define FILL_STEP (64 * KIB)

static int
decide_format(const struct resize_request *rq, struct file *f,
	enum format *ret, struct err *e)
{
	struct probe_result p;

	*ret = rq->format;
	if (rq->format == FORMAT_PROBE) {
		if (probe_load(f, &p, e) < 0)
			return -1;
		if (p.format != FORMAT_RAW && !rq->allow_probed)
			return err_set(e, ERR_DENIED, "the format was not "
				"given and the content looks like %s: say "
				"which it is (-f raw or -f %s)",
				probe_format_name(p.format),
				probe_format_name(p.format));
		*ret = p.format;
	}
	if (*ret != FORMAT_RAW && *ret != FORMAT_QCOW2)
		return err_set(e, ERR_UNSUPPORTED, "%s: not supported",
			probe_format_name(*ret));
	return 0;
}

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

static int
fill(struct file *f, uint64_t from, uint64_t to, const struct watch *w,
	struct err *e)
{
	CLEANUP_FREE uint8_t *zeros = calloc(1, FILL_STEP);
	uint64_t at = from;

	if (!zeros)
		return err_set(e, ERR_NOMEM, "out of memory");
	while (at < to) {
		uint64_t n = units_min(to - at, FILL_STEP);

		if (watch_cancelled(w))
			return err_set(e, ERR_CANCELLED, "cancelled");
		if (file_write(f, zeros, n, at, e) < 0)
			return -1;
		at += n;
		watch_progress(w, at - from, to - from);
	}
	return 0;
}

/* A raw file that cannot get all the room keeps its old length. */
static int
grow_raw(const struct resize_request *rq, struct file *f, uint64_t from,
	uint64_t to, struct err *e)
{
	struct err ignored;
	int r;

	if (rq->preallocation == PREALLOC_FALLOC)
		r = file_allocate(f, from, to - from, e);
	else
		r = fill(f, from, to, rq->watch, e);
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

/* The data file was opened for reading, by the gate's leave; the same file is
 * wanted for writing. */
static int
reopen_for_writing(struct file *f, struct file **ret, struct err *e)
{
	CLEANUP(file_close_p) struct file *w = NULL;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	if (file_open(&w, AT_FDCWD, path, FILE_WRITE, e) < 0)
		return -1;
	if (!file_same(f, w))
		return err_set(e, ERR_MISMATCH, "the data file was replaced");
	if (w->is_block)
		return err_set(e, ERR_UNSUPPORTED,
			"a block device cannot be resized");
	/* The chain's own reader locks would stand in the way. */
	lock_release(f);
	/* the reader's locks would keep us from our own */
	lock_release(f);
	if (lock_image(w, LOCK_WRITER_USE, LOCK_WRITER_KEEP, e) < 0)
		return -1;
	*ret = TAKE_PTR(w);
	return 0;
}

static int
resize_chain(const struct resize_request *rq, struct chain *c,
	struct resize_result *ret, struct err *e)
{
	CLEANUP(file_close_p) struct file *data = NULL;
	struct qcow2_resize q = {
		.shrink = rq->shrink,
		.preallocation = rq->preallocation,
		.durable = rq->durable,
		.tap = rq->tap,
		.tap_arg = rq->tap_arg,
	};

	ret->old_size = c->im[0]->size;
	if (decide_size(rq, ret->old_size, &q.new_size, e) < 0)
		return -1;
	if (c->im[0]->data_file) {
		if (reopen_for_writing(c->im[0]->data_file, &data, e) < 0)
			return -1;
		q.data_file = data;
	}
	ret->new_size = q.new_size;
	return qcow2_resize(c, &q, e);
}

int
resize_run(const struct resize_request *rq, struct resize_result *ret,
	struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	CLEANUP(chain_close_p) struct chain *c = NULL;
	const struct gate nothing = {0};
	struct resize_result r = {0};
	struct chain_request cr = {
		.format = FORMAT_QCOW2,
		.gate = rq->gate ? rq->gate : &nothing,
		.watch = rq->watch,
	};
	unsigned keep = rq->format == FORMAT_RAW ? LOCK_RAW_WRITER_KEEP
		: LOCK_WRITER_KEEP;

	if (file_open(&f, rq->dirfd, rq->path, FILE_WRITE, e) < 0 ||
		lock_image(f, LOCK_WRITER_USE, keep, e) < 0 ||
		decide_format(rq, f, &r.format, e) < 0)
		return err_file(e, rq->path);
	if (r.format == FORMAT_RAW) {
		if (resize_raw(rq, f, &r, e) < 0)
			return err_file(e, rq->path);
	} else if (chain_open(&c, TAKE_PTR(f), &cr, e) < 0 ||
		resize_chain(rq, c, &r, e) < 0) {
		return err_file(e, rq->path);
	}
	*ret = r;
	return 0;
}
