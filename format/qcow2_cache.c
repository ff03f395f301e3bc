/* SPDX-License-Identifier: MIT */
/*
 * Table bytes of one file, in pages. Knows nothing of what the tables mean. A
 * fixed number of pages is kept, so that an L1 of 32 MiB or a million L2
 * tables cost the same memory; the least recently used page of a set goes.
 *
 * Pages are as large as a cluster where that is sensible: with small clusters
 * tables and data alternate, and larger pages would read the data twice.
 */
#include "format/qcow2.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/ck.h"
#include "base/cleanup.h"
#include "base/units.h"

#define PAGE_MIN (4 * KIB)
#define PAGE_MAX (64 * KIB)
#define WAYS 4u

struct slot {
	uint64_t key;   /* page number + 1; 0: empty */
	uint64_t stamp; /* when it was last used */
	uint8_t *page;  /* owned; NULL until the slot's first use */
};

struct qcow2_cache {
	struct file *file;
	uint64_t file_size; /* bytes, when the cache was opened */
	uint64_t end;       /* file_size rounded up to a cluster */
	bool lenient;
	unsigned page_bits;
	unsigned set_bits;
	/* guards what follows, and is held while a page is read */
	pthread_mutex_t mutex;
	uint64_t clock;
	struct slot *slots; /* WAYS << set_bits; owned */
};

int
qcow2_cache_open(struct qcow2_cache **ret, struct file *f,
	uint64_t cluster_size, bool lenient, struct err *e)
{
	CLEANUP_FREE struct qcow2_cache *c = calloc(1, sizeof(*c));
	uint64_t page = units_max(PAGE_MIN, units_min(PAGE_MAX, cluster_size));
	uint64_t slots = QCOW2_CACHE_BYTES / page;

	if (!c)
		return err_set(e, ERR_NOMEM, "no memory for a table cache");
	c->file = f;
	c->file_size = f->size;
	if (!ck_align_up(f->size, cluster_size, &c->end))
		c->end = f->size;
	c->lenient = lenient;
	c->page_bits = (unsigned)__builtin_ctzll(page);
	c->set_bits = (unsigned)__builtin_ctzll(slots / WAYS);
	c->slots = calloc(slots, sizeof(*c->slots));
	if (!c->slots)
		return err_set(e, ERR_NOMEM, "no memory for a table cache");
	pthread_mutex_init(&c->mutex, NULL);
	*ret = TAKE_PTR(c);
	return 0;
}

void
qcow2_cache_close(struct qcow2_cache *c)
{
	size_t i;

	if (!c)
		return;
	for (i = 0; i < (size_t)WAYS << c->set_bits; i++)
		free(c->slots[i].page);
	free(c->slots);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

static int
load_page(struct qcow2_cache *c, struct slot *s, uint64_t number,
	struct err *e)
{
	uint64_t hoff = number << c->page_bits, want = 0;
	size_t len = (size_t)1 << c->page_bits, got = 0;

	if (!s->page) {
		s->page = buf_alloc_aligned(len);
		if (!s->page)
			return err_set(e, ERR_NOMEM,
				"no memory for a table page");
	}
	s->key = 0;
	if (hoff < c->file_size)
		want = units_min(len, c->file_size - hoff);
	if (want && file_read_padded(c->file, s->page, len, hoff, &got, e))
		return -1;
	if (got < want)
		return err_set(e, ERR_CORRUPT, "the file was cut short while "
			"it was read (tables at %" PRIu64 ", %" PRIu64
			" bytes expected)", hoff, c->file_size);
	if (want == 0)
		memset(s->page, 0, len);
	s->key = number + 1;
	return 0;
}

/* The slot that holds the page; NULL with *e filled. */
static struct slot *
find_page(struct qcow2_cache *c, uint64_t number, struct err *e)
{
	/* Fibonacci hashing: L2 tables lie at regular distances */
	uint64_t hash = number * UINT64_C(0x9e3779b97f4a7c15);
	struct slot *set = c->slots + (hash >> (64 - c->set_bits)) * WAYS;
	struct slot *oldest = set;
	unsigned i;

	for (i = 0; i < WAYS; i++) {
		if (set[i].key == number + 1) {
			set[i].stamp = ++c->clock;
			return &set[i];
		}
		if (set[i].stamp < oldest->stamp)
			oldest = &set[i];
	}
	if (load_page(c, oldest, number, e))
		return NULL;
	oldest->stamp = ++c->clock;
	return oldest;
}

static int
read_locked(struct qcow2_cache *c, uint64_t hoff, uint8_t *out, size_t len,
	struct err *e)
{
	uint64_t mask = (UINT64_C(1) << c->page_bits) - 1;

	while (len) {
		struct slot *s = find_page(c, hoff >> c->page_bits, e);
		size_t n = (size_t)units_min(len, mask + 1 - (hoff & mask));

		if (!s)
			return -1;
		memcpy(out, s->page + (hoff & mask), n);
		out += n;
		hoff += n;
		len -= n;
	}
	return 0;
}

int
qcow2_cache_read(struct qcow2_cache *c, uint64_t hoff, void *out, size_t len,
	struct err *e)
{
	uint64_t end;
	size_t inside = len;
	int r;

	if (!ck_add(hoff, len, &end) || end > c->end) {
		if (!c->lenient)
			return err_set(e, ERR_CORRUPT, "table bytes at %" PRIu64
				" lie past the end of the file (%" PRIu64
				" bytes)", hoff, c->file_size);
		inside = hoff < c->end ? (size_t)(c->end - hoff) : 0;
		memset((uint8_t *)out + inside, 0, len - inside);
	}
	pthread_mutex_lock(&c->mutex);
	r = read_locked(c, hoff, out, inside, e);
	pthread_mutex_unlock(&c->mutex);
	return r;
}
