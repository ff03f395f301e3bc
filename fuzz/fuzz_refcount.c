/* SPDX-License-Identifier: MIT */
/* Refcounts: one that is set reads back, and its neighbours stay. */
#include "config.h"

#include <string.h>

#include "format/qcow2.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t a[64], b[64];
	unsigned order;
	uint64_t count, i, k, value;

	if (size < 10 + sizeof(a))
		return 0;
	order = data[0] % 7;
	count = sizeof(a) * 8 >> order;
	i = data[1] % count;
	value = load_be64(data + 2) >> (64 - (1u << order));
	memcpy(a, data + 10, sizeof(a));
	memcpy(b, a, sizeof(a));
	qcow2_refcount_set(b, order, i, value);
	for (k = 0; k < count; k++)
		FUZZ_CHECK(qcow2_refcount_get(b, order, k) == (k == i ? value :
			qcow2_refcount_get(a, order, k)));
	return 0;
}
