/* SPDX-License-Identifier: MIT */
/*
 * One thread, one run after the other. In a qcow2 clusters are taken in the
 * order and in the numbers in which qemu-img's writes take them; writes that
 * only fill a cluster are put together.
 */
#include "op/dd.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "op/read.h"
#include "op/sink.h"
#include "op/target.h"

#define CLUSTER (64 * KIB) /* of the qcow2 that is made */
/* A larger block is moved in pieces of this size. */
#define RUN_MAX (2 * MIB)

struct job {
	const struct dd_request *rq;
	struct chain *chain;
	struct reader reader;
	struct target target;
	struct sink sink;
	struct placed_list placed;
	uint64_t from;  /* guest byte of the source */
	uint64_t size;  /* bytes to copy */
	uint8_t *buf;   /* RUN_MAX */
	enum dd_stage stage;
};

/* What there is to copy, as qemu-img counts it. */
static void
measure(struct job *j, struct dd_result *r)
{
	const struct dd_request *rq = j->rq;
	uint64_t end = j->chain->size;

	if (rq->count < end / rq->block + 1)
		end = units_min(end, rq->count * rq->block);
	/* at most INT64_MAX / 1 + 1 blocks: no overflow */
	if (rq->skip > end / rq->block) {
		r->skips_all = true;
		return;
	}
	j->from = rq->skip * rq->block;
	j->size = end - j->from;
	r->size = j->size;
}

/* Where the run that begins at `at` ends: one block, or several that lie in
 * one cluster with it. Borders are whole sectors. */
static uint64_t
run_end(const struct job *j, uint64_t at)
{
	uint64_t block = j->rq->block;
	uint64_t room = units_align_down(at, CLUSTER) + CLUSTER;
	uint64_t n = at / block + 1;
	uint64_t end = units_align_up(n * block, 512);

	if (end < room)
		end = units_max(end, units_align_up(room / block * block,
			512));
	if (end > at + RUN_MAX || j->rq->target_format == FORMAT_RAW)
		end = at + RUN_MAX;
	return units_min(end, units_align_up(j->size, 512));
}

static int
write_placed(struct job *j, struct err *e)
{
	size_t i;

	for (i = 0; i < j->placed.n; i++) {
		const struct placed *p = &j->placed.v[i];

		assert(!p->to_data_file);
		if (file_write(j->sink.file, p->buf, p->len, p->hoff, e))
			return -1;
	}
	j->placed.n = 0;
	return 0;
}

static int
move(struct job *j, struct err *e)
{
	uint64_t at, end, have;

	for (at = 0; at < j->size; at = end) {
		if (watch_cancelled(j->rq->watch))
			return err_set(e, ERR_CANCELLED, "interrupted");
		end = run_end(j, at);
		have = units_min(end, j->size) - at;
		j->stage = DD_READ;
		if (read_at(&j->reader, j->buf, have, j->from + at, e))
			return -1;
		/* a last sector that is not filled */
		memset(j->buf + have, 0, end - at - have);
		j->stage = DD_WRITE;
		if (sink_data(&j->sink, at, j->buf, end - at, &j->placed, e) ||
			write_placed(j, e))
			return -1;
		watch_progress(j->rq->watch, units_min(end, j->size), j->size);
	}
	return 0;
}

/* What is about to be emptied is read by nobody. */
static int
check_apart(const struct job *j, struct err *e)
{
	unsigned i;

	for (i = 0; i < j->chain->n_files; i++) {
		if (!file_same(j->chain->files[i], j->target.file))
			continue;
		err_set(e, ERR_USAGE, "is a source and the target");
		return err_file(e, j->target.file->name);
	}
	return 0;
}

static int
open_target(struct job *j, struct err *e)
{
	const struct dd_request *rq = j->rq;
	struct qcow2_options o = {.size = units_align_up(j->size, 512)};
	struct file *f;

	j->stage = DD_CREATE;
	if (target_open(&j->target, rq->target_dirfd, rq->target, -1,
		    TARGET_NEW, e) || check_apart(j, e))
		return -1;
	f = j->target.file;
	if (f->is_block && rq->target_format == FORMAT_QCOW2)
		return err_set(e, ERR_UNSUPPORTED,
			"qcow2 on a block device is not supported");
	if (f->is_block && f->size < o.size) {
		err_set(e, ERR_USAGE, "the device is smaller than the data");
		return err_file(e, f->name);
	}
	if (rq->target_format == FORMAT_QCOW2 && qcow2_options_check(&o, e))
		return -1;
	if (target_clear(&j->target, e))
		return -1;
	if (rq->target_format == FORMAT_QCOW2)
		return sink_qcow2_open(&j->sink, f, NULL, &o, 0, false, true,
			e);
	return sink_raw_open(&j->sink, f, o.size, 512, !f->is_block, e);
}

static int
run(struct job *j, struct dd_result *r, struct err *e)
{
	const struct dd_request *rq = j->rq;
	uint64_t nsec = 0;

	if (rq->target_format != FORMAT_RAW &&
		rq->target_format != FORMAT_QCOW2)
		return err_set(e, ERR_UNSUPPORTED, "%s: not supported",
			probe_format_name(rq->target_format));
	if (rq->block < 1 || rq->block > DD_BLOCK_MAX)
		return err_set(e, ERR_USAGE, "blocks have 1 to %d bytes",
			DD_BLOCK_MAX);
	if (source_open(rq->source, rq->gate, false, rq->watch, &j->chain, e))
		return -1;
	measure(j, r);
	j->buf = buf_alloc_aligned(RUN_MAX);
	if (!j->buf)
		return err_set(e, ERR_NOMEM, "no memory for a block");
	if (open_target(j, e))
		return -1;
	read_open(&j->reader, j->chain);
	if (move(j, e))
		return -1;
	j->stage = DD_WRITE;
	if (sink_finish(&j->sink, e))
		return -1;
	return target_commit(&j->target, true, &nsec, e);
}

int
dd_run(const struct dd_request *rq, struct dd_result *ret,
	enum dd_stage *ret_stage, struct err *e)
{
	struct job j = {.rq = rq};
	struct dd_result result = {0};
	struct err why = {0};
	int r = run(&j, &result, &why);

	read_close(&j.reader);
	placed_list_free(&j.placed);
	sink_close(&j.sink);
	target_close(&j.target, &why);
	chain_close(j.chain);
	free(j.buf);
	if (r == 0) {
		*ret = result;
		return 0;
	}
	if (ret_stage)
		*ret_stage = j.stage;
	if (e)
		*e = why;
	return -1;
}
