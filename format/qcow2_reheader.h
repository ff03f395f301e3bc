/* SPDX-License-Identifier: MIT */
/*
 * Rewriting cluster 0: header, extensions, backing name. Two sectors of it are
 * not written together, so the way from the old cluster to the new one leads
 * over whole clusters ("stages") with a barrier between any two: whatever
 * subset of the sectors that differ between two of them is on disk, the header
 * says what the old one said or what the new one says.
 */
#ifndef FORMAT_QCOW2_REHEADER_H
#define FORMAT_QCOW2_REHEADER_H

#include "format/qcow2_edit.h"

#define QCOW2_STAGES 5u

struct qcow2_stages {
	uint8_t *v[QCOW2_STAGES]; /* each a cluster; the last is the new one */
	unsigned n;
	unsigned turn; /* v[turn] is the first that says what the new one says */
};

/*
 * Pure: from old to new, both len bytes (a cluster) with sound headers.
 * ERR_LIMIT when there is no room beside both for a copy of the new names
 * and extensions (clusters of 1 or 2 KiB with long names).
 */
int qcow2_reheader_stages(const uint8_t *old, const uint8_t *new,
	uint64_t len, struct qcow2_stages *ret, struct err *e);
void qcow2_stages_free(struct qcow2_stages *s); /* a zeroed one is fine */

/*
 * Makes `want` the image's header, in the form in which QEMU writes it. Tables
 * and the number of snapshots are the session's (d->head), not want's; a
 * backing name of "" is none, a data file's name without the feature bit is
 * dropped. Unknown extensions and fields stay. Afterwards d->h is the new
 * header. All that is planned so far is on disk before the header changes; a
 * barrier behind it is the caller's.
 */
int qcow2_edit_reheader(struct qcow2_edit *d, const struct qcow2_header *want,
	struct err *e);

#endif
