/* SPDX-License-Identifier: MIT */
/* Another backing file for an overlay. */
#ifndef OP_REBASE_H
#define OP_REBASE_H

#include <stdbool.h>
#include <stdint.h>

#include "io/engine.h"
#include "op/inplace.h"

struct rebase_request {
	struct inplace_request image; /* the overlay */
	const char *backing;   /* as it is stored; NULL or "": none */
	const char *backing_format; /* needed with backing */
	/* the header alone: neither chain is opened, and the guest sees what
	 * the new one has */
	bool only_header;
	bool force_share;      /* the new chain is read without locks */
	bool durable;
	enum engine_kind engine;
	unsigned workers;
};

enum rebase_stage {
	REBASE_OPEN,   /* the overlay and its chain */
	REBASE_NEW,    /* the new backing file and its chain */
	REBASE_COPY,
	REBASE_HEADER, /* the change of the name, or what forbids it */
};

struct rebase_result {
	enum format format;   /* of the overlay */
	enum rebase_stage stage; /* which it ended in; also on failure */
	uint64_t bytes_data;  /* guest bytes written as data */
};

/*
 * What the overlay does not hold itself is compared between the two chains,
 * but for what both take from the same place, and goes into the overlay where
 * it differs; then the name is changed. The guest sees the same all the time.
 * *ret is filled on failure too. An overlay that is no qcow2 is
 * ERR_UNSUPPORTED with errno ENOTSUP; a missing format ERR_USAGE.
 */
int rebase_run(const struct rebase_request *rq, struct rebase_result *ret,
	struct err *e);

#endif
