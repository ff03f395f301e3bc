/* SPDX-License-Identifier: MIT */
/*
 * Numbers, sizes and key=value lists as qemu-img's users write them
 * (qemu_strtosz and QemuOpts semantics; FACTS in man pages). Pure functions.
 */
#ifndef BASE_PARSE_H
#define BASE_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* "1.5G", "0x200", "65536", "512b": bytes, suffix b k m g t p e of 1024^n in
 * either case, a fraction only with a suffix other than b; leading white space
 * and a plus sign are taken, a suffix on a hex number too (QEMU calls that
 * deprecated). Negative or trailing text is ERR_USAGE, a value over INT64_MAX
 * is ERR_LIMIT: qemu-img has a message for each. */
int parse_size(const char *s, uint64_t *ret, struct err *e);
/* Whether a size that was taken is a hex number with a suffix. */
bool parse_size_deprecated(const char *s);

/* A plain decimal (or 0x) unsigned number in [min, max]. */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret,
	struct err *e);

/* "on"/"off" (also yes/no, true/false, y/n) as QemuOpts takes them. */
int parse_bool(const char *s, bool *ret, struct err *e);

/* A "k=v,k2=v2" list; ",," in a value is a literal comma; a bare "k" means
 * k=on, "nok" k=off; the first bare word takes the key first_key when that is
 * not NULL. */
struct parse_opt {
	char *key;
	char *value;
	bool bare; /* a word alone, which means on or off */
};

struct parse_opts {
	struct parse_opt *v; /* owned, with the strings */
	size_t n;
};

/* Appends to o, which the caller zeroed before the first call. */
int parse_opts_add(struct parse_opts *o, const char *list,
	const char *first_key, struct err *e);
/* Appends one pair; both strings are copied. */
int parse_opts_put(struct parse_opts *o, const char *key, size_t key_len,
	const char *value, size_t value_len, struct err *e);
/* The last value given for key, or NULL. */
const char *parse_opts_get(const struct parse_opts *o, const char *key);
void parse_opts_free(struct parse_opts *o);

#endif
