/* SPDX-License-Identifier: MIT */
/*
 * The one error type of the house. It lives on the caller's stack, never
 * allocates, and is filled by whoever meets the fault first. Printing it is
 * the business of src/cli alone.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdint.h>

enum err_kind {
	ERR_NONE,
	ERR_IO,          /* the kernel said no; eno says why */
	ERR_NOMEM,
	ERR_FORMAT,      /* not an image of that format, or not parseable */
	ERR_CORRUPT,     /* parseable, but its parts contradict each other */
	ERR_UNSUPPORTED, /* valid, but a feature this program lacks */
	ERR_LIMIT,       /* a named limit is exceeded */
	ERR_DENIED,      /* the safe policy refuses it */
	ERR_BUSY,        /* somebody else holds a lock */
	ERR_MISMATCH,    /* two things that must agree do not */
	ERR_USAGE,       /* the caller asked for something contradictory */
	ERR_CANCELLED,
};

/*
 * file: name of the file at fault, escaped for a terminal; "" if none.
 * msg:  one line without the file's name, without strerror and without a
 *       final full stop; hostile strings in it are escaped (err_quote).
 * eno:  errno value or 0; the printer appends ": strerror(eno)".
 */
struct err {
	enum err_kind kind;
	int eno;
	char file[256];
	char msg[512];
};

/* Both fill *e (e may be NULL) and return -1, so that an error path is one
 * line. No file is named yet. */
int err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* kind is ERR_IO, or ERR_NOMEM when eno is ENOMEM. */
int err_sys(struct err *e, int eno, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Names the file at fault unless an inner call already did; returns -1. */
int err_file(struct err *e, const char *name);

/* Puts text (and ": ") in front of the message; returns -1. */
int err_prefix(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Escapes len bytes of s into out (cap >= 8 bytes, always terminated):
 * control bytes, DEL, backslash, quotes and bytes >= 0x80 that are not valid
 * UTF-8 become \xNN; longer strings end in "...". Returns out. */
char *err_quote(char *out, unsigned cap, const void *s, unsigned len);

/* The whole error as one line, "FILE: MSG: STRERROR", into out. */
char *err_text(const struct err *e, char *out, unsigned cap);

const char *err_kind_name(enum err_kind kind);

#endif
