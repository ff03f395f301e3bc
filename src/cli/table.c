/* SPDX-License-Identifier: MIT */
/*
 * The tables of options. Letters are qemu-img's; long names of the native
 * commands are those of newer qemu-img releases where there are any. A row
 * says who takes it: qemu-img 7.2 knows few long names, and the front knows
 * what 7.2 knows, plus --untrusted.
 */
#include "config.h"

#include "cli/table.h"

#include "base/units.h"
#include "cli/table_rows.h"

static const struct options_spec convert_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	FLAG(0, "target-image-opts", target_image_opts, BOTH,
		"the target's name is a list, as with --image-opts (needs -n)"),
	TEXT('f', "source-format", format, ON_BYRE | ON_QEMU, "FMT",
		"format of the sources: raw or qcow2 (default: detect)"),
	TEXT('O', "target-format", output_format, ON_BYRE | ON_QEMU, "FMT",
		"format of the target: raw (default) or qcow2"),
	LIST('o', "target-format-options", options, ON_BYRE | ON_QEMU,
		"LIST", "options of the target: NAME=VALUE,... or help"),
	FLAG('c', "compress", compress, ON_BYRE | ON_QEMU,
		"compress the target (qcow2)"),
	TEXT('B', "backing", backing, ON_BYRE | ON_QEMU, "FILE",
		"backing file of the target, of the sources' content"),
	TEXT('b', NULL, backing, ON_BYRE | ON_QEMU, "FILE", "the same as -B"),
	TEXT('F', "backing-format", backing_format, ON_BYRE | ON_QEMU, "FMT",
		"format of the backing file"),
	TEXT('l', "snapshot", snapshot, ON_BYRE | ON_QEMU, "SNAPSHOT",
		"read this internal snapshot of the source"),
	TEXT('S', "sparse-size", sparse, ON_BYRE | ON_QEMU, "SIZE",
		"zeros shorter than SIZE are written (default 4k; 0: all)"),
	FLAG('n', "no-create", no_create, ON_BYRE | ON_QEMU,
		"write into a target that exists"),
	FLAG(0, "target-is-zero", target_is_zero, BOTH,
		"the existing target reads as zeros (needs -n)"),
	TEXT('t', "target-cache", cache, ON_BYRE | ON_QEMU, "MODE",
		"the target's cache mode: none and directsync use O_DIRECT"),
	TEXT('T', "source-cache", source_cache, ON_BYRE | ON_QEMU, "MODE",
		"the sources' cache mode: none and directsync use O_DIRECT"),
	ROW_WORKERS(ON_BYRE | ON_QEMU),
	FLAG('W', "oob-writes", out_of_order, ON_BYRE | ON_QEMU,
		"writes may happen out of order (accepted; always so)"),
	ROW_FORCE_SHARE,
	FLAG('C', "copy-range-offloading", copy_range, ON_BYRE | ON_QEMU,
		"let the kernel copy; no zeros are looked for"),
	TEXT('r', "rate-limit", rate_limit, ON_BYRE | ON_QEMU, "RATE",
		"most bytes per second"),
	FLAG(0, "salvage", salvage, BOTH,
		"what cannot be read becomes zeros, with a warning"),
	FLAG(0, "bitmaps", bitmaps, BOTH,
		"copy the source's bitmaps (qcow2)"),
	FLAG(0, "skip-broken-bitmaps", skip_broken_bitmaps, BOTH,
		"with --bitmaps: leave out inconsistent ones"),
	TEXT(0, "level", level, ON_BYRE, "N",
		"compression level (default: the codec's own)"),
	TEXT(0, "deflate-window", deflate_window, ON_BYRE, "SIZE",
		"4k (default) or 32k: denser and faster"),
	FLAG(0, "digest", digest, ON_BYRE,
		"print the content digest of the target"),
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_MAX_SIZE,
	ROW_LENIENT,
	ROW_UNTRUSTED,
	ROW_ENGINE,
	ROW_PROGRESS,
	ROW_PROGRESS_FD,
	ROW_QUIET,
};

const struct options_table table_convert = {
	"convert", "Makes a raw or qcow2 image of one or more images.",
	"SRC... DST", convert_rows, COUNT_OF(convert_rows)};

static const struct options_spec create_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",
		"raw (default) or qcow2"),
	LIST('o', "options", options, ON_BYRE | ON_QEMU, "LIST",
		"options of the format: NAME=VALUE,... or help"),
	TEXT('b', "backing", backing, ON_BYRE | ON_QEMU, "FILE",
		"backing file (qcow2)"),
	TEXT('F', "backing-format", backing_format, ON_BYRE | ON_QEMU, "FMT",
		"format of the backing file"),
	TEXT('B', NULL, backing_format, ON_BYRE, "FMT", "the same as -F"),
	FLAG('u', "backing-unsafe", unsafe_backing, ON_BYRE | ON_QEMU,
		"do not open the backing file"),
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
	ROW_QUIET,
};

const struct options_table table_create = {
	"create", "Makes a new, empty image: raw, qcow2 or an overlay.",
	"FILE [SIZE]", create_rows, COUNT_OF(create_rows)};

static const struct options_spec digest_rows[] = {
	ROW_HELP,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, ON_BYRE, "FMT",
		"raw or qcow2 (default: detect)"),
	TEXT('l', "snapshot", snapshot, ON_BYRE, "SNAPSHOT",
		"digest this internal snapshot"),
	TEXT(0, "output", output, ON_BYRE, "FORM", "human or json"),
	ROW_FORCE_SHARE,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_MAX_SIZE,
	ROW_LENIENT,
	ROW_WORKERS(ON_BYRE),
	ROW_ENGINE,
	ROW_PROGRESS,
	ROW_PROGRESS_FD,
	ROW_QUIET,
};

const struct options_table table_digest = {
	"digest", "Prints a digest of what a guest reads from the images.",
	"FILE...", digest_rows, COUNT_OF(digest_rows)};

static const struct options_spec info_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",
		"raw or qcow2 (default: detect)"),
	TEXT(0, "output", output, BOTH, "FORM", "human or json"),
	FLAG(0, "backing-chain", backing_chain, BOTH,
		"show the whole backing chain"),
	ROW_FORCE_SHARE,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
};

const struct options_table table_info = {
	"info", "Says what an image says of itself.", "FILE", info_rows,
	COUNT_OF(info_rows)};

static const struct options_spec inspect_rows[] = {
	ROW_HELP,
	TEXT('f', "format", format, ON_BYRE, "FMT",
		"the format it is declared to have"),
	TEXT(0, "output", output, ON_BYRE, "FORM", "human or json"),
	FLAG(0, "deep", deep, ON_BYRE, "walk the tables too"),
	ROW_MAX_SIZE,
	ROW_FORCE_SHARE,
};

const struct options_table table_inspect = {
	"inspect", "Says whether an image is safe to use, and why not.",
	"FILE", inspect_rows, COUNT_OF(inspect_rows)};

static const struct options_spec resize_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",
		"raw or qcow2 (needed where the content is not plain raw)"),
	TEXT(0, "preallocation", preallocation, BOTH, "MODE",
		"off, metadata, falloc or full, for the new part"),
	FLAG(0, "shrink", shrink, BOTH, "making it smaller is meant"),
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
	ROW_QUIET,
};

const struct options_table table_resize = {
	"resize", "Changes an image's virtual size in place.",
	"FILE [+|-]SIZE", resize_rows, COUNT_OF(resize_rows)};
