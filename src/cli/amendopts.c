/* SPDX-License-Identifier: MIT */
/* A table of what amend can be told. */
#include "config.h"

#include "cli/amendopts.h"

#include <string.h>

#include "base/units.h"
#include "cli/imgopts.h"

/* Options of new images alone. */
static const char *const create_only[] = {"cluster_size", "preallocation",
	"compression_type", "extended_l2", "encryption", "encrypt.format",
	"encrypt.key-secret", "encrypt.cipher-alg", "encrypt.cipher-mode",
	"encrypt.hash-alg", "encrypt.ivgen-alg", "encrypt.ivgen-hash-alg",
	"nocow", "extent_size_hint"};

static int
on_off(const char *key, const char *value, int *ret, struct err *e)
{
	bool on;

	if (parse_bool(value, &on, e))
		return err_set(e, ERR_USAGE,
			"Parameter '%s' expects 'on' or 'off'", key);
	*ret = on;
	return 0;
}

static int
version_of(const char *value, struct amend_request *rq, struct err *e)
{
	char q[64];

	if (strcmp(value, "0.10") == 0 || strcmp(value, "v2") == 0)
		rq->version = 2;
	else if (strcmp(value, "1.1") == 0 || strcmp(value, "v3") == 0)
		rq->version = 3;
	else
		return err_set(e, ERR_USAGE, "Unknown compatibility level %s",
			err_quote(q, sizeof(q), value,
				(unsigned)strlen(value)));
	return 0;
}

static int
set(struct amend_request *rq, const char *key, const char *value,
	struct err *e)
{
	uint64_t n;

	if (strcmp(key, "compat") == 0)
		return version_of(value, rq, e);
	if (strcmp(key, "lazy_refcounts") == 0)
		return on_off(key, value, &rq->lazy_refcounts, e);
	if (strcmp(key, "data_file_raw") == 0)
		return on_off(key, value, &rq->data_file_raw, e);
	if (strcmp(key, "data_file") == 0)
		rq->data_file = value;
	else if (strcmp(key, "backing_file") == 0)
		rq->backing = value;
	else if (strcmp(key, "backing_fmt") == 0)
		rq->backing_format = value;
	else if (strcmp(key, "size") == 0) {
		if (parse_size(value, &rq->size, e))
			return err_set(e, ERR_USAGE, "Parameter 'size' expects "
				"a non-negative number below 2^64");
	} else {
		if (imgopts_number(value, &n, e))
			return err_set(e, ERR_USAGE,
				"Parameter '%s' expects a number", key);
		if (n == 0 || n > 64 || (n & (n - 1)))
			return err_set(e, ERR_USAGE, "Refcount width must be a "
				"power of two and may not exceed 64 bits");
		rq->refcount_bits = (unsigned)n;
	}
	return 0;
}

int
amendopts_parse(const struct options_list *lists, struct parse_opts *given,
	struct amend_request *rq, bool *ret_create, struct err *e)
{
	static const char *const known[] = {"size", "compat", "backing_file",
		"backing_fmt", "data_file", "data_file_raw", "lazy_refcounts",
		"refcount_bits"};
	char q[64];

	rq->lazy_refcounts = rq->data_file_raw = -1;
	for (unsigned i = 0; i < lists->n; i++) {
		if (parse_opts_add(given, lists->v[i], NULL, e))
			return -1;
	}
	for (size_t i = 0; i < given->n; i++) {
		const char *key = given->v[i].key;
		unsigned k;

		for (k = 0; k < COUNT_OF(known); k++) {
			if (strcmp(known[k], key) == 0)
				break;
		}
		if (k < COUNT_OF(known))
			continue;
		for (k = 0; k < COUNT_OF(create_only); k++)
			*ret_create |= strcmp(create_only[k], key) == 0;
		if (strncmp(key, "encrypt.", 8) == 0 && !*ret_create)
			return err_set(e, ERR_USAGE, "Can't amend encryption "
				"options - encryption not present");
		return err_set(e, ERR_USAGE, "Invalid parameter '%s'",
			err_quote(q, sizeof(q), key, (unsigned)strlen(key)));
	}
	/* in the order in which qemu-img looks at them */
	for (unsigned k = 0; k < COUNT_OF(known); k++) {
		const char *value = parse_opts_get(given, known[k]);

		if (value && set(rq, known[k], value, e))
			return -1;
	}
	return 0;
}
