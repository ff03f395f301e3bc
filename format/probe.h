/* SPDX-License-Identifier: MIT */
/*
 * What is this file? From its first and last bytes only. Pure: the caller
 * reads. QEMU gives 512 bytes to its probes; we look further for those that
 * would otherwise pass as raw.
 */
#ifndef FORMAT_PROBE_H
#define FORMAT_PROBE_H

#include <stdbool.h>

#include "base/bytes.h"
#include "io/file.h"

enum format {
	FORMAT_PROBE, /* not told: detect */
	FORMAT_RAW,
	FORMAT_QCOW2,
	/* known by name only, to be refused: */
	FORMAT_QCOW1,
	FORMAT_QED,
	FORMAT_VMDK,
	FORMAT_VDI,
	FORMAT_VPC,
	FORMAT_VHDX,
	FORMAT_LUKS,
	FORMAT_PARALLELS,
	FORMAT_PLOOP,
	FORMAT_BOCHS,
	FORMAT_CLOOP,
	FORMAT_DMG,
	FORMAT_COUNT,
};

/* What lies inside a raw image; all of these are raw. */
enum probe_content {
	CONTENT_NONE = 0,
	CONTENT_GPT = 1 << 0,
	CONTENT_MBR = 1 << 1,
	CONTENT_ISO = 1 << 2,
};

#define PROBE_HEAD (512 * 512) /* bytes looked at from the start */
#define PROBE_TAIL 512         /* and at the end (VHD and DMG footers) */

struct probe_result {
	enum format format;       /* the best match; FORMAT_RAW when none */
	enum format also;         /* a second match (polyglot), or RAW */
	unsigned content;         /* enum probe_content bits */
	const char *what;         /* e.g. "VMDK text descriptor"; static */
};

/* head: the first min(size, PROBE_HEAD) bytes; tail: the last min(size,
 * PROBE_TAIL) bytes. */
struct probe_result probe_bytes(struct span head, struct span tail);
/* As QEMU 7.2 would from the first 512 bytes (qcow2 magic and version >= 2 is
 * qcow2 ...): for the front's binding decisions. */
enum format probe_qemu(struct span head512);
int probe_load(struct file *f, struct probe_result *ret, struct err *e);

/* qemu-img's names ("raw", "qcow2", "vpc" ...; qcow1 is "qcow"). */
const char *probe_format_name(enum format f);
/* FORMAT_PROBE when the name is unknown; accepts aliases "vhd", "qcow". */
enum format probe_format_from_name(const char *name);

#endif
