/* SPDX-License-Identifier: MIT */
/* Bases as something to build on: what vouches for one, and copies of it. */
#include "config.h"

#include "cache/base.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "op/convert.h"

#define SECTOR 512

void
base_close(struct base *b)
{
	if (b->fd >= 0)
		close(b->fd);
	record_free(&b->record);
	*b = BASE_NONE;
}

/* safe: nobody has inspected it yet. */
static int
check_digest(const struct base *b, bool safe, const struct watch *w,
	struct err *e)
{
	const struct source s = {.dirfd = AT_FDCWD, .fd = b->fd,
		.format = b->format, .force_share = true};
	const struct gate g = {.safe = safe};
	struct convert_result r;

	if (convert_digest(&s, &g, 0, ENGINE_AUTO, NULL, w, &r, e))
		return -1;
	if (memcmp(r.digest.b, b->record.digest.b, sizeof(r.digest.b)) != 0)
		return err_set(e, ERR_CORRUPT,
			"its content is not the one that was recorded");
	return 0;
}

/* The first sector; its end is filled with zeros where the file is shorter. */
static int
looks_like(const struct base *b, enum format *ret, struct err *e)
{
	uint8_t head[SECTOR] = {0};
	ssize_t n = pread(b->fd, head, sizeof(head), 0);

	if (n < 0)
		return err_sys(e, errno, "cannot read");
	if ((uint64_t)n < units_min(sizeof(head), (uint64_t)b->st.st_size))
		return err_set(e, ERR_CORRUPT, "ends after %zd bytes", n);
	*ret = probe_qemu((struct span){head, sizeof(head)});
	return 0;
}

/* Another file than was recorded: its content decides, however many zeros are
 * at its end. What Nova fetched anew is raw, whatever we had kept. */
static int
check_other(const struct store *s, const char *name, struct base *b,
	const struct watch *w, struct err *e)
{
	struct record *r = &b->record;
	uint64_t size = (uint64_t)b->st.st_size;
	enum format f = r->format;

	if (f == FORMAT_QCOW2 && looks_like(b, &f, e))
		return -1;
	if (f == FORMAT_QCOW2 ? size != r->file_size
			: f != FORMAT_RAW)
		return err_set(e, ERR_MISMATCH, "is %" PRIu64 " bytes long, "
			"its record says %" PRIu64, size, r->file_size);
	b->format = f;
	if (check_digest(b, f == FORMAT_QCOW2, w, e) ||
		store_settle(s, name, b->fd, e))
		return -1;
	if (f == FORMAT_RAW)
		r->virtual_size = r->kind == RECORD_KERNEL ? size
			: units_align_up(size, SECTOR);
	r->format = f;
	/* what was found was of the other one */
	r->rotten = r->verify_at = 0;
	r->verified = 0;
	record_identify(r, &b->st);
	return record_store(s, name, r, e);
}

static int
check_record(const struct store *s, const char *name, bool verify,
	struct base *b, const struct watch *w, struct err *e)
{
	struct record *r = &b->record;

	if (r->ino != b->st.st_ino) {
		if (check_other(s, name, b, w, e))
			return -1;
	} else if (r->file_size != (uint64_t)b->st.st_size) {
		return err_set(e, ERR_CORRUPT, "is %" PRIu64 " bytes long, its "
			"record says %" PRIu64, (uint64_t)b->st.st_size,
			r->file_size);
	} else if (r->rotten) {
		return err_set(e, ERR_CORRUPT, "%" PRIu64 " of its blocks are "
			"rotten, the last verification says", r->rotten);
	} else if (verify) {
		b->format = r->format;
		if (!r->has_digest)
			return err_set(e, ERR_MISMATCH,
				"no digest of it was recorded");
		if (check_digest(b, false, w, e))
			return -1;
	}
	b->format = r->format;
	b->size = r->virtual_size;
	if (r->format == FORMAT_RAW)
		b->size = units_align_up((uint64_t)b->st.st_size, SECTOR);
	return 0;
}

static int
check_unrecorded(const struct store *s, const char *name, bool verify,
	struct base *b, struct err *e)
{
	enum format f;

	if (verify)
		return err_set(e, ERR_MISMATCH,
			"no record tells what it has to hold");
	if (looks_like(b, &f, e))
		return -1;
	if (f != FORMAT_RAW)
		return err_set(e, ERR_DENIED, "no record tells its format, and "
			"it looks like %s", probe_format_name(f));
	b->format = FORMAT_RAW;
	b->size = units_align_up((uint64_t)b->st.st_size, SECTOR);
	return store_settle(s, name, b->fd, e);
}

/* A record of another file that has no digest says nothing of this one. */
static int
load_record(const struct store *s, const char *name, struct base *b,
	const struct watch *w, struct err *e)
{
	if (b->st.st_size == 0)
		return err_set(e, ERR_CORRUPT, "is empty");
	if (record_load(s, name, &b->record, &b->recorded, w, e))
		return -1;
	if (b->recorded && !b->record.has_digest &&
		b->record.ino != b->st.st_ino) {
		record_free(&b->record);
		b->recorded = false;
	}
	return 0;
}

static int
open_file(const struct store *s, const char *name, struct base *b,
	struct err *e)
{
	if (store_file(s->base_fd, name, O_RDONLY, &b->fd, &b->st, e))
		return -1;
	return b->fd < 0 ? err_sys(e, ENOENT, "not in the cache") : 0;
}

int
base_open(const struct store *s, const char *name, bool verify,
	const struct watch *w, struct base *ret, struct err *e)
{
	CLEANUP(base_close) struct base b = BASE_NONE;

	if (open_file(s, name, &b, e) || load_record(s, name, &b, w, e) ||
		(b.recorded ? check_record(s, name, verify, &b, w, e)
			: check_unrecorded(s, name, verify, &b, e)))
		return err_file(e, name);
	*ret = b;
	b = BASE_NONE;
	return 0;
}

int
base_known(const struct store *s, const char *name, const struct watch *w,
	struct base *ret, struct err *e)
{
	CLEANUP(base_close) struct base b = BASE_NONE;
	bool there;

	if (store_stat(s->base_fd, name, &there, &b.st, e))
		return -1;
	if (!there)
		err_sys(e, ENOENT, "not in the cache");
	if (!there || load_record(s, name, &b, w, e))
		return err_file(e, name);
	if (b.recorded && b.record.ino != b.st.st_ino &&
		open_file(s, name, &b, e))
		return err_file(e, name);
	if (b.recorded && check_record(s, name, false, &b, w, e))
		return err_file(e, name);
	*ret = b;
	b = BASE_NONE;
	return 0;
}

int
base_copy(const struct base *b, int fd, const struct watch *w, struct err *e)
{
	const struct source s = {.dirfd = AT_FDCWD, .fd = b->fd,
		.format = b->format, .force_share = true};
	const struct gate g = {0};
	const struct convert_request rq = {
		.sources = &s,
		.n_sources = 1,
		.gate = &g,
		.target_dirfd = AT_FDCWD,
		.target_fd = fd,
		.target_format = FORMAT_RAW,
		.sparse_size = CONVERT_SPARSE_DEFAULT,
		.caller_syncs = true,
		.watch = w,
	};
	struct convert_result r;

	return convert_run(&rq, &r, e);
}
