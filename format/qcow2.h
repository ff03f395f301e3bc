/* SPDX-License-Identifier: MIT */
/*
 * qcow2 inside the format folder: on-disk constants, the decoded header, and
 * the pure decoders and encoders. Section names are those of the qcow2
 * specification (QEMU, docs/interop/qcow2).
 */
#ifndef FORMAT_QCOW2_H
#define FORMAT_QCOW2_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "format/image.h"
#include "format/info.h"
#include "io/file.h"

#define QCOW2_MAGIC 0x514649fbu
#define QCOW2_V2_HEADER 72
#define QCOW2_V3_HEADER 104
#define QCOW2_CLUSTER_BITS_MIN 9
#define QCOW2_CLUSTER_BITS_MAX 21

/* Limits, those of QEMU 7.2 (block/qcow2.h): */
#define QCOW2_L1_MAX (32u << 20)            /* bytes of an L1 table */
#define QCOW2_REFTABLE_MAX (8u << 20)       /* bytes */
#define QCOW2_SNAPSHOTS_MAX 65536u
#define QCOW2_SNAPSHOT_TABLE_MAX (64u << 20) /* 1024 * 65536 bytes */
#define QCOW2_SNAPSHOT_EXTRA_MAX 1024u
#define QCOW2_SNAPSHOT_FIXED 40u /* an entry's fixed fields, bytes */
#define QCOW2_SNAPSHOT_EXTRA 24u /* extra data that is known, and written */
#define QCOW2_BITMAPS_MAX 65535u
#define QCOW2_BITMAP_TABLE_MAX 0x8000000u   /* entries */
#define QCOW2_BITMAP_NAME_MAX 1023u
#define QCOW2_BACKING_NAME_MAX 1023u
#define QCOW2_SUBCLUSTERS 32u

enum qcow2_incompat {
	QCOW2_DIRTY = 1 << 0,
	QCOW2_CORRUPT = 1 << 1,
	QCOW2_DATA_FILE = 1 << 2,
	QCOW2_COMPRESSION = 1 << 3,
	QCOW2_EXTL2 = 1 << 4,
	QCOW2_INCOMPAT_KNOWN = 0x1f,
};
#define QCOW2_LAZY_REFCOUNTS UINT64_C(1)      /* compatible */
#define QCOW2_AUTOCLEAR_BITMAPS UINT64_C(1)   /* autoclear */
#define QCOW2_AUTOCLEAR_RAW UINT64_C(2)

#define QCOW2_L1_OFFSET UINT64_C(0x00fffffffffffe00)
#define QCOW2_L1_RESERVED UINT64_C(0x7f000000000001ff)
#define QCOW2_L2_OFFSET UINT64_C(0x00fffffffffffe00)
#define QCOW2_L2_RESERVED UINT64_C(0x3f000000000001fe)
#define QCOW2_REFTABLE_OFFSET UINT64_C(0xfffffffffffffe00)
#define QCOW2_COPIED (UINT64_C(1) << 63)
#define QCOW2_PACKED (UINT64_C(1) << 62)
#define QCOW2_ZERO UINT64_C(1)

#define QCOW2_EXT_END 0u
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acau
#define QCOW2_EXT_FEATURES 0x6803f857u
#define QCOW2_EXT_BITMAPS 0x23852875u
#define QCOW2_EXT_CRYPTO 0x0537be77u
#define QCOW2_EXT_DATA_FILE 0x44415441u

/* The header with its extensions, decoded and in host order. Strings are
 * inside the struct: decoding allocates nothing. */
struct qcow2_header {
	uint32_t version;          /* 2 or 3 */
	uint64_t backing_offset;   /* 0 if none */
	uint32_t backing_len;
	uint32_t cluster_bits;
	uint64_t size;             /* bytes, as stored */
	uint32_t crypt_method;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t n_snapshots;
	uint64_t snapshots_offset;
	uint64_t incompatible;
	uint64_t compatible;
	uint64_t autoclear;
	uint32_t refcount_order;   /* 4 for v2 */
	uint32_t header_length;    /* 72 for v2 */
	uint8_t compression;       /* 0 zlib, 1 zstd */
	/* extensions: */
	bool has_backing_format;
	char backing_format[16];
	bool has_data_file;        /* the extension is present */
	uint32_t data_file_len;    /* stored length, may exceed what is kept */
	char data_file[1024];      /* cut at a NUL as QEMU does */
	bool has_bitmaps;
	bool stale_bitmaps;        /* an extension that may not be trusted */
	uint32_t n_bitmaps;
	uint64_t bitmap_dir_size;
	uint64_t bitmap_dir_offset;
	bool has_crypto;
	uint64_t crypto_offset, crypto_length;
	bool has_features;
	uint32_t features_at, features_len; /* in the header cluster */
	uint32_t extensions_at, extensions_end; /* in the header cluster */
	uint32_t unknown_extensions; /* how many */
	char backing[1024];        /* NUL-terminated; "" if none */
};

static inline uint64_t
qcow2_cluster_size(const struct qcow2_header *h)
{
	return UINT64_C(1) << h->cluster_bits;
}

static inline bool
qcow2_has_extl2(const struct qcow2_header *h)
{
	return (h->incompatible & QCOW2_EXTL2) != 0;
}

static inline unsigned
qcow2_l2_entry_size(const struct qcow2_header *h)
{
	return qcow2_has_extl2(h) ? 16 : 8;
}

/* log2 of L2 entries per table */
static inline unsigned
qcow2_l2_bits(const struct qcow2_header *h)
{
	return h->cluster_bits - (qcow2_has_extl2(h) ? 4 : 3);
}

enum qcow2_decode {
	/* leniency of qemu-img info (data-file-raw without a data file) */
	QCOW2_DECODE_INFO = 1 << 0,
	/* of qemu-img check: no refcount table, any snapshot table */
	QCOW2_DECODE_CHECK = 1 << 1,
};

/*
 * Pure: decodes and validates in the order of FACTS (QEMU's qcow2_do_open)
 * from the first bytes of the file (at least min(file size, cluster size),
 * zero-padded to 112). head.len < cluster size is fine for a short file: the
 * rest counts as zeros. Messages are QEMU's. ERR_FORMAT (not qcow2, version),
 * ERR_UNSUPPORTED (features), ERR_LIMIT, ERR_CORRUPT.
 * flags: enum qcow2_decode.
 */
int qcow2_header_decode(struct span head, unsigned flags,
	struct qcow2_header *ret, struct err *e);

/* What a rewritten header keeps without knowing it: fields behind byte 112
 * (version 3), and extensions with their headers, each padded to 8. */
struct qcow2_kept {
	struct span fields, extensions;
};

/* Writes header + extensions + backing name as QEMU orders them (FACTS 3)
 * into out (one cluster, zeroed by the callee). features: write the feature
 * name table. kept may be NULL. ERR_LIMIT when it does not fit. */
int qcow2_header_encode(const struct qcow2_header *h, bool features,
	const struct qcow2_kept *kept, uint8_t *out, uint64_t out_len,
	struct err *e);

/* Where guest cluster entry says the bytes are. One L2 entry, decoded. */
struct qcow2_entry {
	enum { QCOW2_E_HOLE, QCOW2_E_ZERO, QCOW2_E_DATA, QCOW2_E_PACKED,
		QCOW2_E_SUB /* extended L2, mixed: use the bitmaps */ } kind;
	bool mapped;     /* ZERO with a host cluster */
	uint64_t hoff;   /* cluster's or packed data's host byte */
	uint64_t hlen;   /* PACKED: length by the descriptor */
	uint32_t alloc, zero; /* SUB: subcluster bitmaps */
};

/* Pure; bitmap is the second word with extended L2, else 0. ERR_CORRUPT with
 * QEMU's message for misaligned offsets, a zero flag in v2, and bad
 * subcluster bitmaps. has_data_file: external data file in use. */
int qcow2_entry_decode(const struct qcow2_header *h, uint64_t entry,
	uint64_t bitmap, struct qcow2_entry *ret, struct err *e);

/*
 * Tables of records, read through a buffer. A view is the next `want` bytes
 * (fewer at the table's end), valid until the next one; what lies behind the
 * end of the file is zeros.
 */
#define QCOW2_TABLE_BUFFER (256u << 10) /* a view is at most 4 KiB less */
struct qcow2_table {
	struct file *file; /* borrowed */
	uint64_t hoff, len; /* the table, bytes */
	uint64_t done;      /* bytes skipped so far */
	uint64_t buf_hoff, buf_len;
	uint8_t *buf;       /* owned */
};
int qcow2_table_open(struct qcow2_table *t, struct file *f, uint64_t hoff,
	uint64_t len, struct err *e);
int qcow2_table_view(struct qcow2_table *t, size_t want, struct span *ret,
	struct err *e);
void qcow2_table_skip(struct qcow2_table *t, uint64_t len);
void qcow2_table_close(struct qcow2_table *t); /* a zeroed one is fine */

/* Snapshot table: decodes entry at the cursor; name and id are copied. */
int qcow2_snapshot_decode(struct cursor *c, const struct qcow2_header *h,
	struct info_snapshot *ret, struct err *e);
/* Reads and decodes the whole table (bounded); *ret owned. */
int qcow2_snapshot_load(struct file *f, const struct qcow2_header *h,
	struct info_snapshot **ret, size_t *ret_n, struct err *e);
/* The same, with the table's length in bytes. */
int qcow2_snapshot_table(struct file *f, const struct qcow2_header *h,
	struct info_snapshot **ret, size_t *ret_n, uint64_t *ret_len,
	struct err *e);
/* Appends the table's bytes to out, as QEMU writes them; the length is that of
 * the entries, the last one unpadded. ERR_LIMIT when it is too long. */
int qcow2_snapshot_encode(const struct info_snapshot *v, size_t n,
	struct buf *out, struct err *e);
/* The snapshot of that id, else the first of that name; both: the first that
 * has both of them, of which one may be NULL. With two NULL the table is only
 * read, to see that it is sound. ret's strings are owned by the caller; it is
 * untouched if there is none. */
int qcow2_snapshot_find(struct file *f, const struct qcow2_header *h,
	const char *id, const char *name, bool both, bool *ret_found,
	struct info_snapshot *ret, struct err *e);
void qcow2_snapshot_free(struct info_snapshot *v, size_t n);
/* The bitmap directory; none without a valid bitmaps extension. */
int qcow2_bitmap_load(struct file *f, const struct qcow2_header *h,
	struct info_bitmap **ret, size_t *ret_n, struct err *e);
void qcow2_bitmap_free(struct info_bitmap *v, size_t n);
/* Whether it could be loaded (keeps none of its names, up to 64 MiB), and the
 * bitmaps' tables with it, as QEMU does in any open. */
int qcow2_bitmap_check(struct file *f, const struct qcow2_header *h,
	struct err *e);

/* Refcounts: value number i of a block with width 1 << order bits. Pure. */
uint64_t qcow2_refcount_get(const uint8_t *block, unsigned order, uint64_t i);
void qcow2_refcount_set(uint8_t *block, unsigned order, uint64_t i,
	uint64_t value);
/* Blocks that count `clusters` and the blocks and tables for that: the least
 * number that suffices. generous: and half of the table once more. block_bits:
 * log2 of counts per block. */
uint64_t qcow2_refcount_blocks(unsigned cluster_bits, unsigned block_bits,
	uint64_t clusters, bool generous);

/*
 * A bounded, paged, thread-safe cache of table bytes of one file. Reading
 * copies out. Past the end of the file, rounded up to a cluster:
 * ERR_CORRUPT, or zeros if lenient; between the end and there: zeros. A file
 * that shrinks under us is ERR_CORRUPT.
 */
#define QCOW2_CACHE_BYTES (4u << 20)
struct qcow2_cache;
int qcow2_cache_open(struct qcow2_cache **ret, struct file *f,
	uint64_t cluster_size, bool lenient, struct err *e);
int qcow2_cache_read(struct qcow2_cache *c, uint64_t hoff, void *out,
	size_t len, struct err *e);
void qcow2_cache_close(struct qcow2_cache *c); /* NULL is fine */

/* priv of a qcow2 struct image */
struct qcow2 {
	struct qcow2_header h;
	struct qcow2_cache *cache;
	/* the L1 that is read: the active one, or a snapshot's */
	uint64_t l1_offset;
	uint32_t l1_entries;
	/* the note about references past the end was given (IMAGE_LENIENT) */
	atomic_bool noted;
};

/* image_ops.describe (qcow2_map.c). */
int qcow2_map_describe(struct image *im, uint64_t voff, uint64_t len,
	struct extent *ret, size_t cap, size_t *ret_n, struct err *e);

/* True if guest clusters are mapped that the file has no blocks for (what
 * preallocation=metadata leaves), by QEMU's rule: then a mapped cluster may be
 * a hole of the file. Reads refcounts, bounded; false where it cannot. */
bool qcow2_prealloc_detect(struct image *im);
/* After the image was changed on disk below an open one: its header and tables
 * are read again. */
int qcow2_reload(struct image *im, struct err *e);

/* The decoded header of an open qcow2 image. */
static inline struct qcow2 *
qcow2_of(struct image *im)
{
	return im->priv;
}

/* Turns to a snapshot (by id, then by name, as qemu-img -l; with id or name:
 * the one that has those): the L1 changes, the virtual size stays that of the
 * active disk, as in QEMU. ERR_USAGE if there is none of that name. */
int qcow2_use_snapshot(struct image *im, const char *which, const char *id,
	const char *name, struct err *e);

#endif
