/* SPDX-License-Identifier: MIT */
/*
 * What a base is compared with, and what the record hears of it. The lock is
 * taken twice, for the look before the pass and for the outcome behind it:
 * a spawn must not wait for a scrub. In between the open file is the base,
 * whatever becomes of its name.
 */
#include "config.h"

#include "cache/verify.h"

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
#include "cache/holders.h"
#include "cache/sized.h"
#include "cache/store_lock.h"
#include "io/file.h"

#define SECTOR 512

struct job {
	const struct verify_request *rq;
	const struct store *s;
	int fd;
	struct stat st;
	bool recorded;            /* under its own name */
	bool compared_with_image; /* it has no record, its image has */
	struct record record;     /* what is to be written, or the image's */
	bool has_want;
	struct record_leaves leaves;
	bool has_leaves;
	/* it is not the file that the digest is of, and what it holds may
	 * rightly be something else: blank areas are formatted anew, and the
	 * file system of a copy grows with it */
	bool may_differ;
	bool cut;                 /* not as long as its record says, which
				   * goes on saying so */
	bool disk;                /* the page cache will not do */
	bool marks;               /* the pass can be taken up again */
	struct timespec marked;
	struct verify_read_result read;
};

void
verify_free(struct verify_result *r)
{
	verify_blocks_free(&r->rotten);
	*r = (struct verify_result){0};
}

static bool
same_digest(const struct digest_value *a, const struct digest_value *b)
{
	return memcmp(a->b, b->b, sizeof(a->b)) == 0;
}

/* Nothing tells its format: it must look like what Nova makes. */
static int
check_raw(const struct job *j, struct err *e)
{
	uint8_t head[SECTOR] = {0};
	enum format f;

	if (pread(j->fd, head, sizeof(head), 0) < 0)
		return err_sys(e, errno, "cannot read");
	f = probe_qemu((struct span){head, sizeof(head)});
	if (f != FORMAT_RAW)
		return err_set(e, ERR_DENIED, "no record tells its format, and "
			"it looks like %s", probe_format_name(f));
	return 0;
}

static int
set_text(char **at, const char *text, struct err *e)
{
	free(*at);
	*at = strdup(text);
	return *at ? 0 : err_sys(e, ENOMEM, "cannot keep a record");
}

/* A record for what has none; of a sized copy with what its image's tells. */
static int
begin_record(struct job *j, enum layout_kind kind, struct err *e)
{
	struct record *r = &j->record;

	if (j->st.st_size == 0)
		return err_set(e, ERR_CORRUPT, "is empty");
	/* Nova copies and formats under the final name */
	if (holders_writing(j->fd))
		return err_set(e, ERR_BUSY, "another process is writing it");
	if (check_raw(j, e))
		return -1;
	if (!j->compared_with_image) {
		record_free(r);
		r->source_format = FORMAT_PROBE;
		r->kind = RECORD_ADOPTED;
		if (set_text(&r->id, j->rq->id ? j->rq->id : "", e))
			return -1;
	} else {
		r->kind = RECORD_SIZED;
	}
	if (set_text(&r->policy, "none", e) ||
		set_text(&r->version, PACKAGE_VERSION, e))
		return -1;
	if (kind == LAYOUT_SWAP || kind == LAYOUT_EPHEMERAL)
		r->kind = RECORD_BLANK;
	r->format = FORMAT_RAW;
	r->virtual_size = units_align_up((uint64_t)j->st.st_size, SECTOR);
	r->created = (int64_t)time(NULL);
	r->used = r->verified = 0;
	r->verify_at = r->rotten = 0;
	r->pinned = false;
	return 0;
}

static bool
may_differ(const struct job *j, enum layout_kind kind)
{
	if (j->recorded ? j->record.ino == j->st.st_ino
			: !j->compared_with_image)
		return false;
	if (kind == LAYOUT_SWAP || kind == LAYOUT_EPHEMERAL)
		return true;
	return kind != LAYOUT_IMAGE && sized_is_bare_ext(j->fd);
}

/* The digest of its birth: its own record's, or for an extended copy that of
 * its image, for zeros at the end do not count. */
static int
find_reference(struct job *j, struct err *e)
{
	const struct verify_request *rq = j->rq;
	struct record *r = &j->record;
	struct layout_name n;
	bool there;

	layout_classify(rq->name, &n);
	if (record_load(j->s, rq->name, r, &j->recorded, rq->watch, e))
		return -1;
	if (!j->recorded && n.kind == LAYOUT_SIZED) {
		if (record_load(j->s, n.image, r, &there, rq->watch, e))
			return -1;
		j->compared_with_image = there && r->has_digest;
	}
	j->may_differ = may_differ(j, n.kind);
	if (!j->recorded && begin_record(j, n.kind, e))
		return -1;
	j->has_want = r->has_digest;
	if (!j->has_want)
		return 0;
	if (j->recorded && record_leaves_load(j->s, rq->name, &r->digest,
			&j->leaves, &j->has_leaves, rq->watch, e))
		return -1;
	if (!j->has_leaves && n.kind == LAYOUT_SIZED)
		return record_leaves_load(j->s, n.image, &r->digest,
			&j->leaves, &j->has_leaves, NULL, e);
	return 0;
}

/* In place of j->fd one that reads from the disk. */
static int
go_direct(struct job *j, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	struct err why = {0};
	struct stat st;
	int fd = -1;

	if (store_file(j->s->base_fd, j->rq->name, O_RDONLY | O_DIRECT, &fd,
		    &st, &why) && why.eno != EINVAL) {
		if (e)
			*e = why;
		return -1;
	}
	if (fd >= 0 && (st.st_ino != j->st.st_ino ||
			st.st_dev != j->st.st_dev)) {
		close(fd);
		fd = -1;
	}
	if (fd >= 0) {
		close(j->fd);
		j->fd = fd;
		/* io_uring would answer EAGAIN because of O_NONBLOCK */
		fcntl(fd, F_SETFL, O_DIRECT);
	}
	if (file_from_fd(&f, j->fd, j->rq->name, e))
		return -1;
	/* of a direct file only what its end has beyond the alignment is read
	 * otherwise */
	file_drop_cache(f, f->direct ? f->size - f->size % f->align : 0, 0);
	return 0;
}

static int
look(struct job *j, struct verify_result *r, struct err *e)
{
	if (store_file(j->s->base_fd, j->rq->name, O_RDONLY, &j->fd, &j->st,
		    e))
		return -1;
	if (j->fd < 0) {
		r->state = VERIFY_GONE;
		return 0;
	}
	if (find_reference(j, e))
		return -1;
	r->virtual_size = j->record.virtual_size;
	j->disk = !j->rq->cached || j->record.rotten;
	j->marks = j->disk && j->recorded && j->has_leaves;
	if (j->marks && record_matches(&j->record, &j->st) &&
		j->record.verify_at % DIGEST_BLOCK == 0 &&
		j->record.verify_at < r->virtual_size)
		r->from = j->record.verify_at;
	return j->disk ? go_direct(j, e) : 0;
}

/* Its record as it is now, if it still tells of this file and its digest. The
 * lock is held. */
static int
load_now(const struct job *j, struct record *ret, bool *ret_there,
	struct err *e)
{
	if (record_load(j->s, j->rq->name, ret, ret_there, j->rq->watch, e))
		return -1;
	if (*ret_there && j->has_want && !(ret->has_digest &&
			same_digest(&ret->digest, &j->record.digest))) {
		record_free(ret);
		*ret_there = false;
	}
	return 0;
}

/* Failing to is no fault: the pass begins earlier then. */
static void
write_mark(struct job *j, uint64_t at, uint64_t rotten)
{
	struct store_lock lock = STORE_LOCK_NONE;
	struct record r;
	bool there;

	if (store_lock(j->s, j->rq->name, false, NULL, &lock, NULL, NULL))
		return;
	if (load_now(j, &r, &there, NULL) == 0 && there) {
		if (record_matches(&r, &j->st)) {
			r.verify_at = at;
			r.rotten = units_max(r.rotten, rotten);
			record_store(j->s, j->rq->name, &r, NULL);
		}
		record_free(&r);
	}
	store_lock_release(&lock);
}

static void
mark(void *arg, uint64_t at, uint64_t rotten)
{
	struct job *j = arg;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec - j->marked.tv_sec < VERIFY_MARK_SECONDS)
		return;
	j->marked = now;
	write_mark(j, at, rotten);
}

static int
read_all(struct job *j, struct verify_result *r, struct err *e)
{
	const struct verify_read_request rq = {
		.fd = j->fd,
		.format = j->record.format,
		.from = r->from,
		.leaves = j->has_leaves ? &j->leaves : NULL,
		.rate = j->rq->rate,
		.workers = j->rq->workers,
		.mark = j->marks ? mark : NULL,
		.mark_arg = j,
		.watch = j->rq->watch,
	};
	struct err why = {0};

	clock_gettime(CLOCK_MONOTONIC, &j->marked);
	if (verify_read(&rq, &j->read, &why)) {
		if (j->marks)
			write_mark(j, j->read.at, j->read.rotten.count);
		if (e)
			*e = why;
		return -1;
	}
	r->bytes_read = j->read.bytes_read;
	return 0;
}

static void
take_rotten(struct job *j, struct verify_result *r)
{
	struct verify_blocks *b = &r->rotten;

	*b = j->read.rotten;
	j->read.rotten = (struct verify_blocks){0};
	/* a block is padded with zeros where the content ends; one that is
	 * missing begins behind it */
	if (b->n && b->v[b->n - 1].to > r->virtual_size &&
		b->v[b->n - 1].from < r->virtual_size)
		b->v[b->n - 1].to = r->virtual_size;
}

static int
judge(struct job *j, struct verify_result *r, struct err *e)
{
	struct verify_read_result *rd = &j->read;
	bool bad = rd->rotten.count > 0;

	memcpy(r->why, rd->why, sizeof(r->why));
	if (j->has_want && !bad && rd->has_digest &&
		!same_digest(&rd->digest, &j->record.digest)) {
		bad = true;
		snprintf(r->why, sizeof(r->why), "the digest is another one, "
			"and no leaves tell which blocks are");
	}
	if (!j->has_want && bad)
		return err_set(e, ERR_IO, "cannot be read: %s", rd->why);
	if (bad && rd->has_digest && j->may_differ &&
		rd->rotten.unreadable == 0) {
		/* of its own from now on; the leaves come another time */
		j->record.kind = RECORD_ADOPTED;
		j->has_want = bad = false;
		r->why[0] = '\0';
	}
	if (!j->has_want) {
		j->record.has_digest = true;
		j->record.digest = rd->digest;
		r->state = VERIFY_ADOPTED;
		return 0;
	}
	r->state = bad ? VERIFY_ROTTEN : VERIFY_GOOD;
	if (bad) {
		take_rotten(j, r);
		j->cut = j->recorded &&
			j->record.file_size != (uint64_t)j->st.st_size;
	}
	return 0;
}

static int
write_outcome(struct job *j, const struct verify_result *r,
	struct record *rec, struct err *e)
{
	const struct record_tap *made = &j->read.made;
	uint64_t n = r->state == VERIFY_ROTTEN
		? units_max(1, r->rotten.count) : 0;

	if (r->state == VERIFY_ADOPTED) {
		/* leaves of another file */
		if (j->recorded && j->has_leaves &&
			record_remove(j->s, j->rq->name, e))
			return -1;
		rec->has_digest = true;
		rec->digest = j->record.digest;
	}
	/* a record tells only of what is there to stay */
	if (!j->cut && !record_matches(rec, &j->st) &&
		store_settle(j->s, j->rq->name, j->fd, e))
		return -1;
	/* made anew, by others, whose zeros at the end are more or fewer */
	if (!j->cut && rec->file_size != (uint64_t)j->st.st_size &&
		rec->format == FORMAT_RAW)
		rec->virtual_size = units_align_up((uint64_t)j->st.st_size,
			SECTOR);
	if (!j->cut)
		record_identify(rec, &j->st);
	rec->verified = (int64_t)time(NULL);
	if (j->disk)
		rec->verify_at = 0;
	rec->rotten = n;
	if (!j->has_leaves && n == 0 && !j->cut && !made->overflow &&
		record_leaves_store(j->s, j->rq->name, &made->leaves, e))
		return -1;
	return record_store(j->s, j->rq->name, rec, e);
}

/* The lock is held again. */
static int
conclude(struct job *j, struct verify_result *r, struct err *e)
{
	struct record now = {0};
	bool there;
	struct stat st;
	int bad;

	if (store_stat(j->s->base_fd, j->rq->name, &there, &st, e))
		return -1;
	if (!there || st.st_ino != j->st.st_ino ||
		st.st_dev != j->st.st_dev || st.st_size != j->st.st_size) {
		r->state = VERIFY_GONE;
		return 0;
	}
	if (load_now(j, &now, &there, e))
		return -1;
	/* pins and the like may have changed; what was lost is written anew */
	bad = write_outcome(j, r, there ? &now : &j->record, e);
	record_free(&now);
	return bad;
}

static void
tell(const struct job *j, const struct verify_result *r)
{
	static const char *const words[] = {
		[VERIFY_GOOD] = "verified",
		[VERIFY_ADOPTED] = "recorded",
		[VERIFY_ROTTEN] = "rotten",
	};
	char why[320];

	if (r->state == VERIFY_GONE)
		return;
	snprintf(why, sizeof(why), "%" PRIu64 " blocks%s%s", r->rotten.count,
		r->why[0] ? "; " : "", r->why);
	journal_tell(j->rq->journal, (struct journal_event){
		.what = words[r->state], .name = j->rq->name,
		.id = j->record.id && *j->record.id ? j->record.id : NULL,
		.why = r->state == VERIFY_ROTTEN ? why : NULL});
}

/* Then there is nothing to read: its record knows better. Another file may
 * have other zeros at its end: QEMU's conversions are rounded up, raw files
 * that Nova fetches keep an odd length. */
static bool
is_cut(struct job *j, struct verify_result *r)
{
	if (!j->recorded || j->record.ino != j->st.st_ino ||
		j->record.file_size == (uint64_t)j->st.st_size)
		return false;
	j->cut = true;
	r->state = VERIFY_ROTTEN;
	snprintf(r->why, sizeof(r->why), "is %" PRIu64 " bytes long, its "
		"record says %" PRIu64, (uint64_t)j->st.st_size,
		j->record.file_size);
	return true;
}

static int
run(struct job *j, struct verify_result *r, struct err *e)
{
	const struct verify_request *rq = j->rq;
	struct store_lock lock = STORE_LOCK_NONE;
	int bad;

	if (store_lock(j->s, rq->name, rq->wait, rq->watch, &lock, NULL, e))
		return -1;
	bad = look(j, r, e);
	store_lock_release(&lock);
	if (bad || r->state == VERIFY_GONE)
		return bad;
	if (!is_cut(j, r) && (read_all(j, r, e) || judge(j, r, e)))
		return -1;
	if (store_lock(j->s, rq->name, true, rq->watch, &lock, NULL, e))
		return -1;
	bad = conclude(j, r, e);
	store_lock_release(&lock);
	if (bad == 0)
		tell(j, r);
	return bad;
}

int
verify_run(const struct verify_request *rq, struct verify_result *ret,
	struct err *e)
{
	struct job j = {.rq = rq, .s = rq->store, .fd = -1};
	struct verify_result r = {0};
	int bad = run(&j, &r, e);

	if (j.fd >= 0)
		close(j.fd);
	verify_read_free(&j.read);
	record_leaves_free(&j.leaves);
	record_free(&j.record);
	if (bad) {
		verify_free(&r);
		return err_file(e, rq->name);
	}
	*ret = r;
	return 0;
}
