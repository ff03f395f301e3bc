/* SPDX-License-Identifier: MIT */
/*
 * Does an image have its metadata preallocated? Then clusters that the guest
 * never wrote are mapped, and lie in holes of the file. QEMU tells by counting:
 * more clusters in use than the file has blocks for.
 */
#include "format/qcow2.h"

#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/units.h"

/* Refcount blocks that are read at most: those of 8 TiB with 64 KiB clusters
 * and 16 bits. What is larger counts as not preallocated. */
#define BLOCK_BYTES_MAX (256 * MIB)
#define TABLE_BATCH 512u /* entries of the refcount table read at once */

static uint64_t
count_used(const uint8_t *block, unsigned order, uint64_t n)
{
	uint64_t used = 0, i;

	if (order == 4) {
		for (i = 0; i < n; i++)
			used += (block[2 * i] | block[2 * i + 1]) != 0;
		return used;
	}
	for (i = 0; i < n; i++)
		used += qcow2_refcount_get(block, order, i) != 0;
	return used;
}

struct count {
	struct image *im;
	const struct qcow2_header *h;
	uint8_t *block;     /* one cluster */
	uint64_t per_block; /* refcounts */
	uint64_t clusters;  /* of the file, not looked at yet */
	uint64_t used;      /* so far */
	uint64_t enough;
	uint64_t budget;    /* bytes of blocks that may still be read */
};

/* -1: as good as no. */
static int
count_block(struct count *c, uint64_t entry)
{
	uint64_t n = units_min(c->clusters, c->per_block);
	uint64_t hoff = entry & QCOW2_REFTABLE_OFFSET;

	c->clusters -= n;
	if (hoff == 0)
		return 0;
	if (hoff & (c->im->cluster_size - 1) || hoff > INT64_MAX ||
		c->budget < c->im->cluster_size)
		return -1;
	c->budget -= c->im->cluster_size;
	if (file_read_padded(c->im->file, c->block, c->im->cluster_size, hoff,
		    NULL, NULL))
		return -1;
	c->used += count_used(c->block, c->h->refcount_order, n);
	return 0;
}

static bool
count_table(struct count *c)
{
	uint64_t entries = (uint64_t)c->h->reftable_clusters *
		c->im->cluster_size / 8;
	uint8_t batch[TABLE_BATCH * 8];
	uint64_t at, n, i;

	for (at = 0; at < entries && c->clusters; at += n) {
		n = units_min(entries - at, TABLE_BATCH);
		if (file_read_padded(c->im->file, batch, n * 8,
			    c->h->reftable_offset + at * 8, NULL, NULL))
			return false;
		for (i = 0; i < n && c->clusters; i++) {
			if (count_block(c, load_be64(batch + i * 8)))
				return false;
			if (c->used >= c->enough)
				return true;
		}
	}
	return false;
}

bool
qcow2_prealloc_detect(struct image *im)
{
	const struct qcow2_header *h = &qcow2_of(im)->h;
	CLEANUP_FREE uint8_t *block = buf_alloc_aligned(im->cluster_size);
	struct count c = {
		.im = im,
		.h = h,
		.block = block,
		.per_block = (uint64_t)im->cluster_size * 8 >>
			h->refcount_order,
		.clusters = units_div_up(im->file->size, im->cluster_size),
		.budget = BLOCK_BYTES_MAX,
	};
	uint64_t real;

	if (!block || file_allocated(im->file, &real, NULL))
		return false;
	real /= im->cluster_size;
	c.enough = units_max(real * 10 / 9, real + 2);
	/* a file with all its blocks needs no look */
	if (c.enough > c.clusters)
		return false;
	return count_table(&c);
}
