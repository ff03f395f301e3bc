/* SPDX-License-Identifier: MIT */
/* Internal snapshots made, applied and deleted, on an open edit: everything up
 * to and with the last barrier is planned, the caller runs it. After a
 * failure the image is as it was. */
#ifndef FORMAT_QCOW2_SNAPSHOT_EDIT_H
#define FORMAT_QCOW2_SNAPSHOT_EDIT_H

#include "format/qcow2_edit.h"

/* Where there is none of that name (ERR_USAGE): the message. */
#define QCOW2_NO_SNAPSHOT "there is no such snapshot"

/* The next free number becomes its id. ERR_LIMIT where the table or a count
 * has no room for one more (EFBIG, EINVAL), ERR_UNSUPPORTED with an external
 * data file (ENOTSUP). */
int qcow2_snapshot_create(struct qcow2_edit *d, const char *name,
	uint32_t date_sec, uint32_t date_nsec, struct err *e);
/* By id, else by name. The virtual size becomes the snapshot's. */
int qcow2_snapshot_apply(struct qcow2_edit *d, const char *which,
	struct err *e);
/* The first of that name. */
int qcow2_snapshot_delete(struct qcow2_edit *d, const char *name,
	struct err *e);
/* The table anew, with all the extra data that version 3 wants. */
int qcow2_snapshot_rewrite(struct qcow2_edit *d, struct err *e);

#endif
