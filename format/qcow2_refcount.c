/* SPDX-License-Identifier: MIT */
/*
 * Refcounts inside a refcount block, for every width. Widths below a byte
 * count from the least significant bit (section "Host cluster management");
 * the wider ones are big endian. How many blocks an image needs. Pure; limits
 * are the caller's.
 */
#include "base/units.h"
#include "format/qcow2.h"

uint64_t
qcow2_refcount_get(const uint8_t *block, unsigned order, uint64_t i)
{
	switch (order) {
	case 6:
		return load_be64(block + i * 8);
	case 5:
		return load_be32(block + i * 4);
	case 4:
		return load_be16(block + i * 2);
	case 3:
		return block[i];
	default: {
		unsigned per_byte = 3 - order; /* log2 */
		unsigned shift = (unsigned)(i & ((1u << per_byte) - 1))
			<< order;

		return block[i >> per_byte] >> shift &
			((1u << (1u << order)) - 1);
	}
	}
}

void
qcow2_refcount_set(uint8_t *block, unsigned order, uint64_t i, uint64_t value)
{
	switch (order) {
	case 6:
		store_be64(block + i * 8, value);
		return;
	case 5:
		store_be32(block + i * 4, (uint32_t)value);
		return;
	case 4:
		store_be16(block + i * 2, (uint16_t)value);
		return;
	case 3:
		block[i] = (uint8_t)value;
		return;
	default: {
		unsigned per_byte = 3 - order; /* log2 */
		unsigned shift = (unsigned)(i & ((1u << per_byte) - 1))
			<< order;
		unsigned mask = ((1u << (1u << order)) - 1) << shift;
		uint8_t *p = block + (i >> per_byte);

		*p = (uint8_t)((*p & ~mask) | (value << shift & mask));
	}
	}
}

uint64_t
qcow2_refcount_blocks(unsigned cluster_bits, unsigned block_bits,
	uint64_t clusters, bool generous)
{
	uint64_t per_table = (UINT64_C(1) << cluster_bits) / 8;
	uint64_t per_block = UINT64_C(1) << block_bits;
	uint64_t table = 0, blocks = 0, n = 0, last;

	do {
		last = n;
		blocks = units_div_up(clusters + table + blocks, per_block);
		table = units_div_up(blocks, per_table);
		n = clusters + blocks + table;
		if (n == last && generous) {
			clusters += units_div_up(table, 2);
			n = 0;
			generous = false;
		}
	} while (n != last);
	return blocks;
}
