/* SPDX-License-Identifier: MIT */
/*
 * A table of records of varying length (snapshots, bitmap directory), read
 * through one bounded buffer: a 64 MiB table never sits in memory as a whole.
 * What the records mean is the caller's.
 */
#include "format/qcow2.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/units.h"

int
qcow2_table_open(struct qcow2_table *t, struct file *f, uint64_t hoff,
	uint64_t len, struct err *e)
{
	*t = (struct qcow2_table){.file = f, .hoff = hoff, .len = len};
	t->buf = buf_alloc_aligned(QCOW2_TABLE_BUFFER);
	if (!t->buf)
		return err_set(e, ERR_NOMEM, "no memory for a table buffer");
	return 0;
}

int
qcow2_table_view(struct qcow2_table *t, size_t want, struct span *ret,
	struct err *e)
{
	uint64_t at = t->hoff + t->done, from;

	want = (size_t)units_min(want, t->len - t->done);
	/* differences, since a sum may wrap: the place is the image's word */
	if (at < t->buf_hoff || at - t->buf_hoff > t->buf_len ||
		want > t->buf_len - (at - t->buf_hoff)) {
		/* whole blocks, so that O_DIRECT files take it */
		from = units_align_down(at, 4096);
		t->buf_len = 0;
		if (file_read_padded(t->file, t->buf, QCOW2_TABLE_BUFFER, from,
			NULL, e))
			return -1;
		t->buf_hoff = from;
		t->buf_len = QCOW2_TABLE_BUFFER;
	}
	*ret = (struct span){t->buf + (at - t->buf_hoff), want};
	return 0;
}

void
qcow2_table_skip(struct qcow2_table *t, uint64_t len)
{
	t->done += units_min(len, t->len - t->done);
}

void
qcow2_table_close(struct qcow2_table *t)
{
	free(t->buf);
	t->buf = NULL;
}
