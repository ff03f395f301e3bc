/* SPDX-License-Identifier: MIT */
/* What overlays hold goes into the image below them. */
#ifndef OP_COMMIT_H
#define OP_COMMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "io/engine.h"
#include "op/inplace.h"

struct commit_request {
	struct inplace_request image; /* the top overlay */
	/* the image to commit into, by a name that the chain has for it; NULL:
	 * the one right below */
	const char *base;
	bool keep;             /* the overlay is not emptied */
	bool durable;
	uint64_t rate_limit;   /* bytes per second, 0: none */
	enum engine_kind engine;
	unsigned workers;
};

struct commit_result {
	enum format format;    /* of the top: RAW has nothing to commit */
	uint64_t bytes_data;   /* guest bytes written as data */
	bool running;          /* it got as far as the base's first byte */
};

#define COMMIT_NO_BACKING "Image does not have a backing file"
#define COMMIT_NOT_FOUND "Did not find "

/*
 * The base is opened for writing beneath the chain and takes the writer's
 * locks; it grows to the top's size. Images between top and base stay as they
 * are, and no longer hold what they did for the guest. The top is emptied when
 * all is durable below. *ret is filled on failure too.
 */
int commit_run(const struct commit_request *rq, struct commit_result *ret,
	struct err *e);

#endif
