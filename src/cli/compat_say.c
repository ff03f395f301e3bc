/* SPDX-License-Identifier: MIT */
/*
 * The words of qemu-img: callers match them. The library says what happened
 * and to which file; the sentence around it is put together here. Names are
 * escaped, so that an error stays one line (and its hints).
 */
#include "config.h"

#include "cli/compat.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"

static void
line(const char *fmt, va_list ap)
{
	fputs("qemu-img: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int
compat_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(fmt, ap);
	va_end(ap);
	return 1;
}

int
compat_try(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line(fmt, ap);
	va_end(ap);
	fputs("Try 'qemu-img --help' for more information\n", stderr);
	return 1;
}

void
compat_warn(const char *text)
{
	compat_fail("warning: %s", text);
	if (strstr(text, "must all be considered inconsistent") ||
		strstr(text, "are now considered inconsistent"))
		fputs("Some clusters may be leaked, run 'qemu-img check -r' "
		      "on the image file to fix.", stderr);
}

static void
note(void *arg, const char *line)
{
	(void)arg;
	compat_warn(line);
}

const struct watch compat_notes = {.note = note};

void
compat_found(const char *text, bool named)
{
	if (named)
		compat_fail("%s", text);
	else
		fprintf(stderr, "%s\n", text);
}

bool
compat_is_about(const struct err *e, const char *path)
{
	char q[sizeof(e->file)];

	return path && e->file[0] &&
		strcmp(e->file, err_quote(q, sizeof(q), path,
			(unsigned)strlen(path))) == 0;
}

static bool
starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* What of msg is qemu-img's sentence: values that the library adds behind it
 * in brackets are not. Those of QEMU itself begin with no digit, but for one. */
static int
sentence(const struct err *e, const char *msg)
{
	const char *values = strrchr(msg, '(');
	size_t len = strlen(msg);

	if ((e->kind == ERR_CORRUPT || e->kind == ERR_LIMIT) && values &&
		!starts(msg, "bitmaps_ext: bitmap directory size (") &&
		values > msg && values[-1] == ' ' && values[1] >= '0' &&
		values[1] <= '9' && strchr(values, ')') == msg + len - 1)
		len = (size_t)(values - 1 - msg);
	return (int)len;
}

/* Faults of the snapshot table, for which qemu-img knows a way out. */
static bool
snapshot_fault(const char *msg, struct buf *out)
{
	unsigned n;

	if (sscanf(msg, "snapshot %u: Too much extra metadata", &n) == 1)
		buf_fmt(out, "Too much extra metadata in snapshot table entry "
			"%u\nYou can force-remove this extra metadata with "
			"qemu-img check -r all", n);
	else if (sscanf(msg, "Snapshot table is too big (%u", &n) == 1)
		buf_fmt(out, "Snapshot table is too big\nYou can force-remove "
			"all %u overhanging snapshots with qemu-img check -r "
			"all", n);
	else
		return false;
	return true;
}

#define BACKING "Could not open backing file: "
/* What format/chain puts in front of a fault of an external data file. */
#define DATA_FILE "data file: "

void
compat_text(const struct err *e, bool creating, struct buf *out)
{
	const char *msg = e->msg;
	uint64_t len, at;

	while (starts(msg, BACKING)) {
		buf_str(out, BACKING);
		msg += strlen(BACKING);
		creating = false;
	}
	if (starts(msg, DATA_FILE))
		msg += strlen(DATA_FILE);
	if (e->eno && (starts(msg, "cannot open") ||
			      starts(msg, "cannot create")))
		buf_fmt(out, "Could not %s '%s': %s",
			creating ? "create" : "open", e->file,
			strerror(e->eno));
	else if (starts(msg, "is a directory") && creating)
		buf_fmt(out, "Could not create '%s': %s", e->file,
			strerror(EISDIR));
	else if (e->kind == ERR_FORMAT && starts(msg, "is a"))
		buf_fmt(out, "'file' driver requires '%s' to be a regular file",
			e->file);
	else if (e->eno && sscanf(msg, "cannot write %" SCNu64 " bytes at %"
			SCNu64, &len, &at) == 2)
		buf_fmt(out, "error while writing at byte %" PRIu64 ": %s", at,
			strerror(e->eno));
	else if (e->eno && sscanf(msg, "cannot read %" SCNu64 " bytes at %"
			SCNu64, &len, &at) == 2)
		buf_fmt(out, "error while reading at byte %" PRIu64 ": %s", at,
			strerror(e->eno));
	else if (!snapshot_fault(msg, out))
		buf_fmt(out, "%.*s%s%s", sentence(e, msg), msg,
			e->eno ? ": " : "",
			e->eno ? strerror(e->eno) : "");
	if (e->kind == ERR_BUSY && e->file[0])
		buf_fmt(out, "\nIs another process using the image [%s]?",
			e->file);
}

int
compat_fault(const char *before, const struct err *e, bool creating)
{
	struct buf out = BUF_INIT;

	compat_text(e, creating, &out);
	compat_fail("%s%s", before, buf_failed(&out) ? "out of memory" : out.p);
	buf_free(&out);
	return 1;
}

/* shown is escaped. */
static int
open_failed(const char *shown, const char *path, const struct err *e)
{
	struct buf out = BUF_INIT;

	if (e->kind == ERR_CANCELLED)
		return compat_fault("", e, false);
	buf_fmt(&out, "Could not open '%s': ", shown);
	if (e->file[0] && path && !compat_is_about(e, path) &&
		!starts(e->msg, BACKING) && !starts(e->msg, DATA_FILE))
		buf_str(&out, BACKING);
	compat_text(e, false, &out);
	compat_fail("%s", buf_failed(&out) ? "out of memory" : out.p);
	buf_free(&out);
	fputs(imgopts_hint(e), stderr);
	return 1;
}

int
compat_open_failed(const char *shown, const char *path, const struct err *e)
{
	char q[4096];

	return open_failed(err_quote(q, sizeof(q), shown,
		(unsigned)strlen(shown)), path, e);
}

int
compat_open_failed_below(const struct err *e)
{
	return open_failed(e->file, NULL, e);
}

static void
old_size(const char *text)
{
	char q[64];

	if (parse_size_deprecated(text))
		compat_fail("warning: Using a multiplier suffix on hex numbers "
			"is deprecated: %s", err_quote(q, sizeof(q), text,
				(unsigned)strlen(text)));
}

int
compat_size(const char *text, uint64_t *ret, struct err *e)
{
	if (parse_size(text, ret, e))
		return -1;
	old_size(text);
	return 0;
}

void
compat_old_sizes(const struct imgopts *o)
{
	imgopts_each_size(o, old_size);
}

void
compat_short_forms(const char *list, const char *first)
{
	struct parse_opts o = {0};
	struct err e;
	char q[128];
	size_t i;

	if (parse_opts_add(&o, list, first, &e))
		return;
	for (i = 0; i < o.n; i++) {
		const char *value = o.v[i].value;

		if (!o.v[i].bare)
			continue;
		err_quote(q, sizeof(q), o.v[i].key,
			(unsigned)strlen(o.v[i].key));
		compat_fail("warning: short-form boolean option '%s%s' "
			"deprecated", strcmp(value, "off") ? "" : "no", q);
		fprintf(stderr, "Please use %s=%s instead\n", q, value);
	}
	parse_opts_free(&o);
}

bool
compat_snapshot_failed(const struct err *e)
{
	if (starts(e->msg, "no snapshot"))
		compat_fail("Failed to load snapshot: Can't find snapshot");
	else if (starts(e->msg, "raw images have no snapshots"))
		compat_fail("Failed to load snapshot: Block format 'raw' used "
			"by device '' does not support temporarily loading "
			"internal snapshots");
	else if (starts(e->msg, "Snapshot L1 table"))
		compat_fault("Failed to load snapshot: ", e, false);
	else
		return false;
	return true;
}

void
compat_corrupt(const struct err *e)
{
	const char *msg = e->msg;
	uint64_t voff;
	int n = 0;

	/* what the library says besides */
	if (sscanf(msg, "guest offset %" SCNu64 ": %n", &voff, &n) == 1)
		msg += n;
	if (e->kind == ERR_CORRUPT)
		fprintf(stderr, "qcow2: Image is corrupt: %s; further "
			"non-fatal corruption events will be suppressed\n",
			msg);
}

bool
compat_marked(const struct err *e)
{
	const char *mark = strstr(e->msg, "qcow2: Marking image as corrupt");

	if (!mark)
		return false;
	fprintf(stderr, "%s\n", mark);
	compat_fail("%.*s%s", (int)(mark - e->msg), e->msg,
		strerror(e->eno ? e->eno : EIO));
	return true;
}

int
compat_bad_table(const char *what, const struct err *e)
{
	compat_corrupt(e);
	return compat_fail("%s: %s", what,
		strerror(e->eno ? e->eno : EIO));
}

int
compat_bad_options(const char *before, const struct err *e)
{
	compat_fault(before, e, true);
	fputs(imgopts_hint(e), stderr);
	return 1;
}
