/* SPDX-License-Identifier: MIT */
/* The tables of options: what each command can be told. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/options.h"

extern const struct options_table table_cache_blank;
extern const struct options_table table_cache_clean;
extern const struct options_table table_cache_ensure;
extern const struct options_table table_cache_list;
extern const struct options_table table_cache_pin;
extern const struct options_table table_cache_purge;
extern const struct options_table table_cache_spawn;
extern const struct options_table table_cache_status;
extern const struct options_table table_cache_unpin;
extern const struct options_table table_cache_verify;
extern const struct options_table table_check;
extern const struct options_table table_commit;
extern const struct options_table table_compare;
extern const struct options_table table_amend;
extern const struct options_table table_bitmap;
extern const struct options_table table_convert;
extern const struct options_table table_create;
extern const struct options_table table_dd;
extern const struct options_table table_digest;
extern const struct options_table table_info;
extern const struct options_table table_inspect;
extern const struct options_table table_map;
extern const struct options_table table_measure;
extern const struct options_table table_rebase;
extern const struct options_table table_resize;
extern const struct options_table table_snapshot;

#endif
