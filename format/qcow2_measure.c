/* SPDX-License-Identifier: MIT */
/* Sums over the parts of a qcow2 file, as QEMU's measure makes them. */
#include "format/qcow2_measure.h"

#include <string.h>

#include "base/units.h"
#include "format/qcow2.h"

#define BITMAP_ENTRY 24u /* bytes of a directory entry before its name */

/* Bytes of refcount blocks and table that count `clusters` and themselves:
 * the fixed point of adding what counts what was added. */
static uint64_t
refcounts(uint64_t clusters, uint64_t cluster, unsigned bits)
{
	uint64_t per_block = cluster * 8 / bits, n = 0, last, blocks, table = 0;

	blocks = 0;
	do {
		last = n;
		blocks = units_div_up(clusters + table + blocks, per_block);
		table = units_div_up(blocks, cluster / 8);
		n = clusters + blocks + table;
	} while (n != last);
	return (blocks + table) * cluster;
}

uint64_t
qcow2_measure_full(uint64_t size, uint32_t cluster_size,
	unsigned refcount_bits, bool extended_l2)
{
	uint64_t cluster = cluster_size, entry = extended_l2 ? 16 : 8;
	uint64_t data = units_align_up(size, cluster);
	uint64_t l2 = units_align_up(data / cluster * entry, cluster);
	uint64_t l1 = units_align_up(l2 / cluster * 8, cluster);
	uint64_t meta = cluster + l2 + l1;

	meta += refcounts((meta + data) / cluster, cluster, refcount_bits);
	return meta + data;
}

bool
qcow2_measure_fits(uint64_t size, uint32_t cluster_size, bool extended_l2)
{
	uint64_t clusters = units_align_up(size, cluster_size) / cluster_size;
	uint64_t per_table = cluster_size / (extended_l2 ? 16 : 8);

	return units_div_up(clusters, per_table) <= QCOW2_L1_MAX / 8;
}

uint64_t
qcow2_measure_bitmaps(const struct info_bitmap *v, size_t n, uint64_t size,
	uint32_t cluster_size)
{
	uint64_t sum = 0, directory = 0, bytes, clusters;
	size_t i;

	for (i = 0; i < n; i++) {
		bytes = units_div_up(units_div_up(size, v[i].granularity), 8);
		clusters = units_div_up(bytes, cluster_size);
		sum += clusters * cluster_size;
		sum += units_align_up(clusters * 8, cluster_size);
		directory += units_align_up(BITMAP_ENTRY + strlen(v[i].name),
			8);
	}
	return sum + units_align_up(directory, cluster_size);
}
