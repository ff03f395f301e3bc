/* SPDX-License-Identifier: MIT */
/* The commands of `byre cache`. */
#ifndef CLI_CMD_CACHE_H
#define CLI_CMD_CACHE_H

#include "base/buf.h"
#include "cli/options.h"

#define CMD_CACHE_SUMMARY                                                      \
	"Keeps a directory of base images, beside a running Nova or alone."

struct cmd_cache {
	const char *name; /* the table's command without "cache " */
	const struct options_table *table;
	int (*run)(struct options_args *a);
};

/* NULL when there is none of that name. */
const struct cmd_cache *cmd_cache_find(const char *name);
void cmd_cache_usage(struct buf *out);
/* Their names, a line each. */
void cmd_cache_names(struct buf *out);
/* The options of all of them, each once, as options_list_all has it. */
void cmd_cache_options(struct buf *out);

#endif
