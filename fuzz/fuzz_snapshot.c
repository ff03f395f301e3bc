/* SPDX-License-Identifier: MIT */
/* The snapshot table, entry by entry, and as a file. */
#include "config.h"

#include <string.h>

#include "format/qcow2.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct qcow2_header h = {.version = 3, .cluster_bits = 16,
		.size = 1 << 20};
	struct cursor c = cursor_over((struct span){data, size});
	struct info_snapshot s, *v;
	struct err e;
	struct file *f;
	size_t n;

	while (c.left && qcow2_snapshot_decode(&c, &h, &s, &e) == 0) {
		FUZZ_CHECK(s.id && s.name);
		free(s.id);
		free(s.name);
		h.n_snapshots++;
	}
	f = fuzz_file(data, size);
	if (qcow2_snapshot_load(f, &h, &v, &n, &e) == 0) {
		FUZZ_CHECK(n == h.n_snapshots);
		qcow2_snapshot_free(v, n);
	}
	file_close(f);
	return 0;
}
