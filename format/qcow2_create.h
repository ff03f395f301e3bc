/* SPDX-License-Identifier: MIT */
/* The two halves of creating an image, between which the streaming writer
 * puts guest data. */
#ifndef FORMAT_QCOW2_CREATE_H
#define FORMAT_QCOW2_CREATE_H

#include "format/qcow2_place.h"

/* An empty image in memory, preallocated if asked for. On failure too p must
 * be closed. */
int qcow2_create_begin(struct qcow2_place *p, struct file *f,
	struct file *data, const struct qcow2_options *o, struct err *e);
/* Metadata, lengths, barrier, header (and, durable, one more sync). */
int qcow2_create_end(struct qcow2_place *p, bool durable, struct err *e);

#endif
