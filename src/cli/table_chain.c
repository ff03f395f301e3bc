/* SPDX-License-Identifier: MIT */
/* The tables of the commands that move data along a backing chain. */
#include "config.h"

#include "base/units.h"
#include "cli/table.h"
#include "cli/table_rows.h"

static const struct options_spec commit_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",
		"format of the overlay: qcow2"),
	TEXT('b', "base", backing, ON_BYRE | ON_QEMU, "FILE",
		"commit down to this file of the chain (implies -d)"),
	FLAG('d', "drop", drop, ON_BYRE | ON_QEMU,
		"leave the overlay as it is"),
	TEXT('t', "cache", cache, ON_QEMU, "MODE",
		"how files are written: writeback, none, unsafe ..."),
	TEXT('r', "rate-limit", rate_limit, ON_BYRE | ON_QEMU, "RATE",
		"most bytes per second"),
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
	ROW_WORKERS(ON_BYRE),
	ROW_ENGINE,
	ROW_PROGRESS,
	ROW_PROGRESS_FD,
	ROW_QUIET,
};

const struct options_table table_commit = {
	"commit", "Writes an overlay's content into the image below it.",
	"FILE", commit_rows, COUNT_OF(commit_rows)};
