/* SPDX-License-Identifier: MIT */
/*
 * Command lines: the first byte picks the command and the front, words are
 * separated by NULs. What parses is taken further: names, -o lists.
 * sources: src/cli/options.c src/cli/table.c src/cli/imgopts.c src/cli/name.c
 */
#include "config.h"

#include <string.h>

#include "base/units.h"
#include "cli/imgopts.h"
#include "cli/name.h"
#include "cli/table.h"
#include "fuzz/fuzz.h"

#define WORDS_MAX 64

static const struct options_table *const tables[] = {
	&table_convert, &table_create, &table_digest, &table_info,
	&table_inspect, &table_resize,
};

static void
names(const struct options_args *a)
{
	for (unsigned i = 0; i < a->operands.n; i++) {
		struct name n = {0};
		struct err e;

		if (name_parse(&n, a->operands.v[i], a->image_opts, &e) == 0)
			FUZZ_CHECK(n.path != NULL);
		name_free(&n);
	}
}

static void
image_options(const struct options_args *a, enum format f)
{
	struct imgopts o = {0};
	struct buf out = BUF_INIT;
	struct err e;

	for (unsigned i = 0; i < a->options.n; i++)
		imgopts_valid_list(a->options.v[i]);
	imgopts_wants_help(&a->options);
	if (imgopts_parse(&o, f, &a->options, a->backing, a->backing_format,
		    &e) == 0 && imgopts_finish(&o, &e) == 0) {
		imgopts_formatting(&o, "name", 1 << 20, &out);
		FUZZ_CHECK(buf_failed(&out) || out.len > 0);
		if (f == FORMAT_QCOW2)
			qcow2_options_check(&o.qcow2, &e);
	}
	imgopts_hint(&e);
	buf_free(&out);
	imgopts_free(&o);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *argv[WORDS_MAX + 2] = {(char[]){"byre"}}, *text;
	struct options_args a = {0};
	const char *word = NULL;
	int argc = 1;
	enum options_end end;

	if (size < 1)
		return 0;
	text = malloc(size + 1);
	FUZZ_CHECK(text);
	memcpy(text, data, size);
	text[size] = '\0';
	for (size_t at = 1; at < size && argc <= WORDS_MAX;
		at += strlen(text + at) + 1)
		argv[argc++] = text + at;
	end = options_parse(tables[(data[0] >> 1) % COUNT_OF(tables)],
		data[0] & 1, argc, argv, &a, &word);
	FUZZ_CHECK((end == OPTIONS_DONE || end == OPTIONS_HELP ||
		end == OPTIONS_NOMEM) || word != NULL);
	if (end == OPTIONS_DONE) {
		names(&a);
		image_options(&a, FORMAT_QCOW2);
		image_options(&a, FORMAT_RAW);
	}
	options_free(&a);
	free(text);
	return 0;
}
