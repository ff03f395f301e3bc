/* SPDX-License-Identifier: MIT */
/*
 * JSON text in QEMU's form, and JSON objects flattened to dotted keys. The
 * writer knows nothing of what it writes; balance and keys are its caller's
 * contract. The only file that includes jansson.
 */
#include "base/json.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"

#define JSON_TEXT_MAX (256 * 1024) /* bytes of a json: argument; argv's limit
				    * for one string is 128 KiB */
#define JSON_KEY_MAX 1024          /* bytes of a dotted key */

static void
newline(struct json_out *j)
{
	unsigned i;

	buf_char(j->out, '\n');
	for (i = 0; i < j->depth; i++)
		buf_str(j->out, "    ");
}

/*
 * One code point at p (left > 0 bytes) as QEMU's reader of "modified UTF-8"
 * sees it: forms of up to 6 bytes are consumed whole, overlong ones (but
 * C0 80, which is NUL), surrogates and noncharacters are invalid. A sequence
 * that breaks off ends before the byte that does not continue it. Returns -1
 * for what is invalid.
 */
static int32_t
code_point(const uint8_t *p, size_t left, size_t *ret_len)
{
	static const uint32_t least[] = {
		0, 0, 0x80, 0x800, 0x10000, 0x200000, 0x4000000
	};
	uint32_t cp;
	unsigned n, i;

	*ret_len = 1;
	if (p[0] < 0x80)
		return p[0];
	if (p[0] >= 0xfe || p[0] < 0xc0)
		return -1;
	for (n = 2; p[0] & (0x80 >> n); n++)
		;
	cp = p[0] & (0x7fu >> n);
	for (i = 1; i < n; i++) {
		if (i >= left || (p[i] & 0xc0) != 0x80)
			return -1;
		cp = cp << 6 | (p[i] & 0x3f);
		*ret_len = i + 1;
	}
	if (cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff) ||
		(cp >= 0xfdd0 && cp <= 0xfdef) || (cp & 0xfffe) == 0xfffe)
		return -1;
	if (cp < least[n] && !(cp == 0 && n == 2))
		return -1;
	return (int32_t)cp;
}

static void
quoted(struct json_out *j, const void *s, size_t len)
{
	static const char plain[] = "\"\\\b\f\n\r\t";
	static const char letter[] = "\"\\bfnrt";
	const uint8_t *p = s;
	const char *at;
	size_t n;
	int32_t cp;

	buf_char(j->out, '"');
	for (; len; p += n, len -= n) {
		cp = code_point(p, len, &n);
		if (cp < 0)
			cp = 0xfffd;
		at = cp > 0 && cp < 0x80 ? strchr(plain, cp) : NULL;
		if (at)
			buf_fmt(j->out, "\\%c", letter[at - plain]);
		else if (cp >= 0x20 && cp < 0x7f)
			buf_char(j->out, (char)cp);
		else if (cp <= 0xffff)
			buf_fmt(j->out, "\\u%04X", (unsigned)cp);
		else
			buf_fmt(j->out, "\\u%04X\\u%04X",
				0xd800u + ((unsigned)(cp - 0x10000) >> 10),
				0xdc00u + ((unsigned)(cp - 0x10000) & 0x3ff));
	}
	buf_char(j->out, '"');
}

/* What stands before a value: comma, line break, key. */
static void
lead(struct json_out *j, const char *key)
{
	assert(j->depth < JSON_DEPTH_MAX);
	if (j->filled[j->depth])
		buf_str(j->out, j->pretty ? "," : ", ");
	if (j->pretty && j->depth)
		newline(j);
	j->filled[j->depth] = true;
	if (key) {
		quoted(j, key, strlen(key));
		buf_str(j->out, ": ");
	}
}

static void
enter(struct json_out *j, const char *key, char c)
{
	lead(j, key);
	buf_char(j->out, c);
	assert(j->depth + 1 < JSON_DEPTH_MAX);
	j->filled[++j->depth] = false;
}

static void
leave(struct json_out *j, char c)
{
	assert(j->depth > 0);
	j->depth--;
	if (j->pretty)
		newline(j); /* in an empty one too, as QEMU does */
	buf_char(j->out, c);
}

void
json_open_object(struct json_out *j, const char *key)
{
	enter(j, key, '{');
}

void
json_close_object(struct json_out *j)
{
	leave(j, '}');
}

void
json_open_array(struct json_out *j, const char *key)
{
	enter(j, key, '[');
}

void
json_close_array(struct json_out *j)
{
	leave(j, ']');
}

void
json_str(struct json_out *j, const char *key, const char *value)
{
	lead(j, key);
	quoted(j, value, strlen(value));
}

void
json_strn(struct json_out *j, const char *key, const void *value, unsigned len)
{
	lead(j, key);
	quoted(j, value, len);
}

void
json_u64(struct json_out *j, const char *key, uint64_t value)
{
	lead(j, key);
	buf_fmt(j->out, "%" PRIu64, value);
}

void
json_i64(struct json_out *j, const char *key, int64_t value)
{
	lead(j, key);
	buf_fmt(j->out, "%" PRId64, value);
}

void
json_bool(struct json_out *j, const char *key, bool value)
{
	lead(j, key);
	buf_str(j->out, value ? "true" : "false");
}

/* Recursion is bounded by JSON_DEPTH_MAX; the text is the caller's own. */
static int
flatten(json_t *v, const char *key, unsigned depth, bool any,
	struct parse_opts *ret, struct err *e)
{
	char sub[JSON_KEY_MAX], text[40];
	const char *name;
	json_t *child;
	size_t i;
	int n;

	if (depth > JSON_DEPTH_MAX)
		return err_set(e, ERR_LIMIT, "JSON nests deeper than %d levels",
			JSON_DEPTH_MAX);
	if (json_is_object(v)) {
		json_object_foreach(v, name, child) {
			n = snprintf(sub, sizeof(sub), "%s%s%s", key,
				*key ? "." : "", name);
			if (n < 0 || (size_t)n >= sizeof(sub))
				return err_set(e, ERR_LIMIT, "a JSON key is "
					"longer than %d bytes", JSON_KEY_MAX);
			if (flatten(child, sub, depth + 1, any, ret, e))
				return -1;
		}
		return 0;
	}
	if (json_is_array(v)) {
		json_array_foreach(v, i, child) {
			n = snprintf(sub, sizeof(sub), "%s.%zu", key, i);
			if (n < 0 || (size_t)n >= sizeof(sub))
				return err_set(e, ERR_LIMIT, "a JSON key is "
					"longer than %d bytes", JSON_KEY_MAX);
			if (flatten(child, sub, depth + 1, any, ret, e))
				return -1;
		}
		return 0;
	}
	if (json_is_string(v))
		return parse_opts_put(ret, key, strlen(key),
			json_string_value(v), json_string_length(v), e);
	if (json_is_boolean(v))
		return parse_opts_put(ret, key, strlen(key),
			json_is_true(v) ? "on" : "off",
			json_is_true(v) ? 2 : 3, e);
	if (json_is_integer(v)) {
		n = snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT,
			json_integer_value(v));
		return parse_opts_put(ret, key, strlen(key), text, (size_t)n,
			e);
	}
	if (any && json_is_real(v)) {
		n = snprintf(text, sizeof(text), "%.17g", json_real_value(v));
		return parse_opts_put(ret, key, strlen(key), text, (size_t)n,
			e);
	}
	if (any && json_is_null(v))
		return parse_opts_put(ret, key, strlen(key), "", 0, e);
	return err_set(e, ERR_USAGE, "JSON value of '%s' is neither a string, "
		"an integer nor a boolean", key);
}

/* QEMU's users may put strings into single quotes too, and escape those. */
static void
requote(const char *text, struct buf *out)
{
	char quote = '\0'; /* of the string that text is in */

	for (; *text; text++) {
		if (!quote && (*text == '\'' || *text == '"')) {
			quote = *text;
			buf_char(out, '"');
		} else if (quote && *text == quote) {
			quote = '\0';
			buf_char(out, '"');
		} else if (quote && *text == '"') {
			buf_str(out, "\\\"");
		} else if (quote && *text == '\\' && text[1]) {
			text++;
			if (*text != '\'')
				buf_char(out, '\\');
			buf_char(out, *text);
		} else {
			buf_char(out, *text);
		}
	}
}

static int
parse_object(const char *text, bool any, struct parse_opts *ret, struct err *e)
{
	json_error_t why;
	json_t *v;
	char q[128];
	int r;

	v = json_loads(text, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (!v)
		return err_set(e, ERR_USAGE, "not valid JSON: %s",
			err_quote(q, sizeof(q), why.text,
				(unsigned)strlen(why.text)));
	if (!json_is_object(v)) {
		json_decref(v);
		return err_set(e, ERR_FORMAT, "Invalid JSON object given");
	}
	r = flatten(v, "", 1, any, ret, e);
	json_decref(v);
	return r;
}

static int
check_length(const char *text, struct err *e)
{
	if (strlen(text) > JSON_TEXT_MAX)
		return err_set(e, ERR_LIMIT, "JSON text is longer than %d bytes",
			JSON_TEXT_MAX);
	return 0;
}

int
json_flatten(const char *text, struct parse_opts *ret, struct err *e)
{
	CLEANUP(buf_free) struct buf plain = BUF_INIT;

	if (check_length(text, e))
		return -1;
	requote(text, &plain);
	if (buf_failed(&plain))
		return err_sys(e, ENOMEM, "cannot keep a JSON text");
	return parse_object(plain.p ? plain.p : "", false, ret, e);
}

int
json_members(const char *text, struct parse_opts *ret, struct err *e)
{
	if (check_length(text, e))
		return -1;
	return parse_object(text, true, ret, e);
}
