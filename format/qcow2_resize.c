/* SPDX-License-Identifier: MIT */
/* Which way a resize goes, and what is refused before anything is loaded. */
#include "format/qcow2_edit.h"
#include "format/qcow2_grow.h"

#define SECTOR 512

static int
check_request(const struct qcow2_resize *rq, uint64_t old_size, struct err *e)
{
	if (rq->new_size % SECTOR != 0)
		return err_set(e, ERR_USAGE,
			"The new size must be a multiple of %u", SECTOR);
	if (rq->new_size > INT64_MAX)
		return err_set(e, ERR_LIMIT, "the new size is too large");
	if (rq->new_size < old_size && rq->preallocation != PREALLOC_OFF)
		return err_set(e, ERR_USAGE,
			"Preallocation can't be used for shrinking an image");
	if (rq->new_size < old_size && !rq->shrink)
		return err_set(e, ERR_USAGE,
			"Use the --shrink option to perform a shrink "
			"operation.");
	return 0;
}

int
qcow2_resize(struct chain *c, const struct qcow2_resize *rq, struct err *e)
{
	struct qcow2_edit d;
	int r;

	if (check_request(rq, c->im[0]->size, e) < 0)
		return -1;
	if (c->im[0]->needs_data_file && !rq->data_file)
		return err_set(e, ERR_USAGE,
			"the external data file is not open for writing");
	if (qcow2_edit_open(&d, c, rq, e) < 0)
		return -1;
	r = rq->new_size < d.old_size ? qcow2_shrink(&d, e)
		: qcow2_grow(&d, e);
	if (r == 0)
		r = plan_run(&d.plan, e);
	qcow2_edit_close(&d);
	return r;
}
