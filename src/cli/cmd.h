/* SPDX-License-Identifier: MIT */
/* The native commands: each takes its parsed arguments and returns the exit
 * status. What they say goes through report.h. */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "cli/options.h"

int cmd_cache_blank(struct options_args *a);
int cmd_cache_clean(struct options_args *a);
int cmd_cache_ensure(struct options_args *a);
int cmd_cache_list(struct options_args *a);
int cmd_cache_pin(struct options_args *a);
int cmd_cache_purge(struct options_args *a);
int cmd_cache_spawn(struct options_args *a);
int cmd_cache_status(struct options_args *a);
int cmd_cache_unpin(struct options_args *a);
int cmd_cache_verify(struct options_args *a);
int cmd_check(struct options_args *a);
int cmd_commit(struct options_args *a);
int cmd_compare(struct options_args *a);
int cmd_amend(struct options_args *a);
int cmd_bitmap(struct options_args *a);
int cmd_convert(struct options_args *a);
int cmd_create(struct options_args *a);
int cmd_dd(struct options_args *a);
int cmd_digest(struct options_args *a);
int cmd_info(struct options_args *a);
int cmd_inspect(struct options_args *a);
int cmd_map(struct options_args *a);
int cmd_measure(struct options_args *a);
int cmd_rebase(struct options_args *a);
int cmd_resize(struct options_args *a);
int cmd_snapshot(struct options_args *a);

#endif
