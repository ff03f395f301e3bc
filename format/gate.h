/* SPDX-License-Identifier: MIT */
/*
 * The safe policy: what an image may cause to be opened, which formats, how
 * deep, how large. Only chain.c opens a file because an image said so, and
 * only through gate_open.
 */
#ifndef FORMAT_GATE_H
#define FORMAT_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "format/image.h"

#define GATE_DEPTH_MAX 200 /* images in a chain; libvirt's limit */

struct gate {
	/* follow references as qemu-img does: relative to the image's
	 * directory, anywhere; still depth- and loop-limited, and never a
	 * protocol name other than file: */
	bool trusted;
	/* otherwise a reference must resolve beneath one of these directories
	 * (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS); none: all are refused,
	 * and having one is a reason of the policy */
	const char *const *allow_dirs;
	unsigned n_allow;
	unsigned depth_max;    /* 0: GATE_DEPTH_MAX */
	uint64_t size_max;     /* virtual size, bytes; 0: no limit */
	/* see IMAGE_LENIENT; beyond-eof is then no reason of the policy */
	bool lenient;
	/* the whole policy on the source image, and on every file that
	 * gate_open opens for it */
	bool safe;
	/* deep: nobody vouches that the source did not lose its end. A file
	 * that ends within what a guest reads of its last cluster is valid,
	 * and is what is left of one that was cut short, too: beyond-eof */
	bool whole;
};

/* The path in a name ("file:" is taken off), or NULL when it names another
 * protocol. */
const char *gate_path(const char *name);

/* json:{...}. QEMU follows those too; only trusted gates do here, and only
 * those that mean a plain file, relative to the working directory. */
bool gate_is_json(const char *name);
/* Its path (to be freed) and its format, FORMAT_PROBE when it says none. */
int gate_json(const char *name, char **ret_path, enum format *ret_format,
	struct err *e);

/*
 * Opens what `from` names (its backing file or data file: what), or refuses:
 * ERR_DENIED "backing file 'x' is not allowed ...". A name relative to the
 * image's directory, "file:" and a path, or an absolute path; any other
 * "word:" is a protocol and refused, under trusted too (ERR_UNSUPPORTED), save
 * json: there. The
 * file's name becomes the one that qemu-img would show. An allowed directory
 * is resolved once, by its real path; below it nothing may lead out. If safe
 * and not trusted, what was opened is inspected as well (deep).
 */
int gate_open(const struct gate *g, const struct image *from,
	const char *name, const char *what, struct file **ret, struct err *e);

/*
 * A reason of the policy: a stable id for JSON, and text for people (what,
 * value, limit; hostile bytes escaped). The ids:
 *   backing-file     the header names one, or only has its offset or length;
 *                    where directories are permitted, only if the field is
 *                    malformed or the format is not told
 *   data-file        by the feature bit, or by the extension alone, in any
 *                    version, even behind the end mark; where directories are
 *                    permitted, only if bit and name do not go together
 *   encryption       AES or LUKS
 *   unknown-feature  unknown incompatible bits
 *   beyond-eof       a reference past the end of the file, which is rounded
 *                    up to a cluster; packed clusters may end past it (see
 *                    `whole`)
 *   aliasing         one host cluster serves more than one guest cluster, or
 *                    lies over metadata
 *   foreign-content  deep: a disk image as guest data
 *   format-mismatch  the declared format is not the one found, or two are, or
 *                    none is declared where a partition table fits as well
 *   too-large        size_max, or a table too large to be looked at
 *   corrupt-header   does not decode, or exceeds a limit of the format
 *   corrupt-table    a misaligned or impossible entry, or reserved bits
 *   unsupported      a format or version that is known by name only
 */
struct gate_reason {
	const char *id;
	char text[256];
};

#define GATE_REASONS_MAX 32

struct gate_report {
	struct probe_result probe;
	enum format declared;
	bool opened;        /* the header could be read: info is valid */
	uint64_t virtual_size;
	uint64_t file_size;
	uint64_t mapped;    /* deep: bytes of plain clusters that are mapped */
	uint64_t packed;    /* deep: compressed clusters */
	bool deep;
	struct gate_reason reasons[GATE_REASONS_MAX];
	unsigned n_reasons; /* 0: safe */
};

/* Every reason to refuse that the header (and, if deep, the tables) shows;
 * bounded time and memory. Returns -1 only when the file cannot be read.
 * f is not taken. */
int gate_inspect(const struct gate *g, struct file *f, enum format declared,
	bool deep, const struct watch *w, struct gate_report *ret,
	struct err *e);
/* Notes one more reason; past GATE_REASONS_MAX they are dropped. */
void gate_reason_add(struct gate_report *r, const char *id, const char *fmt,
	...) __attribute__((format(printf, 3, 4)));
/* What the guest reads of an open image (its snapshot, if it was turned to one)
 * must be no disk image of another format: ERR_DENIED. */
int gate_guest(struct image *im, struct err *e);
/* ERR_DENIED with the first reason of the report, or 0. */
int gate_verdict(const struct gate_report *r, struct err *e);

/*
 * gate_deep.c: the tables of a qcow2 whose header was found good. Not deep:
 * where the snapshots' L1 tables lie. Deep: every L1 (snapshots' too) and L2
 * table is read, each once; memory is GATE_DEEP_MEMORY at most; it stops at
 * the first sign of aliasing and after a few bad entries. Adds to the report.
 * -1 only when the file cannot be read, or cancelled.
 */
#define GATE_DEEP_MEMORY (16u << 20) /* bytes */
struct qcow2_header;
int gate_deep_walk(const struct gate *g, struct file *f,
	const struct qcow2_header *h, bool deep, const struct watch *w,
	struct gate_report *r, struct err *e);

#endif
