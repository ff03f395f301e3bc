/* SPDX-License-Identifier: MIT */
/*
 * What -o help lists. Callers read it to learn which keys there are, so that
 * keys and texts are qemu-img's; those of encryption are listed here and
 * refused by their names where they are given (cli/imgopts).
 */
#include "config.h"

#include "cli/compat.h"

#include <string.h>

#include "base/units.h"

enum listed {
	AT_RAW = 1 << 0,   /* a new raw image */
	AT_QCOW2 = 1 << 1, /* a new qcow2 image */
	AT_FILE = 1 << 2,  /* any new image, once its file is named */
	AT_AMEND = 1 << 3, /* amend, qcow2 */
};

struct listing {
	const char *name;
	const char *type;
	unsigned where;
	const char *text;
};

#define TEXT "str"
#define NUMBER "num"
#define SIZE "size"
#define SWITCH "bool (on/off)"

/* in the order of their names */
static const struct listing listings[] = {
	{"backing_file", TEXT, AT_QCOW2 | AT_AMEND,
		"File name of a base image"},
	{"backing_fmt", TEXT, AT_QCOW2 | AT_AMEND,
		"Image format of the base image"},
	{"cluster_size", SIZE, AT_QCOW2, "qcow2 cluster size"},
	{"compat", TEXT, AT_QCOW2 | AT_AMEND,
		"Compatibility level (v2 [0.10] or v3 [1.1])"},
	{"compression_type", TEXT, AT_QCOW2,
		"Compression method used for image cluster compression"},
	{"data_file", TEXT, AT_QCOW2 | AT_AMEND,
		"File name of an external data file"},
	{"data_file_raw", SWITCH, AT_QCOW2 | AT_AMEND,
		"The external data file must stay valid as a raw image"},
	{"encrypt.cipher-alg", TEXT, AT_QCOW2,
		"Name of encryption cipher algorithm"},
	{"encrypt.cipher-mode", TEXT, AT_QCOW2,
		"Name of encryption cipher mode"},
	{"encrypt.format", TEXT, AT_QCOW2,
		"Encrypt the image, format choices: 'aes', 'luks'"},
	{"encrypt.hash-alg", TEXT, AT_QCOW2,
		"Name of encryption hash algorithm"},
	{"encrypt.iter-time", NUMBER, AT_QCOW2 | AT_AMEND,
		"Time to spend in PBKDF in milliseconds"},
	{"encrypt.ivgen-alg", TEXT, AT_QCOW2, "Name of IV generator algorithm"},
	{"encrypt.ivgen-hash-alg", TEXT, AT_QCOW2,
		"Name of IV generator hash algorithm"},
	{"encrypt.key-secret", TEXT, AT_QCOW2,
		"ID of secret providing qcow AES key or LUKS passphrase"},
	{"encrypt.keyslot", NUMBER, AT_AMEND,
		"Select a single keyslot to modify explicitly"},
	{"encrypt.new-secret", TEXT, AT_AMEND, "New secret to set in the "
		"matching keyslots. Empty string to erase"},
	{"encrypt.old-secret", TEXT, AT_AMEND,
		"Select all keyslots that match this password"},
	{"encrypt.state", TEXT, AT_AMEND, "Select new state of affected "
		"keyslots (active/inactive)"},
	{"encryption", SWITCH, AT_QCOW2, "Encrypt the image with format 'aes'. "
		"(Deprecated in favor of encrypt.format=aes)"},
	{"extended_l2", SWITCH, AT_QCOW2, "Extended L2 tables"},
	{"extent_size_hint", SIZE, AT_FILE,
		"Extent size hint for the image file, 0 to disable"},
	{"lazy_refcounts", SWITCH, AT_QCOW2 | AT_AMEND,
		"Postpone refcount updates"},
	{"nocow", SWITCH, AT_FILE,
		"Turn off copy-on-write (valid only on btrfs)"},
	{"preallocation", TEXT, AT_QCOW2, "Preallocation mode (allowed values: "
		"off, metadata, falloc, full)"},
	{"preallocation", TEXT, AT_FILE,
		"Preallocation mode (allowed values: off, falloc, full)"},
	{"refcount_bits", NUMBER, AT_QCOW2 | AT_AMEND,
		"Width of a reference count entry in bits"},
	{"size", SIZE, AT_RAW | AT_QCOW2 | AT_AMEND, "Virtual disk size"},
};

static void
list(unsigned where, struct buf *out)
{
	const char *last = "";
	struct buf left = BUF_INIT;
	unsigned i;

	for (i = 0; i < COUNT_OF(listings); i++) {
		const struct listing *l = &listings[i];

		/* the format's own key comes before the file's */
		if (!(l->where & where) || strcmp(l->name, last) == 0)
			continue;
		last = l->name;
		buf_clear(&left);
		buf_fmt(&left, "%s=<%s>", l->name, l->type);
		buf_fmt(out, "  %-22s - %s\n", left.p, l->text);
	}
	buf_free(&left);
}

int
compat_options_help(const char *format, bool with_file)
{
	enum format f;
	struct buf out = BUF_INIT;

	if (compat_target_format(format, "", &f))
		return 1;
	if (with_file)
		buf_str(&out, "Supported options:\n");
	else
		buf_fmt(&out, "Supported %s options:\n",
			probe_format_name(f));
	list((f == FORMAT_QCOW2 ? AT_QCOW2 : AT_RAW) | (with_file ? AT_FILE : 0), &out);
	if (!with_file)
		buf_str(&out, "\nThe protocol level may support further "
			"options.\nSpecify the target filename to include "
			"those options.\n");
	return compat_output(&out);
}

int
compat_options_amend_help(const char *format)
{
	enum format f;
	struct buf out = BUF_INIT;
	struct err e;

	if (name_format(format, &f, &e) && e.kind != ERR_UNSUPPORTED)
		return compat_fail("Unknown file format '%s'", format);
	if (f != FORMAT_QCOW2)
		return compat_fail("Format driver '%s' does not support option "
			"amendment", format);
	buf_fmt(&out, "Amend options for '%s':\n", format);
	list(AT_AMEND, &out);
	return compat_output(&out);
}
