/* SPDX-License-Identifier: MIT */
/* Which commands `byre cache` has. What they do is in a file each. */
#include "config.h"

#include "cli/cmd_cache.h"

#include <string.h>

#include "base/units.h"
#include "cli/cmd.h"
#include "cli/table.h"

static const struct cmd_cache commands[] = {
	{"blank", &table_cache_blank, cmd_cache_blank},
	{"clean", &table_cache_clean, cmd_cache_clean},
	{"ensure", &table_cache_ensure, cmd_cache_ensure},
	{"list", &table_cache_list, cmd_cache_list},
	{"pin", &table_cache_pin, cmd_cache_pin},
	{"purge", &table_cache_purge, cmd_cache_purge},
	{"spawn", &table_cache_spawn, cmd_cache_spawn},
	{"status", &table_cache_status, cmd_cache_status},
	{"unpin", &table_cache_unpin, cmd_cache_unpin},
	{"verify", &table_cache_verify, cmd_cache_verify},
};

const struct cmd_cache *
cmd_cache_find(const char *name)
{
	unsigned i;

	for (i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

void
cmd_cache_names(struct buf *out)
{
	unsigned i;

	for (i = 0; i < COUNT_OF(commands); i++)
		buf_fmt(out, "%s\n", commands[i].name);
}

void
cmd_cache_usage(struct buf *out)
{
	unsigned i;

	buf_str(out, "usage: byre cache COMMAND [options] [arguments]\n"
		     "       byre cache COMMAND --help\n"
		     CMD_CACHE_SUMMARY "\n\n");
	for (i = 0; i < COUNT_OF(commands); i++)
		buf_fmt(out, "  %-9s %s\n", commands[i].name,
			commands[i].table->summary);
}

/* Whether one of the commands before number `end` has that row. */
static bool
shown(const struct options_spec *row, unsigned end)
{
	unsigned i, k;

	for (i = 0; i < end; i++) {
		const struct options_table *t = commands[i].table;

		for (k = 0; k < t->n; k++)
			if (t->v[k].letter == row->letter && t->v[k].name &&
				row->name &&
				strcmp(t->v[k].name, row->name) == 0)
				return true;
	}
	return false;
}

void
cmd_cache_options(struct buf *out)
{
	unsigned i, k;

	for (i = 0; i < COUNT_OF(commands); i++) {
		const struct options_table *t = commands[i].table;

		for (k = 0; k < t->n; k++) {
			struct options_table one = {.v = &t->v[k], .n = 1};

			if (!shown(&t->v[k], i))
				options_list_all(&one, out);
		}
	}
}
