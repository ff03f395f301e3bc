/* SPDX-License-Identifier: MIT */
/* A growable byte string. Allocation failure is sticky: append freely, test
 * once with buf_failed(). */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct buf {
	char *p;    /* always NUL-terminated when not NULL; owned */
	size_t len; /* without the NUL */
	size_t cap;
	bool failed;
};

#define BUF_INIT ((struct buf){0})

void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_fmt(struct buf *b, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void buf_vfmt(struct buf *b, const char *fmt, va_list ap);
/* Makes room for len more bytes (zeroed) and returns them; NULL on failure.
 * Valid until the next append. */
void *buf_grow(struct buf *b, size_t len);
void buf_clear(struct buf *b);
void buf_free(struct buf *b); /* also the CLEANUP function */
static inline bool
buf_failed(const struct buf *b)
{
	return b->failed;
}
/* Gives the string away (never NULL unless failed; "" when empty). */
char *buf_take(struct buf *b);

/* Page-aligned memory for I/O; freed with free(). NULL on failure. */
void *buf_alloc_aligned(size_t len);
/* *p has room for want bytes at least, or gets new room, without its content. */
int buf_ensure_aligned(uint8_t **p, size_t *cap, size_t want, struct err *e);

#endif
