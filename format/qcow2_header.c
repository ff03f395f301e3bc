/* SPDX-License-Identifier: MIT */
/*
 * The header of a qcow2 file and its extensions, decoded (the encoder is
 * qcow2_encode.c).
 * Checks run in the order of QEMU 7.2's open, with its words, so that the
 * first complaint about a broken image is the same. Pure; reading and what the
 * tables hold are qcow2.c's.
 */
#include "format/qcow2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/ck.h"
#include "base/units.h"

#define EXT_HEADER 8u
#define FEATURE_ENTRY 48u
#define FEATURE_NAME 46u
#define BITMAPS_EXT 24u
#define CRYPTO_EXT 16u
#define BITMAP_DIR_MAX (UINT64_C(1024) * QCOW2_BITMAPS_MAX)
#define HEADER_BYTES 112u /* of fixed fields, padding included */

/* Copies [off, off+len) of the header cluster; what lies behind the end of a
 * short file is zeros, as in QEMU. */
static void
peek(struct span head, uint64_t off, void *out, size_t len)
{
	size_t have = 0;

	if (off < head.len)
		have = (size_t)units_min(len, head.len - off);
	if (have)
		memcpy(out, head.p + off, have);
	memset((uint8_t *)out + have, 0, len - have);
}

static void
decode_fields(struct span head, struct qcow2_header *h)
{
	uint8_t b[HEADER_BYTES];
	struct cursor c;

	peek(head, 4, b, sizeof(b) - 4);
	c = cursor_over((struct span){b, sizeof(b) - 4});
	h->version = cursor_be32(&c);
	h->backing_offset = cursor_be64(&c);
	h->backing_len = cursor_be32(&c);
	h->cluster_bits = cursor_be32(&c);
	h->size = cursor_be64(&c);
	h->crypt_method = cursor_be32(&c);
	h->l1_entries = cursor_be32(&c);
	h->l1_offset = cursor_be64(&c);
	h->reftable_offset = cursor_be64(&c);
	h->reftable_clusters = cursor_be32(&c);
	h->n_snapshots = cursor_be32(&c);
	h->snapshots_offset = cursor_be64(&c);
	h->refcount_order = 4;
	h->header_length = QCOW2_V2_HEADER;
	if (h->version < 3)
		return;
	h->incompatible = cursor_be64(&c);
	h->compatible = cursor_be64(&c);
	h->autoclear = cursor_be64(&c);
	h->refcount_order = cursor_be32(&c);
	h->header_length = cursor_be32(&c);
	/* older headers end at 104 and mean zlib */
	if (h->header_length > QCOW2_V3_HEADER)
		h->compression = cursor_u8(&c);
}

static uint64_t
extensions_limit(const struct qcow2_header *h)
{
	return h->backing_offset ? h->backing_offset : qcow2_cluster_size(h);
}

/* The feature table of an image that is about to be refused: found with as
 * little trust as possible, since the rest of it is of an unknown kind. */
static bool
find_features(struct span head, const struct qcow2_header *h, uint64_t *ret_at,
	uint32_t *ret_len)
{
	uint64_t at = h->header_length, end = extensions_limit(h);
	uint8_t b[EXT_HEADER];
	bool found = false;

	while (at + EXT_HEADER <= end) {
		uint32_t type, len;

		peek(head, at, b, sizeof(b));
		type = load_be32(b);
		len = load_be32(b + 4);
		at += EXT_HEADER;
		if (type == QCOW2_EXT_END || len > end - at)
			break;
		if (type == QCOW2_EXT_FEATURES) {
			*ret_at = at;
			*ret_len = len;
			found = true;
		}
		at += units_align_up(len, 8);
	}
	return found;
}

static int
refuse_features(struct span head, const struct qcow2_header *h, struct err *e)
{
	uint64_t unknown = h->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN;
	uint64_t at = 0;
	uint32_t len = 0, i;
	char list[320] = "", name[80];
	size_t o = 0;

	if (find_features(head, h, &at, &len)) {
		/* the last entry may be cut short, as in QEMU */
		for (i = 0; i < len && unknown; i += FEATURE_ENTRY) {
			uint8_t b[FEATURE_ENTRY] = {0};

			peek(head, at + i, b, units_min(sizeof(b), len - i));
			if (b[2] == '\0')
				break;
			if (b[0] != 0 || b[1] > 63 ||
				!(unknown >> b[1] & 1))
				continue;
			unknown &= ~(UINT64_C(1) << b[1]);
			err_quote(name, sizeof(name), b + 2,
				(unsigned)strnlen((char *)b + 2, FEATURE_NAME));
			if (o < sizeof(list))
				o += (size_t)snprintf(list + o,
					sizeof(list) - o, "%s%s",
					o ? ", " : "", name);
		}
	}
	if (unknown && o < sizeof(list))
		snprintf(list + o, sizeof(list) - o,
			"%sUnknown incompatible feature: %" PRIx64,
			o ? ", " : "", unknown);
	return err_set(e, ERR_UNSUPPORTED, "Unsupported qcow2 feature(s): %s",
		list);
}

static int
check_compression(const struct qcow2_header *h, struct err *e)
{
	bool bit = (h->incompatible & QCOW2_COMPRESSION) != 0;

	if (h->compression > 1)
		return err_set(e, ERR_UNSUPPORTED,
			"qcow2: unknown compression type: %u", h->compression);
	if (h->compression == 0 && bit)
		return err_set(e, ERR_CORRUPT,
			"qcow2: Compression type incompatible feature bit must "
			"not be set");
	if (h->compression != 0 && !bit)
		return err_set(e, ERR_CORRUPT,
			"qcow2: Compression type incompatible feature bit must "
			"be set");
	return 0;
}

/* An unused table must be aligned too: QEMU checks so, and tools that later
 * fill it rely on it. */
static int
check_table(const struct qcow2_header *h, const char *what, uint64_t hoff,
	uint64_t entries, uint64_t entry_size, uint64_t max, struct err *e)
{
	if (entries > max / entry_size)
		return err_set(e, ERR_LIMIT,
			"%s too large (%" PRIu64 " entries of %" PRIu64
			" bytes, at most %" PRIu64 " bytes)",
			what, entries, entry_size, max);
	if ((uint64_t)INT64_MAX - entries * entry_size < hoff ||
		(hoff & (qcow2_cluster_size(h) - 1)))
		return err_set(e, ERR_CORRUPT,
			"%s offset invalid (%" PRIu64 ")", what, hoff);
	return 0;
}

static int
check_l1(const struct qcow2_header *h, struct err *e)
{
	unsigned shift = h->cluster_bits + qcow2_l2_bits(h);
	uint64_t need, reach;

	if (check_table(h, "Active L1 table", h->l1_offset, h->l1_entries, 8,
		QCOW2_L1_MAX, e))
		return -1;
	if (!ck_add(h->size, (UINT64_C(1) << shift) - 1, &reach))
		return err_set(e, ERR_LIMIT, "Image is too big (%" PRIu64
			" bytes)", h->size);
	need = reach >> shift;
	if (need > INT32_MAX)
		return err_set(e, ERR_LIMIT, "Image is too big (%" PRIu64
			" bytes)", h->size);
	if (h->l1_entries < need)
		return err_set(e, ERR_CORRUPT, "L1 table is too small (%" PRIu32
			" entries, %" PRIu64 " needed)", h->l1_entries, need);
	return 0;
}

/* The numbers of the header against each other and against the limits. */
static int
check_fields(struct span head, const struct qcow2_header *h, bool check,
	struct err *e)
{
	uint64_t cluster;

	if (h->version < 2 || h->version > 3)
		return err_set(e, ERR_FORMAT,
			"Unsupported qcow2 version %" PRIu32, h->version);
	if (h->cluster_bits < QCOW2_CLUSTER_BITS_MIN ||
		h->cluster_bits > QCOW2_CLUSTER_BITS_MAX)
		return err_set(e, ERR_LIMIT, "Unsupported cluster size: 2^%"
			PRIu32, h->cluster_bits);
	cluster = qcow2_cluster_size(h);
	if (h->version >= 3 && h->header_length < QCOW2_V3_HEADER)
		return err_set(e, ERR_CORRUPT, "qcow2 header too short (%"
			PRIu32 " bytes, at least 104)", h->header_length);
	if (h->header_length > cluster)
		return err_set(e, ERR_CORRUPT,
			"qcow2 header exceeds cluster size (%" PRIu32 " > %"
			PRIu64 ")", h->header_length, cluster);
	if (h->backing_offset > cluster)
		return err_set(e, ERR_CORRUPT, "Invalid backing file offset (%"
			PRIu64 " > %" PRIu64 ")", h->backing_offset, cluster);
	if (check_compression(h, e))
		return -1;
	if (h->incompatible & ~(uint64_t)QCOW2_INCOMPAT_KNOWN)
		return refuse_features(head, h, e);
	if (qcow2_has_extl2(h) && cluster / QCOW2_SUBCLUSTERS < 512)
		return err_set(e, ERR_LIMIT, "Unsupported subcluster size: %"
			PRIu64, cluster / QCOW2_SUBCLUSTERS);
	if (h->refcount_order > 6)
		return err_set(e, ERR_LIMIT, "Reference count entry width too "
			"large; may not exceed 64 bits");
	if (h->reftable_clusters == 0 && !check)
		return err_set(e, ERR_CORRUPT,
			"Image does not contain a reference count table");
	if (check_table(h, "Reference count table", h->reftable_offset,
		h->reftable_clusters, cluster, QCOW2_REFTABLE_MAX, e))
		return -1;
	/* 40: the fixed part; the real length is known when it is read */
	if (!check && check_table(h, "Snapshot table", h->snapshots_offset,
		h->n_snapshots, 40, UINT64_C(40) * QCOW2_SNAPSHOTS_MAX, e))
		return -1;
	if (check_l1(h, e))
		return -1;
	if (h->crypt_method > 2)
		return err_set(e, ERR_UNSUPPORTED,
			"Unsupported encryption method %" PRIu32,
			h->crypt_method);
	return 0;
}

static int
decode_bitmaps(struct span head, uint64_t at, uint32_t len,
	struct qcow2_header *h, struct err *e)
{
	uint8_t b[BITMAPS_EXT];
	uint32_t n;
	uint64_t size, hoff;

	if (len != BITMAPS_EXT)
		return err_set(e, ERR_CORRUPT,
			"bitmaps_ext: Invalid extension length (%" PRIu32 ")",
			len);
	/* some program that knows no bitmaps has written here: they are stale,
	 * and QEMU goes on without them */
	if (!(h->autoclear & QCOW2_AUTOCLEAR_BITMAPS)) {
		h->stale_bitmaps = true;
		return 0;
	}
	peek(head, at, b, sizeof(b));
	n = load_be32(b);
	size = load_be64(b + 8);
	hoff = load_be64(b + 16);
	if (load_be32(b + 4) != 0)
		return err_set(e, ERR_CORRUPT,
			"bitmaps_ext: Reserved field is not zero");
	if (n > QCOW2_BITMAPS_MAX)
		return err_set(e, ERR_LIMIT, "bitmaps_ext: Image has %" PRIu32
			" bitmaps, exceeding the QEMU supported maximum of %u",
			n, QCOW2_BITMAPS_MAX);
	if (n == 0)
		return err_set(e, ERR_CORRUPT,
			"found bitmaps extension with zero bitmaps");
	if (hoff & (qcow2_cluster_size(h) - 1))
		return err_set(e, ERR_CORRUPT, "bitmaps_ext: invalid bitmap "
			"directory offset (%" PRIu64 ")", hoff);
	if (size > BITMAP_DIR_MAX)
		return err_set(e, ERR_LIMIT,
			"bitmaps_ext: bitmap directory size (%" PRIu64
			") exceeds the maximum supported size (%" PRIu64 ")",
			size, BITMAP_DIR_MAX);
	if (hoff > INT64_MAX) {
		err_set(e, ERR_CORRUPT, "Failed to read bitmap directory (%"
			PRIu64 ")", hoff);
		if (e)
			e->eno = EIO;
		return -1;
	}
	h->has_bitmaps = true;
	h->n_bitmaps = n;
	h->bitmap_dir_size = size;
	h->bitmap_dir_offset = hoff;
	return 0;
}

static int
decode_crypto(struct span head, uint64_t at, uint32_t len,
	struct qcow2_header *h, struct err *e)
{
	uint8_t b[CRYPTO_EXT];

	if (h->crypt_method != 2)
		return err_set(e, ERR_CORRUPT, "CRYPTO header extension only "
			"expected with LUKS encryption method");
	if (len != CRYPTO_EXT)
		return err_set(e, ERR_CORRUPT, "CRYPTO header extension size %"
			PRIu32 ", but expected size %u", len, CRYPTO_EXT);
	peek(head, at, b, sizeof(b));
	h->crypto_offset = load_be64(b);
	h->crypto_length = load_be64(b + 8);
	if (h->crypto_offset & (qcow2_cluster_size(h) - 1))
		return err_set(e, ERR_CORRUPT, "Encryption header offset '%"
			PRIu64 "' is not a multiple of cluster size '%" PRIu64
			"'", h->crypto_offset, qcow2_cluster_size(h));
	h->has_crypto = true;
	return 0;
}

static int
decode_extension(struct span head, uint32_t type, uint64_t at, uint32_t len,
	struct qcow2_header *h, struct err *e)
{
	switch (type) {
	case QCOW2_EXT_BACKING_FORMAT:
		if (len >= sizeof(h->backing_format))
			return err_set(e, ERR_LIMIT,
				"ERROR: ext_backing_format: len=%" PRIu32
				" too large (>=%zu)", len,
				sizeof(h->backing_format));
		memset(h->backing_format, 0, sizeof(h->backing_format));
		peek(head, at, h->backing_format, len);
		h->has_backing_format = true;
		return 0;
	case QCOW2_EXT_FEATURES:
		h->has_features = true;
		h->features_at = (uint32_t)at;
		h->features_len = len;
		return 0;
	case QCOW2_EXT_BITMAPS:
		return decode_bitmaps(head, at, len, h, e);
	case QCOW2_EXT_CRYPTO:
		return decode_crypto(head, at, len, h, e);
	case QCOW2_EXT_DATA_FILE:
		/* a second one replaces the first, as in QEMU */
		memset(h->data_file, 0, sizeof(h->data_file));
		peek(head, at, h->data_file,
			(size_t)units_min(len, sizeof(h->data_file) - 1));
		h->data_file_len = len;
		h->has_data_file = true;
		return 0;
	default:
		h->unknown_extensions++;
		return 0;
	}
}

/* Section "Header extensions". The area ends at the backing file's name, or
 * with the cluster; an END entry is not needed. */
static int
decode_extensions(struct span head, struct qcow2_header *h, struct err *e)
{
	uint64_t at = h->header_length, end = extensions_limit(h);
	uint8_t b[EXT_HEADER];

	h->extensions_at = (uint32_t)at;
	h->extensions_end = (uint32_t)at;
	while (at < end) {
		uint32_t type, len;

		peek(head, at, b, sizeof(b));
		type = load_be32(b);
		len = load_be32(b + 4);
		at += EXT_HEADER;
		if (at > end || len > end - at)
			return err_set(e, ERR_CORRUPT,
				"Header extension too large (%" PRIu32
				" bytes at %" PRIu64 ")", len, at - EXT_HEADER);
		if (type == QCOW2_EXT_END)
			return 0;
		if (decode_extension(head, type, at, len, h, e))
			return -1;
		at += units_align_up(len, 8);
		h->extensions_end = (uint32_t)units_min(at, end);
	}
	return 0;
}

static int
decode_backing(struct span head, struct qcow2_header *h, struct err *e)
{
	uint64_t max;

	if (h->backing_offset == 0)
		return 0;
	max = units_min(QCOW2_BACKING_NAME_MAX,
		qcow2_cluster_size(h) - h->backing_offset);
	if (h->backing_len > max)
		return err_set(e, ERR_LIMIT, "Backing file name too long (%"
			PRIu32 " bytes, at most %" PRIu64 ")", h->backing_len,
			max);
	peek(head, h->backing_offset, h->backing, h->backing_len);
	return 0;
}

int
qcow2_header_decode(struct span head, unsigned flags,
	struct qcow2_header *ret, struct err *e)
{
	bool check = (flags & QCOW2_DECODE_CHECK) != 0;
	struct qcow2_header h = {0};
	uint8_t magic[4];

	peek(head, 0, magic, sizeof(magic));
	if (load_be32(magic) != QCOW2_MAGIC)
		return err_set(e, ERR_FORMAT, "Image is not in qcow2 format");
	decode_fields(head, &h);
	if (check_fields(head, &h, check, e) || decode_extensions(head, &h, e))
		return -1;
	if (!(flags & QCOW2_DECODE_INFO)) {
		bool bit = (h.incompatible & QCOW2_DATA_FILE) != 0;

		if (!bit && (h.autoclear & QCOW2_AUTOCLEAR_RAW))
			return err_set(e, ERR_CORRUPT,
				"data-file-raw requires a data file");
		if (h.crypt_method == 2 && !h.has_crypto)
			return err_set(e, ERR_CORRUPT,
				"Missing CRYPTO header for crypt method 2");
	}
	if (decode_backing(head, &h, e))
		return -1;
	*ret = h;
	return 0;
}
