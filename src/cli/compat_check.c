/* SPDX-License-Identifier: MIT */
/* qemu-img check: what is wrong goes to stderr as it is found, the summary to
 * stdout at the end. */
#include "config.h"

#include "cli/compat.h"

#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "cli/compat_file.h"
#include "cli/progress.h"
#include "op/check.h"

static int
repair_of(const char *text, unsigned *ret)
{
	*ret = 0;
	if (!text)
		return 0;
	if (strcmp(text, "leaks") == 0)
		*ret = QCOW2_FIX_LEAKS;
	else if (strcmp(text, "all") == 0)
		*ret = QCOW2_FIX_ALL;
	else
		return compat_try("Unknown option value for -r (expecting "
			"'leaks' or 'all'): %s", text);
	return 0;
}

/* Cache modes: whether the repair is flushed, and O_DIRECT. */
static int
cache_of(const char *text, bool *ret_durable, bool *ret_direct)
{
	static const struct {
		const char *name;
		bool durable, direct;
	} modes[] = {
		{"writeback", true, false}, {"writethrough", true, false},
		{"none", true, true}, {"off", true, true},
		{"directsync", true, true}, {"unsafe", false, false},
	};

	*ret_durable = true;
	for (unsigned i = 0; text && i < COUNT_OF(modes); i++) {
		if (strcmp(modes[i].name, text) == 0) {
			*ret_durable = modes[i].durable;
			*ret_direct = modes[i].direct;
			return 0;
		}
	}
	return text ? compat_fail("Invalid source cache option: %s", text) : 0;
}

static int
failed(const struct check_result *r)
{
	if (r->r.eno)
		return compat_fail("Check failed: %s", strerror(r->r.eno));
	return compat_fail("Check failed");
}

static int
check(const struct options_args *a, struct check_request *rq, bool json,
	struct buf *out)
{
	const char *shown = a->operands.v[0];
	struct check_result r;
	struct progress p;
	struct err e = {0};
	int verdict;

	progress_start(&p, "check", false, false, a->quiet, -1, compat_warn);
	rq->watch = &p.watch;
	if (check_run(rq, &r, &e))
		return compat_open_failed(shown, rq->source.path, &e);
	if (rq->fix && rq->source.format == FORMAT_PROBE &&
		r.format == FORMAT_RAW)
		compat_file_probed_raw(shown);
	verdict = check_verdict(&r);
	if (verdict == CHECK_UNSUPPORTED) {
		compat_fail("This image format does not support checks");
		return verdict;
	}
	if (json)
		check_json(&r, shown, out);
	else
		check_human(&r, out);
	if (a->quiet)
		buf_clear(out);
	if (verdict == CHECK_FAILED)
		return failed(&r);
	return verdict;
}

int
compat_check(const struct options_args *a)
{
	struct check_request rq = {.whole_chain = true};
	struct buf out = BUF_INIT;
	struct name n = {0};
	struct gate g;
	bool json = false, direct = false;
	int status, written;

	if (repair_of(a->repair, &rq.fix))
		return 1;
	if (a->operands.n != 1)
		return compat_try("Expecting one image file name");
	if (a->output) {
		json = strcmp(a->output, "json") == 0;
		if (!json && strcmp(a->output, "human") != 0)
			return compat_fail("--output must be used with human "
				"or json as argument.");
	}
	if (cache_of(a->source_cache, &rq.durable, &direct))
		return 1;
	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	if (compat_source(a, a->operands.v[0], &n, &rq.source, &g)) {
		name_free(&n);
		return 1;
	}
	if (rq.fix && compat_inplace_writable(a->operands.v[0], &n, &rq.source,
			    &g)) {
		name_free(&n);
		return 1;
	}
	rq.gate = &g;
	rq.allow_probed = !g.safe;
	rq.whole_chain = g.trusted;
	rq.source.direct |= direct && rq.fix == 0;
	status = check(a, &rq, json, &out);
	name_free(&n);
	written = compat_output(&out);
	return written ? written : status;
}
