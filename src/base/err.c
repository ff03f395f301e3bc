/* SPDX-License-Identifier: MIT */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int
fill(struct err *e, enum err_kind kind, int eno, const char *fmt, va_list ap)
{
	if (!e)
		return -1;
	e->kind = kind;
	e->eno = eno;
	e->file[0] = '\0';
	vsnprintf(e->msg, sizeof(e->msg), fmt, ap);
	return -1;
}

int
err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, kind, 0, fmt, ap);
	va_end(ap);
	return -1;
}

int
err_sys(struct err *e, int eno, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(e, eno == ENOMEM ? ERR_NOMEM : ERR_IO, eno, fmt, ap);
	va_end(ap);
	return -1;
}

int
err_file(struct err *e, const char *name)
{
	if (e && e->file[0] == '\0' && name)
		err_quote(e->file, sizeof(e->file), name,
			(unsigned)strlen(name));
	return -1;
}

int
err_prefix(struct err *e, const char *fmt, ...)
{
	char before[sizeof(e->msg) - 2];
	size_t n, old;
	va_list ap;

	if (!e)
		return -1;
	va_start(ap, fmt);
	vsnprintf(before, sizeof(before), fmt, ap);
	va_end(ap);
	n = strlen(before);
	old = strnlen(e->msg, sizeof(e->msg) - 1 - 2 - n);
	memmove(e->msg + n + 2, e->msg, old);
	memcpy(e->msg, before, n);
	memcpy(e->msg + n, ": ", 2);
	e->msg[n + 2 + old] = '\0';
	return -1;
}

/* Length of the valid UTF-8 sequence at p (0 if none); C1 controls, overlong
 * forms and surrogates do not count as valid. */
static unsigned
utf8_len(const unsigned char *p, unsigned left)
{
	unsigned n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	unsigned i;

	if (p[0] < 0xc2 || p[0] > 0xf4 || left < n)
		return 0;
	for (i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xc2 && p[1] < 0xa0) || (p[0] == 0xe0 && p[1] < 0xa0) ||
		(p[0] == 0xed && p[1] >= 0xa0) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90))
		return 0;
	return n;
}

char *
err_quote(char *out, unsigned cap, const void *s, unsigned len)
{
	const unsigned char *p = s;
	unsigned i = 0, o = 0, n;

	while (i < len) {
		/* room for one escape, the dots and the terminator */
		if (o + 8 >= cap) {
			memcpy(out + o, "...", 3);
			o += 3;
			break;
		}
		if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\') {
			out[o++] = (char)p[i++];
			continue;
		}
		n = p[i] >= 0x80 ? utf8_len(p + i, len - i) : 0;
		if (n) {
			memcpy(out + o, p + i, n);
			o += n;
			i += n;
			continue;
		}
		o += (unsigned)snprintf(out + o, 5, "\\x%02x", p[i++]);
	}
	out[o] = '\0';
	return out;
}

char *
err_text(const struct err *e, char *out, unsigned cap)
{
	snprintf(out, cap, "%s%s%s%s%s", e->file, e->file[0] ? ": " : "",
		e->msg, e->eno ? ": " : "", e->eno ? strerror(e->eno) : "");
	return out;
}

const char *
err_kind_name(enum err_kind kind)
{
	static const char *const names[] = {
		[ERR_NONE] = "none",
		[ERR_IO] = "io",
		[ERR_NOMEM] = "nomem",
		[ERR_FORMAT] = "format",
		[ERR_CORRUPT] = "corrupt",
		[ERR_UNSUPPORTED] = "unsupported",
		[ERR_LIMIT] = "limit",
		[ERR_DENIED] = "denied",
		[ERR_BUSY] = "busy",
		[ERR_MISMATCH] = "mismatch",
		[ERR_USAGE] = "usage",
		[ERR_CANCELLED] = "cancelled",
	};

	if ((unsigned)kind >= sizeof(names) / sizeof(names[0]))
		return "unknown";
	return names[kind];
}
