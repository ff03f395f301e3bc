/* SPDX-License-Identifier: MIT */
/*
 * Numbers by number: an open hash table whose size follows its content. The
 * seed is unknown to who made the image, so that the keys of his tables cannot
 * be chosen to fall on one slot.
 */
#ifndef FORMAT_QCOW2_INDEX_H
#define FORMAT_QCOW2_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct qcow2_index_slot {
	uint64_t key; /* plus one; 0: free */
	uint64_t value;
};

struct qcow2_index {
	struct qcow2_index_slot *slot; /* owned; NULL: empty */
	size_t cap, used;              /* cap is a power of two */
	uint64_t seed;
};

void qcow2_index_init(struct qcow2_index *x);
/* The value of key (not UINT64_MAX), or NULL; valid until the next add. */
uint64_t *qcow2_index_find(const struct qcow2_index *x, uint64_t key);
/* key is not in it yet. */
int qcow2_index_add(struct qcow2_index *x, uint64_t key, uint64_t value,
	struct err *e);
void qcow2_index_free(struct qcow2_index *x); /* empties it */

/* For another table by number: a seed of its own, and the hash under it, of
 * which the upper half is the better. */
uint64_t qcow2_index_seed(void);
uint64_t qcow2_index_hash(uint64_t seed, uint64_t key);

#endif
