/* SPDX-License-Identifier: MIT */
/* byre.h for what moves along a backing chain: commit and rebase. */
#include "byre.h"

#include <fcntl.h>

#include "src/api_int.h"
#include "op/commit.h"
#include "op/rebase.h"

int
byre_commit(const char *path, const char *base, int keep,
	const struct byre_policy *policy, struct byre_error *e)
{
	struct commit_request rq = {
		.image = {
			.dirfd = AT_FDCWD,
			.path = path,
			.format = FORMAT_QCOW2,
		},
		.base = base,
		.keep = keep || base,
		.durable = true,
	};
	struct commit_result r;
	struct api_policy p;
	struct err err = {0};

	if (api_take_policy(&p, policy, e))
		return -1;
	rq.image.gate = &p.gate;
	if (commit_run(&rq, &r, &err))
		return api_fail(e, &err);
	return 0;
}

int
byre_rebase(const char *path, const char *backing, const char *backing_format,
	int only_header, const struct byre_policy *policy,
	struct byre_error *e)
{
	struct rebase_request rq = {
		.image = {
			.dirfd = AT_FDCWD,
			.path = path,
			.format = FORMAT_QCOW2,
		},
		.backing = backing,
		.backing_format = backing_format,
		.only_header = only_header != 0,
		.durable = true,
	};
	struct rebase_result r;
	struct api_policy p;
	struct err err = {0};

	if (api_take_policy(&p, policy, e))
		return -1;
	rq.image.gate = &p.gate;
	if (rebase_run(&rq, &r, &err))
		return api_fail(e, &err);
	return 0;
}
