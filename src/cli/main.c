/* SPDX-License-Identifier: MIT */
/*
 * Which program are we, and which command? `qemu-img` by name or by first
 * word is the front (compat.c); all else is native. Nothing is initialised
 * that a command does not ask for.
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/cmd.h"
#include "cli/cmd_cache.h"
#include "cli/compat.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/table.h"

struct command {
	const struct options_table *table;
	int (*run)(struct options_args *a);
};

static const struct command commands[] = {
	{&table_check, cmd_check},
	{&table_commit, cmd_commit},
	{&table_compare, cmd_compare},
	{&table_amend, cmd_amend},
	{&table_bitmap, cmd_bitmap},
	{&table_convert, cmd_convert},
	{&table_create, cmd_create},
	{&table_dd, cmd_dd},
	{&table_digest, cmd_digest},
	{&table_info, cmd_info},
	{&table_inspect, cmd_inspect},
	{&table_map, cmd_map},
	{&table_measure, cmd_measure},
	{&table_rebase, cmd_rebase},
	{&table_resize, cmd_resize},
	{&table_snapshot, cmd_snapshot},
};

static const struct command *
find(const char *name)
{
	unsigned i;

	for (i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(commands[i].table->command, name) == 0)
			return &commands[i];
	return NULL;
}

static int
usage(void)
{
	struct buf out = BUF_INIT;
	unsigned i;

	buf_str(&out, "usage: byre COMMAND [options] [arguments]\n"
		      "       byre COMMAND --help\n"
		      "       byre qemu-img ...   (as qemu-img 7.2)\n"
		      "       byre --version\n\n");
	for (i = 0; i < COUNT_OF(commands); i++)
		buf_fmt(&out, "  %-9s %s\n", commands[i].table->command,
			commands[i].table->summary);
	buf_fmt(&out, "  %-9s %s\n", "cache", CMD_CACHE_SUMMARY);
	return report_output(&out);
}

/* help cache [COMMAND], help --options cache [COMMAND]. */
static int
help_cache(int argc, char **argv, bool list)
{
	struct buf out = BUF_INIT;
	const struct cmd_cache *c;

	if (argc < 2) {
		if (list)
			cmd_cache_options(&out);
		else
			cmd_cache_usage(&out);
		return report_output(&out);
	}
	c = cmd_cache_find(argv[1]);
	if (!c)
		return report_usage("unknown command 'cache %s'", argv[1]);
	if (list)
		options_list_all(c->table, &out);
	else
		options_help(c->table, &out);
	return report_output(&out);
}

/* help [COMMAND]; help --commands [cache] and help --options COMMAND are for
 * shell completion and for tests. */
static int
help(int argc, char **argv)
{
	struct buf out = BUF_INIT;
	const struct command *c;
	bool list = argc > 1 && strcmp(argv[1], "--options") == 0;
	unsigned i;

	if (argc > 2 && strcmp(argv[1], "--commands") == 0 &&
		strcmp(argv[2], "cache") == 0) {
		cmd_cache_names(&out);
		return report_output(&out);
	}
	if (argc > 1 && strcmp(argv[1], "--commands") == 0) {
		for (i = 0; i < COUNT_OF(commands); i++)
			buf_fmt(&out, "%s\n", commands[i].table->command);
		buf_str(&out, "cache\n");
		return report_output(&out);
	}
	if (argc < 2 + list)
		return usage();
	if (strcmp(argv[1 + list], "cache") == 0)
		return help_cache(argc - 1 - list, argv + 1 + list, list);
	c = find(argv[1 + list]);
	if (!c)
		return report_usage("unknown command '%s'", argv[1 + list]);
	if (list)
		options_list_all(c->table, &out);
	else
		options_help(c->table, &out);
	return report_output(&out);
}

/* The last word of resize is its size, though it may look like an option. */
static const char *
take_size(const struct options_table *table, int *argc, char **argv)
{
	const char *last;

	if (table != &table_resize || *argc < 2)
		return NULL;
	last = argv[*argc - 1];
	if (last[0] != '-' || last[1] < '0' || last[1] > '9')
		return NULL;
	(*argc)--;
	return last;
}

static int
run(const struct options_table *table, int (*command)(struct options_args *),
	int argc, char **argv)
{
	struct options_args a = {0};
	struct buf out = BUF_INIT;
	const char *word = "", *size = take_size(table, &argc, argv);
	int status = REPORT_USAGE;

	report_command(table->command);
	switch (options_parse(table, false, argc, argv, &a, &word)) {
	case OPTIONS_DONE:
		if (size && options_operand(&a, size)) {
			report_usage("no memory for the arguments");
			break;
		}
		status = command(&a);
		break;
	case OPTIONS_HELP:
		options_help(table, &out);
		status = report_output(&out);
		break;
	case OPTIONS_UNKNOWN:
		report_usage("unknown option '%s' (see byre %s --help)", word,
			table->command);
		break;
	case OPTIONS_MISSING:
		report_usage("option '%s' needs an argument", word);
		break;
	case OPTIONS_EXCESS:
		report_usage("option '%s' takes no argument", word);
		break;
	case OPTIONS_NOMEM:
		report_usage("no memory for the arguments");
		break;
	}
	options_free(&a);
	/* a command that a signal stopped ends by that signal */
	if (status == REPORT_FAILED)
		signals_leave();
	return status;
}

/* argv[0] is "cache". */
static int
run_cache(int argc, char **argv)
{
	const struct cmd_cache *c;
	struct buf out = BUF_INIT;

	report_command("cache");
	if (argc < 2)
		return report_usage(
			"a command is needed (see byre cache --help)");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		cmd_cache_usage(&out);
		return report_output(&out);
	}
	c = cmd_cache_find(argv[1]);
	if (!c)
		return report_usage(argv[1][0] == '-'
				? "unknown option '%s' (see byre cache --help)"
				: "unknown command '%s' (see byre cache "
				  "--help)", argv[1]);
	return run(c->table, c->run, argc - 1, argv + 1);
}

/* No image may get the number of a stream that is closed: what is said there
 * would be written into it. Opened the wrong way round, using it still fails. */
static void
hold_streams(void)
{
	int i;

	for (i = 0; i <= STDERR_FILENO; i++)
		if (fcntl(i, F_GETFD) < 0 &&
			open("/dev/null", i ? O_RDONLY : O_WRONLY) != i)
			return;
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *self = argc > 0 ? (slash ? slash + 1 : argv[0]) : "byre";
	const struct command *c;

	hold_streams();
	signals_writes_fail();
	/* libtool runs uninstalled programs as lt-NAME */
	if (strncmp(self, "lt-", 3) == 0)
		self += 3;
	if (strcmp(self, "qemu-img") == 0)
		return compat_main(argc, argv);
	if (argc < 2) {
		report_usage("a command is needed (see byre --help)");
		return REPORT_USAGE;
	}
	if (strcmp(argv[1], "qemu-img") == 0)
		return compat_main(argc - 1, argv + 1);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		struct buf out = BUF_INIT;

		buf_str(&out, "byre " PACKAGE_VERSION "\n");
		return report_output(&out);
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return usage();
	if (strcmp(argv[1], "help") == 0)
		return help(argc - 1, argv + 1);
	if (strcmp(argv[1], "cache") == 0)
		return run_cache(argc - 1, argv + 1);
	c = find(argv[1]);
	if (!c)
		return report_usage(argv[1][0] == '-'
				? "unknown option '%s' (see byre --help)"
				: "unknown command '%s' (see byre --help)",
			argv[1]);
	return run(c->table, c->run, argc - 1, argv + 1);
}
