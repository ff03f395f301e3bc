/* SPDX-License-Identifier: MIT */
/* How a row of a table is written, and the rows that several commands share.
 * For the table files alone. */
#ifndef CLI_TABLE_ROWS_H
#define CLI_TABLE_ROWS_H

#include <stddef.h>

#include "cli/options.h"

#define AT(field) offsetof(struct options_args, field)
#define FLAG(letter, name, field, where, help)                                 \
	{letter, name, OPTIONS_FLAG, AT(field), where, NULL, help}
#define TEXT(letter, name, field, where, arg, help)                            \
	{letter, name, OPTIONS_TEXT, AT(field), where, arg, help}
#define LIST(letter, name, field, where, arg, help)                            \
	{letter, name, OPTIONS_LIST, AT(field), where, arg, help}
#define STEP(letter, name, field, where, help)                                 \
	{letter, name, OPTIONS_STEP, AT(field), where, NULL, help}
#define STEP_TEXT(letter, name, field, where, arg, help)                       \
	{letter, name, OPTIONS_STEP_TEXT, AT(field), where, arg, help}
#define BOTH (ON_BYRE | ON_FRONT)

/* rows that several commands share */
#define ROW_HELP FLAG('h', "help", help, BOTH, "show this help")
#define ROW_QUIET                                                              \
	FLAG('q', "quiet", quiet, ON_BYRE | ON_QEMU,                           \
		"print nothing but errors")
#define ROW_OBJECT                                                             \
	LIST(0, "object", objects, ON_QEMU_LONG, "OBJECT",                     \
		"refused: objects carry secrets of encrypted images")
#define ROW_IMAGE_OPTS                                                         \
	FLAG(0, "image-opts", image_opts, BOTH,                                \
		"names of sources are lists: driver=FMT,file.filename=FILE")
#define ROW_FORCE_SHARE                                                        \
	FLAG('U', "force-share", force_share, BOTH,                            \
		"read an image that others may be writing")
#define ROW_UNTRUSTED                                                          \
	FLAG(0, "untrusted", untrusted, ON_QEMU_LONG,                          \
		"apply the safe policy to the sources")
#define ROW_TRUSTED                                                            \
	FLAG(0, "trusted", trusted, ON_BYRE,                                   \
		"no safe policy: follow references anywhere")
#define ROW_ALLOW                                                              \
	LIST(0, "allow-backing", allow_backing, ON_BYRE, "DIR",                \
		"references may resolve beneath DIR (repeatable)")
#define ROW_MAX_SIZE                                                           \
	TEXT(0, "max-size", max_size, ON_BYRE, "SIZE",                         \
		"refuse images larger than SIZE")
#define ROW_LENIENT                                                            \
	FLAG(0, "lenient", lenient, ON_BYRE,                                   \
		"references past the end of a file read as zeros")
#define ROW_ENGINE                                                             \
	TEXT(0, "engine", engine, ON_BYRE, "ENGINE",                           \
		"auto, uring or threads")
#define ROW_WORKERS(where)                                                     \
	TEXT('m', "workers", workers, where, "N",                              \
		"worker threads (default: one per CPU)")
#define ROW_PROGRESS                                                           \
	FLAG('p', "progress", progress, ON_BYRE | ON_QEMU, "show progress")
#define ROW_PROGRESS_FD                                                        \
	TEXT(0, "progress-fd", progress_fd, ON_BYRE, "N",                      \
		"write progress as JSON lines to file descriptor N")

#endif
