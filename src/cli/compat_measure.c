/* SPDX-License-Identifier: MIT */
/* qemu-img measure. What the options have wrong is said when the image could
 * be opened, as qemu-img does. */
#include "config.h"

#include "cli/compat.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/parse.h"
#include "base/units.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "op/measure.h"

struct job {
	const struct options_args *a;
	struct measure_request rq;
	struct measure_result result;
	struct name name;
	struct source source;
	struct gate gate;
	struct imgopts o;
	struct compat_snapshot snapshot;
};

static int
preallocation(const char *word, bool *ret_all, struct err *e)
{
	static const char *const words[] = {"off", "metadata", "falloc",
		"full"};
	char q[64];
	unsigned i;

	*ret_all = false;
	for (i = 0; word && i < COUNT_OF(words); i++)
		if (strcmp(words[i], word) == 0)
			break;
	if (i == COUNT_OF(words))
		return err_set(e, ERR_USAGE, "invalid parameter value: %s",
			err_quote(q, sizeof(q), word,
				(unsigned)strlen(word)));
	*ret_all = word && i >= 2;
	return 0;
}

/* measure knows compat by its numbers alone. */
static int
words(struct job *j, struct err *e)
{
	const char *v = parse_opts_get(&j->o.given, "compat");
	char q[64];

	if (j->rq.target != FORMAT_QCOW2)
		return 0;
	j->rq.cluster_size = j->o.qcow2.cluster_size;
	j->rq.extended_l2 = j->o.qcow2.extended_l2;
	j->rq.version = v && strcmp(v, "0.10") == 0 ? 2 : 3;
	j->rq.backing = j->o.qcow2.backing != NULL;
	/* in qemu-img's order */
	if (measure_check(&(struct measure_request){
			.target = FORMAT_QCOW2,
			.cluster_size = j->rq.cluster_size,
			.extended_l2 = j->rq.extended_l2}, e))
		return -1;
	if (v && j->rq.version == 3 && strcmp(v, "1.1") != 0)
		return err_set(e, ERR_USAGE, "Invalid compatibility level: '%s'",
			err_quote(q, sizeof(q), v, (unsigned)strlen(v)));
	j->rq.refcount_bits = j->o.qcow2.refcount_bits;
	if (measure_check(&(struct measure_request){
			.target = FORMAT_QCOW2,
			.version = j->rq.version,
			.refcount_bits = j->rq.refcount_bits}, e))
		return -1;
	return preallocation(parse_opts_get(&j->o.given, "preallocation"),
		&j->rq.all, e);
}

/* The image alone, for its faults come before those of the options. */
static int
open_alone(struct job *j)
{
	struct measure_request rq = {
		.source = j->rq.source,
		.gate = j->rq.gate,
		.target = FORMAT_RAW,
	};
	struct err e = {0};

	if (!rq.source || measure_run(&rq, &j->result, NULL, &e) == 0)
		return 0;
	if (j->a->snapshot && compat_snapshot_failed(&e))
		return 1;
	return compat_open_failed(j->name.shown, j->name.path, &e);
}

static int
target(struct job *j)
{
	const struct options_args *a = j->a;
	enum format format = FORMAT_RAW;
	struct err e = {0};

	if (a->output_format && name_format(a->output_format, &format, &e)) {
		if (open_alone(j) == 0)
			compat_target_format(a->output_format, "", &format);
		return 1;
	}
	j->rq.target = format;
	if (imgopts_parse(&j->o, format, &a->options, NULL, NULL, &e)) {
		if (open_alone(j) == 0) {
			compat_bad_options("", &e);
			compat_fail("Invalid options for file format '%s'",
				probe_format_name(format));
		}
		return 1;
	}
	compat_old_sizes(&j->o);
	if (j->o.has_size && !a->size)
		j->rq.size = j->o.size;
	if (words(j, &e) || measure_check(&j->rq, &e))
		return open_alone(j) ? 1 : compat_fault("", &e, false);
	return 0;
}

static int
measure(struct job *j)
{
	struct buf out = BUF_INIT;
	struct progress p;
	struct err e = {0};
	bool opened = false;

	if (target(j))
		return 1;
	progress_start(&p, "measure", false, false, false, -1, compat_warn);
	j->rq.watch = &p.watch;
	if (measure_run(&j->rq, &j->result, &opened, &e)) {
		if (j->a->snapshot && compat_snapshot_failed(&e))
			return 1;
		if (!opened && j->rq.source)
			return compat_open_failed(j->name.shown,
				j->name.path, &e);
		if (e.kind == ERR_CANCELLED)
			return compat_fault("", &e, false);
		return compat_bad_table("Unable to get block status", &e);
	}
	measure_text(&j->result,
		j->a->output && strcmp(j->a->output, "json") == 0, &out);
	return compat_output(&out);
}

static int
run(struct job *j)
{
	const struct options_args *a = j->a;
	bool json;
	unsigned i;

	for (i = 0; i < a->options.n; i++)
		if (!imgopts_valid_list(a->options.v[i]))
			return compat_fail("Invalid option list: %s",
				a->options.v[i]);
	if (compat_snapshot_parse(a->snapshot, &j->snapshot) ||
		compat_json(a, &json) ||
		compat_number("image size", a->size, 0, INT64_MAX,
			&j->rq.size))
		return 1;
	if (a->operands.n > 1)
		return compat_fail("At most one filename argument is allowed.");
	if (a->operands.n == 0 && (a->image_opts || a->format || a->snapshot))
		return compat_fail("--image-opts, -f, and -l require a "
			"filename argument.");
	if (a->operands.n && a->size)
		return compat_fail("--size N cannot be used together with a "
			"filename.");
	if (a->operands.n == 0 && !a->size)
		return compat_fail("Either --size N or one filename must be "
			"specified.");
	if (a->operands.n == 0)
		return measure(j);
	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	if (compat_source(a, a->operands.v[0], &j->name, &j->source,
		    &j->gate))
		return 1;
	j->source.share_raw = true;
	compat_snapshot_of(&j->snapshot, &j->source);
	j->rq.source = &j->source;
	j->rq.gate = &j->gate;
	return measure(j);
}

int
compat_measure(int argc, char **argv)
{
	struct options_args a = {0};
	struct job j = {.a = &a};
	int status;

	if (compat_parse_loose(&table_measure, argc, argv, &a, &status) == 0)
		status = run(&j);
	name_free(&j.name);
	compat_snapshot_free(&j.snapshot);
	imgopts_free(&j.o);
	options_free(&a);
	return status;
}
