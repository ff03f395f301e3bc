/* SPDX-License-Identifier: MIT */
/*
 * The LUKS version 1 header, for `info` alone: byre reads no encrypted data.
 * Big-endian: 0 magic "LUKS\xba\xbe" | 6 version u16 | 8 cipher name [32] |
 * 40 cipher mode [32] | 72 hash [32] | 104 payload offset u32, sectors |
 * 108 key bytes u32 | 112 digest [20] | 132 salt [32] | 164 iterations u32 |
 * 168 uuid [40] | 208 8 slots of 48 bytes: active u32, iterations u32,
 * salt [32], key offset u32 (sectors), stripes u32.
 */
#ifndef FORMAT_LUKS_H
#define FORMAT_LUKS_H

#include "base/bytes.h"
#include "base/err.h"
#include "format/info.h"
#include "io/file.h"

#define LUKS_HEADER 592 /* bytes */

/* Pure. ERR_FORMAT or ERR_UNSUPPORTED where QEMU would not open it. */
int luks_decode(struct span head, struct info_luks *ret, struct err *e);
/* Reads and decodes the header at hoff; *ret to be freed. */
int luks_load(struct file *f, uint64_t hoff, struct info_luks **ret,
	struct err *e);

#endif
