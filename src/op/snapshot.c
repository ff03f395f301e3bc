/* SPDX-License-Identifier: MIT */
/* Snapshots: from the request to the format's edit. */
#include "op/snapshot.h"

#include <errno.h>

#include "base/cleanup.h"
#include "format/qcow2_snapshot_edit.h"

_Static_assert(sizeof(SNAPSHOT_NONE) == sizeof(QCOW2_NO_SNAPSHOT),
	"one message");

static int
refuse(struct err *e, enum err_kind kind, int eno, const char *text)
{
	err_set(e, kind, "%s", text);
	if (e)
		e->eno = eno;
	return -1;
}

static int
edit(const struct snapshot_request *rq, struct qcow2_edit *d, struct err *e)
{
	int r = -1;

	switch (rq->action) {
	case SNAPSHOT_CREATE:
		r = qcow2_snapshot_create(d, rq->name, rq->date_sec,
			rq->date_nsec, e);
		break;
	case SNAPSHOT_APPLY:
		/* QEMU's rule: bitmaps would no longer tell what changed. */
		r = d->h->has_bitmaps ? refuse(e, ERR_UNSUPPORTED, EBUSY,
				"Device has active dirty bitmaps")
			: qcow2_snapshot_apply(d, rq->name, e);
		break;
	case SNAPSHOT_DELETE:
		r = qcow2_snapshot_delete(d, rq->name, e);
		break;
	}
	return r < 0 ? -1 : plan_run(&d->plan, e);
}

static int
snapshot_qcow2(const struct snapshot_request *rq, struct inplace *p,
	bool *ret_opened, struct err *e)
{
	const struct qcow2_edit_request q = {
		.durable = rq->durable,
		.data_file = p->data,
		.watch = rq->image.watch,
		.tap = rq->tap,
		.tap_arg = rq->tap_arg,
	};
	struct qcow2_edit d;
	int r;

	if (qcow2_edit_open(&d, p->chain, &q, e) < 0)
		return -1;
	*ret_opened = true;
	r = edit(rq, &d, e);
	qcow2_edit_close(&d);
	return r;
}

int
snapshot_run(const struct snapshot_request *rq, struct snapshot_result *ret,
	struct err *e)
{
	CLEANUP(inplace_close) struct inplace p = {0};
	int r;

	*ret = (struct snapshot_result){0};
	if (inplace_open(&p, &rq->image, e) < 0)
		return err_file(e, rq->image.path);
	ret->format = p.format;
	ret->opened = p.format != FORMAT_QCOW2;
	r = p.format == FORMAT_QCOW2 ? snapshot_qcow2(rq, &p, &ret->opened, e)
		: refuse(e, ERR_UNSUPPORTED, ENOTSUP,
			"a raw image has no snapshots");
	return r < 0 ? err_file(e, rq->image.path) : 0;
}
