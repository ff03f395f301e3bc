/* SPDX-License-Identifier: MIT */
/* The table, and how it grows. What keys and values mean is the callers'. */
#include "format/qcow2_index.h"

#include <stdlib.h>
#include <sys/random.h>

#define CAP_MIN 64u

uint64_t
qcow2_index_seed(void)
{
	uint64_t seed;

	if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) < 0)
		seed = (uint64_t)(uintptr_t)&seed; /* the stack's is, too */
	return seed;
}

uint64_t
qcow2_index_hash(uint64_t seed, uint64_t key)
{
	uint64_t h = (key ^ seed) * UINT64_C(0x9e3779b97f4a7c15);

	/* the second round makes neighbours of a seed strangers of another */
	return (h ^ h >> 32 ^ seed) * UINT64_C(0xd6e8feb86659fd93);
}

void
qcow2_index_init(struct qcow2_index *x)
{
	*x = (struct qcow2_index){.seed = qcow2_index_seed()};
}

/* The slot of a key, or the free one where it belongs. */
static struct qcow2_index_slot *
slot_of(const struct qcow2_index *x, uint64_t key)
{
	size_t i = (size_t)(qcow2_index_hash(x->seed, key) >> 32);

	for (;; i++) {
		i &= x->cap - 1;
		if (x->slot[i].key == key + 1 || x->slot[i].key == 0)
			return &x->slot[i];
	}
}

uint64_t *
qcow2_index_find(const struct qcow2_index *x, uint64_t key)
{
	struct qcow2_index_slot *s;

	if (!x->slot)
		return NULL;
	s = slot_of(x, key);
	return s->key ? &s->value : NULL;
}

static int
grow(struct qcow2_index *x, struct err *e)
{
	struct qcow2_index wide = *x;

	wide.cap = x->cap ? x->cap * 2 : CAP_MIN;
	wide.slot = calloc(wide.cap, sizeof(*wide.slot));
	if (!wide.slot)
		return err_set(e, ERR_NOMEM, "no memory for an index");
	for (size_t i = 0; i < x->cap; i++) {
		if (x->slot[i].key)
			*slot_of(&wide, x->slot[i].key - 1) = x->slot[i];
	}
	free(x->slot);
	*x = wide;
	return 0;
}

int
qcow2_index_add(struct qcow2_index *x, uint64_t key, uint64_t value,
	struct err *e)
{
	if (x->used + 1 > x->cap / 4 * 3 && grow(x, e))
		return -1;
	*slot_of(x, key) = (struct qcow2_index_slot){key + 1, value};
	x->used++;
	return 0;
}

void
qcow2_index_free(struct qcow2_index *x)
{
	free(x->slot);
	x->slot = NULL;
	x->cap = x->used = 0;
}
