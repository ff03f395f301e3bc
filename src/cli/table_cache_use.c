/* SPDX-License-Identifier: MIT */
/* What the cache's commands can be told that make disks, and that clean. */
#include "config.h"

#include "cli/table.h"

#include "base/units.h"
#include "cli/table_cache_rows.h"

static const struct options_spec spawn_rows[] = {
	ROWS_STORE,
	TEXT(0, "size", size, ON_BYRE, "SIZE",
		"of the disk (default, and 0: the image's)"),
	ROWS_SOURCE,
	FLAG(0, "overlay", overlay, ON_BYRE,
		"a qcow2 on the base (the default)"),
	FLAG(0, "sized-base", sized_base, ON_BYRE,
		"a qcow2 on an extended copy of the base"),
	FLAG(0, "flat", flat, ON_BYRE,
		"a raw copy, by reflink where that is possible"),
	FLAG(0, "resize-fs", resize_fs, ON_BYRE,
		"let a bare ext file system in a copy grow too"),
	FLAG(0, "preallocate", preallocate, ON_BYRE,
		"reserve the room that the whole disk can need"),
	FLAG(0, "verify", verify, ON_BYRE,
		"read the base and compare its digest before"),
	ROW_PROGRESS,
	ROW_LOG,
	ROW_JSON,
	ROW_QUIET,
};

const struct options_table table_cache_spawn = {
	"cache spawn", "Makes an instance's disk from a base.", "ID TARGET",
	spawn_rows, COUNT_OF(spawn_rows)};

static const struct options_spec blank_rows[] = {
	ROWS_STORE,
	TEXT(0, "size", size, ON_BYRE, "SIZE",
		"whole MiB for swap, whole GiB for ephemeral"),
	TEXT(0, "fs", fs, ON_BYRE, "FS",
		"file system of an ephemeral disk (default: ext4)"),
	TEXT(0, "label", label, ON_BYRE, "LABEL",
		"its label (default: ephemeral0)"),
	ROW_LOG,
	ROW_QUIET,
};

const struct options_table table_cache_blank = {
	"cache blank", "Makes an empty swap area or file system a base.",
	"swap|ephemeral", blank_rows, COUNT_OF(blank_rows)};

static const struct options_spec clean_rows[] = {
	ROWS_STORE,
	ROW_ROOTS,
	FLAG(0, "dry-run", dry_run, ON_BYRE,
		"touch nothing, say what would be done and why"),
	TEXT(0, "min-age", min_age, ON_BYRE, "AGE",
		"keep what was used since: 90s, 5m, 24h (default), 7d, never"),
	TEXT(0, "min-age-resized", min_age_resized, ON_BYRE, "AGE",
		"the same for extended copies (default: 1h)"),
	TEXT(0, "budget", budget, ON_BYRE, "SIZE",
		"remove more until the bases take no more on disk"),
	TEXT(0, "high", high, ON_BYRE, "PERCENT",
		"remove more where the file system is fuller than this"),
	TEXT(0, "low", low, ON_BYRE, "PERCENT", "until it is as full as this"),
	LIST(0, "in-use", used, ON_BYRE, "ID",
		"an image that is in use all the same (repeatable)"),
	LIST(0, "unused", unused, ON_BYRE, "ID",
		"an image that no other host uses (repeatable)"),
	ROW_HOST,
	ROW_IGNORE_DISK,
	ROW_LOG,
	ROW_JSON,
	ROW_QUIET,
};

const struct options_table table_cache_clean = {
	"cache clean", "Removes bases that nobody uses, and leftovers.", "",
	clean_rows, COUNT_OF(clean_rows)};
