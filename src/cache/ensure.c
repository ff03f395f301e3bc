/* SPDX-License-Identifier: MIT */
/*
 * From a source to a base that is whole or absent. Everything happens under
 * the image's lock and in staging; the name comes last, and the record after
 * it: without one a base is as good, and is adopted some day.
 *
 * What was fetched into staging and needs no conversion (raw, a kernel, a
 * qcow2 that is kept) becomes the base itself; all else is written anew.
 */
#include "config.h"

#include "cache/ensure.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "cache/base.h"
#include "cache/ensure_copy.h"
#include "cache/ensure_wait.h"
#include "cache/room.h"
#include "op/check.h"
#include "op/convert.h"

#define SECTOR 512

struct job {
	const struct ensure_request *rq;
	const struct store *s;
	char name[LAYOUT_NAME];
	struct gate gate;
	struct store_stage fetched; /* the source's bytes, or fd -1 */
	struct store_stage made;    /* what becomes the base */
	struct file *source;        /* source_path */
	int source_fd;              /* fetched.fd, source's or the caller's */
	uint64_t source_size;
	enum format source_format;
	bool as_is;                 /* no conversion */
	bool adopted;               /* a record for what was there already */
	struct ensure_digests digests;
	struct record_tap tap;
	struct digest_tap leaves;
	struct convert_result result;
};

static int
differs(const char *algo, const char *want, const char *is, struct err *e)
{
	if (*want && *is && strcmp(want, is) != 0)
		return err_set(e, ERR_MISMATCH, "the %s of its source was %s, "
			"expected is %s", algo, is, want);
	return 0;
}

/* Of a source that is not read again, as far as anything is known. */
static int
check_expected(const struct job *j, const struct record *r, struct err *e)
{
	const struct ensure_digests *want = j->rq->expect;

	if (want && (differs("md5", want->md5, r->md5, e) ||
			differs("sha256", want->sha256, r->sha256, e) ||
			differs("sha512", want->sha512, r->sha512, e)))
		return err_file(e, j->name);
	return 0;
}

static int
fetch(struct job *j, struct err *e)
{
	const struct ensure_request *rq = j->rq;

	if (rq->fetch) {
		if (store_stage_open(j->s, j->name, &j->fetched, e) ||
			rq->fetch(rq->fetch_arg, j->fetched.fd, &j->digests,
				e))
			return -1;
		j->source_fd = j->fetched.fd;
	} else if (rq->source_path) {
		if (file_open(&j->source, AT_FDCWD, rq->source_path,
			    FILE_READ, e))
			return -1;
		j->source_fd = j->source->fd;
	} else {
		j->source_fd = rq->source_fd;
	}
	return 0;
}

/* What it is decides the way that it goes. Whether it may go at all is the
 * policy's to say, when it is read. */
static int
look(struct job *j, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	const struct ensure_request *rq = j->rq;
	struct probe_result p = {.format = rq->format};

	if (file_from_fd(&f, j->source_fd, rq->source_name, e))
		return -1;
	j->source_size = f->size;
	if (f->size == 0)
		return err_set(e, ERR_FORMAT, "the source is empty");
	if (rq->kernel && rq->max_size && f->size > rq->max_size)
		return err_set(e, ERR_LIMIT, "%" PRIu64 " bytes, limit %"
			PRIu64, f->size, rq->max_size);
	if (rq->kernel)
		p.format = FORMAT_RAW;
	else if (rq->format == FORMAT_PROBE && probe_load(f, &p, e))
		return -1;
	/* without a digest that somebody expected, its length is all there is */
	j->gate.whole = !rq->replaces && !rq->checked && !j->digests.md5[0] &&
		!j->digests.sha256[0] && !j->digests.sha512[0];
	j->source_format = p.format;
	j->as_is = (p.format == FORMAT_QCOW2 && rq->keep_qcow2) ||
		(p.format == FORMAT_RAW && rq->fetch);
	return 0;
}

static struct source
source_of(const struct job *j, int fd)
{
	return (struct source){
		.dirfd = AT_FDCWD,
		.fd = fd,
		/* what was not declared is for the policy to detect */
		.format = j->rq->kernel ? FORMAT_RAW : j->rq->format,
	};
}

/* A raw disk ends with a whole sector; a kernel where it ended. */
static int
set_size(struct job *j, struct err *e)
{
	uint64_t size = j->source_size;

	if (j->source_format != FORMAT_RAW)
		return 0;
	if (!j->rq->kernel)
		size = units_align_up(size, 512);
	if (ftruncate(j->made.fd, (off_t)size))
		return err_sys(e, errno, "cannot set the size of a base");
	j->result.virtual_size = size;
	return 0;
}

static int
check_tables(struct job *j, struct err *e)
{
	struct check_request rq = {
		.source = source_of(j, j->made.fd),
		.gate = &j->gate,
		.watch = &(struct watch){.cancel = j->rq->watch
			? j->rq->watch->cancel : NULL},
	};
	struct check_result r;
	enum check_verdict v;

	rq.source.format = FORMAT_QCOW2;
	if (check_run(&rq, &r, e))
		return -1;
	v = check_verdict(&r);
	/* a leak costs room and harms nobody */
	if (v != CHECK_CLEAN && v != CHECK_LEAKS)
		return err_set(e, ERR_CORRUPT, v == CHECK_CORRUPT
			? "the check of its tables found damage"
			: "its tables could not be checked");
	return 0;
}

/* The very bytes become the base. */
static int
make_as_is(struct job *j, struct err *e)
{
	const struct ensure_request *rq = j->rq;
	struct source src;

	if (j->fetched.fd >= 0) {
		j->made = j->fetched;
		j->fetched.fd = -1;
	} else if (store_stage_open(j->s, j->name, &j->made, e) ||
		ensure_copy(j->source_fd, j->made.fd, room_spare(j->made.fd),
			rq->watch, e)) {
		return -1;
	}
	src = source_of(j, j->made.fd);
	if (convert_digest(&src, &j->gate, rq->workers, ENGINE_AUTO,
		    &j->leaves, rq->watch, &j->result, e))
		return -1;
	if (j->source_format == FORMAT_QCOW2)
		return check_tables(j, e);
	return set_size(j, e);
}

static int
make_raw(struct job *j, struct err *e)
{
	const struct ensure_request *rq = j->rq;
	struct source src = source_of(j, j->source_fd);
	struct convert_request c = {
		.sources = &src,
		.n_sources = 1,
		.gate = &j->gate,
		.target_dirfd = AT_FDCWD,
		.target_format = FORMAT_RAW,
		.sparse_size = CONVERT_SPARSE_DEFAULT,
		.max_size = rq->max_size,
		.digest = true,
		.digest_tap = &j->leaves,
		.cache = CACHE_AUTO,
		.caller_syncs = true,
		.engine = ENGINE_AUTO,
		.workers = rq->workers,
		.watch = rq->watch,
	};
	uint64_t room;

	if (store_stage_open(j->s, j->name, &j->made, e))
		return -1;
	c.target_fd = j->made.fd;
	room = room_spare(j->made.fd);
	if (rq->max_size == 0 || rq->max_size > room) {
		/* 0 is no limit, and one byte is as good as none */
		c.max_size = room ? room : 1;
		c.max_what = ENSURE_COPY_ROOM;
	}
	if (convert_run(&c, &j->result, e))
		return -1;
	return rq->kernel ? set_size(j, e) : 0;
}

/* What replaces a rotten base has to be what that one was. */
static int
fit(struct job *j, struct err *e)
{
	const struct record *r = j->rq->replaces;
	enum format f = j->as_is ? j->source_format : FORMAT_RAW;
	struct stat st;

	if (f != r->format)
		return err_set(e, ERR_MISMATCH, "makes a base that is %s, "
			"recorded is %s", probe_format_name(f),
			probe_format_name(r->format));
	if (memcmp(j->result.digest.b, r->digest.b, sizeof(r->digest.b)) != 0)
		return err_set(e, ERR_MISMATCH,
			"its content is not the one that was recorded");
	if (r->kind == RECORD_SIZED && j->result.virtual_size < r->file_size) {
		if (ftruncate(j->made.fd, (off_t)r->file_size))
			return err_sys(e, errno, "cannot extend a base");
		j->result.virtual_size = r->virtual_size;
	}
	if (fstat(j->made.fd, &st))
		return err_sys(e, errno, "cannot look at a base");
	if (r->format == FORMAT_RAW && (uint64_t)st.st_size != r->file_size)
		return err_set(e, ERR_MISMATCH, "makes a base of %" PRIu64
			" bytes, recorded are %" PRIu64,
			(uint64_t)st.st_size, r->file_size);
	return 0;
}

static void
write_record(struct job *j, const struct stat *st)
{
	const struct ensure_request *rq = j->rq;
	struct record r = {
		.kind = rq->kernel ? RECORD_KERNEL : RECORD_IMAGE,
		.id = (char *)rq->id,
		.source = (char *)rq->source_name,
		.source_size = j->source_size,
		.source_format = j->source_format,
		.format = j->as_is ? j->source_format : FORMAT_RAW,
		.virtual_size = j->result.virtual_size,
		.has_digest = true,
		.digest = j->result.digest,
		.policy = rq->kernel ? "none" : "safe",
		.version = PACKAGE_VERSION,
		.created = time(NULL),
	};

	memcpy(r.md5, j->digests.md5, sizeof(r.md5));
	memcpy(r.sha256, j->digests.sha256, sizeof(r.sha256));
	memcpy(r.sha512, j->digests.sha512, sizeof(r.sha512));
	r.used = r.created;
	if (rq->replaces) {
		r.kind = rq->replaces->kind;
		/* disks that cannot be read may be older than the new file */
		if (rq->replaces->created > 0)
			r.created = rq->replaces->created;
		r.pinned = rq->replaces->pinned;
	}
	if (j->adopted) {
		r.kind = RECORD_ADOPTED;
		r.source = NULL;
		r.source_size = 0;
		r.source_format = FORMAT_PROBE;
	}
	record_identify(&r, st);
	record_renew(j->s, j->name, &r, j->tap.overflow ? NULL
		: &j->tap.leaves, rq->watch);
}

/* Whoever made it had no time for a record, or keeps none. A qcow2 is of no use
 * without one: where that is what was asked for, it is looked through. */
static int
take_unrecorded(struct job *j, struct ensure_result *ret, struct err *e)
{
	uint8_t head[SECTOR] = {0};
	CLEANUP_FD int fd = -1;
	struct source src;
	struct stat st;

	if (store_file(j->s->base_fd, j->name, O_RDONLY, &fd, &st, e))
		return -1;
	if (fd < 0)
		return err_set(e, ERR_BUSY, "came and went");
	if (store_settle(j->s, j->name, fd, e))
		return -1;
	if (pread(fd, head, sizeof(head), 0) < 0)
		return err_sys(e, errno, "cannot read");
	if (!j->rq->keep_qcow2 || j->made.fd >= 0 ||
		probe_qemu((struct span){head, sizeof(head)}) != FORMAT_QCOW2)
		return 0;
	j->made.fd = TAKE_FD(fd);
	j->adopted = j->as_is = true;
	j->source_format = FORMAT_QCOW2;
	src = source_of(j, j->made.fd);
	if (convert_digest(&src, &j->gate, j->rq->workers, ENGINE_AUTO,
		    &j->leaves, j->rq->watch, &j->result, e) ||
		check_tables(j, e))
		return -1;
	write_record(j, &st);
	ret->recorded = true;
	ret->format = FORMAT_QCOW2;
	ret->virtual_size = j->result.virtual_size;
	ret->has_digest = true;
	ret->digest = j->result.digest;
	return 0;
}

/* A kernel's bytes were inspected by nobody, and a disk's are not those of its
 * source. What was adopted raw may be either. */
static int
check_kind(const struct job *j, const struct record *r, struct err *e)
{
	bool kernel = r->kind == RECORD_KERNEL;

	if (kernel == j->rq->kernel ||
		(r->kind == RECORD_ADOPTED && r->format == FORMAT_RAW))
		return 0;
	err_set(e, ERR_MISMATCH, kernel
		? "is cached as a kernel, not as a disk"
		: "is cached as a disk, not as a kernel");
	return err_file(e, j->name);
}

/* The entry is there: is it what it should be? */
static int
take_present(struct job *j, struct ensure_result *ret, struct err *e)
{
	CLEANUP(base_close) struct base b = BASE_NONE;
	const struct record *r = &b.record;

	if (base_known(j->s, j->name, j->rq->watch, &b, e) ||
		(b.recorded && (check_kind(j, r, e) ||
			check_expected(j, r, e))))
		return -1;
	ret->file_size = (uint64_t)b.st.st_size;
	ret->recorded = b.recorded;
	if (b.recorded) {
		ret->format = r->format;
		ret->virtual_size = r->virtual_size;
		ret->has_digest = r->has_digest;
		ret->digest = r->digest;
	} else if (take_unrecorded(j, ret, e)) {
		return err_file(e, j->name);
	}
	if (store_touch(j->s, j->name, j->rq->watch, e))
		return -1;
	journal_tell(j->rq->journal, (struct journal_event){
		.what = "present", .name = j->name, .id = j->rq->id});
	return 0;
}

static int
publish(struct job *j, struct ensure_result *ret, struct err *e)
{
	const struct ensure_request *rq = j->rq;
	bool taken = false;
	struct stat st;

	/* an old record is of another file, and would be believed about this */
	if (!rq->replaces && record_forget(j->s, j->name, e))
		return -1;
	if (rq->replaces ? store_stage_replace(j->s, &j->made, j->name,
			ret->quarantined, e)
			: store_stage_publish(j->s, &j->made, j->name, &taken,
				e))
		return -1;
	/* by one who takes no lock: Nova, caching ahead of a spawn */
	if (taken)
		return take_present(j, ret, e);
	if (fstat(j->made.fd, &st))
		return err_sys(e, errno, "cannot look at a base");
	write_record(j, &st);
	ret->added = true;
	ret->recorded = true;
	ret->file_size = (uint64_t)st.st_size;
	ret->format = j->as_is ? j->source_format : FORMAT_RAW;
	ret->virtual_size = j->result.virtual_size;
	ret->has_digest = true;
	ret->digest = j->result.digest;
	ret->bytes_data = j->result.bytes_data;
	journal_tell(rq->journal, (struct journal_event){
		.what = rq->replaces ? "replaced" : "added",
		.name = j->name, .id = rq->id,
		.bytes = (uint64_t)st.st_blocks * 512});
	return 0;
}

/* What the engine knows by a descriptor alone has a name here. */
static int
name_fault(const struct job *j, const struct err *why, struct err *e)
{
	struct err named = *why;
	bool target = strcmp(why->file, "target") == 0;

	if (target || strcmp(why->file, "(descriptor)") == 0)
		named.file[0] = '\0';
	err_file(&named, target ? j->name : j->rq->source_name);
	if (e)
		*e = named;
	return -1;
}

/* Somebody may have been faster, with this or with a clean. */
static int
still_rotten(const struct job *j, bool there, const struct stat *st,
	struct err *e)
{
	struct record r = {0};

	if (there && record_load(j->s, j->name, &r, &there, j->rq->watch, e))
		return -1;
	there = there && record_is_rotten(&r, st) && memcmp(r.digest.b,
		j->rq->replaces->digest.b, sizeof(r.digest.b)) == 0;
	record_free(&r);
	if (there)
		return 0;
	err_set(e, ERR_BUSY, "is no longer what was found rotten");
	return err_file(e, j->name);
}

static int
under_lock(struct job *j, struct ensure_result *ret, struct err *e)
{
	const struct ensure_request *rq = j->rq;
	struct err why = {0};
	struct stat st;
	bool there;

	if (store_stat(j->s->base_fd, j->name, &there, &st, e))
		return -1;
	if (there && !rq->replaces)
		return take_present(j, ret, e);
	if (rq->replaces && still_rotten(j, there, &st, e))
		return -1;
	if (fetch(j, &why) || look(j, &why) ||
		(j->as_is ? make_as_is(j, &why) : make_raw(j, &why)) ||
		(rq->replaces && fit(j, &why)))
		return name_fault(j, &why, e);
	return publish(j, ret, e);
}

int
ensure_run(const struct ensure_request *rq, struct ensure_result *ret,
	struct err *e)
{
	struct store_lock lock = STORE_LOCK_NONE;
	struct ensure_result result = {0};
	struct job j = {
		.rq = rq,
		.s = rq->store,
		.gate = {.safe = !rq->kernel, .size_max = rq->max_size},
		.fetched = {.fd = -1},
		.made = {.fd = -1},
	};
	int r;

	j.leaves = (struct digest_tap){.leaf = record_tap_leaf, .arg = &j.tap};
	if (rq->replaces)
		snprintf(j.name, sizeof(j.name), "%s", rq->name);
	else if (layout_image(rq->id, j.name, e))
		return -1;
	if (rq->wait ? ensure_wait(j.s, j.name, rq->watch, &lock,
			       &result.waited, e)
			: store_lock(j.s, j.name, false, rq->watch, &lock,
				NULL, e))
		return -1;
	memcpy(result.name, j.name, sizeof(result.name));
	r = under_lock(&j, &result, e);
	file_close(j.source);
	store_stage_drop(j.s, &j.fetched);
	store_stage_drop(j.s, &j.made);
	store_lock_release(&lock);
	record_leaves_free(&j.tap.leaves);
	if (r == 0)
		*ret = result;
	return r;
}
