/* SPDX-License-Identifier: MIT */
/*
 * Rebase: what is allowed, the two chains, and the new name at the end of the
 * same session that wrote the data. The comparison is the pipeline's.
 */
#include "op/rebase.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "format/qcow2_guest.h"
#include "format/qcow2_reheader.h"
#include "op/inplace.h"
#include "op/pipeline.h"
#include "op/scan_diff.h"
#include "op/source.h"

struct job {
	const struct rebase_request *rq;
	bool named; /* there is a new backing file */
	struct inplace top;
	struct chain *other;
	struct sink sink;
	struct scan_diff *diff;
};

static int
open_other(struct job *j, struct err *e)
{
	const struct rebase_request *rq = j->rq;
	CLEANUP_FREE char *path = NULL;
	struct source s = {
		.dirfd = AT_FDCWD,
		.fd = -1,
		.force_share = rq->force_share,
	};
	struct gate g = *rq->image.gate;

	if (source_backing_path(&path, rq->image.path, rq->backing, e) < 0)
		return -1;
	s.path = path;
	if (rq->backing_format) {
		s.format = probe_format_from_name(rq->backing_format);
		if (s.format == FORMAT_PROBE)
			return err_set(e, ERR_USAGE, "Unknown driver '%s'",
				rq->backing_format);
	}
	/* named by the caller, as the target's of a convert */
	g.safe = false;
	return source_open(&s, &g, false, rq->image.watch, &j->other, e);
}

/* Locks keep the image out of its own chain, but for --force-share: QEMU then
 * makes a loop that nothing can open any more. */
static int
check_loop(const struct job *j, struct err *e)
{
	const struct chain *c = j->other;

	for (unsigned i = 0; i < c->n; i++) {
		if (j->top.file && file_same(c->im[i]->file, j->top.file))
			return err_set(e, ERR_USAGE, "the image would be its "
				"own backing file");
	}
	return 0;
}

/* What can be known before a byte is read or written. */
static int
check_header(const struct job *j, struct err *e)
{
	const struct rebase_request *rq = j->rq;
	const struct qcow2_header *h;

	if (j->top.format != FORMAT_QCOW2)
		return err_sys(e, ENOTSUP, "a raw image has no backing file");
	h = &qcow2_of(j->top.chain->im[0])->h;
	if (!j->named)
		return 0;
	if (!rq->backing_format || !*rq->backing_format)
		return err_set(e, ERR_USAGE, "backing format must be "
			"specified");
	if (strlen(rq->backing) > QCOW2_BACKING_NAME_MAX ||
		strlen(rq->backing_format) >= sizeof(h->backing_format))
		return err_sys(e, EINVAL, "a name is too long");
	if ((h->incompatible & QCOW2_DATA_FILE) &&
		(h->autoclear & QCOW2_AUTOCLEAR_RAW))
		return err_sys(e, EINVAL, "a raw data file and a backing "
			"file exclude each other");
	return 0;
}

static int
copy(struct job *j, struct rebase_result *ret, struct err *e)
{
	const struct rebase_request *rq = j->rq;
	struct chain *c = j->top.chain;
	const struct scan_source src = {c, 0, c->size};
	struct pipeline_result pr = {0};
	struct pipeline_request p = {
		.src = &src,
		.n_src = 1,
		.base = UINT32_MAX,
		.size = c->size,
		.sink = &j->sink,
		.engine = rq->engine,
		.workers = rq->workers,
		.watch = rq->image.watch,
	};
	uint64_t grown;

	j->diff = malloc(sizeof(*j->diff));
	if (!j->diff)
		return err_set(e, ERR_NOMEM, "out of memory");
	scan_diff_init(j->diff, c, j->other);
	p.diff = j->diff;
	/* behind the old backing file's end the guest saw zeros, and not bytes
	 * that happen to be zero */
	p.zero_from = c->n > 1 ? units_align_up(c->im[1]->size, 512) : 0;
	do {
		if (p.from > 0) {
			if (sink_inplace_settle(&j->sink, e) < 0 ||
				file_size(c->im[0]->file, &grown, e) < 0)
				return -1;
			scan_diff_again(j->diff);
		}
		if (pipeline_run(&p, &pr, e) < 0)
			return -1;
		ret->bytes_data += pr.bytes_data;
		p.from = pr.end;
	} while (pr.end < c->size);
	return sink_inplace_settle(&j->sink, e);
}

static int
rename_backing(struct job *j, struct err *e)
{
	struct qcow2_edit *d = qcow2_guest_edit(j->sink.priv);
	CLEANUP_FREE struct qcow2_header *want = malloc(sizeof(*want));

	if (!want)
		return err_set(e, ERR_NOMEM, "out of memory");
	*want = *d->h;
	memset(want->backing, 0, sizeof(want->backing));
	memset(want->backing_format, 0, sizeof(want->backing_format));
	want->has_backing_format = j->named;
	if (j->named) {
		memcpy(want->backing, j->rq->backing, strlen(j->rq->backing));
		memcpy(want->backing_format, j->rq->backing_format,
			strlen(j->rq->backing_format));
	}
	if (qcow2_edit_reheader(d, want, e) < 0)
		return -1;
	return sink_finish(&j->sink, e);
}

static int
run(struct job *j, struct rebase_result *ret, struct err *e)
{
	const struct rebase_request *rq = j->rq;
	struct inplace_request ir = rq->image;
	struct qcow2_guest_request g = {
		.edit = {.durable = rq->durable, .watch = rq->image.watch},
		.same_content = true,
	};

	ir.no_backing = rq->only_header;
	if (inplace_open(&j->top, &ir, e) < 0)
		return err_file(e, rq->image.path);
	ret->format = j->top.format;
	if (j->top.chain && qcow2_edit_changeable(
		&qcow2_of(j->top.chain->im[0])->h, e) < 0)
		return err_file(e, rq->image.path);
	ret->stage = REBASE_NEW;
	if (j->named && !rq->only_header &&
		(open_other(j, e) < 0 || check_loop(j, e) < 0))
		return -1;
	ret->stage = REBASE_HEADER;
	if (check_header(j, e) < 0)
		return err_file(e, rq->image.path);
	ret->stage = REBASE_COPY;
	g.edit.data_file = j->top.data;
	if (sink_inplace_open(&j->sink, j->top.chain, &g, 0, false, false,
		    e) < 0)
		return err_file(e, rq->image.path);
	if (!rq->only_header && copy(j, ret, e) < 0)
		return err_file(e, rq->image.path);
	ret->stage = REBASE_HEADER;
	return rename_backing(j, e) < 0 ? err_file(e, rq->image.path) : 0;
}

int
rebase_run(const struct rebase_request *rq, struct rebase_result *ret,
	struct err *e)
{
	struct job j = {
		.rq = rq,
		.named = rq->backing && *rq->backing,
	};
	int r;

	*ret = (struct rebase_result){0};
	r = run(&j, ret, e);
	sink_close(&j.sink);
	chain_close(j.other);
	inplace_close(&j.top);
	free(j.diff);
	return r;
}
