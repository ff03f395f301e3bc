/* SPDX-License-Identifier: MIT */
/* What the files of the check share. Functions that return -1 have filled *e;
 * the check then ends, with eno as QEMU's. */
#ifndef FORMAT_QCOW2_CHECK_INT_H
#define FORMAT_QCOW2_CHECK_INT_H

#include "format/qcow2_check.h"
#include "format/qcow2_counts.h"
#include "format/qcow2_overlap.h"

/* The largest offset that QEMU reads at. */
#define QCOW2_CHECK_OFFSET_MAX (INT64_MAX & ~((INT64_C(1) << 30) - 1))

/* An L1 table of a snapshot. */
struct qcow2_check_snapshot {
	uint64_t l1_hoff;
	uint64_t at; /* its record, host byte */
	uint32_t l1_entries;
};

/* An L2 table that was met; index: its place among those that were met. */
struct qcow2_check_table {
	uint64_t hoff;
	uint64_t extra, extra_active; /* visits that are still to be counted */
};

/* Leaked clusters whose counts have become 0. */
struct qcow2_check_run {
	uint64_t first, n;
};

struct qcow2_check {
	struct file *file;
	struct qcow2_header *h;
	const struct qcow2_check_request *rq;
	struct qcow2_check_result *r; /* what is being counted into */
	unsigned fix;  /* in this pass */
	int eno;       /* why the check ends; 0: by what *e says */
	struct plan plan;
	uint64_t cluster;
	bool external; /* the data is in another file */
	uint64_t file_len; /* bytes, rounded up to a sector */
	struct qcow2_counts counts;
	uint64_t *reftable; /* host order; owned */
	uint64_t n_reftable;
	uint64_t block_bits; /* log2 of refcounts per block */
	struct qcow2_check_snapshot *snapshots; /* owned */
	uint64_t n_snapshots;
	uint64_t snapshots_len; /* bytes of the table */
	struct qcow2_check_result snapshot_r; /* of its table alone */
	/* L2 tables that were met */
	struct qcow2_index seen; /* offset / 512: number in tables */
	struct qcow2_check_table *tables; /* owned */
	size_t n_tables, tables_cap;
	uint64_t again;  /* L2 entries that may be looked at again */
	uint64_t budget; /* bytes of tables that may overlap others */
	bool cut;        /* some were not followed */
	bool rebuild;    /* the refcounts must be made anew */
	bool rebuilt;    /* they were */
	bool suspect;    /* COPIED flags must be looked at one by one */
	bool signalled;  /* QEMU says so only once */
	struct qcow2_overlap overlap; /* loaded when it is wanted */
	bool overlap_known;
	uint64_t highest; /* the last cluster in use */
	uint64_t said;
	struct qcow2_check_run *freed; /* owned */
	size_t n_freed, freed_cap;
	/* what is known of holes in the file: [lo, hi) */
	uint64_t run_lo, run_hi;
	bool run_data;
	uint8_t *l1_buf; /* QCOW2_CHECK_CHUNK bytes; owned */
	uint8_t *l2_buf; /* a cluster, as the next; owned */
	uint8_t *block_buf;
};

#define QCOW2_CHECK_CHUNK (64u << 10)

/* qcow2_check_io.c ------------------------------------------------------- */

/* A line on stderr, in QEMU's terms. */
void qcow2_check_io_say(struct qcow2_check *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* One that has the program's name before it. */
void qcow2_check_io_report(struct qcow2_check *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The check ends; returns -1. */
int qcow2_check_io_stop(struct qcow2_check *c, int eno, struct err *e);
/* [hoff, hoff+len) as far as it is there, zeros behind; what was planned is
 * written first. *ret_zero (may be NULL): all of it is known to be zeros, and
 * buf was not touched. A failure is counted. */
int qcow2_check_io_read(struct qcow2_check *c, uint64_t hoff, void *buf,
	uint64_t len, bool *ret_zero, struct err *e);
/* Runs the plan, and learns the file's length anew. */
int qcow2_check_io_run(struct qcow2_check *c, struct err *e);
/* The name of the metadata other than `own` that [hoff, hoff+len) overlaps, or
 * NULL. */
int qcow2_check_io_overlap(struct qcow2_check *c, enum qcow2_meta own,
	uint64_t hoff, uint64_t len, const char **ret, struct err *e);
/* Tables have another place. */
void qcow2_check_io_moved(struct qcow2_check *c);
/* "Image is corrupt" or, where something is being fixed, the mark itself. */
int qcow2_check_io_signal(struct qcow2_check *c, struct err *e,
	const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Plans the header's feature bits as they are in h. */
int qcow2_check_io_features(struct qcow2_check *c, struct err *e);
/* What no program here knows is cleared before anything else is written. */
int qcow2_check_io_autoclear(struct qcow2_check *c, struct err *e);

/* qcow2_check_walk.c ----------------------------------------------------- */

/* [hoff, hoff+len) is referred to `times` more. flags: as the counts take
 * them. Complains about what lies behind the file's end. */
int qcow2_check_walk_ref(struct qcow2_check *c, uint64_t hoff, uint64_t len,
	unsigned flags, uint64_t times, struct err *e);
/* An L1 table and all below it. */
int qcow2_check_walk_l1(struct qcow2_check *c, uint64_t hoff, uint64_t entries,
	bool active, struct err *e);
/* The visits that were put off. */
int qcow2_check_walk_rest(struct qcow2_check *c, struct err *e);
/* True when bytes of tables that should not be there may still be read. */
bool qcow2_check_walk_charge(struct qcow2_check *c, uint64_t bytes);
void qcow2_check_walk_reset(struct qcow2_check *c);

/* qcow2_check_blocks.c --------------------------------------------------- */

int qcow2_check_blocks_load(struct qcow2_check *c, struct err *e);
/* Refcount table and blocks: their entries and their own counts. */
int qcow2_check_blocks_walk(struct qcow2_check *c, struct err *e);
/* The counts on disk against ours, fixing what may be fixed. last: from now on
 * the counts in memory are those on disk. */
int qcow2_check_blocks_compare(struct qcow2_check *c, unsigned fix, bool last,
	struct err *e);
/* The count of a cluster, wherever it lies; *ret_known false if its block
 * cannot be read. For after the last comparison. */
int qcow2_check_blocks_count(struct qcow2_check *c, uint64_t clu,
	uint64_t *ret, bool *ret_known, struct err *e);

/* the others ------------------------------------------------------------- */

int qcow2_check_rebuild(struct qcow2_check *c, struct err *e);
int qcow2_check_copied(struct qcow2_check *c, struct err *e);
int qcow2_check_snapshots_load(struct qcow2_check *c, struct err *e);
int qcow2_check_snapshots_walk(struct qcow2_check *c, struct err *e);
/* Writes the table anew where it was broken. */
int qcow2_check_table(struct qcow2_check *c, struct err *e);
int qcow2_check_bitmaps_count(struct qcow2_check *c, struct err *e);

#endif
