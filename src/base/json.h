/* SPDX-License-Identifier: MIT */
/*
 * JSON out (a streaming writer whose text equals QEMU's: 4-space indent,
 * "key": value, \u00XX escapes as QEMU makes them) and JSON in (jansson,
 * included by json.c alone, flattened to dotted keys).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/parse.h"

#define JSON_DEPTH_MAX 16

struct json_out {
	struct buf *out;
	bool pretty;
	unsigned depth;
	bool filled[JSON_DEPTH_MAX]; /* a member was written at this depth */
};

/* key is NULL inside an array and at the top. Strings need not be UTF-8:
 * invalid sequences become U+FFFD as in QEMU. */
void json_open_object(struct json_out *j, const char *key);
void json_close_object(struct json_out *j);
void json_open_array(struct json_out *j, const char *key);
void json_close_array(struct json_out *j);
void json_str(struct json_out *j, const char *key, const char *value);
void json_strn(struct json_out *j, const char *key, const void *value,
	unsigned len);
void json_u64(struct json_out *j, const char *key, uint64_t value);
void json_i64(struct json_out *j, const char *key, int64_t value);
void json_bool(struct json_out *j, const char *key, bool value);

/* Parses one JSON object into a flat list: {"a":{"b":1}} is a.b=1; arrays use
 * indices; booleans become on/off; null, too deep or too large is an error, and
 * ERR_FORMAT what is no object. */
int json_flatten(const char *text, struct parse_opts *ret, struct err *e);

/* The members of an object in a file of another program: as above, but plain
 * JSON (no single quotes), a real number as its digits and null as "". */
int json_members(const char *text, struct parse_opts *ret, struct err *e);

#endif
