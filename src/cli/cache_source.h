/* SPDX-License-Identifier: MIT */
/* The source of a base, as the command line names it. */
#ifndef CLI_CACHE_SOURCE_H
#define CLI_CACHE_SOURCE_H

#include "cache/ensure.h"
#include "cli/fetch.h"
#include "cli/options.h"

/*
 * What --from (which is given) and the options that go with it say, and the
 * image's id, the first operand. f is filled in where byre-fetch is needed,
 * and is the request's; its watch is the caller's to set, as are the
 * request's store, watch and journal.
 */
int cache_source(const struct options_args *a, struct ensure_request *rq,
	struct fetch *f, struct err *e);

#endif
