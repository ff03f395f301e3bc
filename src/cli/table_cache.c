/* SPDX-License-Identifier: MIT */
/* What the cache's commands can be told that keep bases. */
#include "config.h"

#include "cli/table.h"

#include "base/units.h"
#include "cli/table_cache_rows.h"

static const struct options_spec ensure_rows[] = {
	ROWS_STORE,
	ROWS_SOURCE,
	FLAG(0, "kernel", kernel, ON_BYRE,
		"a kernel or ramdisk: kept byte by byte, not looked into"),
	ROW_NO_WAIT,
	ROW_PROGRESS,
	ROW_PROGRESS_FD,
	ROW_LOG,
	ROW_JSON,
	ROW_QUIET,
};

const struct options_table table_cache_ensure = {
	"cache ensure", "Makes an image a base, unless it is one.", "ID",
	ensure_rows, COUNT_OF(ensure_rows)};

static const struct options_spec list_rows[] = {
	ROWS_STORE,
	ROW_ROOTS,
	ROW_JSON,
	ROW_QUIET,
};

const struct options_table table_cache_list = {
	"cache list", "Lists the bases and what is known of them.", "",
	list_rows, COUNT_OF(list_rows)};

const struct options_table table_cache_status = {
	"cache status", "Says how much the bases take, and what is left.", "",
	list_rows, COUNT_OF(list_rows)};

static const struct options_spec pin_rows[] = {
	ROWS_STORE,
	ROW_NO_WAIT,
	ROW_LOG,
	ROW_QUIET,
};

const struct options_table table_cache_pin = {
	"cache pin", "Protects an image's base from being cleaned away.",
	"ID", pin_rows, COUNT_OF(pin_rows)};

const struct options_table table_cache_unpin = {
	"cache unpin", "Takes that protection away.", "ID", pin_rows,
	COUNT_OF(pin_rows)};

static const struct options_spec purge_rows[] = {
	ROWS_STORE,
	ROW_ROOTS,
	ROW_IGNORE_DISK,
	ROW_HOST,
	ROW_NO_WAIT,
	ROW_LOG,
	ROW_QUIET,
};

const struct options_table table_cache_purge = {
	"cache purge", "Removes an image's bases now, unless they are used.",
	"ID", purge_rows, COUNT_OF(purge_rows)};

static const struct options_spec verify_rows[] = {
	ROWS_STORE,
	FLAG(0, "cached", cached, ON_BYRE,
		"be content with what the page cache has"),
	TEXT(0, "rate", rate_limit, ON_BYRE, "SIZE",
		"read no more than that a second"),
	FLAG(0, "repair", mend, ON_BYRE,
		"what is rotten is made anew, or put into quarantine"),
	ROW_FROM,
	ROW_EXPECT,
	ROW_FORMAT,
	ROW_WORKERS(ON_BYRE),
	ROW_ROOTS,
	ROW_IGNORE_DISK,
	ROW_HOST,
	ROW_NO_WAIT,
	ROW_PROGRESS,
	ROW_PROGRESS_FD,
	ROW_LOG,
	ROW_JSON,
	ROW_QUIET,
};

const struct options_table table_cache_verify = {
	"cache verify", "Reads bases and compares them with their digests.",
	"[ID|NAME...]", verify_rows, COUNT_OF(verify_rows)};
