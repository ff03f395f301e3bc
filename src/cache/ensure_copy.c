/* SPDX-License-Identifier: MIT */
/* Copies bytes without knowing what they are. */
#include "config.h"

#include "cache/ensure_copy.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "io/clone.h"
#include "io/file.h"
#include "io/sparse.h"

#define CHUNK MIB
/* One call inside the kernel; a signal is heard in between. */
#define COPY_AT_ONCE (64 * MIB)

static int
copy_run(struct file *from, struct file *to, uint64_t off, uint64_t len,
	void *buf, struct err *e)
{
	uint64_t done = 0;
	size_t n;

	if (clone_copy(from, off, to, off, len, &done, e))
		return -1;
	for (; done < len; done += n) {
		n = (size_t)units_min(len - done, CHUNK);
		if (file_read(from, buf, n, off + done, e) ||
			file_write(to, buf, n, off + done, e))
			return -1;
	}
	return 0;
}

static int
copy_data(struct file *from, struct file *to, uint64_t room,
	const struct watch *w, struct err *e)
{
	CLEANUP_FREE void *buf = buf_alloc_aligned(CHUNK);
	uint64_t off, len, copied = 0;
	bool data;

	if (!buf)
		return err_set(e, ERR_NOMEM, "no memory to copy");
	for (off = 0; off < from->size; off += len) {
		if (watch_cancelled(w))
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (sparse_next(from, off, &len, &data, e))
			return -1;
		if (data)
			len = units_min(len, COPY_AT_ONCE);
		if (data && (copied += len) > room)
			return err_set(e, ERR_LIMIT, "more than %" PRIu64
				" bytes of data, " ENSURE_COPY_ROOM, room);
		if (data && copy_run(from, to, off, len, buf, e))
			return -1;
		watch_progress(w, off + len, from->size);
	}
	return 0;
}

int
ensure_copy(int from, int to, uint64_t room, const struct watch *w,
	struct err *e)
{
	CLEANUP(file_close_p) struct file *a = NULL;
	CLEANUP(file_close_p) struct file *b = NULL;
	bool done = false;

	if (file_from_fd(&a, from, "source", e) ||
		file_from_fd(&b, to, "target", e) ||
		file_truncate(b, a->size, e))
		return -1;
	if (a->size &&
		clone_range(a, 0, b, 0, a->size, &done, e))
		return -1;
	return done ? 0 : copy_data(a, b, room, w, e);
}
