/* SPDX-License-Identifier: MIT */
/* What can be changed of an image that exists. Each is planned up to and with
 * its last barrier; the caller runs it. Messages are QEMU's. */
#ifndef FORMAT_QCOW2_AMEND_H
#define FORMAT_QCOW2_AMEND_H

#include "base/watch.h"
#include "format/qcow2_edit.h"

/* Version 2 becomes 3. */
int qcow2_amend_upgrade(struct qcow2_edit *d, struct err *e);
/* Whether version 3 may become 2, once the counts have `bits` bits: features
 * must not be in use, and the counts that would go down be sound. Plans
 * nothing; tables that are not aligned mark the image.
 * resized: the disk gets another size first. That snapshots have it is then
 * left to the downgrade: in QEMU the new size stays when they have not. */
int qcow2_amend_may_downgrade(struct qcow2_edit *d, unsigned bits,
	bool resized, struct err *e);
/* It becomes 2: zero clusters, in snapshots too, become holes or, over a
 * backing file, data. Bitmaps are dropped. Snapshots have the disk's size. */
int qcow2_amend_downgrade(struct qcow2_edit *d, const struct watch *w,
	struct err *e);
/* Counts of 1 << order bits (qcow2_width.c). ERR_LIMIT where one has no room.
 * The session is of no further use. w: progress in QEMU's walks over the
 * refcounts, which goes back when one more turns out to be needed. */
int qcow2_amend_width(struct qcow2_edit *d, unsigned order,
	const struct watch *w, struct err *e);
/* The header as want says. */
int qcow2_amend_header(struct qcow2_edit *d, const struct qcow2_header *want,
	struct err *e);

#endif
