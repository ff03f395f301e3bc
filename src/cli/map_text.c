/* SPDX-License-Identifier: MIT */
/* Separators, and pieces of output of a good size. An entry is printed when
 * the next one is known, as in qemu-img: a bad table ends the output before
 * the entry that it would have bordered. */
#include "config.h"

#include "cli/map_text.h"

#include <errno.h>
#include <stdio.h>

#define PIECE (64 * 1024)

static int
flush(struct map_text *t, struct err *e)
{
	if (buf_failed(&t->out))
		return err_set(e, ERR_NOMEM, "no memory for the output");
	if (t->out.len &&
		fwrite(t->out.p, 1, t->out.len, stdout) != t->out.len)
		return err_sys(e, errno, "cannot write the output");
	buf_clear(&t->out);
	return 0;
}

static void
begin(struct map_text *t)
{
	if (!t->begun)
		buf_str(&t->out, t->json ? "[" : MAP_HUMAN_HEAD);
	t->begun = true;
}

static int
put(struct map_text *t, const struct map_entry *x, bool last, struct err *e)
{
	begin(t);
	if (t->json) {
		map_json(x, t->packed, &t->out);
		buf_str(&t->out, last ? "]\n" : ",\n");
	} else if (map_human(x, &t->out, e)) {
		return -1;
	}
	return t->out.len < PIECE ? 0 : flush(t, e);
}

int
map_text_put(void *arg, const struct map_entry *x, bool last, struct err *e)
{
	struct map_text *t = arg;

	if (put(t, x, last, e)) {
		t->failed = true;
		return -1;
	}
	return 0;
}

int
map_text_end(struct map_text *t, bool opened, struct err *e)
{
	int r;

	if (opened)
		begin(t);
	r = flush(t, e);
	buf_free(&t->out);
	if (r == 0 && fflush(stdout))
		return err_sys(e, errno, "cannot write the output");
	return r;
}
