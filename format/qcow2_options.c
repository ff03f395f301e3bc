/* SPDX-License-Identifier: MIT */
/*
 * What may be asked of a new qcow2 image: the options against each other and
 * against the format's limits, in qemu-img's order and with its messages. Pure;
 * whether files named here exist is the caller's business.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2_place.h"

#define V3_ONLY                                                                \
	"compatibility level 1.1 and above (use version=v3 or greater)"

static uint32_t
cluster_size_of(const struct qcow2_options *o)
{
	return o->cluster_size ? o->cluster_size : 65536;
}

static bool
power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

/* The smallest cluster has 32 subclusters of 512 bytes. */
static int
check_cluster_size(const struct qcow2_options *o, struct err *e)
{
	uint32_t size = cluster_size_of(o);

	if (!power_of_two(size) || size < 1u << QCOW2_CLUSTER_BITS_MIN ||
		size > 1u << QCOW2_CLUSTER_BITS_MAX)
		return err_set(e, ERR_USAGE, "Cluster size must be a power of "
			"two between 512 and 2048k");
	if (o->extended_l2 && size < QCOW2_SUBCLUSTERS * 512)
		return err_set(e, ERR_USAGE, "Extended L2 entries are only "
			"supported with cluster sizes of at least %u bytes",
			QCOW2_SUBCLUSTERS * 512);
	return 0;
}

static int
check_backing(const struct qcow2_options *o, struct err *e)
{
	if (o->backing && o->preallocation != PREALLOC_OFF && !o->extended_l2)
		return err_set(e, ERR_USAGE, "Backing file and preallocation "
			"can only be used at the same time if extended_l2 is "
			"on");
	if (o->backing_format && !o->backing)
		return err_set(e, ERR_USAGE,
			"Backing format cannot be used without backing file");
	return 0;
}

static int
check_version(const struct qcow2_options *o, struct err *e)
{
	unsigned bits = o->refcount_bits ? o->refcount_bits : 16;
	bool v2 = o->version == 2;

	if (v2 && o->lazy_refcounts)
		return err_set(e, ERR_USAGE,
			"Lazy refcounts only supported with " V3_ONLY);
	if (bits > 64 || !power_of_two(bits))
		return err_set(e, ERR_USAGE, "Refcount width must be a power "
			"of two and may not exceed 64 bits");
	if (v2 && bits != 16)
		return err_set(e, ERR_USAGE, "Different refcount widths than "
			"16 bits require compatibility level 1.1 or above "
			"(use version=v3 or greater)");
	if (o->data_file_raw && !o->data_file)
		return err_set(e, ERR_USAGE,
			"data-file-raw requires data-file");
	if (o->data_file_raw && o->backing)
		return err_set(e, ERR_USAGE, "Backing file and data-file-raw "
			"cannot be used at the same time");
	if (v2 && o->data_file)
		return err_set(e, ERR_USAGE,
			"External data files are only supported with " V3_ONLY);
	if (v2 && o->compression != CODEC_DEFLATE)
		return err_set(e, ERR_USAGE, "Non-zlib compression type is "
			"only supported with " V3_ONLY);
	return 0;
}

static int
refuse_name(const struct qcow2_options *o, int eno, struct err *e)
{
	char name[160], format[32];
	const char *f = o->backing_format ? o->backing_format : "(null)";

	err_quote(name, sizeof(name), o->backing,
		(unsigned)strlen(o->backing));
	err_quote(format, sizeof(format), f, (unsigned)strlen(f));
	err_sys(e, eno, "Could not assign backing file '%s' with format '%s'",
		name, format);
	if (e)
		e->kind = ERR_LIMIT;
	return -1;
}

uint64_t
qcow2_options_l1_entries(const struct qcow2_header *h)
{
	unsigned shift = h->cluster_bits + qcow2_l2_bits(h);

	return (h->size >> shift) +
		((h->size & ((UINT64_C(1) << shift) - 1)) != 0);
}

int
qcow2_options_header(const struct qcow2_options *o, struct qcow2_header *ret,
	struct err *e)
{
	unsigned bits = o->refcount_bits ? o->refcount_bits : 16;
	bool v2 = o->version == 2;

	memset(ret, 0, sizeof(*ret));
	ret->version = v2 ? 2 : 3;
	ret->cluster_bits = (uint32_t)__builtin_ctz(cluster_size_of(o));
	ret->size = o->size;
	ret->refcount_order = (uint32_t)__builtin_ctz(bits);
	ret->header_length = v2 ? QCOW2_V2_HEADER : QCOW2_V3_HEADER + 8;
	ret->compression = o->compression == CODEC_ZSTD;
	ret->compatible = o->lazy_refcounts ? QCOW2_LAZY_REFCOUNTS : 0;
	ret->autoclear = o->data_file_raw ? QCOW2_AUTOCLEAR_RAW : 0;
	ret->incompatible = (o->data_file ? QCOW2_DATA_FILE : 0u) |
		(ret->compression ? QCOW2_COMPRESSION : 0u) |
		(o->extended_l2 ? QCOW2_EXTL2 : 0u);
	if (o->backing) {
		if (strlen(o->backing) > QCOW2_BACKING_NAME_MAX)
			return refuse_name(o, EINVAL, e);
		ret->backing_len = (uint32_t)strlen(o->backing);
		memcpy(ret->backing, o->backing, ret->backing_len);
	}
	if (o->backing_format) {
		if (strlen(o->backing_format) >= sizeof(ret->backing_format))
			return refuse_name(o, EINVAL, e);
		ret->has_backing_format = true;
		strcpy(ret->backing_format, o->backing_format);
	}
	if (o->data_file) {
		if (strlen(o->data_file) >= sizeof(ret->data_file))
			return err_set(e, ERR_LIMIT, "data file name of %zu "
				"bytes exceeds %zu", strlen(o->data_file),
				sizeof(ret->data_file) - 1);
		ret->has_data_file = true;
		ret->data_file_len = (uint32_t)strlen(o->data_file);
		memcpy(ret->data_file, o->data_file, ret->data_file_len);
	}
	return 0;
}

int
qcow2_options_check(const struct qcow2_options *o, struct err *e)
{
	struct qcow2_header h;
	struct err inner = {0};
	uint8_t *head;
	int r;

	if (o->version && o->version != 2 && o->version != 3)
		return err_set(e, ERR_USAGE,
			"Invalid compatibility level: version %u", o->version);
	if (o->extended_l2 && o->version == 2)
		return err_set(e, ERR_USAGE,
			"Extended L2 entries are only supported with " V3_ONLY);
	if (check_cluster_size(o, e) || check_backing(o, e) ||
		check_version(o, e) || qcow2_options_header(o, &h, e))
		return -1;
	if (o->size % 512)
		return err_set(e, ERR_USAGE,
			"Image size must be a multiple of 512 bytes");
	if (o->size > QCOW2_SIZE_MAX ||
		qcow2_options_l1_entries(&h) > QCOW2_L1_MAX / 8)
		return err_set(e, ERR_LIMIT, "The image size is too large for "
			"file format 'qcow2' (try using a larger cluster "
			"size)");
	/* Do all the names fit into the header's cluster? */
	head = malloc(cluster_size_of(o));
	if (!head)
		return err_sys(e, ENOMEM, "cannot make a header");
	r = qcow2_header_encode(&h, qcow2_options_features(&h), NULL, head,
		cluster_size_of(o), &inner);
	free(head);
	if (r && o->backing)
		return refuse_name(o, ENOSPC, e);
	if (r && e)
		*e = inner;
	return r;
}

bool
qcow2_options_features(const struct qcow2_header *h)
{
	return h->version >= 3 && h->cluster_bits > 12;
}
