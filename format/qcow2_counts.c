/* SPDX-License-Identifier: MIT */
/* The pages and the index of what does not fit. Pure memory. */
#include "format/qcow2_counts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

#define WIDE QCOW2_COUNTS_VALUE

int
qcow2_counts_open(struct qcow2_counts *c, uint64_t n, unsigned order,
	struct err *e)
{
	*c = (struct qcow2_counts){
		.max = order == 6 ? UINT64_MAX
			: (UINT64_C(1) << (1u << order)) - 1,
	};
	c->limit = (unsigned)units_min(c->max, WIDE - 1);
	qcow2_index_init(&c->wide);
	return qcow2_counts_grow(c, n, e);
}

void
qcow2_counts_reset(struct qcow2_counts *c)
{
	for (uint64_t i = 0; i < c->n_pages; i++) {
		free(c->page[i]);
		c->page[i] = NULL;
	}
	qcow2_index_free(&c->wide);
}

void
qcow2_counts_close(struct qcow2_counts *c)
{
	qcow2_counts_reset(c);
	free(c->page);
	*c = (struct qcow2_counts){0};
}

int
qcow2_counts_grow(struct qcow2_counts *c, uint64_t n, struct err *e)
{
	/* one to spare: the last cluster may lie behind the file's end */
	uint64_t pages = (n >> QCOW2_COUNTS_PAGE_BITS) + 1;
	uint8_t **v;

	if (pages > c->n_pages) {
		v = realloc(c->page, pages * sizeof(*v));
		if (!v)
			return err_set(e, ERR_NOMEM, "no memory for the counts "
				"of %" PRIu64 " clusters", n);
		memset(v + c->n_pages, 0, (pages - c->n_pages) * sizeof(*v));
		c->page = v;
		c->n_pages = pages;
	}
	c->n = n;
	return 0;
}

static int
byte_at(struct qcow2_counts *c, uint64_t clu, uint8_t **ret, struct err *e)
{
	uint8_t **p = &c->page[clu >> QCOW2_COUNTS_PAGE_BITS];

	if (!*p)
		*p = calloc(1, QCOW2_COUNTS_PAGE);
	if (!*p)
		return err_set(e, ERR_NOMEM, "no memory for counts");
	*ret = *p + (clu & (QCOW2_COUNTS_PAGE - 1));
	return 0;
}

uint64_t
qcow2_counts_get(const struct qcow2_counts *c, uint64_t clu)
{
	unsigned v = qcow2_counts_byte(c, clu) & QCOW2_COUNTS_VALUE;

	return v == WIDE ? *qcow2_index_find(&c->wide, clu) : v;
}

static int
store(struct qcow2_counts *c, uint64_t clu, uint8_t *p, uint64_t value,
	struct err *e)
{
	unsigned flags = *p & ~QCOW2_COUNTS_VALUE;
	uint64_t *wide;

	if (value >= WIDE) {
		/* one that was wide once keeps its place */
		wide = qcow2_index_find(&c->wide, clu);
		if (wide)
			*wide = value;
		else if (qcow2_index_add(&c->wide, clu, value, e))
			return -1;
		value = WIDE;
	}
	*p = (uint8_t)(flags | value);
	return 0;
}

int
qcow2_counts_set(struct qcow2_counts *c, uint64_t clu, uint64_t value,
	struct err *e)
{
	uint8_t *p;

	if (value == 0 && qcow2_counts_byte(c, clu) == 0)
		return 0;
	return byte_at(c, clu, &p, e) ? -1 : store(c, clu, p, value, e);
}

int
qcow2_counts_add(struct qcow2_counts *c, uint64_t clu, uint64_t times,
	unsigned flags, uint64_t *ret_over, struct err *e)
{
	uint64_t old, fit;
	uint8_t *p;

	if (byte_at(c, clu, &p, e))
		return -1;
	*p |= (uint8_t)flags;
	old = qcow2_counts_get(c, clu);
	fit = units_min(times, c->max - old);
	*ret_over = times - fit;
	return fit ? store(c, clu, p, old + fit, e) : 0;
}
