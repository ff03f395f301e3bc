/* SPDX-License-Identifier: MIT */
/* Changing what a qcow2 is: version, width of refcounts, and so on. */
#ifndef OP_AMEND_H
#define OP_AMEND_H

#include <stdbool.h>
#include <stdint.h>

#include "op/inplace.h"

/* The message (ERR_USAGE) where a backing file was named that is another. */
#define AMEND_BACKING "Cannot amend the backing file"

struct amend_request {
	struct inplace_request image;
	unsigned version;       /* 0: as it is; 2 or 3 */
	unsigned refcount_bits; /* 0: as it is; a power of two up to 64 */
	int lazy_refcounts;     /* -1: as it is */
	int data_file_raw;      /* -1: as it is; it can only be taken away */
	const char *data_file;  /* NULL: as it is; "": no name */
	/* NULL: not given; else these must be what the image has */
	const char *backing, *backing_format;
	uint64_t size;          /* 0: as it is */
	bool durable;
};

struct amend_result {
	enum format format;
	bool opened; /* set also on failure: what failed came afterwards */
};

/*
 * Done step by step, in QEMU's order: version up, refcounts, header, size,
 * version down. Each step is whole after a crash; a failure leaves the steps
 * before it. What is wrong with the request alone, or with it and the header,
 * is found before the first change. ERR_UNSUPPORTED for a raw image.
 */
int amend_run(const struct amend_request *rq, struct amend_result *ret,
	struct err *e);

#endif
