/* SPDX-License-Identifier: MIT */
/*
 * The leaves of a content digest beside its record: collected while the digest
 * is made, written in one piece, and believed only when they add up to it.
 */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "cache/record_int.h"

#define MAGIC "byrelvs1"
#define HEADER 32
#define SUMMED 24 /* bytes of the header that its sum covers */

void
record_leaves_free(struct record_leaves *l)
{
	free(l->v);
	*l = (struct record_leaves){0};
}

static bool
append(struct record_tap *t, const struct digest_value *leaf)
{
	if (t->leaves.n == t->cap) {
		uint64_t cap = t->cap ? t->cap * 2 : 1024;
		struct digest_value *v = realloc(t->leaves.v,
			(size_t)cap * sizeof(*v));

		if (!v)
			return false;
		t->leaves.v = v;
		t->cap = cap;
	}
	t->leaves.v[t->leaves.n++] = *leaf;
	return true;
}

void
record_tap_leaf(void *arg, const struct digest_value *leaf, uint64_t zeros)
{
	struct record_tap *t = arg;
	struct digest_value zero;

	if (t->overflow)
		return;
	if (!leaf) {
		/* most are behind the last block that counts */
		t->zeros += zeros;
		return;
	}
	if (t->zeros >= RECORD_LEAVES_MAX ||
		t->leaves.n + t->zeros >= RECORD_LEAVES_MAX) {
		t->overflow = true;
		record_leaves_free(&t->leaves);
		return;
	}
	if (t->zeros)
		zero = digest_leaf("", 0);
	for (; t->zeros && !t->overflow; t->zeros--)
		t->overflow = !append(t, &zero);
	if (t->overflow || !append(t, leaf)) {
		t->overflow = true;
		record_leaves_free(&t->leaves);
	}
}

/* Over the start of the header and the leaves. */
static uint64_t
sum(const uint8_t *head, const struct record_leaves *l)
{
	uint8_t both[SUMMED + 8];

	memcpy(both, head, SUMMED);
	store_be64(both + SUMMED, digest_xxh64(l->v ? l->v->b : both,
		l->n * 16));
	return digest_xxh64(both, sizeof(both));
}

static int
check_head(const uint8_t *head, uint64_t size, struct err *e)
{
	uint64_t n = load_be64(head + 16);

	if (memcmp(head, MAGIC, 8) != 0 || load_be64(head + 8) != DIGEST_BLOCK)
		return err_set(e, ERR_FORMAT, "has another header");
	if (n > RECORD_LEAVES_MAX || size != HEADER + 16 * n)
		return err_set(e, ERR_CORRUPT, "%" PRIu64 " leaves in %" PRIu64
			" bytes", n, size);
	return 0;
}

static int
check_root(const struct record_leaves *l, const struct digest_value *root,
	struct err *e)
{
	struct digest_value v;
	struct digest d;
	uint64_t i;

	digest_init(&d);
	for (i = 0; i < l->n; i++)
		digest_add_leaf(&d, &l->v[i]);
	v = digest_root(&d);
	if (memcmp(v.b, root->b, sizeof(v.b)) != 0)
		return err_set(e, ERR_MISMATCH,
			"the leaves are not those of the record's digest");
	return 0;
}

static int
load(struct file *f, const struct digest_value *root,
	struct record_leaves *l, struct err *e)
{
	uint8_t head[HEADER];

	if (f->size < HEADER)
		return err_set(e, ERR_CORRUPT, "is %" PRIu64 " bytes long",
			f->size);
	if (file_read(f, head, HEADER, 0, e) || check_head(head, f->size, e))
		return -1;
	l->n = load_be64(head + 16);
	l->v = malloc(l->n ? (size_t)l->n * 16 : 1);
	if (!l->v)
		return err_sys(e, ENOMEM, "cannot read the leaves");
	if (file_read(f, l->v, (size_t)l->n * 16, HEADER, e))
		return -1;
	if (sum(head, l) != load_be64(head + SUMMED))
		return err_set(e, ERR_CORRUPT, "its sum does not match");
	return check_root(l, root, e);
}

int
record_leaves_load(const struct store *s, const char *name,
	const struct digest_value *root, struct record_leaves *ret,
	bool *ret_there, const struct watch *w, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	struct record_leaves l = {0};
	struct err why = {0};
	char file[RECORD_NAME];

	if (record_name(name, RECORD_LVS, file, e))
		return -1;
	if (record_open(s, file, HEADER + 16 * RECORD_LEAVES_MAX, &f, &why) ||
		(f && load(f, root, &l, &why))) {
		record_leaves_free(&l);
		if (why.kind == ERR_IO || why.kind == ERR_NOMEM) {
			if (e)
				*e = why;
			return -1;
		}
		record_note(name, RECORD_LVS, why.msg, w);
		*ret_there = false;
		return 0;
	}
	*ret_there = f != NULL;
	if (f)
		*ret = l;
	return 0;
}

int
record_leaves_store(const struct store *s, const char *name,
	const struct record_leaves *l, struct err *e)
{
	CLEANUP(file_close_p) struct file *f = NULL;
	uint8_t head[HEADER] = MAGIC;
	struct store_stage st;
	char file[RECORD_NAME];
	int bad;

	if (record_name(name, RECORD_LVS, file, e))
		return -1;
	store_be64(head + 8, DIGEST_BLOCK);
	store_be64(head + 16, l->n);
	store_be64(head + SUMMED, sum(head, l));
	if (store_stage_open(s, file, &st, e))
		return -1;
	bad = file_from_fd(&f, st.fd, file, e) ||
		file_write(f, head, HEADER, 0, e) ||
		(l->n && file_write(f, l->v, (size_t)l->n * 16, HEADER, e)) ||
		record_replace(s, &st, file, e);
	store_stage_drop(s, &st);
	return bad ? -1 : 0;
}
