/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "cli/compat_file.h"

#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/units.h"
#include "cli/compat.h"

void
compat_file_probed_raw(const char *shown)
{
	fprintf(stderr,
		"WARNING: Image format was not specified for '%s' and probing "
		"guessed raw.\n"
		"         Automatically detecting the format is dangerous for "
		"raw images, write operations on block 0 will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the "
		"restrictions.\n", shown);
}

int
compat_file_rate(const char *text, uint64_t *ret)
{
	struct err e;

	*ret = 0;
	if (!text || parse_size(text, ret, &e) == 0)
		return 0;
	compat_fail("Invalid rate limit specified. You may use k, M, G, T, P "
		"or E suffixes for");
	return compat_fail("kilobytes, megabytes, gigabytes, terabytes, "
		"petabytes and exabytes.");
}

int
compat_file_cache(const char *text, const char *what, bool *ret_durable)
{
	static const char *const words[] = {"unsafe", "none", "off",
		"directsync", "writeback", "writethrough"};
	unsigned i = 4;

	for (i = text ? 0 : 4; i < COUNT_OF(words); i++)
		if (!text || strcmp(words[i], text) == 0)
			break;
	if (i == COUNT_OF(words))
		return compat_fail("Invalid %scache option: %s", what, text);
	if (ret_durable)
		*ret_durable = i != 0;
	return 0;
}
