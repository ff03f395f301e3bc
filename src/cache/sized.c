/* SPDX-License-Identifier: MIT */
/*
 * Extended copies. A copy has its image's digest and its leaves, for zeros at
 * the end do not count; one whose file system was resized gets its own.
 */
#include "config.h"

#include "cache/sized.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/units.h"
#include "cache/store_lock.h"
#include "op/convert.h"

/* The superblock of ext2, ext3 and ext4: its magic. */
#define EXT_MAGIC_AT 1080
#define EXT_MAGIC 0xef53u
/* A boot sector's, at whose end there is no bare file system. */
#define BOOT_MAGIC_AT 510
#define BOOT_MAGIC 0xaa55u

bool
sized_is_bare_ext(int fd)
{
	uint8_t head[2048];

	return pread(fd, head, sizeof(head), 0) == (ssize_t)sizeof(head) &&
		load_le16(head + EXT_MAGIC_AT) == EXT_MAGIC &&
		load_le16(head + BOOT_MAGIC_AT) != BOOT_MAGIC;
}

int
sized_grow(int fd, int (*grow)(void *arg, int fd, struct err *e), void *arg,
	const struct watch *w, bool *ret_grown, struct err *e)
{
	if (!sized_is_bare_ext(fd)) {
		watch_note(w, "the image is no bare ext file system: none is "
			"resized");
		return 0;
	}
	if (grow(arg, fd, e))
		return -1;
	*ret_grown = true;
	return 0;
}

static int
digest_grown(int fd, const struct watch *w, struct record *r,
	struct record_tap *tap, struct err *e)
{
	const struct source s = {.dirfd = AT_FDCWD, .fd = fd,
		.format = FORMAT_RAW, .force_share = true};
	const struct gate g = {0};
	const struct digest_tap leaves = {.leaf = record_tap_leaf, .arg = tap};
	struct convert_result c;

	if (convert_digest(&s, &g, 0, ENGINE_AUTO, &leaves, w, &c, e))
		return -1;
	r->has_digest = true;
	r->digest = c.digest;
	return 0;
}

/* A copy of the image's record. Strings are borrowed from it. */
static struct record
record_of(const struct sized_request *rq)
{
	struct record r = {0};

	if (rq->base->recorded)
		r = rq->base->record;
	else
		r.policy = (char *)"none";
	r.kind = RECORD_SIZED;
	r.format = FORMAT_RAW;
	r.virtual_size = rq->size;
	r.created = (int64_t)time(NULL);
	r.verified = 0;
	r.verify_at = 0;
	r.rotten = 0;
	r.pinned = false;
	return r;
}

static int
fill(const struct sized_request *rq, int fd, struct record *r,
	struct record_tap *tap, bool *ret_grown, struct err *e)
{
	if (base_copy(rq->base, fd, rq->watch, e))
		return -1;
	if (ftruncate(fd, (off_t)rq->size))
		return err_sys(e, errno, "cannot extend to %" PRIu64 " bytes",
			rq->size);
	if (!rq->grow || rq->size <= rq->base->size)
		return 0;
	if (sized_grow(fd, rq->grow, rq->grow_arg, rq->watch, ret_grown, e))
		return -1;
	return *ret_grown ? digest_grown(fd, rq->watch, r, tap, e) : 0;
}

/* tap: of a copy that has grown; else the image's leaves, if it has any, are
 * those of the copy. */
static void
write_record(const struct sized_request *rq, const char *name,
	const struct record *r, bool grown, struct record_tap *tap)
{
	bool there = grown && !tap->overflow;

	if (!grown && r->has_digest && record_leaves_load(rq->store, rq->image,
			&r->digest, &tap->leaves, &there, NULL, NULL))
		there = false;
	record_renew(rq->store, name, r, there ? &tap->leaves : NULL,
		rq->watch);
}

static int
make(const struct sized_request *rq, const char *name, bool *ret_grown,
	struct err *e)
{
	struct record r = record_of(rq);
	struct record_tap tap = {0};
	struct store_stage st;
	bool taken = false;
	struct stat now;
	int bad;

	if (store_stage_open(rq->store, name, &st, e))
		return -1;
	bad = fill(rq, st.fd, &r, &tap, ret_grown, e) ||
		record_forget(rq->store, name, e) ||
		store_stage_publish(rq->store, &st, name, &taken, e);
	if (!bad && taken)
		bad = err_set(e, ERR_BUSY, "appeared meanwhile");
	if (!bad && fstat(st.fd, &now))
		bad = err_sys(e, errno, "cannot look at it");
	if (!bad) {
		record_identify(&r, &now);
		write_record(rq, name, &r, *ret_grown, &tap);
		journal_tell(rq->journal, (struct journal_event){
			.what = "added", .name = name, .id = r.id,
			.why = "a copy, extended",
			.bytes = (uint64_t)now.st_blocks * 512});
	}
	store_stage_drop(rq->store, &st);
	record_leaves_free(&tap.leaves);
	return bad ? err_file(e, name) : 0;
}

static int
use(const struct sized_request *rq, const char *name, struct err *e)
{
	struct base b;
	int r = base_open(rq->store, name, false, rq->watch, &b, e);

	if (r)
		return -1;
	if (b.format != FORMAT_RAW || b.size != rq->size) {
		err_set(e, ERR_CORRUPT, "is %" PRIu64 " bytes long, not %"
			PRIu64, b.size, rq->size);
		r = err_file(e, name);
	}
	base_close(&b);
	return r ? r : store_touch(rq->store, name, rq->watch, e);
}

int
sized_make(const struct sized_request *rq, char ret[static LAYOUT_NAME],
	bool *ret_grown, struct err *e)
{
	struct store_lock lock = STORE_LOCK_NONE;
	char name[LAYOUT_NAME];
	bool there;
	int r;

	layout_sized(rq->image, rq->size / GIB, name);
	if (store_lock(rq->store, name, true, rq->watch, &lock, NULL, e))
		return -1;
	r = store_stat(rq->store->base_fd, name, &there, NULL, e);
	if (r == 0)
		r = there ? use(rq, name, e) : make(rq, name, ret_grown, e);
	store_lock_release(&lock);
	if (r)
		return -1;
	memcpy(ret, name, sizeof(name));
	return 0;
}
