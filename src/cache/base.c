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

static int
digest_of(const struct base *b, const struct watch *w,
	struct digest_value *ret, struct err *e)
{
	const struct source s = {.dirfd = AT_FDCWD, .fd = b->fd,
		.format = b->format, .force_share = true};
	const struct gate g = {0};
	struct convert_result r;

	if (convert_digest(&s, &g, 0, ENGINE_AUTO, NULL, w, &r, e))
		return -1;
	*ret = r.digest;
	return 0;
}

static int
check_digest(const struct base *b, const struct watch *w, struct err *e)
{
	struct digest_value is;

	if (digest_of(b, w, &is, e))
		return -1;
	if (memcmp(is.b, b->record.digest.b, sizeof(is.b)) != 0)
		return err_set(e, ERR_CORRUPT,
			"its content is not the one that was recorded");
	return 0;
}

static int
check_record(const struct store *s, const char *name, bool verify,
	struct base *b, const struct watch *w, struct err *e)
{
	struct record *r = &b->record;
	bool same = r->ino == b->st.st_ino;

	/* another one's zeros at the end may be more or fewer: the digest
	 * tells */
	if (r->file_size != (uint64_t)b->st.st_size &&
		(same || !r->has_digest || r->format != FORMAT_RAW))
		return err_set(e, same ? ERR_CORRUPT : ERR_MISMATCH, "is %"
			PRIu64 " bytes long, its record says %" PRIu64,
			(uint64_t)b->st.st_size, r->file_size);
	/* what another file holds is about to be read */
	if (r->rotten && (same || !r->has_digest))
		return err_set(e, ERR_CORRUPT, "%" PRIu64 " of its blocks are "
			"rotten, the last verification says", r->rotten);
	b->format = r->format;
	b->size = r->virtual_size;
	if (r->format == FORMAT_RAW)
		b->size = units_align_up((uint64_t)b->st.st_size, SECTOR);
	if (!r->has_digest && !same)
		return err_set(e, ERR_MISMATCH, "is another file than the one "
			"that was recorded");
	if (!r->has_digest && verify)
		return err_set(e, ERR_MISMATCH,
			"no digest of it was recorded");
	if ((verify || !same) && check_digest(b, w, e))
		return -1;
	if (same)
		return 0;
	if (store_settle(s, name, b->fd, e))
		return -1;
	if (r->file_size != (uint64_t)b->st.st_size)
		r->virtual_size = b->size;
	record_identify(r, &b->st);
	r->rotten = r->verify_at = 0;
	return record_store(s, name, r, e);
}

static int
check_unrecorded(const struct store *s, const char *name, bool verify,
	struct base *b, struct err *e)
{
	uint8_t head[SECTOR] = {0};
	enum format f;

	if (verify)
		return err_set(e, ERR_MISMATCH,
			"no record tells what it has to hold");
	if (pread(b->fd, head, sizeof(head), 0) < 0)
		return err_sys(e, errno, "cannot read");
	f = probe_qemu((struct span){head, sizeof(head)});
	if (f != FORMAT_RAW)
		return err_set(e, ERR_DENIED, "no record tells its format, and "
			"it looks like %s", probe_format_name(f));
	b->format = FORMAT_RAW;
	b->size = units_align_up((uint64_t)b->st.st_size, SECTOR);
	return store_settle(s, name, b->fd, e);
}

int
base_open(const struct store *s, const char *name, bool verify,
	const struct watch *w, struct base *ret, struct err *e)
{
	CLEANUP(base_close) struct base b = BASE_NONE;

	if (store_file(s->base_fd, name, O_RDONLY, &b.fd, &b.st, e))
		return -1;
	if (b.fd < 0) {
		err_sys(e, ENOENT, "not in the cache");
		return err_file(e, name);
	}
	if (b.st.st_size == 0) {
		err_set(e, ERR_CORRUPT, "is empty");
		return err_file(e, name);
	}
	if (record_load(s, name, &b.record, &b.recorded, w, e))
		return -1;
	if (b.recorded ? check_record(s, name, verify, &b, w, e)
			: check_unrecorded(s, name, verify, &b, e))
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
