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
	 * (RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS); none: all are refused */
	const char *const *allow_dirs;
	unsigned n_allow;
	unsigned depth_max;    /* 0: GATE_DEPTH_MAX */
	uint64_t size_max;     /* virtual size, bytes; 0: no limit */
	bool lenient;          /* see IMAGE_LENIENT */
	/* the whole policy on the source image (gate_check): encryption,
	 * features, out-of-file references, aliasing, foreign content */
	bool safe;
};

/* Opens what `from` names (its backing file or data file, name), or refuses:
 * ERR_DENIED "backing file 'x' is not allowed ...". */
int gate_open(const struct gate *g, const struct image *from,
	const char *name, const char *what, struct file **ret, struct err *e);

/* A reason of the policy, stable id for JSON and text for people. */
struct gate_reason {
	const char *id; /* "backing-file", "data-file", "encryption",
			 * "unknown-feature", "beyond-eof", "aliasing",
			 * "foreign-content", "format-mismatch", "too-large",
			 * "corrupt-header", "corrupt-table", "unsupported" */
	char text[256];
};

#define GATE_REASONS_MAX 32

struct gate_report {
	struct probe_result probe;
	enum format declared;
	bool opened;        /* the header could be read: info is valid */
	uint64_t virtual_size;
	uint64_t file_size;
	uint64_t mapped;    /* deep: bytes of guest data that are mapped */
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
/* ERR_DENIED with the first reason of the report, or 0. */
int gate_verdict(const struct gate_report *r, struct err *e);

#endif
