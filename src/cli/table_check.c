/* SPDX-License-Identifier: MIT */
/* What check can be told. */
#include "config.h"

#include "cli/table.h"

#include "base/units.h"
#include "cli/table_rows.h"

static const struct options_spec check_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, BOTH, "FMT",
		"raw or qcow2 (default: detect)"),
	TEXT('r', "repair", repair, BOTH, "WHAT",
		"mend leaks, or all that can be mended"),
	TEXT(0, "output", output, BOTH, "FORM", "human or json"),
	TEXT('T', "cache", source_cache, ON_BYRE | ON_QEMU, "MODE",
		"unsafe: do not wait for the disk; others are durable"),
	ROW_FORCE_SHARE,
	ROW_UNTRUSTED,
	ROW_QUIET,
};

const struct options_table table_check = {
	"check", "Checks an image's tables, and mends them.", "FILE",
	check_rows, COUNT_OF(check_rows)};
