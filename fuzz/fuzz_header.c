/* SPDX-License-Identifier: MIT */
/* The qcow2 header: what decodes, encodes again to what decodes to the same. */
#include "config.h"

#include <string.h>

#include "format/qcow2.h"
#include "fuzz/fuzz.h"

static void
again(const struct qcow2_header *h)
{
	struct qcow2_header back;
	struct err e;
	uint64_t len = qcow2_cluster_size(h);
	uint8_t *out = malloc(len);

	FUZZ_CHECK(out);
	if (qcow2_header_encode(h, false, NULL, out, len, &e) == 0) {
		FUZZ_CHECK(qcow2_header_decode((struct span){out, len}, true,
			&back, &e) == 0);
		FUZZ_CHECK(back.size == h->size &&
			back.l1_offset == h->l1_offset &&
			back.incompatible == h->incompatible &&
			back.autoclear == h->autoclear &&
			back.n_bitmaps == h->n_bitmaps &&
			back.crypto_offset == h->crypto_offset);
		FUZZ_CHECK(strcmp(back.backing, h->backing) == 0 &&
			strcmp(back.backing_format, h->backing_format) == 0 &&
			strcmp(back.data_file, h->data_file) == 0);
	}
	free(out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2_header strict, info;
	struct span head = {data, size};
	struct err e;

	if (qcow2_header_decode(head, true, &info, &e))
		FUZZ_CHECK(qcow2_header_decode(head, false, &strict, &e) < 0);
	else
		again(&info);
	return 0;
}
