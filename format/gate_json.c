/* SPDX-License-Identifier: MIT */
/*
 * A name of the form json:{...} that stands in an image and means a plain
 * file. Whether it may be opened is decided elsewhere (format/gate_open).
 */
#include "format/gate.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"

static bool
is_file(const char *driver)
{
	return strcmp(driver, "file") == 0 ||
		strcmp(driver, "host_device") == 0;
}

static int
unknown(const char *what, const char *value, struct err *e)
{
	char q[80];

	return err_set(e, ERR_UNSUPPORTED, "%s '%s' in a stored json: name is "
		"not supported", what,
		err_quote(q, sizeof(q), value, (unsigned)strlen(value)));
}

static int
driver(const char *value, enum format *ret, struct err *e)
{
	enum format f = probe_format_from_name(value);

	if (is_file(value))
		return 0;
	if (f == FORMAT_PROBE)
		return unknown("driver", value, e);
	*ret = f;
	return 0;
}

bool
gate_is_json(const char *name)
{
	return strncmp(name, "json:", 5) == 0;
}

int
gate_json(const char *name, char **ret_path, enum format *ret_format,
	struct err *e)
{
	CLEANUP(parse_opts_free) struct parse_opts o = {0};
	enum format format = FORMAT_PROBE;
	const char *path = NULL;
	size_t i;

	assert(gate_is_json(name));
	if (json_flatten(name + 5, &o, e))
		return err_prefix(e, "Could not parse the JSON options");
	for (i = 0; i < o.n; i++) {
		const char *key = o.v[i].key, *value = o.v[i].value;

		if (strcmp(key, "file.filename") == 0 ||
			strcmp(key, "filename") == 0) {
			path = value;
		} else if (strcmp(key, "driver") == 0) {
			if (driver(value, &format, e))
				return -1;
		} else if (strcmp(key, "file.driver") == 0) {
			if (!is_file(value))
				return unknown("driver", value, e);
		} else {
			return unknown("key", key, e);
		}
	}
	path = path ? gate_path(path) : NULL;
	if (!path || *path == '\0')
		return err_set(e, ERR_UNSUPPORTED, "a stored json: name gives "
			"no plain file");
	*ret_path = strdup(path);
	if (!*ret_path)
		return err_sys(e, ENOMEM, "cannot keep a name");
	*ret_format = format;
	return 0;
}
