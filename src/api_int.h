/* SPDX-License-Identifier: MIT */
/* Between the files of the public API only. */
#ifndef API_INT_H
#define API_INT_H

#include "byre.h"
#include "base/err.h"
#include "base/watch.h"
#include "format/gate.h"
#include "op/source.h"

struct api_policy {
	struct byre_policy p;
	struct gate gate;
};

/* Passes an inner error on; returns -1. */
int api_fail(struct byre_error *to, const struct err *e);
/* The caller's policy, or the default. */
int api_take_policy(struct api_policy *to, const struct byre_policy *from,
	struct byre_error *e);
/* *ret_no_backing may be NULL. */
int api_take_source(struct source *to, bool *ret_no_backing,
	const struct byre_source *from, struct byre_error *e);
int api_take_watch(struct watch *to, const struct byre_watch *from,
	struct byre_error *e);

/* A struct of options, of this or an older version, into `to`, which holds
 * the defaults and is `known` bytes long. What a newer one has beyond that
 * must be zero: else BYRE_USAGE with what. */
int api_take_options(void *to, size_t known, const void *from,
	const char *what, struct byre_error *e);

#endif
