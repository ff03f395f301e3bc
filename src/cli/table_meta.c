/* SPDX-License-Identifier: MIT */
/* Options of the commands that change what an image says, not what the guest
 * has written. */
#include "config.h"

#include "cli/table.h"

#include "base/units.h"
#include "cli/table_rows.h"

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
