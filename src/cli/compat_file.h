/* SPDX-License-Identifier: MIT */
/* What the front's commands that open an image for writing have in common. */
#ifndef CLI_COMPAT_FILE_H
#define CLI_COMPAT_FILE_H

#include <stdbool.h>
#include <stdint.h>

/* What qemu-img says whenever it opens a probed raw image for writing. */
void compat_file_probed_raw(const char *shown);
/* -r; NULL is none. 1 after a message. */
int compat_file_rate(const char *text, uint64_t *ret);
/* -t ("") or -T ("source "): *ret_durable (may be NULL) is false for unsafe.
 * NULL is writeback. 1 after a message. */
int compat_file_cache(const char *text, const char *what, bool *ret_durable);

#endif
