/* SPDX-License-Identifier: MIT */
/*
 * Writing qcow2: creation of an empty image and the streaming writer behind
 * `convert`. New images only; changes in place are qcow2_update's.
 */
#ifndef FORMAT_QCOW2_WRITE_H
#define FORMAT_QCOW2_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "format/codec.h"
#include "io/file.h"

enum preallocation {
	PREALLOC_OFF,
	PREALLOC_METADATA,
	PREALLOC_FALLOC,
	PREALLOC_FULL,
};

/* create's options. Zeroed means QEMU's defaults where a comment says so. */
struct qcow2_options {
	uint64_t size;           /* virtual, bytes; multiple of 512 */
	uint32_t cluster_size;   /* 0: 64 KiB */
	unsigned version;        /* 0: 3; else 2 or 3 */
	unsigned refcount_bits;  /* 0: 16 */
	bool extended_l2;
	bool lazy_refcounts;
	enum codec_kind compression; /* CODEC_DEFLATE is 0 */
	enum preallocation preallocation;
	const char *backing;     /* as stored, or NULL */
	const char *backing_format;
	const char *data_file;   /* name as stored, or NULL */
	bool data_file_raw;
};

/* Checks the options against each other and the limits with qemu-img's
 * messages; touches nothing. ERR_USAGE, ERR_LIMIT, ERR_UNSUPPORTED. */
int qcow2_options_check(const struct qcow2_options *o, struct err *e);

/*
 * Writes an empty image into f (empty, or truncated by the caller), byte for
 * byte what qemu-img 7.2 create writes; data: the open external data file or
 * NULL. Preallocation included. The header is written last, after a barrier.
 * durable: barriers are fdatasync; otherwise order only.
 */
int qcow2_create(struct file *f, struct file *data,
	const struct qcow2_options *o, bool durable, struct err *e);

/*
 * What the pipeline must write for what it gave: buffers at host offsets. The
 * writer appends; memory of metadata pieces belongs to the list.
 */
struct placed {
	const void *buf;
	size_t len;
	uint64_t hoff;
	bool to_data_file;
};

struct placed_list {
	struct placed *v;
	size_t n, cap;
};

void placed_list_free(struct placed_list *l);
int placed_add(struct placed_list *l, const void *buf, size_t len,
	uint64_t hoff, bool to_data_file, struct err *e);

/*
 * The streaming writer. Calls come in guest order, from one thread at a time
 * (the pipeline's turn), each on whole clusters (the last one of the image
 * may be short: it is padded by the writer's caller). Only placement and
 * metadata happen here; data goes through the placed list. Layout is that of
 * qemu-img convert (DESIGN, FACTS 6): L2's cluster before the first data of
 * its range, refcount blocks and table growth where QEMU would put them.
 */
struct qcow2_writer;

int qcow2_writer_open(struct qcow2_writer **ret, struct file *f,
	struct file *data, const struct qcow2_options *o, bool durable,
	struct err *e);
/* len: a multiple of the cluster size. buf must live until it is written. */
int qcow2_writer_data(struct qcow2_writer *w, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e);
/* Explicit zero clusters (needed over a backing file, or preallocated). */
int qcow2_writer_zero(struct qcow2_writer *w, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e);
/* One compressed cluster of len packed bytes. */
int qcow2_writer_packed(struct qcow2_writer *w, uint64_t voff,
	const void *buf, size_t len, struct placed_list *out, struct err *e);
/* Metadata that is still in memory, refcounts, barrier, header. All data in
 * the placed lists must have been written before. */
int qcow2_writer_finish(struct qcow2_writer *w, struct err *e);
void qcow2_writer_close(struct qcow2_writer *w); /* NULL is fine */

#endif
