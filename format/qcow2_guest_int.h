/* SPDX-License-Identifier: MIT */
/* Between qcow2_guest.c, qcow2_guest_packed.c and qcow2_guest_zero.c only. */
#ifndef FORMAT_QCOW2_GUEST_INT_H
#define FORMAT_QCOW2_GUEST_INT_H

#include "format/qcow2_guest.h"
#include "format/qcow2_record.h"

struct qcow2_guest {
	struct qcow2_edit d;
	struct chain below; /* a view of the backing files; n 0: none */
	uint64_t cs, unit;
	unsigned units; /* per cluster */
	bool keep_holes;
	bool same_content;
	bool data_placed; /* in the data file, since the last settle */
	uint64_t packed_end; /* behind the last packed cluster of ours, or 0 */
	struct qcow2_edit_request edit; /* as it was opened */
	struct qcow2_record record;
	uint64_t note_unit;
	struct qcow2_l2 *table; /* of this segment, by L1 index */
	size_t n, cap;
	uint8_t *fill;  /* a cluster */
	uint8_t *zeros; /* a cluster of them */
};

/* One cluster of the guest's as it is, and as it will be. */
struct qcow2_guest_spot {
	struct qcow2_l2 *t; /* NULL: looked at only, and there is none */
	uint64_t voff;      /* its first guest byte */
	uint64_t l2x;
	uint64_t entry;
	struct qcow2_entry x;
	uint32_t alloc, zero; /* units */
	bool own;             /* written in place */
	uint64_t host;
};

/* Before guest bytes [voff, voff+len) change. */
int qcow2_guest_note(struct qcow2_guest *g, uint64_t voff, uint64_t len,
	struct err *e);
uint32_t qcow2_guest_all_units(const struct qcow2_guest *g);
/* The cluster that holds voff. change: its table is made or copied if need
 * be; without, a table that is missing stays so. */
int qcow2_guest_look(struct qcow2_guest *g, uint64_t voff, bool change,
	struct qcow2_guest_spot *s, struct err *e);
/* The entry, and s->alloc and s->zero, into the table. */
int qcow2_guest_store(struct qcow2_guest *g, struct qcow2_guest_spot *s,
	uint64_t entry, struct err *e);
/* What the cluster refers to loses that reference. */
int qcow2_guest_give_up(struct qcow2_guest *g,
	const struct qcow2_guest_spot *s, struct err *e);

#endif
