/* SPDX-License-Identifier: MIT */
/* Running byre-fetch, and holding its digests against what is expected. */
#ifndef CLI_FETCH_H
#define CLI_FETCH_H

#include "base/watch.h"
#include "cache/ensure.h"
#include "cli/options.h"

struct fetch {
	const char *source;           /* a path, or "-" */
	struct ensure_digests expect; /* lower-case hex; "": not expected */
	uint64_t limit;               /* most bytes; 0: none */
	const struct watch *watch;
};

/* --expect ALGO:HEX, every one of them. */
int fetch_expect(const struct options_list *l, struct ensure_digests *ret,
	struct err *e);
/* ensure_request's fetch; arg is a struct fetch. A digest that differs is
 * ERR_MISMATCH. */
int fetch_run(void *arg, int fd, struct ensure_digests *ret, struct err *e);

#endif
