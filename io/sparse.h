/* SPDX-License-Identifier: MIT */
/* Holes of a host file, by SEEK_DATA/SEEK_HOLE. */
#ifndef IO_SPARSE_H
#define IO_SPARSE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/file.h"

/* The run that starts at off (< f's size): *ret_len > 0 bytes, ending at most
 * at the end of file; *ret_data false for a hole. A file system or device
 * that cannot tell says data. */
int sparse_next(struct file *f, uint64_t off, uint64_t *ret_len,
	bool *ret_data, struct err *e);

#endif
