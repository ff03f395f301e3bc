/* SPDX-License-Identifier: MIT */
/*
 * One line for one fault. Names and messages come escaped from the library;
 * words of the command line are escaped here.
 */
#include "config.h"

#include "cli/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const char *command_name;
static bool started;

void
report_command(const char *name)
{
	command_name = name;
}

void
report_started(void)
{
	started = true;
}

static void
line(const char *kind, const char *text)
{
	fprintf(stderr, "byre: %s%s%s%s\n", command_name ? command_name : "",
		command_name ? ": " : "", kind, text);
}

int
report_error(const struct err *e)
{
	char text[sizeof(e->file) + sizeof(e->msg) + 128];

	line("", err_text(e, text, sizeof(text)));
	return e->kind == ERR_USAGE && !started ? REPORT_USAGE : REPORT_FAILED;
}

int
report_usage(const char *fmt, ...)
{
	char text[512], quoted[sizeof(text) + 64];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_quote(quoted, sizeof(quoted), text, (unsigned)strlen(text));
	line("", quoted);
	return REPORT_USAGE;
}

void
report_warning(const char *text)
{
	line("warning: ", text);
}

void
report_found(const char *text)
{
	line("", text);
}

int
report_output(struct buf *out)
{
	struct err e = {0};
	int r;

	if (buf_failed(out)) {
		err_set(&e, ERR_NOMEM, "no memory for the output");
		return report_error(&e);
	}
	r = out->len && fwrite(out->p, 1, out->len, stdout) != out->len;
	buf_free(out);
	if (fflush(stdout) || r) {
		err_sys(&e, errno, "cannot write the output");
		return report_error(&e);
	}
	return REPORT_OK;
}
