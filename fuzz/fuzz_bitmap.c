/* SPDX-License-Identifier: MIT */
/* The bitmap directory: a byte says how many bitmaps the header promises. */
#include "config.h"

#include <string.h>

#include "format/qcow2.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2_header h = {.version = 3, .cluster_bits = 16,
		.size = 1 << 20, .has_bitmaps = true};
	struct info_bitmap *v;
	struct file *f;
	struct err e;
	size_t n, i;

	if (size < 1)
		return 0;
	h.n_bitmaps = data[0] + 1u;
	h.bitmap_dir_size = size - 1;
	f = fuzz_file(data + 1, size - 1);
	if (qcow2_bitmap_load(f, &h, &v, &n, &e) == 0) {
		FUZZ_CHECK(n == h.n_bitmaps);
		for (i = 0; i < n; i++)
			FUZZ_CHECK(strlen(v[i].name) <= QCOW2_BITMAP_NAME_MAX &&
				v[i].granularity >= 512);
		qcow2_bitmap_free(v, n);
	}
	file_close(f);
	return 0;
}
