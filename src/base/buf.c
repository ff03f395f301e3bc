/* SPDX-License-Identifier: MIT */
/*
 * Growth by doubling, with room for the NUL kept at all times. After the first
 * failed allocation every append is a no-op, so callers test once at the end.
 */
#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUF_FIRST 64
#define BUF_PAGE 4096

static bool
reserve(struct buf *b, size_t len)
{
	size_t need, cap;
	char *p;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, len, &need) || need >= SIZE_MAX / 2) {
		b->failed = true;
		return false;
	}
	if (b->p && need < b->cap)
		return true;
	for (cap = b->cap ? b->cap : BUF_FIRST; cap <= need;)
		cap *= 2;
	p = realloc(b->p, cap);
	if (!p) {
		b->failed = true;
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

void *
buf_grow(struct buf *b, size_t len)
{
	char *at;

	if (!reserve(b, len))
		return NULL;
	at = b->p + b->len;
	memset(at, 0, len + 1);
	b->len += len;
	return at;
}

void
buf_add(struct buf *b, const void *bytes, size_t len)
{
	if (!reserve(b, len))
		return;
	if (len)
		memcpy(b->p + b->len, bytes, len);
	b->len += len;
	b->p[b->len] = '\0';
}

void
buf_str(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void
buf_char(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void
buf_vfmt(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		b->failed = true;
	else if (reserve(b, (size_t)n)) {
		vsnprintf(b->p + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void
buf_fmt(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_vfmt(b, fmt, ap);
	va_end(ap);
}

void
buf_clear(struct buf *b)
{
	b->len = 0;
	if (b->p)
		b->p[0] = '\0';
}

void
buf_free(struct buf *b)
{
	free(b->p);
	*b = BUF_INIT;
}

char *
buf_take(struct buf *b)
{
	char *p;

	if (!reserve(b, 0))
		return NULL;
	b->p[b->len] = '\0';
	p = b->p;
	*b = BUF_INIT;
	return p;
}

void *
buf_alloc_aligned(size_t len)
{
	void *p;

	return posix_memalign(&p, BUF_PAGE, len ? len : 1) == 0 ? p : NULL;
}

int
buf_ensure_aligned(uint8_t **p, size_t *cap, size_t want, struct err *e)
{
	uint8_t *v;

	if (*cap >= want)
		return 0;
	v = buf_alloc_aligned(want);
	if (!v)
		return err_set(e, ERR_NOMEM, "no memory for %zu bytes", want);
	free(*p);
	*p = v;
	*cap = want;
	return 0;
}
