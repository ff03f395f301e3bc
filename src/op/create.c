/* SPDX-License-Identifier: MIT */
/*
 * Creation as an operation: what is asked is checked, and the backing file
 * opened, before a byte is changed; then the files are made and published,
 * the data file first. What an empty qcow2 looks like is format's matter.
 */
#include "config.h"

#include "op/create.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ck.h"
#include "base/cleanup.h"
#include "op/source.h"
#include "op/target.h"

/* What QEMU really writes of a raw file, so that whoever opens it can find
 * out how direct I/O must be aligned. */
#define RAW_BLOCK 4096

struct job {
	const struct create_request *rq;
	struct qcow2_options qcow2;
	uint64_t size;
	struct chain *backing;
	struct target target, data;
};

/* The caller named it, so it is opened without the gate's leave; what it names
 * in turn is the gate's business. */
static int
open_backing(struct job *j, struct err *e)
{
	const struct create_request *rq = j->rq;
	CLEANUP_FREE char *path = NULL;
	struct source s = {.dirfd = rq->dirfd, .fd = -1,
		.format = probe_format_from_name(rq->qcow2.backing_format),
		.force_share = true};
	struct gate g = *rq->gate;

	if (source_backing_path(&path, rq->path, rq->qcow2.backing, e))
		return -1;
	s.path = path;
	if (s.format == FORMAT_PROBE) {
		char q[64];

		return err_set(e, ERR_USAGE, "Unknown driver '%s'",
			err_quote(q, sizeof(q), rq->qcow2.backing_format,
				(unsigned)strlen(rq->qcow2.backing_format)));
	}
	g.safe = false;
	return source_open(&s, &g, false, rq->watch, &j->backing, e);
}

/* The size that is asked for, or the backing file's. */
static int
find_size(struct job *j, struct err *e)
{
	const struct create_request *rq = j->rq;
	const char *backing = rq->qcow2.backing;

	if (backing && rq->format != FORMAT_QCOW2)
		return err_set(e, ERR_USAGE, "Backing file not supported for "
			"file format '%s'", probe_format_name(rq->format));
	if (backing && !*backing)
		return err_set(e, ERR_USAGE,
			"Expected backing file name, got empty string");
	if (backing && strcmp(backing, rq->path) == 0)
		return err_set(e, ERR_USAGE, "Error: Trying to create an image "
			"with the same filename as the backing file");
	if (backing && !rq->qcow2.backing_format)
		return err_set(e, ERR_USAGE,
			"Backing file specified without backing format");
	if (backing && !rq->unsafe_backing && open_backing(j, e))
		return -1;
	if (!rq->has_size && !j->backing)
		return err_set(e, ERR_USAGE,
			"Image creation needs a size parameter");
	j->size = rq->has_size ? rq->size : j->backing->size;
	if (!ck_align_up(j->size, 512, &j->size) || j->size > (uint64_t)INT64_MAX)
		return err_set(e, ERR_LIMIT, "size %" PRIu64 " exceeds %"
			PRId64, j->size, INT64_MAX);
	return 0;
}

static int
check(struct job *j, struct err *e)
{
	const struct create_request *rq = j->rq;

	if (rq->format == FORMAT_QCOW2) {
		j->qcow2 = rq->qcow2;
		j->qcow2.size = j->size;
		j->qcow2.watch = rq->watch;
		if (rq->qcow2.data_file &&
			strcmp(rq->qcow2.data_file, rq->path) == 0)
			return err_set(e, ERR_USAGE,
				"the image cannot be its own data file");
		return qcow2_options_check(&j->qcow2, e);
	}
	if (rq->format != FORMAT_RAW)
		return err_set(e, ERR_UNSUPPORTED, "%s: not supported",
			probe_format_name(rq->format));
	if (rq->raw_preallocation == PREALLOC_METADATA)
		return err_set(e, ERR_USAGE,
			"Unsupported preallocation mode 'metadata'");
	return 0;
}

static int
not_of_the_chain(struct job *j, const struct file *f, struct err *e)
{
	unsigned i;

	for (i = 0; j->backing && i < j->backing->n_files; i++)
		if (file_same(f, j->backing->files[i]))
			return err_set(e, ERR_USAGE, "Error: Trying to create "
				"an image over its own backing file");
	return 0;
}

static int
open_target(struct job *j, struct target *t, const char *path, struct err *e)
{
	struct stat st;

	if (j->rq->exclusive &&
		fstatat(j->rq->dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		err_sys(e, EEXIST, "cannot create");
		return err_file(e, path);
	}
	if (target_open(t, j->rq->dirfd, path, -1, TARGET_NEW, e))
		return -1;
	if (!t->publish && j->rq->exclusive) {
		err_sys(e, EEXIST, "cannot create");
		return err_file(e, path);
	}
	return not_of_the_chain(j, t->file, e);
}

static int
write_raw(struct job *j, struct err *e)
{
	static const uint8_t zeros[RAW_BLOCK] __attribute__((aligned(4096)));
	struct file *f = j->target.file;

	if (f->is_block) {
		if (f->size < j->size)
			return err_set(e, ERR_LIMIT, "device of %" PRIu64
				" bytes is smaller than %" PRIu64, f->size,
				j->size);
		return 0;
	}
	if (file_truncate(f, j->size, e))
		return -1;
	if (j->rq->raw_preallocation != PREALLOC_OFF)
		return preallocate_range(f, 0, j->size,
			j->rq->raw_preallocation, j->rq->watch, false, e);
	if (!j->rq->qemu_raw_block || !j->size)
		return 0;
	return file_write(f, zeros, j->size < RAW_BLOCK ? 512 : RAW_BLOCK, 0,
		e);
}

static int
write_qcow2(struct job *j, struct err *e)
{
	/* A new file has no name before it is synced as a whole; one that is
	 * overwritten needs the barrier before its header. */
	bool in_place = !j->target.publish;

	if (j->data.file && target_clear(&j->data, e))
		return -1;
	return qcow2_create(j->target.file, j->data.file, &j->qcow2,
		in_place && j->rq->durable, e);
}

static int
create(struct job *j, struct err *e)
{
	const struct create_request *rq = j->rq;
	uint64_t nsec = 0;
	bool new_data;

	if (find_size(j, e) || check(j, e) ||
		open_target(j, &j->target, rq->path, e))
		return -1;
	if (j->qcow2.data_file &&
		(open_target(j, &j->data, j->qcow2.data_file, e) ||
			target_fits(&j->data, j->size, e)))
		return -1;
	if (target_clear(&j->target, e))
		return -1;
	if (rq->format == FORMAT_RAW ? write_raw(j, e) : write_qcow2(j, e)) {
		err_file(e, rq->path);
		return -1;
	}
	new_data = j->data.publish != NULL;
	if (j->data.file && target_commit(&j->data, rq->durable, &nsec, e))
		return -1;
	if (target_commit(&j->target, rq->durable, &nsec, e) == 0)
		return 0;
	/* a new data file without its image is of no use */
	if (new_data)
		target_retract(rq->dirfd, rq->qcow2.data_file);
	return -1;
}

int
create_run(const struct create_request *rq, struct create_result *ret,
	struct err *e)
{
	struct job j = {.rq = rq};
	struct err why = {0};
	int r = create(&j, &why);

	if (j.backing)
		chain_close(j.backing);
	target_close(&j.data, NULL);
	target_close(&j.target, r ? &why : NULL);
	if (r) {
		if (e)
			*e = why;
		return -1;
	}
	*ret = (struct create_result){.virtual_size = j.size};
	return 0;
}
