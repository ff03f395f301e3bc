/* SPDX-License-Identifier: MIT */
/*
 * Runs of status, put together where they say the same, and printed. Numbers
 * are written by hand: a fragmented image has millions of entries.
 */
#include "op/map.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/units.h"

#define SHOWN                                                                  \
	(STATUS_DATA | STATUS_ZERO | STATUS_PLACED | STATUS_PRESENT)
/* Runs between two looks at whether to stop. */
#define RUNS_PER_LOOK 4096

struct walk {
	const struct map_request *rq;
	struct chain *chain;
	struct status_walk *status;
	map_put *put;
	void *arg;
	unsigned shown; /* flags that make a difference */
};

static bool
goes_on(const struct walk *w, const struct map_entry *a,
	const struct status *b)
{
	const struct status *s = &a->s;

	if (s->len == 0 || (s->flags ^ b->flags) & w->shown ||
		s->depth != b->depth || s->file != b->file)
		return false;
	return !(s->flags & STATUS_PLACED) || s->hoff + s->len == b->hoff;
}

static int
walk(struct walk *w, uint64_t end, struct err *e)
{
	struct map_entry curr = {.start = w->rq->start};
	unsigned runs = 0;
	uint64_t at;

	while ((at = curr.start + curr.s.len) < end) {
		struct status s;

		if (++runs % RUNS_PER_LOOK == 0 &&
			watch_cancelled(w->rq->watch))
			return err_set(e, ERR_CANCELLED, "interrupted");
		if (status_map(w->status, at, end - at, &s, e))
			return -1;
		if (goes_on(w, &curr, &s)) {
			curr.s.len += s.len;
			continue;
		}
		if (curr.s.len && w->put(w->arg, &curr, false, e))
			return -1;
		curr = (struct map_entry){.start = at, .s = s};
	}
	return w->put(w->arg, &curr, true, e);
}

int
map_run(const struct map_request *rq, map_put *put, void *arg,
	bool *ret_opened, struct err *e)
{
	CLEANUP(chain_close_p) struct chain *c = NULL;
	CLEANUP(status_close_p) struct status_walk *status = NULL;
	struct walk w = {.rq = rq, .put = put, .arg = arg, .shown = SHOWN};
	struct source s = *rq->source;
	uint64_t end;

	s.verbatim = true;
	if (source_open(&s, rq->gate, false, rq->watch, &c, e))
		return -1;
	if (ret_opened)
		*ret_opened = true;
	if (status_open(&status, c, false, e))
		return -1;
	w.chain = c;
	w.status = status;
	if (rq->split_packed)
		w.shown |= STATUS_PACKED;
	end = c->size;
	if (rq->length < end && rq->start < end - rq->length)
		end = rq->start + rq->length;
	return walk(&w, end, e);
}

static char *
put_text(char *p, const char *s)
{
	size_t n = strlen(s);

	memcpy(p, s, n);
	return p + n;
}

static char *
put_u64(char *p, uint64_t v)
{
	char digits[20];
	unsigned n = 0;

	do {
		digits[n++] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	while (n)
		*p++ = digits[--n];
	return p;
}

static char *
put_bool(char *p, const char *key, bool v)
{
	return put_text(put_text(p, key), v ? "true" : "false");
}

void
map_json(const struct map_entry *x, bool packed, struct buf *out)
{
	/* four numbers of at most 20 digits among 130 bytes of words */
	char text[256], *p = text;
	unsigned f = x->s.flags;

	p = put_u64(put_text(p, "{ \"start\": "), x->start);
	p = put_u64(put_text(p, ", \"length\": "), x->s.len);
	p = put_u64(put_text(p, ", \"depth\": "), x->s.depth);
	p = put_bool(p, ", \"present\": ", (f & STATUS_PRESENT) != 0);
	p = put_bool(p, ", \"zero\": ", (f & STATUS_ZERO) != 0);
	p = put_bool(p, ", \"data\": ", (f & STATUS_DATA) != 0);
	if (packed)
		p = put_bool(p, ", \"compressed\": ",
			(f & STATUS_PACKED) != 0);
	if (f & STATUS_PLACED)
		p = put_u64(put_text(p, ", \"offset\": "), x->s.hoff);
	*p++ = '}';
	buf_add(out, text, (size_t)(p - text));
}

/* As printf's %#-16x: zero has no 0x. */
static void
add_hex(struct buf *out, uint64_t v)
{
	buf_fmt(out, "%#-16" PRIx64, v);
}

int
map_human(const struct map_entry *x, struct buf *out, struct err *e)
{
	unsigned f = x->s.flags;

	if (f & STATUS_DATA && !(f & STATUS_PLACED))
		return err_set(e, ERR_UNSUPPORTED, "File contains external, "
			"encrypted or compressed clusters.");
	if (!(f & STATUS_DATA) || f & STATUS_ZERO)
		return 0;
	add_hex(out, x->start);
	add_hex(out, x->s.len);
	add_hex(out, x->s.hoff);
	buf_fmt(out, "%s\n", x->s.file->name);
	return 0;
}
