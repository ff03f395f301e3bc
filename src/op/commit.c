/* SPDX-License-Identifier: MIT */
/*
 * Commit: which image is the base, the base open for writing while the chain
 * above it is read, and the order: base grown, written, durable, overlay
 * emptied. The bytes go through the pipeline.
 */
#include "op/commit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_empty.h"
#include "format/qcow2_guest.h"
#include "io/lock.h"
#include "op/inplace.h"
#include "op/pipeline.h"

struct job {
	const struct commit_request *rq;
	struct inplace top, base;
	unsigned depth; /* of the base */
	struct watch base_watch; /* without notes: the chain told them */
	struct sink sink;
};

/* Do both names lead to one file? The caller's name is taken as the overlay
 * would take it. */
static bool
is_called(const struct image *overlay, const struct image *below,
	const char *name)
{
	const char *path = gate_path(name);
	CLEANUP_FREE char *full = NULL;
	struct stat st;

	if (strcmp(name, overlay->backing) == 0)
		return true;
	if (!path)
		return false;
	full = path == name ? chain_full_name(overlay->file->name, name)
		: strdup(path);
	return full && stat(full, &st) == 0 && st.st_dev == below->file->dev &&
		st.st_ino == below->file->ino;
}

static int
find_base(struct job *j, struct err *e)
{
	const struct chain *c = j->top.chain;
	const char *name = j->rq->base;
	char q[1024], p[1024];
	unsigned i;

	for (i = 0; c && i + 1 < c->n; i++)
		if (!name || is_called(c->im[i], c->im[i + 1], name)) {
			j->depth = i + 1;
			return 0;
		}
	if (!name)
		return err_set(e, ERR_USAGE, COMMIT_NO_BACKING);
	return err_set(e, ERR_USAGE,
		COMMIT_NOT_FOUND "'%s' in the backing chain of '%s'",
		err_quote(q, sizeof(q), name, (unsigned)strlen(name)),
		err_quote(p, sizeof(p), j->rq->image.path,
			(unsigned)strlen(j->rq->image.path)));
}

static int
open_base(struct job *j, struct err *e)
{
	const struct image *im = j->top.chain->im[j->depth];
	struct inplace_request ir = {
		.format = im->ops->format,
		.gate = j->rq->image.gate,
		.watch = &j->base_watch,
	};

	if (j->rq->image.watch)
		j->base_watch = *j->rq->image.watch;
	j->base_watch.note = NULL;
	/* its data file's reader would stand in the writer's way */
	if (im->data_file)
		lock_release(im->data_file);
	if (inplace_reopen(im->file, &ir.file, e) < 0)
		return -1;
	if (inplace_open(&j->base, &ir, e) < 0)
		return err_file(e, im->file->name);
	return 0;
}

static int
grow_base(struct job *j, struct err *e)
{
	uint64_t size = j->top.chain->size;
	const struct qcow2_resize q = {
		.new_size = size,
		.durable = j->rq->durable,
		.data_file = j->base.data,
		.watch = j->rq->image.watch,
	};

	if (j->base.format == FORMAT_RAW) {
		if (j->base.file->size >= size)
			return 0;
		if (j->base.file->is_block)
			return err_sys(e, ENOTSUP, "the device is smaller "
				"than the overlay");
		return file_truncate(j->base.file, size, e);
	}
	if (j->base.chain->size >= size)
		return 0;
	if (qcow2_resize(j->base.chain, &q, e) < 0)
		return -1;
	return inplace_again(&j->base, e);
}

static int
open_sink(struct job *j, struct err *e)
{
	struct qcow2_guest_request g = {
		.edit = {.durable = j->rq->durable, .data_file = j->base.data,
			.watch = j->rq->image.watch},
	};

	if (j->base.format == FORMAT_RAW)
		return sink_raw_open(&j->sink, j->base.file,
			j->top.chain->size, 512, false, e);
	/* QEMU writes whole units of this, and the base's bitmaps say so */
	g.note_unit = units_min(64 * KIB, units_max(4 * KIB,
		j->base.chain->im[0]->cluster_size));
	return sink_inplace_open(&j->sink, j->base.chain, &g, 0, false, false,
		e);
}

static int
write_base(struct job *j, struct commit_result *ret, struct err *e)
{
	const struct commit_request *rq = j->rq;
	const struct scan_source src = {j->top.chain, 0, j->top.chain->size};
	struct pipeline_result pr = {0};
	struct pipeline_request p = {
		.src = &src,
		.n_src = 1,
		.base = j->depth,
		.size = src.size,
		.sink = &j->sink,
		.keep_kinds = true,
		.clone = true,
		.rate_limit = rq->rate_limit,
		.engine = rq->engine,
		.workers = rq->workers,
		.watch = rq->image.watch,
	};

	do {
		if (p.from > 0 && sink_inplace_settle(&j->sink, e) < 0)
			return -1;
		if (pipeline_run(&p, &pr, e) < 0)
			return -1;
		ret->bytes_data += pr.bytes_data;
		p.from = pr.end;
	} while (pr.end < src.size);
	if (sink_finish(&j->sink, e) < 0)
		return -1;
	if (j->base.format == FORMAT_RAW && rq->durable)
		return file_sync(j->base.file, e);
	return 0;
}

static int
run(struct job *j, struct commit_result *ret, struct err *e)
{
	const struct commit_request *rq = j->rq;
	struct qcow2_edit_request q = {.durable = rq->durable};

	if (inplace_open(&j->top, &rq->image, e) < 0)
		return err_file(e, rq->image.path);
	ret->format = j->top.format;
	if (find_base(j, e) < 0)
		return -1;
	/* what cannot be emptied is found out before the base is touched */
	if (qcow2_edit_changeable(&qcow2_of(j->top.chain->im[0])->h, e) < 0)
		return err_file(e, rq->image.path);
	if (open_base(j, e) < 0)
		return -1;
	if (j->base.chain && qcow2_edit_changeable(
		&qcow2_of(j->base.chain->im[0])->h, e) < 0)
		return err_file(e, j->base.file->name);
	ret->running = true;
	if (grow_base(j, e) < 0 || open_sink(j, e) < 0 ||
		write_base(j, ret, e) < 0)
		return err_file(e, j->base.file->name);
	if (rq->keep)
		return 0;
	q.data_file = j->top.data;
	if (qcow2_empty(j->top.chain, &q, e) < 0)
		return err_file(e, rq->image.path);
	return 0;
}

int
commit_run(const struct commit_request *rq, struct commit_result *ret,
	struct err *e)
{
	struct job j = {.rq = rq};
	int r;

	*ret = (struct commit_result){0};
	r = run(&j, ret, e);
	sink_close(&j.sink);
	inplace_close(&j.base);
	inplace_close(&j.top);
	return r;
}
