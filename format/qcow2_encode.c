/* SPDX-License-Identifier: MIT */
/*
 * The header cluster as bytes: header, extensions in QEMU's order, and the
 * backing file's name right behind them. Pure; the decoder is qcow2_header.c.
 */
#include "config.h"

#include <inttypes.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2.h"

/* Feature name table (specification: "Feature name table"): type, bit and a
 * zero-padded name of 46 bytes. */
#define FEATURE_SIZE 48

static const struct {
	uint8_t type; /* 0 incompatible, 1 compatible, 2 autoclear */
	uint8_t bit;
	char name[FEATURE_SIZE - 2];
} features_table[] = {
	{0, 0, "dirty bit"},
	{0, 1, "corrupt bit"},
	{0, 2, "external data file"},
	{0, 3, "compression type"},
	{0, 4, "extended L2 entries"},
	{1, 0, "lazy refcounts"},
	{2, 0, "bitmaps"},
	{2, 1, "raw external data"},
};

/* What is written so far; full is sticky. */
struct out {
	uint8_t *p;
	uint64_t at, len;
	bool full;
};

static uint8_t *
reserve(struct out *o, uint64_t len)
{
	uint8_t *p = o->p + o->at;

	if (o->full || len > o->len - o->at) {
		o->full = true;
		return NULL;
	}
	o->at += len;
	return p;
}

/* One extension, padded to 8 bytes; its data, or NULL when there is no room */
static uint8_t *
extension(struct out *o, uint32_t magic, uint64_t len)
{
	uint8_t *p = reserve(o, 8 + units_align_up(len, 8));

	if (!p)
		return NULL;
	store_be32(p, magic);
	store_be32(p + 4, (uint32_t)len);
	return p + 8;
}

static void
string_extension(struct out *o, uint32_t magic, const char *s)
{
	uint8_t *p = extension(o, magic, strlen(s));

	if (p)
		memcpy(p, s, strlen(s));
}

static void
extensions(struct out *o, const struct qcow2_header *h, bool features)
{
	uint8_t *p;
	size_t i;

	if (h->has_backing_format)
		string_extension(o, QCOW2_EXT_BACKING_FORMAT,
			h->backing_format);
	if (h->has_data_file)
		string_extension(o, QCOW2_EXT_DATA_FILE, h->data_file);
	if (h->has_crypto && (p = extension(o, QCOW2_EXT_CRYPTO, 16))) {
		store_be64(p, h->crypto_offset);
		store_be64(p + 8, h->crypto_length);
	}
	if (features && (p = extension(o, QCOW2_EXT_FEATURES,
				 COUNT_OF(features_table) * FEATURE_SIZE)))
		for (i = 0; i < COUNT_OF(features_table);
			i++, p += FEATURE_SIZE) {
			p[0] = features_table[i].type;
			p[1] = features_table[i].bit;
			memcpy(p + 2, features_table[i].name,
				FEATURE_SIZE - 2);
		}
	if (h->has_bitmaps && (p = extension(o, QCOW2_EXT_BITMAPS, 24))) {
		store_be32(p, h->n_bitmaps);
		store_be64(p + 8, h->bitmap_dir_size);
		store_be64(p + 16, h->bitmap_dir_offset);
	}
}

/* Field order and offsets: specification, "Header". */
static void
fixed_fields(uint8_t *p, const struct qcow2_header *h)
{
	store_be32(p, QCOW2_MAGIC);
	store_be32(p + 4, h->version);
	store_be32(p + 20, h->cluster_bits);
	store_be64(p + 24, h->size);
	store_be32(p + 32, h->crypt_method);
	store_be32(p + 36, h->l1_entries);
	store_be64(p + 40, h->l1_offset);
	store_be64(p + 48, h->reftable_offset);
	store_be32(p + 56, h->reftable_clusters);
	store_be32(p + 60, h->n_snapshots);
	store_be64(p + 64, h->snapshots_offset);
	if (h->version < 3)
		return;
	store_be64(p + 72, h->incompatible);
	store_be64(p + 80, h->compatible);
	store_be64(p + 88, h->autoclear);
	store_be32(p + 96, h->refcount_order);
	store_be32(p + 100, QCOW2_V3_HEADER + 8);
	p[104] = h->compression;
}

int
qcow2_header_encode(const struct qcow2_header *h, bool features,
	const struct qcow2_kept *kept, uint8_t *out, uint64_t out_len,
	struct err *e)
{
	static const struct qcow2_kept nothing;
	struct out o = {.p = out, .len = out_len};
	size_t name_len = strlen(h->backing);
	uint8_t *p;

	memset(out, 0, out_len);
	/* QEMU rewrites any v3 header with 112 bytes. */
	p = reserve(&o, h->version < 3 ? QCOW2_V2_HEADER : QCOW2_V3_HEADER + 8);
	if (!p)
		return err_set(e, ERR_LIMIT, "qcow2 header does not fit into "
			"%" PRIu64 " bytes", out_len);
	fixed_fields(p, h);
	if (!kept)
		kept = &nothing;
	if (kept->fields.len && (p = reserve(&o, kept->fields.len))) {
		memcpy(p, kept->fields.p, kept->fields.len);
		store_be32(out + 100, (uint32_t)o.at);
	}
	extensions(&o, h, features);
	if (kept->extensions.len && (p = reserve(&o, kept->extensions.len)))
		memcpy(p, kept->extensions.p, kept->extensions.len);
	extension(&o, QCOW2_EXT_END, 0);
	if (name_len) {
		uint64_t at = o.at;

		p = reserve(&o, name_len);
		if (p) {
			memcpy(p, h->backing, name_len);
			store_be64(out + 8, at);
			store_be32(out + 16, (uint32_t)name_len);
		}
	}
	if (o.full)
		return err_set(e, ERR_LIMIT, "qcow2 header with its extensions "
			"and names does not fit into one cluster of %" PRIu64
			" bytes", out_len);
	return 0;
}
