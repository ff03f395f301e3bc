/* SPDX-License-Identifier: MIT */
/*
 * A qcow2 file as a struct image: opening, what it says of itself, and turning
 * to a snapshot. Decoding is qcow2_header.c's, the tables qcow2_map.c's. Other
 * files that it names are left to chain.c.
 */
#include "format/qcow2.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/ck.h"
#include "base/cleanup.h"
#include "base/units.h"
#include "format/luks.h"

/* Read at first: all that the header cluster holds in practice. */
#define HEAD_FIRST (64 * KIB)

static int
read_head(struct file *f, uint64_t len, unsigned flags,
	struct qcow2_header *ret, struct err *e)
{
	CLEANUP_FREE uint8_t *head = buf_alloc_aligned(len);
	size_t got;

	if (!head)
		return err_set(e, ERR_NOMEM, "no memory for the header");
	if (file_read_padded(f, head, len, 0, &got, e))
		return -1;
	return qcow2_header_decode((struct span){head, got}, flags, ret, e);
}

/* The whole cluster is read only where the first part does not settle it. */
static int
load_header(struct image *im, struct qcow2_header *ret, struct err *e)
{
	unsigned flags = (im->flags & IMAGE_INFO ? QCOW2_DECODE_INFO : 0) |
		(im->flags & IMAGE_CHECK ? QCOW2_DECODE_CHECK : 0);
	uint64_t all = UINT64_C(1) << QCOW2_CLUSTER_BITS_MAX;
	struct file *f = im->file;
	int r = read_head(f, HEAD_FIRST, flags, ret, e);

	if (r == 0)
		all = qcow2_cluster_size(ret);
	if (all <= HEAD_FIRST || f->size <= HEAD_FIRST ||
		(r == 0 && ret->extensions_end + 8u <= HEAD_FIRST &&
			ret->backing_offset + ret->backing_len <= HEAD_FIRST))
		return r;
	return read_head(f, all, flags, ret, e);
}

/* Copies where the text is not empty; NULL stays NULL. */
static int
copy_text(char **ret, const char *s, struct err *e)
{
	if (s[0] == '\0')
		return 0;
	*ret = strdup(s);
	return *ret ? 0 : err_set(e, ERR_NOMEM, "no memory for a name");
}

static int
check_l1_place(struct image *im, const char *what, uint64_t hoff,
	uint64_t entries, struct err *e)
{
	uint64_t end;

	if ((im->flags & (IMAGE_LENIENT | IMAGE_VERBATIM)) || entries == 0)
		return 0;
	if (!ck_align_up(im->file->size, im->cluster_size, &end) ||
		hoff + entries * 8 > end)
		return err_set(e, ERR_CORRUPT, "%s at %" PRIu64 " (%" PRIu64
			" entries) ends past the end of the file (%" PRIu64
			" bytes)", what, hoff, entries, im->file->size);
	return 0;
}

/* What only matters to those who want the data: QEMU refuses an image whose
 * snapshot table or bitmap directory is broken when it opens it. */
static int
open_data(struct image *im, struct qcow2 *q, struct err *e)
{
	bool found;

	if (q->h.crypt_method)
		return err_set(e, ERR_UNSUPPORTED,
			"%s-encrypted qcow2: not supported",
			q->h.crypt_method == 1 ? "AES" : "LUKS");
	/* the check looks at tables itself, and mends what is broken */
	if (im->flags & IMAGE_CHECK)
		return qcow2_bitmap_check(im->file, &q->h, e);
	if ((q->h.incompatible & QCOW2_CORRUPT) && im->file->writable)
		return err_set(e, ERR_CORRUPT, "qcow2: Image is corrupt; "
			"cannot be opened read/write");
	if (check_l1_place(im, "Active L1 table", q->l1_offset, q->l1_entries,
		e))
		return -1;
	if (qcow2_snapshot_find(im->file, &q->h, NULL, NULL, false, &found,
		    NULL, e) ||
		qcow2_bitmap_check(im->file, &q->h, e))
		return -1;
	return qcow2_cache_open(&q->cache, im->file, im->cluster_size,
		(im->flags & (IMAGE_LENIENT | IMAGE_VERBATIM)) != 0, e);
}

static void
warn_stale(const struct image *im, const struct qcow2_header *h)
{
	if (h->stale_bitmaps)
		watch_note(im->watch, h->version < 3
			? "This qcow2 v2 image contains bitmaps, but they may "
			  "have been modified by a program without persistent "
			  "bitmap support; so now they must all be considered "
			  "inconsistent"
			: "a program lacking bitmap support modified this "
			  "file, so all bitmaps are now considered "
			  "inconsistent");
}

static int
load_active(struct image *im, struct qcow2 *q, struct err *e)
{
	if (load_header(im, &q->h, e))
		return -1;
	/* a size that is no multiple of 512 is cut, as QEMU does */
	im->size = units_align_down(q->h.size, 512);
	q->l1_offset = q->h.l1_offset;
	q->l1_entries = q->h.l1_entries;
	return 0;
}

static int
qcow2_open(struct image *im, unsigned flags, struct err *e)
{
	CLEANUP_FREE struct qcow2 *q = calloc(1, sizeof(*q));

	if (!q)
		return err_set(e, ERR_NOMEM, "no memory for an image");
	if (load_active(im, q, e))
		return -1;
	im->cluster_size = (uint32_t)qcow2_cluster_size(&q->h);
	im->needs_data_file = (q->h.incompatible & QCOW2_DATA_FILE) != 0;
	warn_stale(im, &q->h);
	if (copy_text(&im->backing, q->h.backing, e) ||
		copy_text(&im->backing_format, q->h.backing_format, e) ||
		copy_text(&im->data_name, q->h.data_file, e))
		return -1;
	if (!(flags & IMAGE_INFO) && open_data(im, q, e))
		return -1;
	im->priv = TAKE_PTR(q);
	return 0;
}

int
qcow2_reload(struct image *im, struct err *e)
{
	struct qcow2 *q = qcow2_of(im);
	uint64_t size;

	if (file_size(im->file, &size, e) || load_active(im, q, e))
		return -1;
	qcow2_cache_close(q->cache);
	q->cache = NULL;
	return open_data(im, q, e);
}

static void
qcow2_close(struct image *im)
{
	struct qcow2 *q = qcow2_of(im);

	if (q)
		qcow2_cache_close(q->cache);
	free(q);
	im->priv = NULL;
}

static int
qcow2_info(struct image *im, struct image_info *ret, struct err *e)
{
	const struct qcow2_header *h = &qcow2_of(im)->h;

	ret->encrypted = h->crypt_method != 0;
	ret->dirty = (h->incompatible & QCOW2_DIRTY) != 0;
	ret->version = h->version;
	ret->compression = h->compression ? INFO_ZSTD : INFO_ZLIB;
	ret->lazy_refcounts = (h->compatible & QCOW2_LAZY_REFCOUNTS) != 0;
	ret->refcount_bits = 1u << h->refcount_order;
	ret->corrupt = (h->incompatible & QCOW2_CORRUPT) != 0;
	ret->extended_l2 = qcow2_has_extl2(h);
	ret->crypt_method = (int)h->crypt_method;
	ret->data_file_bit = im->needs_data_file;
	ret->data_file_raw = (h->autoclear & QCOW2_AUTOCLEAR_RAW) != 0;
	if (h->has_data_file) {
		ret->data_file = strdup(h->data_file);
		if (!ret->data_file)
			return err_set(e, ERR_NOMEM, "no memory for a name");
	}
	if (qcow2_snapshot_load(im->file, h, &ret->snapshots,
		&ret->n_snapshots, e) ||
		qcow2_bitmap_check(im->file, h, e) ||
		qcow2_bitmap_load(im->file, h, &ret->bitmaps, &ret->n_bitmaps,
			e))
		return -1;
	ret->has_bitmaps = ret->n_bitmaps > 0;
	if (h->has_crypto)
		return luks_load(im->file, h->crypto_offset, &ret->luks, e);
	return 0;
}

int
qcow2_use_snapshot(struct image *im, const char *which, const char *id,
	const char *name, struct err *e)
{
	struct qcow2 *q = qcow2_of(im);
	struct info_snapshot s = {0};
	bool found = false;
	char quoted[128];
	bool exact = id || name;
	int r = 0;

	if (qcow2_snapshot_find(im->file, &q->h, exact ? id : which,
		    exact ? name : which, exact, &found, &s, e))
		return -1;
	if (!found)
		return err_set(e, ERR_USAGE, "no snapshot '%s'",
			err_quote(quoted, sizeof(quoted), which,
				(unsigned)strlen(which)));
	if (s.l1_entries > QCOW2_L1_MAX / 8)
		r = err_set(e, ERR_LIMIT, "Snapshot L1 table too large (%"
			PRIu32 " entries, at most %u)", s.l1_entries,
			QCOW2_L1_MAX / 8);
	else if (s.l1_offset > (uint64_t)INT64_MAX - QCOW2_L1_MAX ||
		(s.l1_offset & (im->cluster_size - 1)))
		r = err_set(e, ERR_CORRUPT, "Snapshot L1 table offset invalid "
			"(%" PRIu64 ")", s.l1_offset);
	else
		r = check_l1_place(im, "Snapshot L1 table", s.l1_offset,
			s.l1_entries, e);
	if (r == 0) {
		q->l1_offset = s.l1_offset;
		q->l1_entries = s.l1_entries;
	}
	free(s.id);
	free(s.name);
	free(s.more);
	return r;
}

const struct image_ops qcow2_ops = {
	.name = "qcow2",
	.format = FORMAT_QCOW2,
	.open = qcow2_open,
	.describe = qcow2_map_describe,
	.info = qcow2_info,
	.close = qcow2_close,
};
