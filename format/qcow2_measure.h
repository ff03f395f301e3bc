/* SPDX-License-Identifier: MIT */
/* How large a qcow2 file gets. Pure. */
#ifndef FORMAT_QCOW2_MEASURE_H
#define FORMAT_QCOW2_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/info.h"

/* Bytes of an image of `size` guest bytes with all clusters and their metadata
 * (QEMU's estimate: no file is larger). bits: width of a refcount. */
uint64_t qcow2_measure_full(uint64_t size, uint32_t cluster_size,
	unsigned refcount_bits, bool extended_l2);
/* True if `size` guest bytes fit under the limit of an L1 table. */
bool qcow2_measure_fits(uint64_t size, uint32_t cluster_size,
	bool extended_l2);
/* Bytes that copies of the bitmaps of an image of `size` guest bytes take. */
uint64_t qcow2_measure_bitmaps(const struct info_bitmap *v, size_t n,
	uint64_t size, uint32_t cluster_size);

#endif
