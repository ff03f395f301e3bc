/* SPDX-License-Identifier: MIT */
/*
 * From argv to struct options_args by way of a table, and from a table to the
 * texts that people and shells read. Knows nothing of what an option means;
 * the tables are in table.c, the meanings with the commands.
 */
#include "config.h"

#include "cli/options.h"

#include <assert.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define LONG_BASE 256 /* getopt's answer for row i by its long name */

static int
list_add(struct options_list *l, const char *s)
{
	const char **v = realloc(l->v, (l->n + 1) * sizeof(*v));

	if (!v)
		return -1;
	v[l->n] = s;
	l->v = v;
	l->n++;
	return 0;
}

static int
take(const struct options_spec *s, struct options_args *a, const char *value)
{
	char *at = (char *)a + s->at;

	switch (s->kind) {
	case OPTIONS_FLAG:
		*(bool *)at = true;
		return 0;
	case OPTIONS_TEXT:
		*(const char **)at = value;
		return 0;
	case OPTIONS_LIST:
		return list_add((struct options_list *)at, value);
	case OPTIONS_STEP:
		return list_add((struct options_list *)at, s->name);
	case OPTIONS_STEP_TEXT:
		return list_add((struct options_list *)at, s->name) ||
			list_add((struct options_list *)at, value);
	}
	return -1;
}

static bool
takes_value(const struct options_spec *s)
{
	return s->kind != OPTIONS_FLAG && s->kind != OPTIONS_STEP;
}

struct scanner {
	char letters[2 * OPTIONS_MAX + 3];
	struct option names[OPTIONS_MAX + 1];
};

/* The leading colon makes getopt tell a missing argument from an unknown
 * option. */
static void
scanner_build(const struct options_table *t, bool front, struct scanner *s)
{
	unsigned by_letter = front ? ON_QEMU : ON_BYRE;
	unsigned by_name = front ? ON_QEMU_LONG : ON_BYRE;
	unsigned i, nl = 0, nn = 0;

	assert(t->n <= OPTIONS_MAX);
	memset(s, 0, sizeof(*s));
	s->letters[nl++] = ':';
	for (i = 0; i < t->n; i++) {
		const struct options_spec *o = &t->v[i];

		if (o->letter && o->where & by_letter) {
			s->letters[nl++] = o->letter;
			if (takes_value(o))
				s->letters[nl++] = ':';
		}
		if (o->name && o->where & by_name)
			s->names[nn++] = (struct option){
				.name = o->name,
				.has_arg = takes_value(o),
				.val = LONG_BASE + (int)i,
			};
	}
}

static const struct options_spec *
row_of(const struct options_table *t, bool front, int c)
{
	unsigned i;

	if (c >= LONG_BASE)
		return &t->v[c - LONG_BASE];
	for (i = 0; i < t->n; i++)
		if (t->v[i].letter == c &&
			t->v[i].where & (front ? ON_QEMU : ON_BYRE))
			return &t->v[i];
	return NULL;
}

enum options_end
options_parse(const struct options_table *t, bool front, int argc,
	char **argv, struct options_args *ret, const char **ret_word)
{
	struct scanner s;
	const struct options_spec *o;
	int c;

	scanner_build(t, front, &s);
	opterr = 0;
	optind = 0; /* glibc: start over */
	while ((c = getopt_long(argc, argv, s.letters, s.names, NULL)) != -1) {
		*ret_word = argv[optind - 1];
		if (c == ':')
			return OPTIONS_MISSING;
		if (c == '?')
			return optopt >= LONG_BASE ? OPTIONS_EXCESS
						   : OPTIONS_UNKNOWN;
		o = row_of(t, front, c);
		if (!o || take(o, ret, optarg))
			return OPTIONS_NOMEM;
		if (ret->help)
			return OPTIONS_HELP;
	}
	for (; optind < argc; optind++)
		if (list_add(&ret->operands, argv[optind]))
			return OPTIONS_NOMEM;
	return OPTIONS_DONE;
}

int
options_operand(struct options_args *a, const char *word)
{
	return list_add(&a->operands, word);
}

void
options_free(struct options_args *a)
{
	free(a->options.v);
	free(a->steps.v);
	free(a->objects.v);
	free(a->allow_backing.v);
	free(a->expected.v);
	free(a->roots.v);
	free(a->ignore_disks.v);
	free(a->used.v);
	free(a->unused.v);
	free(a->hosts.v);
	free(a->operands.v);
	*a = (struct options_args){0};
}

void
options_help(const struct options_table *t, struct buf *out)
{
	struct buf left = BUF_INIT;
	unsigned i;

	buf_fmt(out, "usage: byre %s [options] %s\n%s\n\n", t->command,
		t->operands, t->summary);
	for (i = 0; i < t->n; i++) {
		const struct options_spec *o = &t->v[i];

		if (!(o->where & ON_BYRE))
			continue;
		buf_clear(&left);
		if (o->letter)
			buf_fmt(&left, "-%c", o->letter);
		else
			buf_str(&left, "  ");
		if (o->name)
			buf_fmt(&left, "%s--%s", o->letter ? ", " : "  ",
				o->name);
		if (o->arg)
			buf_fmt(&left, "%s%s", o->name ? "=" : " ", o->arg);
		buf_fmt(out, left.len < 30 ? "  %-29s %s\n"
					   : "  %s\n                                "
					     "%s\n",
			left.p, o->help);
	}
	buf_free(&left);
}

void
options_syntax(const struct options_table *t, struct buf *out)
{
	unsigned i;

	buf_fmt(out, "  %s", t->command);
	for (i = 0; i < t->n; i++) {
		const struct options_spec *o = &t->v[i];

		if (!(o->where & ON_FRONT))
			continue;
		if (o->letter && o->where & ON_QEMU)
			buf_fmt(out, " [-%c", o->letter);
		else
			buf_fmt(out, " [--%s", o->name);
		if (o->arg)
			buf_fmt(out, " %s", o->arg);
		buf_char(out, ']');
	}
	buf_fmt(out, " %s\n", t->operands);
}

void
options_list_all(const struct options_table *t, struct buf *out)
{
	unsigned i;

	for (i = 0; i < t->n; i++) {
		const struct options_spec *o = &t->v[i];
		char letter[3] = {'-', o->letter, '\0'};

		if (o->where & ON_BYRE)
			buf_fmt(out, "%s\t%s%s\t%s\t%s\n",
				o->letter ? letter : "", o->name ? "--" : "",
				o->name ? o->name : "", o->arg ? o->arg : "",
				o->help);
	}
}
