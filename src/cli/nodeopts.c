/* SPDX-License-Identifier: MIT */
/*
 * A table of these options, what their values may be, and which of them go
 * together. What has an effect here, and what is no option at all, is told by
 * cli/name.
 */
#include "config.h"

#include "cli/nodeopts.h"

#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/units.h"
#include "io/file.h"

#define NODE_NAME_MAX 31 /* characters */
#define L2_ENTRY_MIN 512
#define KEY_MAX 64 /* a prefix and a name of the table */

enum value_kind {
	VALUE_SWITCH,
	VALUE_SIZE,
	VALUE_NUMBER,
	VALUE_TEXT, /* looked at by itself */
};

enum place {
	ON_FILE = 1 << 0,
	ON_RAW = 1 << 1,
	ON_QCOW2 = 1 << 2,
	ON_ANY = ON_FILE | ON_RAW | ON_QCOW2,
};

static const struct row {
	const char *name;
	enum value_kind kind;
	unsigned places;
} rows[] = {
	{"aio", VALUE_TEXT, ON_FILE},
	{"aio-max-batch", VALUE_NUMBER, ON_FILE},
	{"auto-read-only", VALUE_SWITCH, ON_ANY},
	{"cache-clean-interval", VALUE_NUMBER, ON_QCOW2},
	{"cache-size", VALUE_SIZE, ON_QCOW2},
	{"cache.direct", VALUE_SWITCH, ON_ANY},
	{"cache.no-flush", VALUE_SWITCH, ON_ANY},
	{"detect-zeroes", VALUE_TEXT, ON_ANY},
	{"discard", VALUE_TEXT, ON_ANY},
	{"drop-cache", VALUE_SWITCH, ON_FILE},
	{"force-share", VALUE_SWITCH, ON_ANY},
	{"l2-cache-entry-size", VALUE_SIZE, ON_QCOW2},
	{"l2-cache-size", VALUE_SIZE, ON_QCOW2},
	{"lazy-refcounts", VALUE_SWITCH, ON_QCOW2},
	{"locking", VALUE_TEXT, ON_FILE},
	{"node-name", VALUE_TEXT, ON_ANY},
	{"overlap-check", VALUE_TEXT, ON_QCOW2},
	{"overlap-check.active-l1", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.active-l2", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.bitmap-directory", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.inactive-l1", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.inactive-l2", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.main-header", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.refcount-block", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.refcount-table", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.snapshot-table", VALUE_SWITCH, ON_QCOW2},
	{"overlap-check.template", VALUE_TEXT, ON_QCOW2},
	{"pass-discard-other", VALUE_SWITCH, ON_QCOW2},
	{"pass-discard-request", VALUE_SWITCH, ON_QCOW2},
	{"pass-discard-snapshot", VALUE_SWITCH, ON_QCOW2},
	{"pr-manager", VALUE_TEXT, ON_FILE},
	{"read-only", VALUE_SWITCH, ON_ANY},
	{"refcount-cache-size", VALUE_SIZE, ON_QCOW2},
	{"x-check-cache-dropped", VALUE_SWITCH, ON_FILE},
};

static const struct row *
row_of(const char *key, unsigned places)
{
	for (unsigned i = 0; i < COUNT_OF(rows); i++)
		if (rows[i].places & places && strcmp(rows[i].name, key) == 0)
			return &rows[i];
	return NULL;
}

static unsigned
places_of(enum format f)
{
	return f == FORMAT_RAW ? ON_RAW : f == FORMAT_QCOW2 ? ON_QCOW2
		: ON_RAW | ON_QCOW2;
}

bool
nodeopts_of_file(const char *key)
{
	return row_of(key, ON_FILE) != NULL;
}

bool
nodeopts_of_format(const char *key, enum format format)
{
	return row_of(key, places_of(format)) != NULL;
}

static const char *
quote(char *out, unsigned cap, const char *s)
{
	return err_quote(out, cap, s, (unsigned)strlen(s));
}

/* The value of prefix and name, or NULL. */
static const char *
get(const struct parse_opts *o, const char *prefix, const char *name)
{
	char key[KEY_MAX];

	snprintf(key, sizeof(key), "%s%s", prefix, name);
	return parse_opts_get(o, key);
}

static bool
is_on(const struct parse_opts *o, const char *prefix, const char *name)
{
	const char *v = get(o, prefix, name);
	bool on = false;

	return v && parse_bool(v, &on, NULL) == 0 && on;
}

/* A number or a switch. */
static int
check_value(const struct row *w, const char *value, struct err *e)
{
	struct err why = {0};
	uint64_t n;
	bool on;
	char q[64];

	switch (w->kind) {
	case VALUE_SWITCH:
		if (parse_bool(value, &on, NULL) == 0)
			return 0;
		return err_set(e, ERR_USAGE, "Parameter '%s' expects 'on' or "
			"'off'", w->name);
	case VALUE_NUMBER:
		if (parse_u64(value, 0, UINT64_MAX, &n, NULL) == 0)
			return 0;
		return err_set(e, ERR_USAGE, "Parameter '%s' expects a number",
			w->name);
	case VALUE_SIZE:
		if (parse_size(value, &n, &why) == 0)
			return 0;
		if (why.kind == ERR_LIMIT)
			return err_set(e, ERR_USAGE, "Value '%s' is out of "
				"range for parameter '%s'", quote(q, sizeof(q),
					value), w->name);
		return err_set(e, ERR_USAGE, "Parameter '%s' expects a "
			"non-negative number below 2^64", w->name);
	case VALUE_TEXT:
		break;
	}
	return 0;
}

static int
check_values(const struct parse_opts *o, const char *prefix, unsigned places,
	struct err *e)
{
	for (size_t i = 0; i < o->n; i++) {
		const char *key = o->v[i].key, *value = o->v[i].value;
		const struct row *w;

		if (strncmp(key, prefix, strlen(prefix)) != 0 ||
			parse_opts_get(o, key) != value)
			continue;
		w = row_of(key + strlen(prefix), places);
		if (w && check_value(w, value, e))
			return -1;
	}
	return 0;
}

static int
check_word(const char *value, const char *const *words, struct err *e)
{
	char q[64];

	if (!value)
		return 0;
	for (; *words; words++)
		if (strcmp(value, *words) == 0)
			return 0;
	return err_set(e, ERR_USAGE, "invalid parameter value: %s",
		quote(q, sizeof(q), value));
}

static int
check_node_name(const char *name, struct err *e)
{
	char q[128];
	size_t i;

	if (!name)
		return 0;
	for (i = 0; name[i]; i++)
		if (!isalpha((unsigned char)name[i]) && (i == 0 ||
			    (!isdigit((unsigned char)name[i]) &&
				    !strchr("-._", name[i]))))
			break;
	if (i == 0 || name[i])
		return err_set(e, ERR_USAGE, "Invalid node-name: '%s'",
			quote(q, sizeof(q), name));
	if (i > NODE_NAME_MAX)
		return err_set(e, ERR_USAGE, "Node name too long");
	return 0;
}

/* What every node has. discard: what it is when it is not given. */
static int
check_node(const struct parse_opts *o, const char *prefix, unsigned places,
	const char *discard, struct err *e)
{
	static const char *const zeroes[] = {"off", "on", "unmap", NULL};
	const char *given = get(o, prefix, "discard");
	const char *detect = get(o, prefix, "detect-zeroes");

	if (check_values(o, prefix, places, e))
		return -1;
	if (given)
		discard = given;
	if (strcmp(discard, "off") != 0 && strcmp(discard, "ignore") != 0 &&
		strcmp(discard, "on") != 0 && strcmp(discard, "unmap") != 0)
		return err_set(e, ERR_USAGE, "Invalid discard option");
	if (check_word(detect, zeroes, e))
		return -1;
	if (detect && strcmp(detect, "unmap") == 0 && discard[0] != 'u' &&
		strcmp(discard, "on") != 0)
		return err_set(e, ERR_USAGE, "setting detect-zeroes to unmap is "
			"not allowed without setting discard operation to "
			"unmap");
	return check_node_name(get(o, prefix, "node-name"), e);
}

int
nodeopts_check_file(const struct parse_opts *o, const char *prefix,
	struct err *e)
{
	static const char *const aio[] = {"threads", "native", "io_uring",
		NULL};
	static const char *const locking[] = {"auto", "on", "off", NULL};
	const char *how = get(o, prefix, "aio");
	const char *pr = get(o, prefix, "pr-manager");
	char q[64];

	/* below a format discards are passed on unless it is said otherwise */
	if (check_node(o, prefix, ON_FILE, *prefix ? "unmap" : "off", e) ||
		check_word(how, aio, e) ||
		check_word(get(o, prefix, "locking"), locking, e))
		return -1;
	if (pr)
		return err_set(e, ERR_USAGE, "No persistent reservation manager "
			"with id '%s'", quote(q, sizeof(q), pr));
	/* a file has its format's mode if it has none of its own */
	if (how && strcmp(how, "native") == 0 &&
		!is_on(o, get(o, prefix, "cache.direct") ? prefix : "",
			"cache.direct"))
		return err_set(e, ERR_USAGE, "aio=native was specified, but it "
			"requires cache.direct=on, which was not specified.");
	return 0;
}

static uint64_t
size_of(const struct parse_opts *o, const char *name)
{
	const char *v = parse_opts_get(o, name);
	uint64_t n = 0;

	return v && parse_size(v, &n, NULL) == 0 ? n : 0;
}

static int
check_caches(const struct parse_opts *o, struct err *e)
{
	uint64_t all = size_of(o, "cache-size");
	uint64_t l2 = size_of(o, "l2-cache-size");
	uint64_t refs = size_of(o, "refcount-cache-size");

	if (!parse_opts_get(o, "cache-size"))
		return 0;
	if (parse_opts_get(o, "l2-cache-size") &&
		parse_opts_get(o, "refcount-cache-size"))
		return err_set(e, ERR_USAGE, "cache-size, l2-cache-size and "
			"refcount-cache-size may not be set at the same time");
	if (l2 > all)
		return err_set(e, ERR_USAGE, "l2-cache-size may not exceed "
			"cache-size");
	if (refs > all)
		return err_set(e, ERR_USAGE, "refcount-cache-size may not "
			"exceed cache-size");
	return 0;
}

static int
check_overlap(const struct parse_opts *o, struct err *e)
{
	static const char *const words[] = {"none", "constant", "cached",
		"all"};
	const char *check = parse_opts_get(o, "overlap-check");
	const char *template = parse_opts_get(o, "overlap-check.template");
	char q[64], qt[64];

	if (check && template && strcmp(check, template) != 0)
		return err_set(e, ERR_USAGE, "Conflicting values for qcow2 "
			"options 'overlap-check' ('%s') and "
			"'overlap-check.template' ('%s')",
			quote(q, sizeof(q), check),
			quote(qt, sizeof(qt), template));
	if (!check)
		check = template ? template : "cached";
	for (unsigned i = 0; i < COUNT_OF(words); i++)
		if (strcmp(check, words[i]) == 0)
			return 0;
	return err_set(e, ERR_USAGE, "Unsupported value '%s' for qcow2 option "
		"'overlap-check'. Allowed are any of the following: none, "
		"constant, cached, all", quote(q, sizeof(q), check));
}

int
nodeopts_check_format(const struct parse_opts *o, enum format format,
	struct err *e)
{
	const char *name = parse_opts_get(o, "node-name");
	const char *below = parse_opts_get(o, "file.node-name");
	const char *clean = parse_opts_get(o, "cache-clean-interval");
	uint64_t n;

	if (check_node(o, "", places_of(format), "off", e))
		return -1;
	if (name && below && strcmp(name, below) == 0)
		return err_set(e, ERR_USAGE, "Duplicate nodes with node-name="
			"'%s'", name);
	if (format == FORMAT_RAW)
		return 0;
	if (check_caches(o, e))
		return -1;
	if (clean && parse_u64(clean, 0, UINT_MAX, &n, NULL))
		return err_set(e, ERR_USAGE, "Cache clean interval too big");
	return check_overlap(o, e);
}

/* Bytes that QEMU would give to refcount blocks. */
static uint64_t
refcount_cache(const struct parse_opts *o, uint64_t cluster, uint64_t disk)
{
	uint64_t all = size_of(o, "cache-size"), l2;

	if (!parse_opts_get(o, "cache-size") ||
		parse_opts_get(o, "refcount-cache-size"))
		return size_of(o, "refcount-cache-size");
	l2 = units_align_up(disk / cluster * 8, cluster);
	if (parse_opts_get(o, "l2-cache-size"))
		l2 = units_min(l2, size_of(o, "l2-cache-size"));
	return all - units_min(all, l2);
}

/* Size and number of the entries in QEMU's caches. */
static int
check_entries(const struct parse_opts *o, uint64_t cluster, uint64_t disk,
	struct err *e)
{
	uint64_t entry = size_of(o, "l2-cache-entry-size");

	if (parse_opts_get(o, "l2-cache-entry-size") &&
		(entry < L2_ENTRY_MIN || entry > cluster ||
			(entry & (entry - 1))))
		return err_set(e, ERR_USAGE, "L2 cache entry size must be a "
			"power of two between %d and the cluster size (%"
			PRIu64 ")", L2_ENTRY_MIN, cluster);
	if (refcount_cache(o, cluster, disk) / cluster > INT_MAX)
		return err_set(e, ERR_USAGE, "Refcount cache size too big");
	return 0;
}

int
nodeopts_check_image(const struct parse_opts *o, const char *path,
	enum format format, struct err *e)
{
	const char *first = NULL;
	uint8_t head[32] = {0};
	struct file *f;
	uint32_t bits;
	char q[64];
	int r;

	for (size_t i = 0; i < o->n && !first; i++)
		if (row_of(o->v[i].key, ON_QCOW2) &&
			!row_of(o->v[i].key, ON_RAW))
			first = o->v[i].key;
	if (!first || format == FORMAT_RAW ||
		file_open(&f, AT_FDCWD, path, FILE_READ, NULL))
		return 0;
	r = file_read_padded(f, head, sizeof(head), 0, NULL, NULL);
	file_close(f);
	bits = load_be32(head + 20);
	if (r || (memcmp(head, "QFI\xfb", 4) == 0 && (bits < 9 || bits > 21)))
		return 0;
	if (memcmp(head, "QFI\xfb", 4) != 0)
		return format == FORMAT_QCOW2 ? 0 : err_set(e, ERR_USAGE,
			"Block format 'raw' does not support the option '%s'",
			quote(q, sizeof(q), first));
	if (check_entries(o, UINT64_C(1) << bits, load_be64(head + 24), e))
		return -1;
	if (is_on(o, "", "lazy-refcounts") && load_be32(head + 4) < 3)
		return err_set(e, ERR_USAGE, "Lazy refcounts require a qcow2 "
			"image with at least qemu 1.1 compatibility level");
	return 0;
}
