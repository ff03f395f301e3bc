/* SPDX-License-Identifier: MIT */
/*
 * A table of the options of both formats, in the order in which qemu-img
 * prints them. How options depend on each other is format/'s business.
 */
#include "config.h"

#include "cli/imgopts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"

enum value_kind {
	VALUE_TEXT,
	VALUE_SIZE,
	VALUE_NUMBER,
	VALUE_SWITCH,
	VALUE_CRYPT,  /* refused by name */
};

enum on_format {
	ON_RAW = 1,
	ON_QCOW2 = 2,
	ON_ALL = 3,
};

struct row {
	const char *name;
	enum value_kind kind;
	unsigned formats;
	const char *standard; /* printed when it is not given; or NULL */
	const char *help;     /* NULL: not listed */
};

/* The order is that of the "Formatting" line for qcow2. */
static const struct row rows[] = {
	{"encryption", VALUE_CRYPT, ON_QCOW2, NULL, NULL},
	{"cluster_size", VALUE_SIZE, ON_QCOW2, "65536",
		"bytes per cluster, 512 to 2M"},
	{"extended_l2", VALUE_SWITCH, ON_QCOW2, "off",
		"32 subclusters per cluster"},
	{"preallocation", VALUE_TEXT, ON_QCOW2, NULL,
		"off, metadata, falloc or full"},
	{"compression_type", VALUE_TEXT, ON_QCOW2, "zlib", "zlib or zstd"},
	{"size", VALUE_SIZE, ON_ALL, NULL, "virtual size in bytes"},
	{"compat", VALUE_TEXT, ON_QCOW2, NULL, "v3 (1.1) or v2 (0.10)"},
	{"backing_file", VALUE_TEXT, ON_QCOW2, NULL,
		"image that unwritten parts are read from"},
	{"backing_fmt", VALUE_TEXT, ON_QCOW2, NULL,
		"format of the backing file"},
	{"data_file", VALUE_TEXT, ON_QCOW2, NULL,
		"file that holds the guest's data"},
	{"data_file_raw", VALUE_SWITCH, ON_QCOW2, NULL,
		"the data file is kept readable as raw"},
	{"lazy_refcounts", VALUE_SWITCH, ON_QCOW2, "off",
		"reference counts may lag behind"},
	{"refcount_bits", VALUE_NUMBER, ON_QCOW2, "16",
		"width of a reference count, 1 to 64"},
	{"nocow", VALUE_SWITCH, ON_ALL, NULL,
		"off only; for compatibility"},
	{"preallocation", VALUE_TEXT, ON_RAW, NULL, "off, falloc or full"},
	{"extent_size_hint", VALUE_SIZE, ON_ALL, NULL,
		"accepted for compatibility, without effect"},
};

static const struct row *
row_of(enum format f, const char *name)
{
	unsigned bit = f == FORMAT_QCOW2 ? ON_QCOW2 : ON_RAW, i;

	for (i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].formats & bit && strcmp(rows[i].name, name) == 0)
			return &rows[i];
	return NULL;
}

static int
bad_size(const struct row *w, const char *value, struct err *e)
{
	char q[64];

	if (e->kind == ERR_LIMIT)
		return err_set(e, ERR_USAGE,
			"Value '%s' is out of range for parameter '%s'",
			err_quote(q, sizeof(q), value,
				(unsigned)strlen(value)), w->name);
	return err_set(e, ERR_USAGE, "Parameter '%s' expects a non-negative "
		"number below 2^64", w->name);
}

static int
encrypted(const char *key, struct err *e)
{
	char q[64];

	return err_set(e, ERR_UNSUPPORTED, "encryption is not supported: '%s'",
		err_quote(q, sizeof(q), key, (unsigned)strlen(key)));
}

int
imgopts_number(const char *text, uint64_t *ret, struct err *e)
{
	bool minus = *text == '-';
	uint64_t n;

	if (parse_u64(text + minus, 0, UINT64_MAX, &n, e))
		return -1;
	*ret = minus ? UINT64_MAX - n + 1 : n;
	return 0;
}

/* Checks one option and puts it into its place. */
static int
set(struct imgopts *o, const struct row *w, const char *value, struct err *e)
{
	struct qcow2_options *q = &o->qcow2;
	uint64_t n = 0;
	bool on = false;

	if (w->kind == VALUE_SIZE && parse_size(value, &n, e))
		return bad_size(w, value, e);
	if (w->kind == VALUE_NUMBER && imgopts_number(value, &n, e))
		return err_set(e, ERR_USAGE, "Parameter '%s' expects a number",
			w->name);
	if (w->kind == VALUE_SWITCH && parse_bool(value, &on, e))
		return err_set(e, ERR_USAGE,
			"Parameter '%s' expects 'on' or 'off'", w->name);
	if (w->kind == VALUE_CRYPT &&
		(parse_bool(value, &on, e) || on))
		return encrypted(w->name, e);
	if (strcmp(w->name, "cluster_size") == 0)
		/* 0 would be the default: an impossible size instead */
		q->cluster_size = n && n <= UINT32_MAX ? (uint32_t)n : 1;
	else if (strcmp(w->name, "refcount_bits") == 0)
		q->refcount_bits = n && n <= 64 ? (unsigned)n : 65;
	else if (strcmp(w->name, "extended_l2") == 0)
		q->extended_l2 = on;
	else if (strcmp(w->name, "lazy_refcounts") == 0)
		q->lazy_refcounts = on;
	else if (strcmp(w->name, "data_file_raw") == 0)
		q->data_file_raw = on;
	else if (strcmp(w->name, "data_file") == 0)
		q->data_file = value;
	else if (strcmp(w->name, "backing_file") == 0)
		q->backing = value;
	else if (strcmp(w->name, "backing_fmt") == 0)
		q->backing_format = value;
	else if (strcmp(w->name, "nocow") == 0 && on)
		return err_set(e, ERR_UNSUPPORTED, "nocow=on is not supported");
	else if (strcmp(w->name, "size") == 0) {
		o->has_size = true;
		o->size = n;
	}
	return 0;
}

static int
put(struct imgopts *o, const char *key, const char *value, struct err *e)
{
	if (!value)
		return 0;
	return parse_opts_put(&o->given, key, strlen(key), value,
		strlen(value), e);
}

static int
parse(struct imgopts *o, const struct options_list *lists,
	const char *backing, const char *backing_format, struct err *e)
{
	const struct row *w;
	char q[64];
	unsigned k;
	size_t i;

	for (k = 0; k < lists->n; k++)
		if (parse_opts_add(&o->given, lists->v[k], NULL, e))
			return -1;
	for (i = 0; i < o->given.n; i++) {
		const char *key = o->given.v[i].key;

		if (strncmp(key, "encrypt.", 8) == 0 &&
			o->format == FORMAT_QCOW2)
			return encrypted(key, e);
		w = row_of(o->format, key);
		if (!w)
			return err_set(e, ERR_USAGE, "Invalid parameter '%s'",
				err_quote(q, sizeof(q), key,
					(unsigned)strlen(key)));
		if (set(o, w, o->given.v[i].value, e))
			return -1;
	}
	if ((backing || backing_format) && o->format != FORMAT_QCOW2)
		return err_set(e, ERR_USAGE,
			"Backing file not supported for file format '%s'",
			probe_format_name(o->format));
	if (put(o, "backing_file", backing, e) ||
		put(o, "backing_fmt", backing_format, e))
		return -1;
	if (backing)
		o->qcow2.backing = parse_opts_get(&o->given, "backing_file");
	if (backing_format)
		o->qcow2.backing_format =
			parse_opts_get(&o->given, "backing_fmt");
	return 0;
}

int
imgopts_parse(struct imgopts *o, enum format format,
	const struct options_list *lists, const char *backing,
	const char *backing_format, struct err *e)
{
	*o = (struct imgopts){.format = format};
	if (parse(o, lists, backing, backing_format, e)) {
		imgopts_free(o);
		return -1;
	}
	return 0;
}

void
imgopts_free(struct imgopts *o)
{
	parse_opts_free(&o->given);
}

/* The place of word in a list of pairs, or -1. */
static int
word_of(const char *word, const char *const *words, unsigned n)
{
	unsigned i;

	for (i = 0; i < n; i++)
		if (strcmp(word, words[i]) == 0)
			return (int)i;
	return -1;
}

static int
bad_word(const char *what, const char *word, struct err *e)
{
	char q[64];

	return err_set(e, ERR_USAGE, "Parameter '%s' does not accept value '%s'",
		what, err_quote(q, sizeof(q), word, (unsigned)strlen(word)));
}

static int
bad_raw_word(const char *word, struct err *e)
{
	char q[64];

	return err_set(e, ERR_USAGE, "invalid parameter value: %s",
		err_quote(q, sizeof(q), word, (unsigned)strlen(word)));
}

int
imgopts_finish(struct imgopts *o, struct err *e)
{
	static const char *const pre[] = {"off", "metadata", "falloc", "full"};
	static const char *const compat[] = {"0.10", "v2", "1.1", "v3"};
	static const char *const codec[] = {"zlib", "zstd"};
	const char *s;
	int i;

	s = parse_opts_get(&o->given, "preallocation");
	if (s) {
		i = word_of(s, pre, COUNT_OF(pre));
		if (i < 0 && o->format == FORMAT_RAW)
			return bad_raw_word(s, e);
		if (i < 0)
			return bad_word("preallocation", s, e);
		if (o->format == FORMAT_RAW && i == PREALLOC_METADATA)
			return err_set(e, ERR_USAGE,
				"Unsupported preallocation mode: metadata");
		o->preallocation = (enum preallocation)i;
		o->qcow2.preallocation = o->preallocation;
	}
	s = parse_opts_get(&o->given, "compat");
	if (s) {
		i = word_of(s, compat, COUNT_OF(compat));
		if (i < 0)
			return bad_word("version", s, e);
		o->qcow2.version = i < 2 ? 2 : 3;
	}
	s = parse_opts_get(&o->given, "compression_type");
	if (s) {
		i = word_of(s, codec, COUNT_OF(codec));
		if (i < 0)
			return bad_word("compression-type", s, e);
		o->qcow2.compression = i ? CODEC_ZSTD : CODEC_DEFLATE;
	}
	return 0;
}

/* Calls of a list's members, as qemu-img looks for "help" and "?". */
static bool
has_help(const char *list)
{
	size_t n;

	for (;;) {
		n = strcspn(list, ",");
		if ((n == 4 && memcmp(list, "help", 4) == 0) ||
			(n == 1 && *list == '?'))
			return true;
		list += n;
		/* ",," is part of a value */
		while (list[0] == ',' && list[1] == ',')
			list += 2 + strcspn(list + 2, ",");
		if (*list == '\0')
			return false;
		list++;
	}
}

bool
imgopts_wants_help(const struct options_list *lists)
{
	unsigned i;

	for (i = 0; i < lists->n; i++)
		if (has_help(lists->v[i]))
			return true;
	return false;
}

bool
imgopts_valid_list(const char *list)
{
	size_t len = strlen(list), tail = 0;

	if (len == 0 || list[0] == ',')
		return false;
	while (tail < len && list[len - 1 - tail] == ',')
		tail++;
	return tail % 2 == 0;
}

static int
by_name(const void *a, const void *b)
{
	const struct row *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

void
imgopts_help(enum format format, struct buf *out)
{
	static const char *const types[] = {"str", "size", "num",
		"bool (on/off)"};
	unsigned bit = format == FORMAT_QCOW2 ? ON_QCOW2 : ON_RAW;
	const struct row *v[COUNT_OF(rows)];
	struct buf left = BUF_INIT;
	unsigned i, n = 0;

	for (i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].formats & bit && rows[i].help)
			v[n++] = &rows[i];
	qsort(v, n, sizeof(v[0]), by_name);
	for (i = 0; i < n; i++) {
		buf_clear(&left);
		buf_fmt(&left, "%s=<%s>", v[i]->name, types[v[i]->kind]);
		buf_fmt(out, "  %-22s - %s\n", left.p, v[i]->help);
	}
	buf_free(&left);
}

const char *
imgopts_hint(const struct err *e)
{
	if (!strstr(e->msg, "expects a non-negative number below 2^64"))
		return "";
	return "Optional suffix k, M, G, T, P or E means kilo-, mega-, "
	       "giga-, tera-, peta-\nand exabytes, respectively.\n";
}

void
imgopts_each_size(const struct imgopts *o, void (*f)(const char *text))
{
	size_t i;

	for (i = 0; i < o->given.n; i++) {
		const struct row *w = row_of(o->format, o->given.v[i].key);

		if (w && w->kind == VALUE_SIZE)
			f(o->given.v[i].value);
	}
}

/* A comma in a text is doubled, as it had to be given. */
static void
print_value(const struct row *w, const char *value, struct buf *out)
{
	struct err e;
	uint64_t n;

	if (w->kind == VALUE_SIZE && parse_size(value, &n, &e) == 0)
		buf_fmt(out, "%" PRIu64, n);
	else if (w->kind == VALUE_NUMBER && imgopts_number(value, &n, &e) == 0)
		buf_fmt(out, "%" PRId64, (int64_t)n);
	else
		for (; *value; value++) {
			buf_char(out, *value);
			if (*value == ',' && w->kind == VALUE_TEXT)
				buf_char(out, ',');
		}
}

void
imgopts_formatting(const struct imgopts *o, const char *name, uint64_t size,
	struct buf *out)
{
	unsigned bit = o->format == FORMAT_QCOW2 ? ON_QCOW2 : ON_RAW, i;
	const char *value;

	buf_fmt(out, "Formatting '%s', fmt=%s", name,
		probe_format_name(o->format));
	for (i = 0; i < COUNT_OF(rows); i++) {
		const struct row *w = &rows[i];

		if (!(w->formats & bit))
			continue;
		if (strcmp(w->name, "size") == 0) {
			buf_fmt(out, " size=%" PRIu64, size);
			continue;
		}
		value = parse_opts_get(&o->given, w->name);
		if (!value)
			value = w->standard;
		if (!value)
			continue;
		buf_fmt(out, " %s=", w->name);
		print_value(w, value, out);
	}
	buf_char(out, '\n');
}
