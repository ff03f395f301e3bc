/* SPDX-License-Identifier: MIT */
/*
 * The common part of the native commands' options. Every refusal names the
 * option and the value.
 */
#include "config.h"

#include "cli/native.h"

#include <fcntl.h>
#include <string.h>

#include "base/parse.h"
#include "io/pool.h"

int
native_format(const char *text, const char *what, enum format *ret,
	struct err *e)
{
	if (name_format(text, ret, e))
		return err_prefix(e, "%s", what);
	return 0;
}

int
native_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *ret, struct err *e)
{
	enum format format;

	if (a->format && a->image_opts)
		return err_set(e, ERR_USAGE,
			"--image-opts and -f exclude each other");
	if (native_format(a->format, "-f", &format, e))
		return -1;
	/* a name with a colon is a file like any other */
	if (!a->image_opts && strncmp(operand, "json:", 5) != 0 &&
		strncmp(operand, "file:", 5) != 0) {
		*n = (struct name){.shown = operand};
		*ret = name_source(n, format);
		ret->path = operand;
	} else {
		if (name_parse(n, operand, a->image_opts, e))
			return err_file(e, operand);
		*ret = name_source(n, format);
	}
	ret->force_share |= a->force_share;
	ret->snapshot = a->snapshot;
	return 0;
}

int
native_inplace_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *s, struct err *e)
{
	if (native_source(a, operand, n, s, e))
		return -1;
	if (!n->read_only)
		return 0;
	name_free(n);
	err_set(e, ERR_USAGE, "Block node is read-only");
	return err_file(e, operand);
}

int
native_word(const char *text, const char *what, const char *const *words,
	unsigned *ret, struct err *e)
{
	char q[64];
	unsigned i;

	if (!text)
		return 0;
	for (i = 0; words[i]; i++) {
		if (strcmp(words[i], text) == 0) {
			*ret = i;
			return 0;
		}
	}
	return err_set(e, ERR_USAGE, "%s: unknown value '%s'", what,
		err_quote(q, sizeof(q), text, (unsigned)strlen(text)));
}

int
native_number(const char *text, const char *what, uint64_t min, uint64_t max,
	uint64_t *ret, struct err *e)
{
	if (text && parse_u64(text, min, max, ret, e))
		return err_prefix(e, "%s", what);
	return 0;
}

int
native_output(const struct options_args *a, bool *ret_json, struct err *e)
{
	static const char *const words[] = {"human", "json", NULL};
	unsigned i = 0;

	if (native_word(a->output, "--output", words, &i, e))
		return -1;
	*ret_json = i == 1;
	return 0;
}

int
native_engine(const struct options_args *a, enum engine_kind *ret,
	unsigned *ret_workers, struct err *e)
{
	static const char *const words[] = {"auto", "uring", "threads", NULL};
	static const enum engine_kind kinds[] = {ENGINE_AUTO, ENGINE_URING,
		ENGINE_THREADS};
	uint64_t n = 0;
	unsigned i = 0;

	if (native_word(a->engine, "--engine", words, &i, e) ||
		native_number(a->workers, "--workers", 1, POOL_WORKERS_MAX, &n,
			e))
		return -1;
	*ret = kinds[i];
	*ret_workers = (unsigned)n;
	return 0;
}

int
native_progress_fd(const struct options_args *a, int *ret, struct err *e)
{
	uint64_t n = 0;

	*ret = -1;
	if (!a->progress_fd)
		return 0;
	if (native_number(a->progress_fd, "--progress-fd", 0, 1 << 20, &n, e))
		return -1;
	if (fcntl((int)n, F_GETFD) < 0)
		return err_set(e, ERR_USAGE,
			"--progress-fd: %u is not an open file descriptor",
			(unsigned)n);
	*ret = (int)n;
	return 0;
}
