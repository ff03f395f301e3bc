/* SPDX-License-Identifier: MIT */
/* What the native commands say, and the exit status that goes with it. */
#ifndef CLI_REPORT_H
#define CLI_REPORT_H

#include "base/buf.h"
#include "base/err.h"

enum report_exit {
	REPORT_OK = 0,
	REPORT_FAILED = 1, /* also: refused */
	REPORT_USAGE = 2,
};

/* The command whose name goes in front of every line. */
void report_command(const char *name);
/* The command line is good and the operation starts: faults from here on are
 * about the images, also those of kind ERR_USAGE. */
void report_started(void);
/* "byre: COMMAND: FILE: MESSAGE", one line on stderr. Returns the status. */
int report_error(const struct err *e);
/* The same for what the command line has wrong; REPORT_USAGE. */
int report_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void report_warning(const char *line);
/* A line as a check prints it. */
void report_found(const char *line);
/* Writes out to stdout and flushes it; a failure is an error. Frees out. */
int report_output(struct buf *out);

#endif
