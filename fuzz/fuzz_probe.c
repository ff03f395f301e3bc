/* SPDX-License-Identifier: MIT */
/* Format detection: what QEMU would take for a disk image is one for us. */
#include "config.h"

#include <string.h>

#include "base/units.h"
#include "format/probe.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t head = units_min(size, PROBE_HEAD);
	size_t tail = units_min(size, PROBE_TAIL);
	struct probe_result r = probe_bytes((struct span){data, head},
		(struct span){data + size - tail, tail});
	enum format q = probe_qemu((struct span){data, units_min(size, 512)});

	FUZZ_CHECK(r.what && r.format != FORMAT_PROBE && q != FORMAT_PROBE);
	FUZZ_CHECK(r.also == FORMAT_RAW || r.also != r.format);
	if (q != FORMAT_RAW && size >= 512)
		FUZZ_CHECK(r.format == q || r.also == q ||
			r.also != FORMAT_RAW);
	return 0;
}
