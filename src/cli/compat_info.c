/* SPDX-License-Identifier: MIT */
/* qemu-img info. It opens the one file and, for --backing-chain, the chain. */
#include "config.h"

#include "cli/compat.h"

#include <string.h>

#include "op/info.h"

static int
show(const struct options_args *a, const char *operand, bool json)
{
	struct info_result r = {0};
	struct buf out = BUF_INIT;
	struct name n = {0};
	struct err e = {0};
	struct source s;
	struct gate g;

	if (compat_source(a, operand, &n, &s, &g)) {
		name_free(&n);
		return 1;
	}
	if (info_run(&s, &g, a->backing_chain, &compat_notes, &r, &e)) {
		if (strstr(e.msg, "creates an infinite loop."))
			compat_fail("%s", e.msg);
		else if (compat_is_about(&e, s.path) || !e.file[0])
			compat_open_failed(operand, NULL, &e);
		else
			/* a backing file is opened like an image of its own */
			compat_open_failed_below(&e);
		name_free(&n);
		return 1;
	}
	r.newer = compat_newer();
	if (json)
		info_json(&r, a->backing_chain, &out);
	else
		info_human(&r, a->backing_chain, &out);
	info_result_free(&r);
	name_free(&n);
	return compat_output(&out);
}

int
compat_info(const struct options_args *a)
{
	bool json = false;

	if (a->output) {
		json = strcmp(a->output, "json") == 0;
		if (!json && strcmp(a->output, "human") != 0)
			return compat_fail("--output must be used with human "
				"or json as argument.");
	}
	if (a->operands.n != 1)
		return compat_try("Expecting one image file name");
	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	return show(a, a->operands.v[0], json);
}
