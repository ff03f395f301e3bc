/* SPDX-License-Identifier: MIT */
/*
 * What the fuzz targets share. A target is one function; libFuzzer calls it
 * with made-up bytes (`make fuzz`), replay.c with those of fuzz/corpus (`make
 * check`). A property that does not hold ends the program.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "io/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(x)                                                          \
	do {                                                                   \
		if (!(x))                                                      \
			abort();                                               \
	} while (0)

/* The bytes as a file; never NULL. */
static inline struct file *
fuzz_file(const uint8_t *data, size_t size)
{
	struct file *f;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	FUZZ_CHECK(file_from_fd(&f, fd, "fuzz", NULL) == 0);
	f->own_fd = true;
	return f;
}

#endif
