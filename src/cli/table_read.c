/* SPDX-License-Identifier: MIT */
/* The options of the commands that tell about images and compare them. */
#include "config.h"

#include "cli/table.h"

#include "base/units.h"
#include "cli/table_rows.h"

#define ROW_FORMAT                                                             \
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",                  \
		"raw or qcow2 (default: detect)")
#define ROW_OUTPUT TEXT(0, "output", output, BOTH, "FORM", "human or json")

static const struct options_spec map_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, BOTH, "FMT",
		"raw or qcow2 (default: detect)"),
	TEXT('s', "start-offset", start, BOTH, "OFFSET",
		"begin at this guest byte"),
	TEXT('l', "max-length", length, BOTH, "LEN",
		"so many guest bytes at most"),
	ROW_OUTPUT,
	ROW_FORCE_SHARE,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_MAX_SIZE,
	ROW_UNTRUSTED,
};

const struct options_table table_map = {
	"map", "Says where the guest's bytes are.", "FILE", map_rows,
	COUNT_OF(map_rows)};

static const struct options_spec compare_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "a-format", format, ON_BYRE | ON_QEMU, "FMT",
		"format of the first image (default: detect)"),
	TEXT('F', "b-format", second_format, ON_BYRE | ON_QEMU, "FMT",
		"format of the second image (default: detect)"),
	FLAG('s', "strict", strict, ON_BYRE | ON_QEMU,
		"sizes and what is allocated must agree, too"),
	TEXT('T', "cache", source_cache, ON_BYRE | ON_QEMU, "MODE",
		"the images' cache mode: none and directsync use O_DIRECT"),
	ROW_FORCE_SHARE,
	ROW_WORKERS(ON_BYRE),
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_MAX_SIZE,
	ROW_LENIENT,
	ROW_UNTRUSTED,
	ROW_PROGRESS,
	ROW_PROGRESS_FD,
	ROW_QUIET,
};

const struct options_table table_compare = {
	"compare", "Says whether two images hold the same.", "FILE1 FILE2",
	compare_rows, COUNT_OF(compare_rows)};

static const struct options_spec measure_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	ROW_FORMAT,
	TEXT('O', "target-format", output_format, ON_BYRE | ON_QEMU, "FMT",
		"format of the new image: raw (default) or qcow2"),
	LIST('o', "target-format-options", options, ON_BYRE | ON_QEMU,
		"LIST", "options of the new image: NAME=VALUE,..."),
	TEXT('l', "snapshot", snapshot, ON_BYRE | ON_QEMU, "SNAPSHOT",
		"measure this internal snapshot of the image"),
	TEXT('s', "size", size, ON_BYRE | ON_QEMU_LONG, "SIZE",
		"measure an empty image of SIZE instead of one that exists"),
	ROW_OUTPUT,
	ROW_FORCE_SHARE,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_MAX_SIZE,
	ROW_UNTRUSTED,
};

const struct options_table table_measure = {
	"measure", "Says how large a new image would be.", "[FILE]",
	measure_rows, COUNT_OF(measure_rows)};

static const struct options_spec dd_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	ROW_FORMAT,
	TEXT('O', "output-format", output_format, ON_BYRE | ON_QEMU, "FMT",
		"format of the target: raw (default) or qcow2"),
	ROW_FORCE_SHARE,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_MAX_SIZE,
	ROW_LENIENT,
	ROW_UNTRUSTED,
	FLAG('p', "progress", progress, ON_BYRE, "show progress"),
	ROW_PROGRESS_FD,
	FLAG('q', "quiet", quiet, ON_BYRE, "print nothing but errors"),
};

const struct options_table table_dd = {
	"dd", "Copies blocks of an image into a new one.",
	"if=FILE of=FILE [bs=SIZE] [count=N] [skip=N]", dd_rows,
	COUNT_OF(dd_rows)};
