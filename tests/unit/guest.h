/* SPDX-License-Identifier: MIT */
/* What the guest sees of a small image, by way of extents; and a shell. */
#ifndef UNIT_GUEST_H
#define UNIT_GUEST_H

#include <check.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/image.h"

static inline bool
guest_has_qemu(void)
{
	return system("qemu-img --version >/dev/null 2>&1 && "
		"qemu-io --version >/dev/null 2>&1") == 0;
}

__attribute__((format(printf, 1, 2))) static inline void
guest_sh(const char *fmt, ...)
{
	char cmd[4096];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	ck_assert_msg(system(cmd) == 0, "%s", cmd);
}

static inline struct image *
guest_open(const char *name, unsigned flags)
{
	struct file *f;
	struct image *im;
	struct err e;
	char text[1024];

	ck_assert_msg(file_open(&f, -100, name, FILE_READ, &e) == 0, "%s",
		err_text(&e, text, sizeof(text)));
	ck_assert_msg(image_open(&im, f, FORMAT_PROBE, flags, NULL, &e) == 0,
		"%s", err_text(&e, text, sizeof(text)));
	return im;
}

/* Executes one extent that lies in a file. */
static inline void
guest_run(struct file *f, const struct extent *x, uint8_t *to)
{
	struct codec codec;
	struct err e = {0};
	char text[1024];
	uint8_t *packed, *plain;
	size_t got;

	/* ck_assert writes to a pipe each time: only where it would fail */
	if (x->kind == EXTENT_DATA) {
		if (x->hlen != x->len ||
			file_read(f, to, x->len, x->hoff, &e))
			ck_abort_msg("%s", err_text(&e, text, sizeof(text)));
		return;
	}
	if (x->kind != EXTENT_PACKED)
		return;
	packed = malloc(x->hlen);
	plain = malloc(x->plen);
	if (x->poff + x->len > x->plen ||
		file_read_padded(f, packed, x->hlen, x->hoff, &got, &e) ||
		codec_open(&codec, x->codec, NULL, &e) ||
		codec_unpack(&codec, packed, got, plain, x->plen, &e))
		ck_abort_msg("%s", err_text(&e, text, sizeof(text)));
	codec_close(&codec);
	memcpy(to, plain + x->poff, x->len);
	free(packed);
	free(plain);
}

/* The guest's bytes, asked for in windows; to be freed. */
static inline uint8_t *
guest_read(struct image *im, uint64_t window, size_t cap)
{
	uint8_t *buf = calloc(1, im->size + 1);
	uint64_t at = 0;
	struct extent x[64];
	struct err e;
	char text[1024];
	size_t n, i;

	ck_assert_uint_le(cap, 64);
	while (at < im->size) {
		uint64_t len = window < im->size - at ? window : im->size - at;

		if (image_describe(im, at, len, x, cap, &n, &e))
			ck_abort_msg("%s", err_text(&e, text, sizeof(text)));
		for (i = 0; i < n; i++) {
			guest_run(x[i].file ? im->data_file : im->file, &x[i],
				buf + at);
			at += x[i].len;
		}
	}
	return buf;
}

/* The same as the raw file says? */
static inline void
guest_same(struct image *im, const char *raw, uint64_t window, size_t cap)
{
	uint8_t *a = guest_read(im, window, cap), *b;
	FILE *f = fopen(raw, "rb");

	ck_assert_ptr_nonnull(f);
	b = calloc(1, im->size + 1);
	ck_assert_uint_eq(fread(b, 1, im->size + 1, f), im->size);
	fclose(f);
	for (uint64_t i = 0; i < im->size; i++)
		if (a[i] != b[i])
			ck_abort_msg("byte %llu: %02x, %s has %02x",
				(unsigned long long)i, a[i], raw, b[i]);
	free(a);
	free(b);
}

#endif
