/* SPDX-License-Identifier: MIT */
/*
 * Names are the caller's words, not an image's: they may say json: and the
 * like. What an image says never comes here (format/gate.c opens those).
 */
#include "config.h"

#include "cli/name.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/parse.h"
#include "base/units.h"
#include "cli/nodeopts.h"

static char *
quote(char *out, unsigned cap, const char *s)
{
	return err_quote(out, cap, s, (unsigned)strlen(s));
}

int
name_format(const char *text, enum format *ret, struct err *e)
{
	enum format f;
	char q[64];

	*ret = FORMAT_PROBE;
	if (!text)
		return 0;
	f = probe_format_from_name(text);
	if (f == FORMAT_PROBE)
		return err_set(e, ERR_USAGE, "Unknown driver '%s'",
			quote(q, sizeof(q), text));
	if (f != FORMAT_RAW && f != FORMAT_QCOW2)
		return err_set(e, ERR_UNSUPPORTED, "%s: not supported",
			probe_format_name(f));
	*ret = f;
	return 0;
}

/* Length of "proto" in "proto:rest" when the colon comes before any slash. */
static size_t
protocol_len(const char *s)
{
	size_t n = strcspn(s, ":/");

	return s[n] == ':' ? n : 0;
}

static int
plain(char **ret, const char *text, struct err *e)
{
	size_t len = protocol_len(text);
	char proto[32], q[80], *path;

	if ((len == 4 && memcmp(text, "file", 4) == 0) ||
		(len == 11 && memcmp(text, "host_device", 11) == 0))
		text += len + 1;
	else if (len) {
		if (len >= sizeof(proto))
			len = sizeof(proto) - 1;
		memcpy(proto, text, len);
		proto[len] = '\0';
		return err_set(e, ERR_UNSUPPORTED, "Unknown protocol '%s'",
			quote(q, sizeof(q), proto));
	}
	if (*text == '\0')
		return err_set(e, ERR_USAGE,
			"The 'file' block driver requires a file name");
	/* what is left must not be taken for a protocol by those who read it */
	path = malloc(strlen(text) + 3);
	if (!path)
		return err_sys(e, ENOMEM, "cannot keep a name");
	strcpy(path, len && protocol_len(text) ? "./" : "");
	strcat(path, text);
	free(*ret);
	*ret = path;
	return 0;
}

static int
set_driver(struct name *n, const char *value, bool inner, struct err *e)
{
	if (strcmp(value, "file") == 0 || strcmp(value, "host_device") == 0) {
		if (!inner)
			n->format = FORMAT_RAW;
		return 0;
	}
	if (inner) {
		char q[64];

		return err_set(e, ERR_UNSUPPORTED,
			"protocol '%s' is not supported",
			quote(q, sizeof(q), value));
	}
	return name_format(value, &n->format, e);
}

static int
not_of_file(const char *key, struct err *e)
{
	char q[64];

	return err_set(e, ERR_UNSUPPORTED, "Block protocol 'file' doesn't "
		"support the option '%s'", quote(q, sizeof(q), key));
}

/* A key of the node of the data file. */
static int
set_data_key(struct name *n, const char *key, const char *value,
	struct err *e)
{
	if (strcmp(key, "filename") == 0)
		return plain(&n->data_path, value, e);
	if (strcmp(key, "driver") == 0)
		return set_driver(n, value, true, e);
	return nodeopts_of_file(key) ? 0 : not_of_file(key, e);
}

/* One key of a node, whose value was checked. inner: of the file below the
 * format. What would change the content, or is not known, is refused. */
static int
set_key(struct name *n, const char *key, const char *value, bool inner,
	struct err *e)
{
	bool on = false;
	char q[80];

	if (strcmp(key, "driver") == 0)
		return set_driver(n, value, inner, e);
	if (strcmp(key, "filename") == 0)
		return plain(&n->path, value, e);
	if (inner ? nodeopts_of_file(key) : nodeopts_of_format(key, n->format)) {
		if (strcmp(key, "locking") == 0)
			n->no_locks = strcmp(value, "off") == 0;
		else if (strcmp(key, "cache.direct") == 0)
			n->direct = parse_bool(value, &on, e) == 0 && on;
		return 0;
	}
	if (!inner && n->format != FORMAT_RAW &&
		strncmp(key, "data-file.", 10) == 0)
		return set_data_key(n, key + 10, value, e);
	if (strncmp(key, "encrypt.", 8) == 0)
		return err_set(e, ERR_UNSUPPORTED,
			"encryption is not supported: '%s'",
			quote(q, sizeof(q), key));
	if (inner)
		return not_of_file(key, e);
	return err_set(e, ERR_UNSUPPORTED,
		"Block format '%s' does not support the option '%s'",
		n->format == FORMAT_QCOW2 ? "qcow2" : "raw",
		quote(q, sizeof(q), key));
}

/* Values of all nodes, the file's first, as QEMU opens it first. */
static int
check_values(const struct parse_opts *o, bool bare, enum format format,
	struct err *e)
{
	if (nodeopts_check_file(o, bare ? "" : "file.", e))
		return -1;
	return bare ? 0 : nodeopts_check_file(o, "data-file.", e) ||
		nodeopts_check_format(o, format, e) ? -1 : 0;
}

static int
no_name(const struct name *n, const char *file, struct err *e)
{
	if (!file)
		return err_set(e, ERR_USAGE,
			"A block device must be specified for \"file\"");
	return err_set(e, ERR_UNSUPPORTED,
		"Block format '%s' does not support the option 'filename'",
		probe_format_name(n->format));
}

/* Whether the file or the format on it has a switch on. */
static bool
any_on(const struct parse_opts *o, const char *key, const char *file_key)
{
	const char *v[] = {parse_opts_get(o, key), parse_opts_get(o, file_key)};
	bool on = false;

	for (unsigned i = 0; i < COUNT_OF(v) && !on; i++)
		if (v[i] && parse_bool(v[i], &on, NULL))
			on = false;
	return on;
}

static int
nodes(struct name *n, const struct parse_opts *o, struct err *e)
{
	const char *driver = parse_opts_get(o, "driver");
	bool bare = driver && (strcmp(driver, "file") == 0 ||
		strcmp(driver, "host_device") == 0);
	size_t i;

	/* the driver first: messages name it */
	if ((driver && set_driver(n, driver, false, e)) ||
		check_values(o, bare, n->format, e))
		return -1;
	for (i = 0; i < o->n; i++) {
		const char *key = o->v[i].key;
		bool inner = strncmp(key, "file.", 5) == 0;

		/* a format has no name of its own, only its file has */
		if (driver && !bare && strcmp(key, "filename") == 0)
			return no_name(n, parse_opts_get(o, "file.filename"),
				e);
		if (set_key(n, inner ? key + 5 : key, o->v[i].value,
			    inner || (bare && strcmp(key, "driver") != 0), e))
			return -1;
	}
	n->force_share = any_on(o, "force-share", "file.force-share");
	n->read_only = any_on(o, "read-only", "file.read-only");
	if (!n->path)
		return err_set(e, ERR_USAGE, driver && !bare
			? "A block device must be specified for \"file\""
			: "The 'file' block driver requires a file name");
	if (!driver && parse_opts_get(o, "filename"))
		return err_set(e, ERR_USAGE,
			"Must specify either driver or file");
	return bare ? 0 : nodeopts_check_image(o, n->path, n->format, e);
}

/* The word in front, without a key, is that of a node; there are none here. */
static int
no_node(const char *word, struct err *e)
{
	char q[128];

	return err_set(e, ERR_USAGE,
		"Cannot find device='%s' nor node-name='%s'",
		quote(q, sizeof(q), word), q);
}

static int
parse(struct name *n, const char *text, bool list, struct err *e)
{
	struct parse_opts o = {0};
	int r;

	if (!list && strncmp(text, "json:", 5) != 0)
		return plain(&n->path, text, e);
	r = list ? parse_opts_add(&o, text, "file", e)
		 : json_flatten(text + 5, &o, e);
	if (r == 0 && list && !*text)
		r = err_set(e, ERR_USAGE, "Must specify either driver or file");
	else if (r == 0 && list && parse_opts_get(&o, "file"))
		r = no_node(parse_opts_get(&o, "file"), e);
	if (r && !list && e->kind != ERR_FORMAT)
		err_prefix(e, "Could not parse the JSON options");
	if (r == 0)
		r = nodes(n, &o, e);
	parse_opts_free(&o);
	return r;
}

int
name_parse(struct name *ret, const char *text, bool list, struct err *e)
{
	struct name n = {.shown = text};

	if (parse(&n, text, list, e)) {
		name_free(&n);
		return -1;
	}
	*ret = n;
	return 0;
}

void
name_free(struct name *n)
{
	free(n->path);
	free(n->data_path);
	n->path = n->data_path = NULL;
}

struct source
name_source(const struct name *n, enum format a_format)
{
	return (struct source){
		.dirfd = AT_FDCWD,
		.path = n->path,
		.data_path = n->data_path,
		.fd = -1,
		.format = a_format != FORMAT_PROBE ? a_format : n->format,
		.force_share = n->force_share,
		.no_locks = n->no_locks,
		.direct = n->direct,
	};
}
