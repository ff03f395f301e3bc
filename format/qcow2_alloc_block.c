/* SPDX-License-Identifier: MIT */
/*
 * Refcount blocks: a small direct-mapped cache with write-back, so that memory
 * does not grow with the image; and the refcount table, which is whole in
 * memory. Knows what reads as zeros without being written.
 */
#include "config.h"

#include "format/qcow2_alloc_block.h"

#include <stdlib.h>
#include <string.h>

#include <errno.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "base/zero.h"
#include "format/qcow2.h"

#define BLOCKS_BYTES MIB
#define BLOCKS_MIN 4
#define TABLE_CHUNK 8192 /* entries encoded at a time */

static uint64_t
cluster_size(const struct qcow2_alloc *a)
{
	return UINT64_C(1) << a->bits;
}

static int
no_memory(struct err *e)
{
	return err_sys(e, ENOMEM, "cannot keep refcounts");
}

void
qcow2_alloc_reach(struct qcow2_alloc *a, uint64_t end)
{
	a->end = units_max(a->end, end);
}

bool
qcow2_alloc_stale(const struct qcow2_alloc *a, uint64_t hoff, uint64_t len)
{
	unsigned i;

	if (!a->fresh)
		return true;
	for (i = 0; i < a->n_stale; i++)
		if (hoff < a->stale[i].hoff + a->stale[i].len &&
			a->stale[i].hoff < hoff + len)
			return true;
	return false;
}

int
qcow2_alloc_write(struct qcow2_alloc *a, const void *p, uint64_t len,
	uint64_t hoff, bool virgin, struct err *e)
{
	const uint8_t *b = p;
	uint64_t unit = 512;

	if (virgin && !qcow2_alloc_stale(a, hoff, len)) {
		while (len) {
			uint64_t n = len % unit ? len % unit : unit;

			if (!zero_is(b + len - n, n))
				break;
			len -= n;
		}
		if (!len)
			return 0;
	}
	return file_write(a->f, p, len, hoff, e);
}

static int
block_write(struct qcow2_alloc *a, struct qcow2_alloc_block *b, struct err *e)
{
	if (!b->hoff || !b->dirty)
		return 0;
	if (qcow2_alloc_write(a, b->p, cluster_size(a), b->hoff, b->virgin, e))
		return -1;
	b->dirty = false;
	b->virgin = false;
	return 0;
}

/* The place of block rx in the cache, written back and free to be filled. */
static int
evict(struct qcow2_alloc *a, uint64_t rx, struct qcow2_alloc_block **ret,
	struct err *e)
{
	struct qcow2_alloc_block *b = &a->blocks[rx % a->n_blocks];

	if (block_write(a, b, e))
		return -1;
	b->hoff = 0;
	if (!b->p)
		b->p = malloc(cluster_size(a));
	if (!b->p)
		return no_memory(e);
	*ret = b;
	return 0;
}

int
qcow2_alloc_block_load(struct qcow2_alloc *a, uint64_t rx,
	struct qcow2_alloc_block **ret, struct err *e)
{
	struct qcow2_alloc_block *b = &a->blocks[rx % a->n_blocks];

	if (b->hoff != a->table[rx]) {
		if (evict(a, rx, &b, e) ||
			file_read_padded(a->f, b->p, cluster_size(a),
				a->table[rx], NULL, e))
			return -1;
		b->hoff = a->table[rx];
		b->dirty = false;
		b->virgin = false;
	}
	*ret = b;
	return 0;
}

int
qcow2_alloc_block_new(struct qcow2_alloc *a, uint64_t rx, uint64_t hoff,
	struct qcow2_alloc_block **ret, struct err *e)
{
	struct qcow2_alloc_block *b;

	if (evict(a, rx, &b, e))
		return -1;
	memset(b->p, 0, cluster_size(a));
	b->hoff = hoff;
	b->dirty = true;
	b->virgin = true;
	qcow2_alloc_reach(a, hoff + cluster_size(a));
	*ret = b;
	return 0;
}

static int
table_write(struct qcow2_alloc *a, struct err *e)
{
	CLEANUP_FREE uint8_t *out = malloc(TABLE_CHUNK * sizeof(uint64_t));
	uint64_t i, n, j;

	if (!out)
		return no_memory(e);
	for (i = 0; i < a->entries; i += n) {
		n = units_min(TABLE_CHUNK, a->entries - i);
		for (j = 0; j < n; j++)
			store_be64(out + j * sizeof(uint64_t),
				a->table[i + j]);
		if (qcow2_alloc_write(a, out, n * sizeof(uint64_t),
			    a->table_hoff + i * sizeof(uint64_t),
			    a->table_virgin, e))
			return -1;
	}
	a->table_virgin = false;
	return 0;
}

int
qcow2_alloc_block_table(struct qcow2_alloc *a, uint64_t entries,
	struct err *e)
{
	struct qcow2_alloc_range *stale;
	uint64_t *table;

	if (table_write(a, e))
		return -1;
	stale = realloc(a->stale, (a->n_stale + 1) * sizeof(*stale));
	if (!stale)
		return no_memory(e);
	a->stale = stale;
	a->stale[a->n_stale++] = (struct qcow2_alloc_range){
		.hoff = a->table_hoff,
		.len = a->entries * sizeof(uint64_t),
	};
	table = realloc(a->table, entries * sizeof(*table));
	if (!table)
		return no_memory(e);
	if (entries > a->entries)
		memset(table + a->entries, 0,
			(entries - a->entries) * sizeof(*table));
	a->table = table;
	a->entries = entries;
	return 0;
}

int
qcow2_alloc_flush(struct qcow2_alloc *a, struct err *e)
{
	unsigned i;

	for (i = 0; i < a->n_blocks; i++)
		if (block_write(a, &a->blocks[i], e))
			return -1;
	return table_write(a, e);
}

int
qcow2_alloc_block_open(struct qcow2_alloc *a, struct err *e)
{
	uint64_t n = BLOCKS_BYTES >> a->bits;

	a->n_blocks = (unsigned)units_max(n, BLOCKS_MIN);
	a->blocks = calloc(a->n_blocks, sizeof(*a->blocks));
	a->entries = cluster_size(a) / sizeof(uint64_t);
	a->table = calloc(a->entries, sizeof(*a->table));
	if (!a->blocks || !a->table)
		return no_memory(e);
	qcow2_alloc_reach(a, 3 * cluster_size(a));
	return 0;
}

void
qcow2_alloc_close(struct qcow2_alloc *a)
{
	unsigned i;

	for (i = 0; a->blocks && i < a->n_blocks; i++)
		free(a->blocks[i].p);
	free(a->blocks);
	free(a->table);
	free(a->stale);
	memset(a, 0, sizeof(*a));
}
