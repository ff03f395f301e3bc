/* SPDX-License-Identifier: MIT */
/* L2 entries: two bytes choose the image's kind, then entry and bitmap. */
#include "config.h"

#include "format/qcow2.h"
#include "fuzz/fuzz.h"

static void
one(const struct qcow2_header *h, uint64_t entry, uint64_t bitmap)
{
	struct qcow2_entry n;
	struct err e;

	if (qcow2_entry_decode(h, entry, bitmap, &n, &e)) {
		FUZZ_CHECK(e.kind == ERR_CORRUPT);
		return;
	}
	if (n.kind == QCOW2_E_PACKED) {
		FUZZ_CHECK(n.hlen > 0 && n.hoff < UINT64_C(1) << 62);
		FUZZ_CHECK(n.hlen <= 2 * qcow2_cluster_size(h));
		return;
	}
	FUZZ_CHECK(n.hoff % qcow2_cluster_size(h) == 0);
	FUZZ_CHECK((n.alloc & n.zero) == 0);
	if (n.kind == QCOW2_E_DATA || n.alloc)
		FUZZ_CHECK(n.mapped);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2_header h = {0};
	size_t i;

	if (size < 2)
		return 0;
	h.version = 2 + (data[0] & 1);
	h.cluster_bits = QCOW2_CLUSTER_BITS_MIN + data[1] % 13;
	if (h.version == 3)
		h.incompatible = data[0] >> 1 & QCOW2_DATA_FILE;
	if (h.version == 3 && h.cluster_bits >= 14 && data[0] & 0x80)
		h.incompatible |= QCOW2_EXTL2;
	for (i = 2; i + 16 <= size; i += 16)
		one(&h, load_be64(data + i), load_be64(data + i + 8));
	return 0;
}
