/* SPDX-License-Identifier: MIT */
/* Copies inside the kernel: reflink (FICLONERANGE) and copy_file_range. */
#ifndef IO_CLONE_H
#define IO_CLONE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/file.h"

/* *ret_done false when these files or offsets cannot be cloned (another file
 * system, alignment, not supported): nothing was changed then. */
int clone_range(struct file *src, uint64_t soff, struct file *dst,
	uint64_t doff, uint64_t len, bool *ret_done, struct err *e);
/* copy_file_range until len or refusal; *ret_len bytes were copied. */
int clone_copy(struct file *src, uint64_t soff, struct file *dst,
	uint64_t doff, uint64_t len, uint64_t *ret_len, struct err *e);

#endif
