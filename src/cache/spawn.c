/* SPDX-License-Identifier: MIT */
/*
 * From a base to a disk, all under the base's lock, so that no cleaning comes
 * between: the base is checked and touched, directories are made, the disk is
 * written without a name, its format is noted, and last it is published. What
 * was made before a failure is taken back. Nova's manager may remove a base
 * all the same, under a lock file that it had removed before: then the base
 * comes back.
 */
#include "config.h"

#include "cache/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ck.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "cache/base.h"
#include "cache/disk_info.h"
#include "cache/ensure_copy.h"
#include "cache/sized.h"
#include "cache/spawn_dir.h"
#include "cache/store_lock.h"
#include "cache/users.h"
#include "cache/users_disk.h"
#include "format/qcow2_measure.h"
#include "format/qcow2_write.h"
#include "io/publish.h"

#define SECTOR 512
#define CLUSTER (64 * KIB)
#define REFCOUNT_BITS 16

struct job {
	const struct spawn_request *rq;
	char name[LAYOUT_NAME];  /* of the image's base */
	char *path;              /* of the disk, absolute */
	char *backing;           /* path of what the overlay stands on */
	enum format backing_format;
	struct base base;
	uint64_t size;           /* of the disk */
	struct spawn_dir dir;    /* the disk's directory */
	bool noted;              /* disk.info names the disk */
	char *old;               /* what it said before */
	struct spawn_result result;
};

static int
decide_size(struct job *j, struct err *e)
{
	uint64_t want = j->rq->size ? j->rq->size : j->base.size;

	if (want < j->base.size)
		return err_set(e, ERR_LIMIT, "image virtual size larger than "
			"flavor root disk: %" PRIu64 " bytes, %" PRIu64
			" asked for", j->base.size, want);
	if (!ck_align_up(want, SECTOR, &j->size) || j->size > INT64_MAX)
		return err_set(e, ERR_LIMIT, "size %" PRIu64 " exceeds %"
			PRId64, want, INT64_MAX);
	if (j->rq->mode == SPAWN_SIZED && j->size % GIB)
		return err_set(e, ERR_USAGE, "a sized base has whole GiB, not %"
			PRIu64 " bytes", j->size);
	return 0;
}

static char *
join(const char *dir, const char *name)
{
	struct buf b = BUF_INIT;

	buf_fmt(&b, "%s/%s", dir, name);
	return buf_take(&b);
}

static int
make_sized(struct job *j, struct err *e)
{
	const struct spawn_request *rq = j->rq;
	const struct sized_request sr = {
		.store = rq->store,
		.image = j->name,
		.base = &j->base,
		.size = j->size,
		.grow = rq->grow,
		.grow_arg = rq->grow_arg,
		.watch = rq->watch,
		.journal = rq->journal,
	};

	return sized_make(&sr, j->result.base, &j->result.grown, e);
}

/* What the overlay stands on: the base, or its extended copy. */
static int
choose_backing(struct job *j, struct err *e)
{
	const struct spawn_request *rq = j->rq;

	memcpy(j->result.base, j->name, sizeof(j->name));
	j->backing_format = j->base.format;
	if (rq->mode == SPAWN_SIZED) {
		if (make_sized(j, e))
			return -1;
		j->backing_format = FORMAT_RAW;
	}
	j->backing = join(rq->store->base, j->result.base);
	return j->backing ? 0 : err_sys(e, ENOMEM, "cannot name the base");
}

/* As Nova does: the directory of the disk holds the note. */
static int
note_format(struct job *j, struct err *e)
{
	const struct spawn_request *rq = j->rq;
	enum format f = rq->mode == SPAWN_FLAT ? FORMAT_RAW : FORMAT_QCOW2;

	if (disk_info_put(rq->store, j->dir.fd, j->path, probe_format_name(f),
		    &j->old, rq->watch, e))
		return -1;
	j->noted = true;
	j->result.format = f;
	/* a raw disk never without it, whatever becomes of the power; what a
	 * qcow2 is, it tells itself, and no guest writes its header */
	return f == FORMAT_RAW ? store_sync_dir(j->dir.fd, e) : 0;
}

static int
write_overlay(struct job *j, struct file *f, struct err *e)
{
	const struct qcow2_options o = {
		.size = j->size,
		.cluster_size = CLUSTER,
		.refcount_bits = REFCOUNT_BITS,
		.backing = j->backing,
		.backing_format = probe_format_name(j->backing_format),
	};
	bool done;

	if (qcow2_options_check(&o, e) || qcow2_create(f, NULL, &o, false, e))
		return -1;
	if (!j->rq->preallocate)
		return 0;
	/* behind the end of the file, where the image will grow to */
	if (file_reserve(f, 0, qcow2_measure_full(j->size, CLUSTER,
			REFCOUNT_BITS, false), &done, e))
		return -1;
	if (!done)
		watch_note(j->rq->watch, "this file system cannot reserve "
			"room: the disk is not preallocated");
	return 0;
}

static int
write_flat(struct job *j, struct file *f, struct err *e)
{
	const struct spawn_request *rq = j->rq;

	if (base_copy(&j->base, f->fd, rq->watch, e) ||
		file_truncate(f, j->size, e))
		return -1;
	if (rq->grow && j->size > j->base.size &&
		sized_grow(f->fd, rq->grow, rq->grow_arg, rq->watch,
			&j->result.grown, e))
		return -1;
	return rq->preallocate ? file_allocate(f, 0, j->size, e) : 0;
}

static int
make_disk(struct job *j, struct err *e)
{
	CLEANUP(publish_abandon_p) struct publish *p = NULL;
	struct file *f;

	if (publish_begin(&p, AT_FDCWD, j->path, 0, 0644, e))
		return -1;
	f = publish_file(p);
	if (store_give(j->rq->store, f->fd, e) ||
		(j->rq->mode == SPAWN_FLAT ? write_flat(j, f, e)
			: write_overlay(j, f, e)))
		return err_file(e, j->path);
	/* on its way now, it shares the note's journal commit; and the sync of
	 * the directory is one for both names */
	file_flush_start(f);
	if (note_format(j, e) || publish_commit(p, true, e))
		return -1;
	p = NULL;
	return 0;
}

/* From the file that is open here, and lives as long. */
static int
put_back(struct job *j, struct err *e)
{
	const struct store *s = j->rq->store;
	struct store_stage st;
	bool taken = false;
	struct stat now;
	int bad;

	if (store_stage_open(s, j->name, &st, e))
		return -1;
	bad = ensure_copy(j->base.fd, st.fd, UINT64_MAX, j->rq->watch,
			e) ||
		store_stage_publish(s, &st, j->name, &taken, e);
	if (!bad && !taken) {
		/* with an old record it is read and compared when used next */
		if (j->base.recorded && fstat(st.fd, &now) == 0) {
			record_identify(&j->base.record, &now);
			(void)record_store(s, j->name, &j->base.record, NULL);
		}
		journal_tell(j->rq->journal, (struct journal_event){
			.what = "restored", .name = j->name, .id = j->rq->id,
			.why = "it was removed while a disk was made on it"});
	}
	store_stage_drop(s, &st);
	return bad ? err_file(e, j->name) : 0;
}

/* The disk has its name: whoever removes bases sees it from now on. */
static int
keep_backing(struct job *j, struct err *e)
{
	bool there;

	if (j->rq->mode == SPAWN_FLAT)
		return 0;
	if (store_stat(j->rq->store->base_fd, j->result.base, &there, NULL, e))
		return -1;
	if (there)
		return 0;
	return j->rq->mode == SPAWN_SIZED ? make_sized(j, e) : put_back(j, e);
}

/* Elsewhere is where somebody wants it, and may be another root of clean's. */
static void
tell_unseen(const struct job *j)
{
	const struct spawn_request *rq = j->rq;
	char q[1024], line[sizeof(q) + 128];
	static const char why[] = "clean sees what it is built on only with "
		"--instance-root";

	if (rq->mode == SPAWN_FLAT ||
		users_come_by(rq->store, j->dir.fd))
		return;
	snprintf(line, sizeof(line), "%s: %s", err_quote(q, sizeof(q),
		j->path, (unsigned)strlen(j->path)), why);
	watch_note(rq->watch, line);
	journal_tell(rq->journal, (struct journal_event){
		.what = "unseen", .name = rq->target, .id = rq->id,
		.why = why});
}

static int
check_request(const struct spawn_request *rq, struct err *e)
{
	const char *slash = strrchr(rq->target, '/');
	const char *name = slash ? slash + 1 : rq->target;
	struct stat st;

	if (rq->grow && rq->mode == SPAWN_OVERLAY)
		return err_set(e, ERR_USAGE, "the file system of an overlay "
			"cannot be resized");
	if (users_disk_is_stray(name)) {
		err_set(e, ERR_USAGE, "no disk has such a name: clean would "
			"remove it as one that was never finished");
		return err_file(e, rq->target);
	}
	if (rq->mode != SPAWN_FLAT && users_disk_is_none(name)) {
		err_set(e, ERR_USAGE, "no disk has such a name: clean would "
			"not see that it uses its base");
		return err_file(e, rq->target);
	}
	/* it is asked again when the disk gets its name */
	if (fstatat(AT_FDCWD, rq->target, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		err_sys(e, EEXIST, "cannot create");
		return err_file(e, rq->target);
	}
	return 0;
}

/* A kernel's bytes were inspected by nobody. */
static int
open_base(struct job *j, struct err *e)
{
	const struct spawn_request *rq = j->rq;

	if (base_open(rq->store, j->name, rq->verify, rq->watch, &j->base, e))
		return -1;
	if (!j->base.recorded || j->base.record.kind != RECORD_KERNEL)
		return 0;
	err_set(e, ERR_MISMATCH, "is cached as a kernel, not as a disk");
	return err_file(e, j->name);
}

static int
spawn(struct job *j, struct err *e)
{
	const struct spawn_request *rq = j->rq;

	if (check_request(rq, e))
		return -1;
	j->path = spawn_dir_absolute(rq->target);
	if (!j->path)
		return err_sys(e, errno, "cannot name the disk");
	if (open_base(j, e))
		return -1;
	if (decide_size(j, e))
		return err_file(e, rq->id);
	if (store_touch(rq->store, j->name, rq->watch, e) ||
		choose_backing(j, e))
		return -1;
	if (spawn_dir_make(&j->dir, rq->store, j->path, e))
		return -1;
	if (make_disk(j, e))
		return -1;
	if (keep_backing(j, e)) {
		unlink(j->path);
		return -1;
	}
	return 0;
}

/* The note of a disk that is not to be. */
static void
take_back(struct job *j)
{
	if (j->noted)
		(void)disk_info_put(j->rq->store, j->dir.fd, j->path, j->old,
			NULL, NULL, NULL);
	spawn_dir_unmake(&j->dir);
}

int
spawn_run(const struct spawn_request *rq, struct spawn_result *ret,
	struct err *e)
{
	struct job j = {.rq = rq, .base = BASE_NONE, .dir = SPAWN_DIR_NONE};
	struct store_lock lock = STORE_LOCK_NONE;
	int r;

	if (layout_image(rq->id, j.name, e) ||
		store_lock(rq->store, j.name, true, rq->watch, &lock, NULL, e))
		return -1;
	r = spawn(&j, e);
	if (r)
		take_back(&j);
	store_lock_release(&lock);
	base_close(&j.base);
	if (r == 0) {
		j.result.size = j.size;
		*ret = j.result;
		journal_tell(rq->journal, (struct journal_event){
			.what = "spawned", .name = rq->target, .id = rq->id,
			.why = j.backing});
		tell_unseen(&j);
	}
	spawn_dir_close(&j.dir);
	free(j.path);
	free(j.backing);
	free(j.old);
	return r;
}
