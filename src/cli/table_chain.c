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

static const struct options_spec rebase_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",
		"format of the overlay: qcow2"),
	TEXT('b', "backing", backing, ON_BYRE | ON_QEMU, "FILE",
		"the new backing file, as it is stored; \"\" for none"),
	TEXT('F', "backing-format", backing_format, ON_BYRE | ON_QEMU, "FMT",
		"format of the new backing file"),
	TEXT('B', NULL, backing_format, ON_BYRE, "FMT", "the same as -F"),
	FLAG('u', "backing-unsafe", unsafe_backing, ON_BYRE | ON_QEMU,
		"change the name alone, open no backing file"),
	TEXT('t', "cache", cache, ON_QEMU, "MODE",
		"how the overlay is written: writeback, none, unsafe ..."),
	TEXT('T', "source-cache", source_cache, ON_QEMU, "MODE",
		"how the backing files are read"),
	ROW_FORCE_SHARE,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
	ROW_WORKERS(ON_BYRE),
	ROW_ENGINE,
	ROW_PROGRESS,
	ROW_PROGRESS_FD,
	ROW_QUIET,
};

const struct options_table table_rebase = {
	"rebase", "Gives an overlay another backing file.", "FILE",
	rebase_rows, COUNT_OF(rebase_rows)};
