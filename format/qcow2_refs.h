/* SPDX-License-Identifier: MIT */
/*
 * Refcounts of an image that is changed in place: allocation as QEMU does it,
 * through a bounded cache of refcount blocks, into a plan.
 *
 * What keeps a crash harmless: a count may be too high (a leak), never too
 * low. So a cluster is dropped only when nothing on disk refers to it any more
 * (a barrier lies between), and a new cluster is referred to only after
 * qcow2_refs_flush. Under that rule any dirty block may be written at any
 * time, and the cache may evict as it likes.
 */
#ifndef FORMAT_QCOW2_REFS_H
#define FORMAT_QCOW2_REFS_H

#include <stdbool.h>
#include <stdint.h>

#include "format/plan.h"
#include "format/qcow2.h"
#include "format/qcow2_overlap.h"

/* Counted clusters behind the file's end that a search passes over: a table
 * whose entries all name one full block has 2^35 of them. */
#define QCOW2_REFS_PAST_END (1u << 24)
#define QCOW2_REFS_CACHE (8u << 20) /* bytes of blocks, at least 4 blocks */

struct qcow2_refs_block {
	uint64_t hoff; /* 0: empty slot */
	uint8_t *p;    /* a cluster */
	uint64_t lo, hi; /* dirty bytes [lo, hi); clean when hi is 0 */
	uint64_t used;   /* tick of the last use */
};

struct qcow2_refs {
	struct file *file;
	struct plan *plan;
	uint8_t *head; /* the header's fixed fields as they will be on disk */
	size_t head_len;
	unsigned cluster_bits;
	unsigned order;
	unsigned block_bits;   /* log2 of counts per block */
	uint64_t *table;       /* host order, flags included; owned */
	uint64_t n_table;      /* entries */
	uint64_t table_hoff;
	uint64_t hook_lo, hook_hi; /* entries to be written, hi 0: none */
	bool moved;            /* the table is new as a whole */
	bool evicted;          /* the file lags behind the plan */
	bool written;          /* blocks went to the plan; the user's to reset */
	uint64_t free_index;   /* where the search for a free cluster starts */
	struct qcow2_refs_block *cache;
	unsigned n_cache;
	uint64_t tick;
	/* metadata that no allocation may hit, whatever the counts say, and
	 * no write of anything else */
	struct qcow2_overlap overlap;
	bool discard; /* dropped clusters are given back to the file system */
};

/* Loads the table (at most QCOW2_REFTABLE_MAX). On failure nothing is held. */
int qcow2_refs_open(struct qcow2_refs *r, struct plan *p,
	const struct qcow2_header *h, uint8_t *head, size_t head_len,
	struct err *e);
void qcow2_refs_close(struct qcow2_refs *r);

/*
 * Before anything is written to bytes [hoff, hoff+len) of the image, as part of
 * `own`: if other metadata lies there the image is marked corrupt, at once,
 * and that is ERR_CORRUPT with QEMU's words.
 */
int qcow2_refs_may_write(struct qcow2_refs *r, enum qcow2_meta own,
	uint64_t hoff, uint64_t len, struct err *e);

/* Marks the image corrupt, on the disk, and is ERR_CORRUPT with QEMU's words
 * for that around ours. */
int qcow2_refs_corrupt(struct qcow2_refs *r, struct err *e, const char *fmt,
	...) __attribute__((format(printf, 3, 4)));

/* The largest count that there is room for. */
uint64_t qcow2_refs_max(const struct qcow2_refs *r);
int qcow2_refs_get(struct qcow2_refs *r, uint64_t cluster, uint64_t *ret,
	struct err *e);
/* n free clusters in a row, the first that fit, count 1 each. */
int qcow2_refs_alloc(struct qcow2_refs *r, uint64_t n, uint64_t *ret_hoff,
	struct err *e);
/* Those of the n clusters from hoff on that are free, up to the first that is
 * not: *ret_n of them, maybe 0. */
int qcow2_refs_alloc_at(struct qcow2_refs *r, uint64_t hoff, uint64_t n,
	uint64_t *ret_n, struct err *e);
/* n references more to a cluster that has some. ERR_LIMIT: no room for them. */
int qcow2_refs_raise(struct qcow2_refs *r, uint64_t cluster, uint64_t n,
	struct err *e);
/* One reference less to each cluster that [hoff, hoff+len) touches, or more. A
 * count that is too low for that is ERR_CORRUPT. */
int qcow2_refs_drop(struct qcow2_refs *r, uint64_t hoff, uint64_t len,
	struct err *e);
int qcow2_refs_drop_times(struct qcow2_refs *r, uint64_t hoff, uint64_t len,
	uint64_t times, struct err *e);
/*
 * A new refcount table and blocks from cluster `start` on (nothing is used
 * behind it) which count themselves and have room for `more` clusters; *ret
 * is the cluster behind them. exact: no spare entries. The table is switched
 * and the old one freed: all that was planned before is then on disk.
 */
int qcow2_refs_area(struct qcow2_refs *r, uint64_t start, uint64_t more,
	bool exact, uint64_t *ret, struct err *e);
/* The last cluster below `end` whose count is not 0; ERR_CORRUPT if none. */
int qcow2_refs_last(struct qcow2_refs *r, uint64_t end, uint64_t *ret,
	struct err *e);
/*
 * Blocks behind the end of the file count nothing and leave the table: all
 * that was planned before is then on disk. What is wrong with the table for a
 * shrink is found here: entries that are not aligned, and such blocks that are
 * not counted themselves. The image is marked corrupt for it, ERR_CORRUPT.
 */
int qcow2_refs_prune(struct qcow2_refs *r, struct err *e);
/* Takes blocks that count nothing (but themselves) out of the table. */
int qcow2_refs_shrink(struct qcow2_refs *r, struct err *e);
/* Nothing is dirty, and blocks were changed behind our back: reads anew. */
void qcow2_refs_forget(struct qcow2_refs *r);
/* Plans what is dirty of the blocks, in no order to anything else: enough
 * where counts only went down and no block came or went. */
int qcow2_refs_write(struct qcow2_refs *r, struct err *e);
/* Plans what is dirty; ends with a barrier, after which every cluster that
 * was allocated may be referred to. */
int qcow2_refs_flush(struct qcow2_refs *r, struct err *e);

#endif
