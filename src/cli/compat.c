/* SPDX-License-Identifier: MIT */
/*
 * Options before the command, the choice of the command, --help and
 * --version. What qemu-img has and byre has not is refused by its name.
 */
#include "config.h"

#include "cli/compat.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "base/units.h"
#include "cli/policy.h"
#include "cli/signals.h"
#include "cli/table.h"

/* The release whose behaviour this is; the number callers look at. */
#define COMPAT_VERSION "7.2.22"
#define COMPAT_NEWER "10.2.2" /* see compat_newer */

struct command {
	const char *name;
	const struct options_table *table; /* NULL: not supported */
	int (*run)(const struct options_args *a);
	int (*parse)(int argc, char **argv); /* when run is NULL */
};

static const struct command commands[] = {
	{"amend", &table_amend, compat_amend, NULL},
	{"bench", NULL, NULL, NULL},
	{"bitmap", &table_bitmap, compat_bitmap, NULL},
	{"check", &table_check, compat_check, NULL},
	{"commit", &table_commit, compat_commit, NULL},
	{"compare", &table_compare, NULL, compat_compare},
	{"convert", &table_convert, NULL, compat_convert},
	{"create", &table_create, NULL, compat_create},
	{"dd", &table_dd, NULL, compat_dd},
	{"info", &table_info, compat_info, NULL},
	{"map", &table_map, compat_map, NULL},
	{"measure", &table_measure, NULL, compat_measure},
	{"rebase", &table_rebase, compat_rebase, NULL},
	{"resize", &table_resize, NULL, compat_resize},
	{"snapshot", &table_snapshot, compat_snapshot, NULL},
};

bool
compat_newer(void)
{
	const char *v = getenv("BYRE_QEMU_COMPAT");

	return v && strncmp(v, "10", 2) == 0 && (v[2] == '\0' || v[2] == '.');
}

static void
version_line(struct buf *out)
{
	buf_fmt(out, "qemu-img version %s (byre " PACKAGE_VERSION ")\n",
		compat_newer() ? COMPAT_NEWER : COMPAT_VERSION);
}

int
compat_json(const struct options_args *a, bool *ret_json)
{
	*ret_json = a->output && strcmp(a->output, "json") == 0;
	if (!a->output || *ret_json || strcmp(a->output, "human") == 0)
		return 0;
	return compat_fail("--output must be used with human or json as "
		"argument.");
}

int
compat_cache(const char *text, bool *ret_direct)
{
	static const char *const words[] = {"none", "off", "directsync",
		"unsafe", "writeback", "writethrough"};
	unsigned i;

	*ret_direct = false;
	for (i = 0; text && i < COUNT_OF(words); i++)
		if (strcmp(words[i], text) == 0)
			break;
	*ret_direct = text && i < 3;
	return i < COUNT_OF(words) ? 0 : -1;
}

int
compat_snapshot_parse(const char *text, struct compat_snapshot *ret)
{
	struct err e = {0};
	size_t i;

	*ret = (struct compat_snapshot){.text = text};
	if (!text || strncmp(text, "snapshot.", 9) != 0)
		return 0;
	compat_short_forms(text, NULL);
	if (parse_opts_add(&ret->given, text, NULL, &e))
		return compat_fault("", &e, false);
	for (i = 0; i < ret->given.n; i++) {
		const char *key = ret->given.v[i].key;

		if (strcmp(key, "snapshot.id") == 0 ||
			strcmp(key, "snapshot.name") == 0)
			continue;
		compat_fail("Invalid parameter '%s'", key);
		return compat_fail("Failed in parsing snapshot param '%s'",
			text);
	}
	return 0;
}

void
compat_snapshot_free(struct compat_snapshot *p)
{
	parse_opts_free(&p->given);
}

void
compat_snapshot_of(const struct compat_snapshot *p, struct source *s)
{
	s->snapshot = p->text;
	s->snapshot_id = parse_opts_get(&p->given, "snapshot.id");
	s->snapshot_name = parse_opts_get(&p->given, "snapshot.name");
}

int
compat_number(const char *what, const char *text, uint64_t min, uint64_t max,
	uint64_t *ret)
{
	struct err e = {0};
	uint64_t v;
	int r;

	if (!text)
		return 0;
	r = compat_size(text, &v, &e);
	if (r && e.kind != ERR_LIMIT) {
		compat_fail("Invalid %s specified. You may use k, M, G, T, P "
			"or E suffixes for", what);
		return compat_fail("kilobytes, megabytes, gigabytes, "
			"terabytes, petabytes and exabytes.");
	}
	if (r || v < min || v > max)
		return compat_fail("Invalid %s specified. Must be between %"
			PRIu64 " and %" PRIu64 ".", what, min, max);
	*ret = v;
	return 0;
}

int
compat_output(struct buf *out)
{
	int bad;

	if (buf_failed(out))
		return compat_fail("out of memory");
	bad = out->len && fwrite(out->p, 1, out->len, stdout) != out->len;
	buf_free(out);
	if (fflush(stdout) || bad)
		return compat_fail("cannot write the output");
	return 0;
}

static int
help(void)
{
	struct buf out = BUF_INIT;
	unsigned i;

	version_line(&out);
	buf_str(&out, "usage: qemu-img [standard options] command "
		"[command options]\n"
		"Disk images with qemu-img 7.2's command line, by byre.\n\n"
		"    '-h', '--help'       display this help and exit\n"
		"    '-V', '--version'    output version information and exit\n"
		"    '-T', '--trace'      accepted; byre has no trace events\n\n"
		"Command syntax:\n");
	for (i = 0; i < COUNT_OF(commands); i++)
		if (commands[i].table)
			options_syntax(commands[i].table, &out);
	buf_str(&out, "\nSupported formats: qcow2 raw\n\n"
		"See byre(1); `byre COMMAND --help` explains the options.\n");
	return compat_output(&out);
}

/* What getopt says by itself, of argv[0]. */
static void
say_getopt(const char *command, enum options_end end, const char *word)
{
	bool name = strncmp(word, "--", 2) == 0;
	unsigned len = (unsigned)strcspn(word, "=");
	char letter = word[0] == '-' ? word[1] : word[0];

	if (end == OPTIONS_EXCESS)
		fprintf(stderr, "%s: option '%.*s' doesn't allow an argument\n",
			command, (int)len, word);
	else if (end == OPTIONS_MISSING && name)
		fprintf(stderr, "%s: option '%s' requires an argument\n",
			command, word);
	else if (end == OPTIONS_MISSING)
		fprintf(stderr, "%s: option requires an argument -- '%c'\n",
			command, letter);
	else if (name)
		fprintf(stderr, "%s: unrecognized option '%s'\n", command,
			word);
	else
		fprintf(stderr, "%s: invalid option -- '%c'\n", command,
			letter);
}

static int
parse(const struct options_table *t, bool loose, int argc, char **argv,
	struct options_args *a, int *ret_status)
{
	const char *word = "";
	enum options_end end = options_parse(t, true, argc, argv, a, &word);

	*ret_status = 1;
	if (loose && (end == OPTIONS_MISSING || end == OPTIONS_UNKNOWN ||
			     end == OPTIONS_EXCESS)) {
		say_getopt(t->command, end, word);
		end = OPTIONS_HELP;
	}
	switch (end) {
	case OPTIONS_DONE:
		break;
	case OPTIONS_HELP:
		*ret_status = help();
		return -1;
	case OPTIONS_MISSING:
		compat_try("missing argument for option '%s'", word);
		return -1;
	case OPTIONS_UNKNOWN:
	case OPTIONS_EXCESS:
		compat_try("unrecognized option '%s'", word);
		return -1;
	case OPTIONS_NOMEM:
		compat_fail("out of memory");
		return -1;
	}
	if (a->objects.n) {
		compat_fail("--object %s: objects (secrets of encrypted "
			"images) are not supported by byre", a->objects.v[0]);
		return -1;
	}
	return 0;
}

int
compat_parse(const struct options_table *t, int argc, char **argv,
	struct options_args *a, int *ret_status)
{
	return parse(t, false, argc, argv, a, ret_status);
}

int
compat_parse_loose(const struct options_table *t, int argc, char **argv,
	struct options_args *a, int *ret_status)
{
	return parse(t, true, argc, argv, a, ret_status);
}

/* Formats that qemu-img only reads. */
static bool
creatable(const char *format)
{
	return strcmp(format, "bochs") != 0 && strcmp(format, "cloop") != 0 &&
		strcmp(format, "dmg") != 0;
}

int
compat_target_format(const char *text, const char *before, enum format *ret)
{
	struct err e;

	*ret = FORMAT_RAW;
	if (!text || name_format(text, ret, &e) == 0)
		return 0;
	if (e.kind == ERR_UNSUPPORTED && !creatable(text))
		return compat_fail("%sFormat driver '%s' does not support "
			"image creation", before, text);
	if (e.kind == ERR_UNSUPPORTED)
		return compat_fail("%s%s by byre", before, e.msg);
	return compat_fail("%sUnknown file format '%s'", before, text);
}

int
compat_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *s, struct gate *g)
{
	enum format format = FORMAT_PROBE;
	struct err e = {0};

	if (a->image_opts)
		compat_short_forms(operand, "file");
	if (name_parse(n, operand, a->image_opts, &e) ||
		name_format(a->format, &format, &e)) {
		return compat_open_failed(operand, NULL, &e);
	}
	*s = name_source(n, format);
	s->force_share |= a->force_share;
	s->snapshot = a->snapshot;
	if (policy_front(a, n->path, g, &e)) {
		char text[1024];

		return compat_fail("%s", err_text(&e, text, sizeof(text)));
	}
	return 0;
}

static int
run(const struct command *c, int argc, char **argv)
{
	struct options_args a = {0};
	int status;

	if (!c->table)
		return compat_try("'%s' is not supported by byre", c->name);
	if (!c->run) {
		status = c->parse(argc, argv);
	} else {
		if (compat_parse(c->table, argc, argv, &a, &status) == 0)
			status = c->run(&a);
		options_free(&a);
	}
	if (status)
		signals_leave();
	return status;
}

/* -T and --trace. There are no events here, so that every one which is named
 * is none, as qemu-img says of those that it does not know. */
static int
trace(const char *list)
{
	struct parse_opts o = {0};
	const char *event;
	struct err e = {0};
	char q[128];
	size_t i;
	int status = 0;

	compat_short_forms(list, "enable");
	if (parse_opts_add(&o, list, "enable", &e))
		return compat_fault("", &e, false);
	for (i = 0; i < o.n && status == 0; i++) {
		const char *key = o.v[i].key;

		if (strcmp(key, "enable") != 0 && strcmp(key, "events") != 0 &&
			strcmp(key, "file") != 0)
			status = compat_fail("Invalid parameter '%s'",
				err_quote(q, sizeof(q), key,
					(unsigned)strlen(key)));
	}
	event = parse_opts_get(&o, "enable");
	if (event && *event == '-')
		event++;
	if (status == 0 && event && !strchr(event, '*'))
		compat_fail("warning: trace event '%s' does not exist",
			err_quote(q, sizeof(q), event,
				(unsigned)strlen(event)));
	parse_opts_free(&o);
	return status;
}

/* Index of the command's word in argv; 0 when *ret_status is the answer. */
static int
globals(int argc, char **argv, int *ret_status)
{
	int i;

	for (i = 1; i < argc && argv[i][0] == '-'; i++) {
		const char *o = argv[i], *list;

		*ret_status = 0;
		if (strcmp(o, "-h") == 0 || strcmp(o, "--help") == 0) {
			*ret_status = help();
			return 0;
		}
		if (strcmp(o, "-V") == 0 || strcmp(o, "--version") == 0) {
			struct buf out = BUF_INIT;

			version_line(&out);
			*ret_status = compat_output(&out);
			return 0;
		}
		if (strncmp(o, "--trace=", 8) == 0) {
			list = o + 8;
		} else if (o[1] == 'T' && o[2] != '\0') {
			list = o + 2;
		} else if (strcmp(o, "-T") != 0 && strcmp(o, "--trace") != 0) {
			*ret_status = compat_try("unrecognized option '%s'", o);
			return 0;
		} else if (++i == argc) {
			*ret_status = compat_try(
				"missing argument for option '%s'", o);
			return 0;
		} else {
			list = argv[i];
		}
		*ret_status = trace(list);
		if (*ret_status)
			return 0;
	}
	*ret_status = 0;
	return i < argc ? i : 0;
}

int
compat_main(int argc, char **argv)
{
	int at, status;
	unsigned i;

	if (argc < 2)
		return compat_try("Not enough arguments");
	at = globals(argc, argv, &status);
	if (at == 0)
		return status;
	for (i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(commands[i].name, argv[at]) == 0)
			return run(&commands[i], argc - at, argv + at);
	return compat_try("Command not found: %s", argv[at]);
}
