/* SPDX-License-Identifier: MIT */
/*
 * An image of any format: it describes where the guest's bytes are and never
 * moves them. image.c is the only caller of the ops tables; it asserts their
 * contract.
 */
#ifndef FORMAT_IMAGE_H
#define FORMAT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/watch.h"
#include "format/codec.h"
#include "format/probe.h"
#include "io/file.h"

enum extent_kind {
	EXTENT_HOLE,   /* not allocated here: ask the backing, else zeros */
	EXTENT_ZERO,   /* reads as zeros, whatever the backing says */
	EXTENT_DATA,   /* len bytes at hoff of file */
	EXTENT_PACKED, /* (part of) one compressed cluster */
};

enum extent_flags {
	/* a ZERO extent with a host cluster behind it (hoff is valid); under
	 * IMAGE_VERBATIM a HOLE too: a subcluster of one that is in use */
	EXTENT_MAPPED = 1 << 0,
};

/*
 * voff, len: guest bytes [voff, voff+len), len > 0.
 * DATA: hoff is the host byte of voff, hlen == len; it lies within the host
 *   file. What a last, partial cluster or sector lacks comes as ZERO, so an
 *   extent may begin or end at any byte there.
 * PACKED: [hoff, hoff+hlen) is the whole packed cluster (hlen as the
 *   descriptor says: it may run past the end of the file and into
 *   neighbours); it unpacks to plen bytes, of which voff is number poff.
 * file: index into chain's files (within one image: 0 the image file, 1 its
 *   external data file).
 * depth: 0 the image itself, 1 its backing ...
 */
struct extent {
	uint64_t voff;
	uint64_t len;
	uint64_t hoff;
	uint64_t hlen;
	uint32_t poff;
	uint32_t plen;
	uint16_t file;
	uint16_t depth;
	uint8_t kind;  /* enum extent_kind */
	uint8_t codec; /* enum codec_kind, PACKED only */
	uint8_t flags; /* enum extent_flags */
};

struct image;
struct image_info; /* format/info.h */

enum image_flags {
	IMAGE_READ = 0,
	/* header and extensions only: no data file, tables untouched; what
	 * qemu-img info does */
	IMAGE_INFO = 1 << 0,
	/* references past the end of the file read as zeros (with a note on
	 * the watch) instead of ERR_CORRUPT */
	IMAGE_LENIENT = 1 << 1,
	/* what the tables say, as QEMU takes them: an extent may lie past the
	 * end of the file, without error or note, and DATA is not cut there.
	 * Who reads by it finds zeros there, and no packed cluster */
	IMAGE_VERBATIM = 1 << 2,
	/* to be checked: what the check finds for itself does not keep the
	 * image from being opened; it describes nothing */
	IMAGE_CHECK = 1 << 3,
};

struct image_ops {
	const char *name;
	enum format format;
	/* im->file is set; fills size, cluster_size, backing, data_name. Does
	 * not open other files. */
	int (*open)(struct image *im, unsigned flags, struct err *e);
	/*
	 * Extents for a prefix of [voff, voff+len), in order, contiguous, at
	 * least one, at most cap; 0 < len, voff+len <= size. Neighbours of one
	 * kind are merged (DATA when contiguous on the host; PACKED never).
	 * Thread-safe.
	 */
	int (*describe)(struct image *im, uint64_t voff, uint64_t len,
		struct extent *ret, size_t cap, size_t *ret_n, struct err *e);
	int (*info)(struct image *im, struct image_info *ret, struct err *e);
	void (*close)(struct image *im);
};

extern const struct image_ops raw_ops;
extern const struct image_ops qcow2_ops;

struct image {
	const struct image_ops *ops;
	struct file *file;      /* owned */
	struct file *data_file; /* owned; external data file or NULL */
	uint64_t size;          /* virtual size, bytes */
	uint32_t cluster_size;  /* 0 for raw */
	char *backing;          /* name as stored; NULL if none; owned */
	char *backing_format;   /* as stored; NULL if none; owned */
	char *data_name;        /* external data file's name or NULL; owned */
	bool needs_data_file;   /* the incompatible bit is set */
	unsigned flags;
	const struct watch *watch; /* for notes; may be NULL */
	void *priv;
};

/*
 * f is taken (also on failure). format FORMAT_PROBE detects with probe_load;
 * a format that is known by name only is ERR_UNSUPPORTED "vmdk: not
 * supported"; a declared qcow2 that is none is ERR_FORMAT "Image is not in
 * qcow2 format"; a declared raw is raw whatever it looks like.
 */
int image_open(struct image **ret, struct file *f, enum format format,
	unsigned flags, const struct watch *w, struct err *e);
int image_describe(struct image *im, uint64_t voff, uint64_t len,
	struct extent *ret, size_t cap, size_t *ret_n, struct err *e);
int image_info(struct image *im, struct image_info *ret, struct err *e);
void image_close(struct image *im); /* NULL is fine */
void image_close_p(struct image **im);

#endif
