/* SPDX-License-Identifier: MIT */
/* Bits in pieces. Bit i is bit i % 8 of byte i / 8, and stands for the guest
 * bytes from i << granularity on. */
#include "format/qcow2_bits.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"
#include "base/zero.h"

#define ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)
#define ENTRY_RESERVED UINT64_C(0xff000000000001fe)
#define ENTRY_ONES UINT64_C(1)

static uint64_t
piece_bits(const struct qcow2_bits *b)
{
	return UINT64_C(8) << b->cluster_bits;
}

static uint64_t
count_of(uint64_t size, unsigned granularity)
{
	return units_div_up(size, UINT64_C(1) << granularity);
}

int
qcow2_bits_new(struct qcow2_bits *b, uint64_t size, unsigned granularity,
	unsigned cluster_bits, struct err *e)
{
	*b = (struct qcow2_bits){
		.size = size,
		.granularity = granularity,
		.cluster_bits = cluster_bits,
	};
	b->n = units_div_up(count_of(size, granularity), piece_bits(b));
	if (b->n << cluster_bits > QCOW2_BITS_MAX)
		return err_set(e, ERR_LIMIT, "the bitmap is too large");
	b->v = calloc(units_max(b->n, 1), sizeof(*b->v));
	return b->v ? 0 : err_set(e, ERR_NOMEM, "out of memory");
}

void
qcow2_bits_free(struct qcow2_bits *b)
{
	for (uint64_t i = 0; b->v && i < b->n; i++)
		free(b->v[i].p);
	free(b->v);
	*b = (struct qcow2_bits){0};
}

/* The piece as bytes that may be changed. */
static uint8_t *
bytes_of(struct qcow2_bits *b, uint64_t i)
{
	struct qcow2_piece *x = &b->v[i];
	size_t len = (size_t)1 << b->cluster_bits;

	if (!x->p) {
		x->p = malloc(len);
		if (x->p)
			memset(x->p, x->ones ? 0xff : 0, len);
	}
	return x->p;
}

/* Sets or clears bits [lo, hi) of piece i. */
static int
fill(struct qcow2_bits *b, uint64_t i, uint64_t lo, uint64_t hi, bool ones,
	struct err *e)
{
	uint8_t *p;

	if (lo == 0 && hi == piece_bits(b)) {
		free(b->v[i].p);
		b->v[i] = (struct qcow2_piece){.ones = ones};
		return 0;
	}
	if (!b->v[i].p && b->v[i].ones == ones)
		return 0;
	p = bytes_of(b, i);
	if (!p)
		return err_set(e, ERR_NOMEM, "out of memory");
	for (; lo < hi && lo % 8; lo++)
		p[lo / 8] = ones ? p[lo / 8] | 1u << lo % 8
			: p[lo / 8] & ~(1u << lo % 8);
	if (hi > lo) {
		memset(p + lo / 8, ones ? 0xff : 0, (hi - lo) / 8);
		lo += (hi - lo) / 8 * 8;
	}
	for (; lo < hi; lo++)
		p[lo / 8] = ones ? p[lo / 8] | 1u << lo % 8
			: p[lo / 8] & ~(1u << lo % 8);
	return 0;
}

static int
set_bits(struct qcow2_bits *b, uint64_t lo, uint64_t hi, struct err *e)
{
	uint64_t per = piece_bits(b);

	while (lo < hi) {
		uint64_t i = lo / per, end = units_min(hi, (i + 1) * per);

		if (fill(b, i, lo - i * per, end - i * per, true, e) < 0)
			return -1;
		lo = end;
	}
	return 0;
}

int
qcow2_bits_mark(struct qcow2_bits *b, uint64_t voff, uint64_t len,
	struct err *e)
{
	if (voff >= b->size || len == 0)
		return 0;
	len = units_min(len, b->size - voff);
	return set_bits(b, voff >> b->granularity,
		count_of(voff + len, b->granularity), e);
}

static int
bad_table(struct err *e)
{
	err_set(e, ERR_CORRUPT, "the bitmap's table is broken");
	if (e)
		e->eno = EINVAL;
	return -1;
}

static int
load_piece(struct qcow2_bits *b, struct file *f, uint64_t i, uint64_t entry,
	struct err *e)
{
	uint64_t hoff = entry & ENTRY_OFFSET, len = UINT64_C(1) <<
		b->cluster_bits;
	uint8_t *p;

	if ((entry & ENTRY_RESERVED) || (hoff & (len - 1)) ||
		(hoff && (entry & ENTRY_ONES)))
		return bad_table(e);
	b->v[i].ones = entry & ENTRY_ONES;
	if (hoff == 0)
		return 0;
	p = bytes_of(b, i);
	if (!p)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (file_read_padded(f, p, len, hoff, NULL, e) < 0)
		return -1;
	if (zero_is(p, len)) {
		free(p);
		b->v[i].p = NULL;
	}
	return 0;
}

/* Bits behind the last one mean nothing: they are cleared. */
static int
cut_tail(struct qcow2_bits *b, struct err *e)
{
	uint64_t bits = count_of(b->size, b->granularity), per = piece_bits(b);

	if (bits % per == 0)
		return 0;
	return fill(b, b->n - 1, bits % per, per, false, e);
}

int
qcow2_bits_load(struct qcow2_bits *b, struct file *f,
	const struct qcow2_header *h, uint64_t size, unsigned granularity,
	uint64_t hoff, uint32_t entries, struct err *e)
{
	CLEANUP(qcow2_bits_free) struct qcow2_bits new = {0};
	CLEANUP_FREE uint8_t *table = NULL;

	if (qcow2_bits_new(&new, size, granularity, h->cluster_bits, e) < 0)
		return -1;
	if (new.n != entries)
		return bad_table(e);
	table = malloc(units_max(new.n, 1) * 8);
	if (!table)
		return err_set(e, ERR_NOMEM, "out of memory");
	if (file_read_padded(f, table, new.n * 8, hoff, NULL, e) < 0)
		return -1;
	for (uint64_t i = 0; i < new.n; i++) {
		if (load_piece(&new, f, i, load_be64(table + i * 8), e) < 0)
			return -1;
	}
	if (cut_tail(&new, e) < 0)
		return -1;
	*b = new;
	new = (struct qcow2_bits){0};
	return 0;
}

/* Bits [lo, hi) of src, in dst. */
static int
merge_run(struct qcow2_bits *dst, const struct qcow2_bits *src, uint64_t lo,
	uint64_t hi, struct err *e)
{
	uint64_t from = lo << src->granularity;
	uint64_t to = units_min(hi << src->granularity, src->size);

	return set_bits(dst, from >> dst->granularity,
		count_of(to, dst->granularity), e);
}

static bool
bit(const uint8_t *p, uint64_t i)
{
	return p[i / 8] >> i % 8 & 1;
}

static int
merge_piece(struct qcow2_bits *dst, const struct qcow2_bits *src, uint64_t i,
	struct err *e)
{
	uint64_t per = piece_bits(src), at = 0, from;
	const uint8_t *p = src->v[i].p;

	if (!p)
		return src->v[i].ones ? merge_run(dst, src, i * per,
			units_min((i + 1) * per,
				count_of(src->size, src->granularity)), e) : 0;
	while (at < per) {
		if (at % 8 == 0 && p[at / 8] == 0) {
			at += 8;
			continue;
		}
		if (!bit(p, at)) {
			at++;
			continue;
		}
		for (from = at; at < per && bit(p, at); at++)
			;
		if (merge_run(dst, src, i * per + from, i * per + at, e) < 0)
			return -1;
	}
	return 0;
}

int
qcow2_bits_merge(struct qcow2_bits *dst, const struct qcow2_bits *src,
	struct err *e)
{
	for (uint64_t i = 0; i < src->n; i++) {
		if (merge_piece(dst, src, i, e) < 0)
			return -1;
	}
	return 0;
}

int
qcow2_bits_resize(struct qcow2_bits *b, uint64_t size, struct err *e)
{
	struct qcow2_bits new;

	if (qcow2_bits_new(&new, size, b->granularity, b->cluster_bits, e) < 0)
		return -1;
	/* what was all ones ended with the old size */
	if (cut_tail(b, e) < 0) {
		qcow2_bits_free(&new);
		return -1;
	}
	for (uint64_t i = 0; i < units_min(new.n, b->n); i++) {
		new.v[i] = b->v[i];
		b->v[i].p = NULL;
	}
	qcow2_bits_free(b);
	*b = new;
	return cut_tail(b, e);
}
