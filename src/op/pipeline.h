/* SPDX-License-Identifier: MIT */
/*
 * The one road of guest bytes: workers take windows in order, read and
 * unpack them, find zeros, (re)pack, let the sink place the runs, and write.
 * The bytes written are the same for any number of workers and any engine.
 */
#ifndef OP_PIPELINE_H
#define OP_PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/watch.h"
#include "format/chain.h"
#include "io/engine.h"
#include "op/scan.h"
#include "op/sink.h"

#define PIPELINE_WINDOW (UINT64_C(1) << 20) /* guest bytes, at least */

struct pipeline_request {
	const struct scan_source *src;
	unsigned n_src;
	/* windows come from here instead, and only what differs between the
	 * two sides is placed; NULL: all of src */
	struct scan_diff *diff;
	uint64_t zero_from;     /* diff: from here on the old side is zeros */
	uint32_t base;          /* see struct scan */
	struct chain *cow;      /* see struct scan */
	uint64_t from;          /* guest byte to begin at */
	uint64_t size;          /* guest bytes of the target */
	struct sink *sink;
	bool every_byte;        /* -S 0: zeros and holes are data */
	uint64_t find_unit;     /* zeros, when sink->as_read: -S's unit */
	/* data is written as it is and only what the source calls zeros is
	 * zeros; no bytes are looked at */
	bool keep_kinds;
	bool compress;          /* pack each cluster (sink->packs) */
	enum codec_kind codec;
	struct codec_params codec_params;
	bool clone;             /* share blocks with the source where the file
				 * system can (raw sinks) */
	bool copy_range;        /* copy inside the kernel where it can */
	bool salvage;
	bool digest;
	/* with digest: hears of the blocks, in guest order and one call at a
	 * time, from any worker; or NULL */
	const struct digest_tap *digest_tap;
	uint64_t rate_limit;    /* bytes per second, 0: none */
	bool rate_reads;        /* host bytes read count, not data */
	uint64_t max_bytes;     /* most data bytes, 0: no limit */
	const char *max_what;   /* which limit that is; NULL: "the limit" */
	bool flush_early;       /* start write-back as we go */
	enum engine_kind engine;
	unsigned workers;
	/* progress in bytes that the source has as data, which are counted
	 * first; not with from, diff or every_byte */
	bool count_data;
	const struct watch *watch;
};

struct pipeline_result {
	uint64_t bytes_data; /* guest bytes placed as data (packed or not) */
	uint64_t bytes_zero;
	uint64_t bytes_read; /* host bytes */
	uint64_t end; /* guest byte behind the last window: size, or where
		       * the sink was full */
	struct digest_value digest;
};

int pipeline_run(const struct pipeline_request *rq,
	struct pipeline_result *ret, struct err *e);

#endif
