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
#include "base/watch.h"
#include "format/codec.h"
#include "format/preallocate.h"
#include "io/file.h"

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
	const struct watch *watch; /* stops preallocation; may be NULL */
};

/* Checks the options against each other and the limits with qemu-img's
 * messages; touches nothing. ERR_USAGE, ERR_LIMIT, ERR_UNSUPPORTED. */
int qcow2_options_check(const struct qcow2_options *o, struct err *e);

/*
 * Writes an empty image into f (empty, or truncated by the caller; not opened
 * for direct I/O), byte for byte what qemu-img 7.2 create writes; data: the
 * open external data file (empty too) or NULL. Preallocation included. The
 * header is written last. durable: a barrier (fdatasync) before the header and
 * one behind it; otherwise order only. Zeros are left as holes; a block device
 * gets them written.
 */
int qcow2_create(struct file *f, struct file *data,
	const struct qcow2_options *o, bool durable, struct err *e);

/*
 * What the pipeline must write for what it gave: buffers at host offsets. The
 * writer appends. Buffers are the caller's own, or static (zeros around data
 * in places that do not read as zeros): the list owns none of them.
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
 * (the pipeline's turn). Only placement and metadata happen here; data goes
 * through the placed list, metadata is written by the writer itself. Memory
 * does not depend on the image's size. f and data: as for qcow2_create.
 *
 * The layout is that of qemu-img convert: an L2 table's cluster before the first
 * data of its range, refcount blocks and grown refcount tables where QEMU 7.2
 * puts them. The image equals qemu-img's byte for byte if the calls are those
 * that qemu-img makes; how a run is cut into calls shows in the layout (a
 * refcount block lies behind the call that needed it):
 *   - without a backing file: one data call for every write of convert: source
 *     extents are cut into pieces of 2 MiB counted from the extent's start (a
 *     compressed source cluster is an extent of its own); within a piece, runs
 *     of 4 KiB blocks (-S) that are not all zero, guest-aligned; zero runs are
 *     not given at all (-S 0: pieces whole).
 *   - with -c: one call for every cluster: packed when it came out smaller
 *     than the cluster, else data; clusters that are all zero are not given.
 *   - over a backing file: data as above but widened to whole clusters (with
 *     extended L2: subclusters) with what the backing file has there; zero for
 *     runs that are zeros and not the backing's; nothing for the rest.
 * Cut otherwise, the image is as valid and as large.
 */
struct qcow2_writer;

int qcow2_writer_open(struct qcow2_writer **ret, struct file *f,
	struct file *data, const struct qcow2_options *o, bool durable,
	struct err *e);
/* This is convert -c: the file's length becomes a multiple of 512, as qemu-img
 * has it, also when no cluster comes out packed. */
void qcow2_writer_compressed(struct qcow2_writer *w);
/* One write of the guest's: voff and len are multiples of 512, within the
 * image's size; len > 0. The rest of a cluster (subcluster) that is touched for
 * the first time reads as zeros. buf must live until it is written. */
int qcow2_writer_data(struct qcow2_writer *w, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e);
/* Explicit zeros, as multiples of 512 (needed over a backing file only). Whole
 * clusters (subclusters) become zero clusters, and mapped ones are given back;
 * the rest, and all in version 2, is written. */
int qcow2_writer_zero(struct qcow2_writer *w, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e);
/* One compressed cluster of len < cluster size packed bytes. */
int qcow2_writer_packed(struct qcow2_writer *w, uint64_t voff,
	const void *buf, size_t len, struct placed_list *out, struct err *e);
/* Metadata that is still in memory, refcounts, barrier, header. All data in
 * the placed lists must have been written before. */
int qcow2_writer_finish(struct qcow2_writer *w, struct err *e);
void qcow2_writer_close(struct qcow2_writer *w); /* NULL is fine */

#endif
