/* SPDX-License-Identifier: MIT */
/*
 * The options of QEMU's block nodes that only tune it (caches, AIO, overlap
 * checks and the like). They have no effect here, but a value that QEMU refuses
 * is refused, in its words.
 */
#ifndef CLI_NODEOPTS_H
#define CLI_NODEOPTS_H

#include "base/parse.h"
#include "format/probe.h"

/* key, without its prefix, is an option of a file's node, or of a format's
 * (FORMAT_PROBE: of one that is not known yet). */
bool nodeopts_of_file(const char *key);
bool nodeopts_of_format(const char *key, enum format format);

/* All of them in o that begin with prefix ("", "file.", "data-file."). Those
 * that are given twice count the second time. */
int nodeopts_check_file(const struct parse_opts *o, const char *prefix,
	struct err *e);
int nodeopts_check_format(const struct parse_opts *o, enum format format,
	struct err *e);
/* What depends on the image in path, which is opened only for that; one that
 * cannot be read is somebody else's fault. */
int nodeopts_check_image(const struct parse_opts *o, const char *path,
	enum format format, struct err *e);

#endif
