/* SPDX-License-Identifier: MIT */
/* qemu-img amend. */
#include "config.h"

#include "cli/compat.h"

#include <stdio.h>
#include <string.h>

#include "cli/amendopts.h"
#include "cli/compat_file.h"
#include "cli/imgopts.h"
#include "cli/progress.h"

static int
failed(const struct amend_request *rq, const struct amend_result *r,
	const char *shown, const struct err *e)
{
	if (!r->opened)
		return compat_inplace_failed(shown, rq->image.path, e);
	if (compat_marked(e))
		return 1;
	if (e->eno && strncmp(e->msg, "Snapshot L1 table ", 18) == 0) {
		compat_fail("%s", e->msg);
		return compat_fail("Failed to turn zero into data clusters: "
			"%s", strerror(e->eno));
	}
	compat_fault("", e, false);
	if (strcmp(e->msg, AMEND_BACKING) == 0)
		fputs("You can use 'qemu-img rebase' instead.\n", stderr);
	return 1;
}

static int
amend(const struct options_args *a, const struct source *s,
	const struct gate *g, bool durable)
{
	const char *shown = a->operands.v[0];
	struct amend_request rq = {
		.image = {
			.dirfd = s->dirfd,
			.path = s->path,
			.data_path = s->data_path,
			.no_locks = s->no_locks,
			.format = s->format,
			.allow_probed = !g->safe,
			.gate = g,
		},
		.durable = durable,
	};
	struct parse_opts given = {0};
	struct amend_result r;
	struct progress p;
	struct err e = {0};
	bool create = false;
	int status;

	if (amendopts_parse(&a->options, &given, &rq, &create, &e)) {
		status = compat_fail("%s", e.msg);
		if (create)
			fputs("This option is only supported for image "
			      "creation\n", stderr);
		fputs(imgopts_hint(&e), stderr);
		parse_opts_free(&given);
		return status;
	}
	progress_start(&p, "amend", a->progress, false, a->quiet, -1,
		compat_warn);
	rq.image.watch = &p.watch;
	status = amend_run(&rq, &r, &e);
	progress_end(&p, status == 0);
	if (r.opened && s->format == FORMAT_PROBE && r.format == FORMAT_RAW)
		compat_file_probed_raw(shown);
	if (r.opened && r.format == FORMAT_RAW)
		status = compat_fail("Format driver 'raw' does not support "
			"option amendment");
	else if (status)
		status = failed(&rq, &r, shown, &e);
	parse_opts_free(&given);
	return status;
}

static int
help_of(const struct options_args *a)
{
	enum format format = probe_format_from_name(a->format);

	if (format != FORMAT_PROBE && format != FORMAT_QCOW2 &&
		format != FORMAT_LUKS)
		return compat_fail("Format driver '%s' does not support "
			"option amendment", a->format);
	if (compat_target_format(a->format, "", &format))
		return 1;
	return compat_options_amend_help("qcow2");
}

int
compat_amend(const struct options_args *a)
{
	bool durable = true;
	struct name n = {0};
	struct source s;
	struct gate g;
	int status;

	if (a->options.n == 0)
		return compat_try("Must specify options (-o)");
	for (unsigned i = 0; i < a->options.n; i++)
		if (!imgopts_valid_list(a->options.v[i]))
			return compat_fail("Invalid option list: %s",
				a->options.v[i]);
	if (a->format && imgopts_wants_help(&a->options))
		return help_of(a);
	if (a->operands.n != 1)
		return compat_fail("Expecting one image file name");
	if (compat_file_cache(a->cache, "", &durable))
		return 1;
	if (imgopts_wants_help(&a->options))
		return compat_options_amend_help("qcow2");
	status = compat_inplace_source(a, a->operands.v[0], &n, &s, &g) ? 1
		: amend(a, &s, &g, durable);
	name_free(&n);
	return status;
}
