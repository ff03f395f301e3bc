/* SPDX-License-Identifier: MIT */
/* What the commands of `byre cache` share: the directory, the journal, and
 * the image's id. */
#ifndef CLI_CACHE_H
#define CLI_CACHE_H

#include "cache/journal.h"
#include "cache/store.h"
#include "cli/options.h"

#define CACHE_DIR "/var/lib/nova/instances" /* Nova's instances_path */

/* Opens what --instances (or $BYRE_INSTANCES, or CACHE_DIR), --base-dir and
 * --locks-dir say. create: for commands that change something. */
int cache_open(const struct options_args *a, bool create, struct store *ret,
	struct err *e);
/* --log: events as lines on standard error; none without it. */
int cache_journal(const struct options_args *a, struct journal *ret,
	struct err *e);

#endif
