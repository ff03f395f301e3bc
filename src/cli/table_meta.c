/* SPDX-License-Identifier: MIT */
/* Options of the commands that change what an image says, not what the guest
 * has written. */
#include "config.h"

#include "cli/table.h"

#include "base/units.h"
#include "cli/table_rows.h"

static const struct options_spec amend_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",
		"raw or qcow2 (needed where the content is not plain raw)"),
	LIST('o', "options", options, ON_BYRE | ON_QEMU, "LIST",
		"what is to be: NAME=VALUE,..."),
	TEXT('t', NULL, cache, ON_QEMU, "MODE", "how the image is written"),
	FLAG(0, "force", lenient, ON_QEMU_LONG,
		"without effect: for encrypted images"),
	ROW_PROGRESS,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
	ROW_QUIET,
};

const struct options_table table_amend = {
	"amend", "Changes options of an existing qcow2.", "FILE", amend_rows,
	COUNT_OF(amend_rows)};

static const struct options_spec bitmap_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	TEXT('f', "format", format, ON_BYRE | ON_QEMU, "FMT",
		"raw or qcow2 (needed where the content is not plain raw)"),
	STEP(0, "add", steps, BOTH, "make the bitmap, with no bit set"),
	STEP(0, "remove", steps, BOTH, "forget the bitmap"),
	STEP(0, "clear", steps, BOTH, "clear all its bits"),
	STEP(0, "enable", steps, BOTH, "writes set bits from now on"),
	STEP(0, "disable", steps, BOTH, "writes leave it alone"),
	STEP_TEXT(0, "merge", steps, BOTH, "OTHER",
		"set the bits that bitmap OTHER has"),
	TEXT('g', "granularity", granularity, BOTH, "SIZE",
		"guest bytes per bit, for --add"),
	TEXT('b', "source-file", source_file, BOTH, "FILE",
		"--merge takes bitmaps of this image"),
	TEXT('F', "source-format", source_format, BOTH, "FMT",
		"format of that image"),
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
	FLAG('q', "quiet", quiet, ON_BYRE, "print nothing but errors"),
};

const struct options_table table_bitmap = {
	"bitmap", "Makes, changes or removes a dirty bitmap.", "FILE BITMAP",
	bitmap_rows, COUNT_OF(bitmap_rows)};

#define ROW_FORMAT                                                             \
	TEXT('f', "format", format, ON_BYRE, "FMT",                            \
		"raw or qcow2 (needed where the content is not plain raw)")

static const struct options_spec snapshot_rows[] = {
	ROW_HELP,
	ROW_OBJECT,
	ROW_IMAGE_OPTS,
	ROW_FORMAT,
	STEP('l', "list", steps, ON_BYRE | ON_QEMU, "list the snapshots"),
	STEP_TEXT('c', "create", steps, ON_BYRE | ON_QEMU, "NAME",
		"keep the disk's state under NAME"),
	STEP_TEXT('a', "apply", steps, ON_BYRE | ON_QEMU, "SNAPSHOT",
		"the disk becomes what it was then"),
	STEP_TEXT('d', "delete", steps, ON_BYRE | ON_QEMU, "NAME",
		"forget the snapshot"),
	ROW_FORCE_SHARE,
	ROW_TRUSTED,
	ROW_ALLOW,
	ROW_UNTRUSTED,
	ROW_QUIET,
};

const struct options_table table_snapshot = {
	"snapshot", "Lists, makes, applies or deletes internal snapshots.",
	"FILE", snapshot_rows, COUNT_OF(snapshot_rows)};
