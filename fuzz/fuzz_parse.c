/* SPDX-License-Identifier: MIT */
/* Sizes, option lists and JSON arguments, as users write them. */
#include "config.h"

#include <string.h>

#include "base/json.h"
#include "base/parse.h"
#include "fuzz/fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct parse_opts o = {0}, j = {0};
	struct err e;
	char *s = malloc(size + 1);
	uint64_t v;
	bool flag;

	FUZZ_CHECK(s);
	if (size)
		memcpy(s, data, size);
	s[size] = '\0';
	if (parse_size(s, &v, &e) == 0)
		FUZZ_CHECK(v <= INT64_MAX);
	if (parse_u64(s, 5, 500, &v, &e) == 0)
		FUZZ_CHECK(v >= 5 && v <= 500);
	parse_bool(s, &flag, &e);
	if (parse_opts_add(&o, s, size & 1 ? "first" : NULL, &e) == 0)
		for (size_t i = 0; i < o.n; i++)
			FUZZ_CHECK(o.v[i].key && o.v[i].value);
	parse_opts_free(&o);
	if (json_flatten(s, &j, &e) == 0)
		parse_opts_free(&j);
	free(s);
	return 0;
}
