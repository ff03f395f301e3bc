/* SPDX-License-Identifier: MIT */
/* A qcow2 file written by hand, field by field, and opened from memory. */
#ifndef UNIT_QCOW2_BYTES_H
#define UNIT_QCOW2_BYTES_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bytes.h"
#include "io/file.h"

static inline void
put32(uint8_t *p, unsigned at, uint32_t v)
{
	store_be32(p + at, v);
}

static inline void
put64(uint8_t *p, unsigned at, uint64_t v)
{
	store_be64(p + at, v);
}

/* A sound version 3 header: refcount table in cluster 1, L1 in cluster 3. */
static inline void
put_header(uint8_t *p, uint32_t cluster_bits, uint64_t size,
	uint32_t l1_entries)
{
	put32(p, 0, 0x514649fb);
	put32(p, 4, 3);
	put32(p, 20, cluster_bits);
	put64(p, 24, size);
	put32(p, 36, l1_entries);
	put64(p, 40, UINT64_C(3) << cluster_bits);
	put64(p, 48, UINT64_C(1) << cluster_bits);
	put32(p, 56, 1);
	put32(p, 96, 4);
	put32(p, 100, 112);
}

static inline void
put_ext(uint8_t *p, unsigned at, uint32_t type, const void *data,
	uint32_t len)
{
	put32(p, at, type);
	put32(p, at + 4, len);
	memcpy(p + at + 8, data, len);
}

/* The bytes as a file; NULL when the kernel has no memfd. */
static inline struct file *
file_of(const void *bytes, size_t len, uint64_t size)
{
	struct file *f;
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len ||
		ftruncate(fd, (off_t)size) ||
		file_from_fd(&f, fd, "image", NULL))
		return NULL;
	f->own_fd = true;
	return f;
}

#endif
