/* SPDX-License-Identifier: MIT */
/*
 * Numbers, sizes and option lists in QEMU's dialect. Which keys exist, and
 * what a number may be used for, is the caller's business.
 */
#include "config.h"

#include "base/parse.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "base/ck.h"

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* 1024^n for a suffix, 0 for any other character. */
static uint64_t
scale_of(char c)
{
	static const char suffixes[] = "bkmgtpe";
	const char *at;

	if (c >= 'A' && c <= 'Z')
		c = (char)(c - 'A' + 'a');
	at = c ? strchr(suffixes, c) : NULL;
	return at ? UINT64_C(1) << (10 * (at - suffixes)) : 0;
}

/* ".digits" at s as a fixed-point fraction of 2^64; a number that rounds up
 * to one whole wraps to 0, as it does in QEMU. Returns the first character
 * behind it. A lone point is a fraction of zero. Independent of the caller's
 * locale. */
static const char *
fraction_parse(const char *s, uint64_t *ret)
{
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	double d = 0;
	char *end;

	*ret = 0;
	if (!is_digit(s[1]) || c == (locale_t)0) {
		if (c != (locale_t)0)
			freelocale(c);
		return s + 1;
	}
	d = strtod_l(s, &end, c);
	freelocale(c);
	if (d < 1.0)
		*ret = (uint64_t)(d * 0x1p64);
	return end;
}

static int
bad_size(const char *s, struct err *e)
{
	char q[64];

	return err_set(e, ERR_USAGE, "'%s' is not a size (a number with an "
		"optional suffix k, M, G, T, P or E)",
		err_quote(q, sizeof(q), s, (unsigned)strlen(s)));
}

static int
big_size(const char *s, struct err *e)
{
	char q[64];

	return err_set(e, ERR_LIMIT, "size '%s' is larger than "
		"9223372036854775807 bytes",
		err_quote(q, sizeof(q), s, (unsigned)strlen(s)));
}

/* The unsigned whole number at s, as strtoull takes it but without a minus:
 * 0 with *ret_end, or an errno. */
static int
whole_parse(const char *s, int base, uint64_t *ret, const char **ret_end)
{
	const char *p = s;
	char *end;

	while (*p == ' ' || (*p >= '\t' && *p <= '\r'))
		p++;
	if (*p == '-')
		return EINVAL;
	errno = 0;
	*ret = strtoull(p, &end, base);
	if (end == p)
		return EINVAL;
	*ret_end = end;
	return errno;
}

int
parse_size(const char *s, uint64_t *ret, struct err *e)
{
	uint64_t v, frac = 0, scale;
	unsigned __int128 part;
	const char *p = NULL;
	int r;

	r = whole_parse(s, 10, &v, &p);
	if (r == 0 && v == 0 && (*p == 'x' || *p == 'X')) {
		r = whole_parse(s, 16, &v, &p);
		if (r == 0 && *p == '.')
			r = EINVAL;
	} else if (r == 0 && *p == '.') {
		const char *from = p;

		p = fraction_parse(p, &frac);
		/* 1.5e3 is refused as a whole: an exponent is no suffix */
		if (memchr(from, 'e', (size_t)(p - from)) ||
			memchr(from, 'E', (size_t)(p - from)))
			r = EINVAL;
	}
	if (r == ERANGE)
		return big_size(s, e);
	if (r)
		return bad_size(s, e);
	scale = scale_of(*p);
	if (scale)
		p++;
	else
		scale = 1;
	if (*p != '\0' || (scale == 1 && frac != 0))
		return bad_size(s, e);
	/* exact, and half a byte counts as one */
	part = (unsigned __int128)frac * scale + (UINT64_C(1) << 63);
	if (!ck_mul(v, scale, &v) || !ck_add(v, (uint64_t)(part >> 64), &v) ||
		v > INT64_MAX)
		return big_size(s, e);
	*ret = v;
	return 0;
}

bool
parse_size_deprecated(const char *s)
{
	s += strspn(s, " \t\n\v\f\r+");
	return s[0] == '0' && (s[1] == 'x' || s[1] == 'X') &&
		s[2 + strspn(s + 2, "0123456789abcdefABCDEF")] != '\0';
}

int
parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret,
	struct err *e)
{
	bool hex = s[0] == '0' && (s[1] == 'x' || s[1] == 'X');
	char q[64], *end = NULL;
	uint64_t v = 0;

	err_quote(q, sizeof(q), s, (unsigned)strlen(s));
	errno = EINVAL;
	if (is_digit(s[0])) {
		errno = 0;
		v = strtoull(s, &end, hex ? 16 : 10);
	}
	if ((errno && errno != ERANGE) || *end != '\0')
		return err_set(e, ERR_USAGE, "'%s' is not a number", q);
	if (errno == ERANGE || v < min || v > max)
		return err_set(e, ERR_USAGE, "%s is not in the range %llu..%llu",
			q, (unsigned long long)min, (unsigned long long)max);
	*ret = v;
	return 0;
}

int
parse_bool(const char *s, bool *ret, struct err *e)
{
	static const char *const yes[] = {"on", "yes", "true", "y"};
	static const char *const no[] = {"off", "no", "false", "n"};
	char q[64];
	unsigned i;

	for (i = 0; i < 4; i++) {
		if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
			*ret = strcmp(s, yes[i]) == 0;
			return 0;
		}
	}
	return err_set(e, ERR_USAGE, "'%s' is neither 'on' nor 'off'",
		err_quote(q, sizeof(q), s, (unsigned)strlen(s)));
}

int
parse_opts_put(struct parse_opts *o, const char *key, size_t key_len,
	const char *value, size_t value_len, struct err *e)
{
	struct parse_opt *v;
	struct parse_opt one = {0};

	v = realloc(o->v, (o->n + 1) * sizeof(*v));
	if (!v)
		return err_sys(e, ENOMEM, "cannot keep an option");
	o->v = v;
	one.key = strndup(key, key_len);
	one.value = strndup(value, value_len);
	if (!one.key || !one.value) {
		free(one.key);
		free(one.value);
		return err_sys(e, ENOMEM, "cannot keep an option");
	}
	o->v[o->n++] = one;
	return 0;
}

/* Copies a value to out (as long as s at least), ",," becoming ",", up to a
 * single comma or the end; returns that place. */
static const char *
value_copy(const char *s, char *out)
{
	while (*s) {
		if (*s == ',') {
			if (s[1] != ',')
				break;
			s++;
		}
		*out++ = *s++;
	}
	*out = '\0';
	return s;
}

int
parse_opts_add(struct parse_opts *o, const char *list, const char *first_key,
	struct err *e)
{
	char *value = malloc(strlen(list) + 1);
	const char *p = list;
	bool bare;
	int r = 0;

	if (!value)
		return err_sys(e, ENOMEM, "cannot keep an option");
	while (*p && r == 0) {
		size_t len = strcspn(p, "=,");

		bare = p[len] != '=' && !first_key;
		if (p[len] == '=') {
			const char *key = p;

			p = value_copy(p + len + 1, value);
			r = parse_opts_put(o, key, len, value, strlen(value),
				e);
		} else if (first_key) {
			p = value_copy(p, value);
			r = parse_opts_put(o, first_key, strlen(first_key),
				value, strlen(value), e);
		} else if (len >= 2 && p[0] == 'n' && p[1] == 'o') {
			r = parse_opts_put(o, p + 2, len - 2, "off", 3, e);
			p += len;
		} else {
			r = parse_opts_put(o, p, len, "on", 2, e);
			p += len;
		}
		if (bare && r == 0)
			o->v[o->n - 1].bare = true;
		first_key = NULL;
		if (*p == ',')
			p++;
	}
	free(value);
	return r;
}

const char *
parse_opts_get(const struct parse_opts *o, const char *key)
{
	size_t i;

	for (i = o->n; i > 0; i--)
		if (strcmp(o->v[i - 1].key, key) == 0)
			return o->v[i - 1].value;
	return NULL;
}

void
parse_opts_free(struct parse_opts *o)
{
	size_t i;

	for (i = 0; i < o->n; i++) {
		free(o->v[i].key);
		free(o->v[i].value);
	}
	free(o->v);
	*o = (struct parse_opts){0};
}
