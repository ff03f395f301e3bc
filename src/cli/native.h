/* SPDX-License-Identifier: MIT */
/* What native commands share: sources, numbers and words of their options.
 * All return 0 or -1 with the error. */
#ifndef CLI_NATIVE_H
#define CLI_NATIVE_H

#include "cli/name.h"
#include "cli/options.h"
#include "io/engine.h"

/* The source that an operand names: a path (or file:PATH), or a list with
 * --image-opts, with -f, -l and -U applied. n keeps its strings. */
int native_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *ret, struct err *e);
/* The same of an image that is to be changed: read-only=on is ERR_USAGE. */
int native_inplace_source(const struct options_args *a, const char *operand,
	struct name *n, struct source *ret, struct err *e);
/* -f or -O by name; what: the option, for the message. */
int native_format(const char *text, const char *what, enum format *ret,
	struct err *e);
/* --output: *ret_json. */
int native_output(const struct options_args *a, bool *ret_json, struct err *e);
int native_engine(const struct options_args *a, enum engine_kind *ret,
	unsigned *ret_workers, struct err *e);
/* --progress-fd, -1 when not given. */
int native_progress_fd(const struct options_args *a, int *ret, struct err *e);
/* The number of an option in [min, max]; *ret is left when text is NULL. */
int native_number(const char *text, const char *what, uint64_t min,
	uint64_t max, uint64_t *ret, struct err *e);
/* Index of text in a NULL-terminated list of words; *ret left when NULL. */
int native_word(const char *text, const char *what, const char *const *words,
	unsigned *ret, struct err *e);

#endif
