/* SPDX-License-Identifier: MIT */
/*
 * Changing a qcow2 in place: a pure plan gives an ordered list of writes and
 * barriers, apply runs it. Order: new clusters, their refcounts, barrier, the
 * reference, barrier, old refcounts down. Crash model: any subset of the
 * 512-byte sectors written since the last completed barrier may be lost; the
 * image is then clean or has leaks only.
 */
#ifndef FORMAT_QCOW2_UPDATE_H
#define FORMAT_QCOW2_UPDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "format/image.h"
#include "format/qcow2_write.h"

/*
 * Resizes the image in im->file (opened for writing and locked by the
 * caller). new_size: multiple of 512, else ERR_USAGE "The new size must be a
 * multiple of 512". Shrinking without `shrink` is ERR_USAGE, as are
 * preallocation with shrinking. Refuses what QEMU refuses. A dirty or corrupt
 * image, or one with snapshots where the version forbids it, is refused.
 */
int qcow2_resize(struct image *im, uint64_t new_size, bool shrink,
	enum preallocation preallocation, struct err *e);

#endif
