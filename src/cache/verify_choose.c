/* SPDX-License-Identifier: MIT */
/* Which bases are to be verified, and which of them first. */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cache/verify.h"

static bool
is_base(const struct entry *n)
{
	return n->regular && layout_is_base(n->layout.kind);
}

/* Marks what a word stands for; a name comes before an id. */
static int
choose(const struct entries *l, const char *word, bool *chosen, struct err *e)
{
	char image[LAYOUT_NAME];
	bool any = false;
	size_t i;

	for (i = 0; i < l->n; i++) {
		if (strcmp(l->v[i].name, word) != 0 || !is_base(&l->v[i]))
			continue;
		chosen[i] = true;
		return 0;
	}
	if (layout_image(word, image, e))
		return -1;
	for (i = 0; i < l->n; i++) {
		if (strcmp(l->v[i].layout.image, image) != 0 ||
			!is_base(&l->v[i]))
			continue;
		chosen[i] = true;
		any = true;
	}
	if (any)
		return 0;
	err_sys(e, ENOENT, "there is no base of that name or image");
	return err_file(e, word);
}

static int
by_need(const void *a, const void *b)
{
	const struct entry *const *pa = a, *const *pb = b;
	const struct entry *x = *pa, *y = *pb;
	bool began_x = x->recorded && x->record.verify_at;
	bool began_y = y->recorded && y->record.verify_at;
	int64_t at_x = x->recorded ? x->record.verified : 0;
	int64_t at_y = y->recorded ? y->record.verified : 0;

	if (began_x != began_y)
		return began_x ? -1 : 1;
	if (at_x != at_y)
		return at_x < at_y ? -1 : 1;
	return strcmp(x->name, y->name);
}

int
verify_choose(const struct entries *l, const char *const *words,
	size_t n_words, const struct entry ***ret, size_t *ret_n,
	struct err *e)
{
	bool *chosen = calloc(l->n + 1, sizeof(*chosen));
	const struct entry **v = calloc(l->n + 1, sizeof(*v));
	size_t i, n = 0;
	int bad = 0;

	if (!chosen || !v)
		bad = err_sys(e, ENOMEM, "cannot list the bases");
	for (i = 0; !bad && i < n_words; i++)
		bad = choose(l, words[i], chosen, e);
	for (i = 0; !bad && i < l->n; i++)
		if (n_words ? chosen[i] : is_base(&l->v[i]))
			v[n++] = &l->v[i];
	free(chosen);
	if (bad) {
		free(v);
		return -1;
	}
	if (n)
		qsort(v, n, sizeof(*v), by_need);
	*ret = v;
	*ret_n = n;
	return 0;
}
