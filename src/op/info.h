/* SPDX-License-Identifier: MIT */
/* What an image says of itself, as data and as qemu-img 7.2's two texts. */
#ifndef OP_INFO_H
#define OP_INFO_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/watch.h"
#include "format/info.h"
#include "op/source.h"

struct info_image {
	char *name;                 /* as given, or the chain's resolved name */
	uint64_t actual_size;       /* bytes allocated */
	uint64_t file_size;         /* as QEMU counts it, in sectors */
	char *full_backing;         /* resolved name or NULL */
	struct image_info i;
};

struct info_result {
	struct info_image *v;       /* the image, then its backing chain */
	unsigned n;
	/* the caller's: print the forms of qemu-img 8 and later, which tell of
	 * the file below an image, too */
	bool newer;
};

/* Opens no backing and no data file unless chain (--backing-chain), and then
 * through the gate. Never reads whole L1 or refcount tables. w: for notes; may
 * be NULL. */
int info_run(const struct source *s, const struct gate *g, bool chain,
	const struct watch *w, struct info_result *ret, struct err *e);
void info_result_free(struct info_result *r);

/* chain: an array, as --backing-chain prints. */
void info_json(const struct info_result *r, bool chain, struct buf *out);
void info_human(const struct info_result *r, bool chain, struct buf *out);
/* The table of snapshots, with its headings. newer: qemu-img 8's columns. */
void info_snapshots(const struct image_info *i, bool newer, struct buf *out);
/* "%0.3g UNIT" as QEMU's size_to_str. */
void info_size_text(uint64_t bytes, struct buf *out);

#endif
