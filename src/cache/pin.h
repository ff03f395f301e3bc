/* SPDX-License-Identifier: MIT */
/* Pins: a word in a base's record that clean obeys. */
#ifndef CACHE_PIN_H
#define CACHE_PIN_H

#include "base/watch.h"
#include "cache/journal.h"
#include "cache/store.h"

struct pin_request {
	const struct store *store;
	const char *id;
	bool pinned;  /* or not any more */
	bool wait;
	const struct watch *watch;
	const struct journal *journal;
};

/* A base that is not there is ERR_IO ENOENT; one without a record that
 * describes it is ERR_USAGE. */
int pin_set(const struct pin_request *rq, struct err *e);

#endif
