/* SPDX-License-Identifier: MIT */
/*
 * Which gate applies. Native commands trust nothing that they are not told to
 * trust, wherever the source lies; the front trusts as qemu-img does, except
 * where the administrator or the environment says otherwise.
 */
#include "config.h"

#include "cli/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "cli/settings.h"

static bool
env_on(const char *name)
{
	const char *v = getenv(name);

	return v && *v && strcmp(v, "0") != 0;
}

int
policy_native(const struct options_args *a, struct gate *ret, struct err *e)
{
	struct gate g = {
		.trusted = a->trusted,
		.safe = !a->trusted,
		.allow_dirs = a->allow_backing.v,
		.n_allow = a->allow_backing.n,
		.lenient = a->lenient || a->salvage,
	};

	if (a->trusted && a->allow_backing.n)
		return err_set(e, ERR_USAGE,
			"--trusted and --allow-backing exclude each other");
	if (a->max_size && parse_size(a->max_size, &g.size_max, e))
		return err_prefix(e, "--max-size");
	*ret = g;
	return 0;
}

int
policy_front(const struct options_args *a, const char *path, struct gate *ret,
	struct err *e)
{
	bool untrusted = a->untrusted || env_on("BYRE_UNTRUSTED");

	if (!untrusted && path && settings_untrusted(path, &untrusted, e))
		return -1;
	*ret = (struct gate){
		.trusted = !untrusted,
		.safe = untrusted,
		.lenient = a->salvage || env_on("BYRE_LENIENT"),
	};
	return 0;
}
