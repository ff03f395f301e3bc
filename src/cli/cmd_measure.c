/* SPDX-License-Identifier: MIT */
/* byre measure: the texts of qemu-img 7.2's, under the safe policy. */
#include "config.h"

#include "cli/cmd.h"

#include "base/parse.h"
#include "cli/imgopts.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/sandbox.h"
#include "op/measure.h"

struct job {
	const struct options_args *a;
	struct measure_request rq;
	struct name name;
	struct source source;
	struct gate gate;
	struct imgopts o;
	bool json;
};

static int
target(struct job *j, struct err *e)
{
	const struct options_args *a = j->a;

	j->rq.target = FORMAT_RAW;
	if (a->output_format && native_format(a->output_format, "-O",
				      &j->rq.target, e))
		return -1;
	if (imgopts_parse(&j->o, j->rq.target, &a->options, NULL, NULL, e) ||
		imgopts_finish(&j->o, e))
		return -1;
	j->rq.cluster_size = j->o.qcow2.cluster_size;
	j->rq.version = j->o.qcow2.version;
	j->rq.refcount_bits = j->o.qcow2.refcount_bits;
	j->rq.extended_l2 = j->o.qcow2.extended_l2;
	j->rq.backing = j->o.qcow2.backing != NULL;
	j->rq.all = j->o.preallocation >= PREALLOC_FALLOC;
	return 0;
}

static int
run(struct job *j, struct buf *out, struct err *e)
{
	const struct options_args *a = j->a;
	struct measure_result result;
	struct progress p;

	if (native_output(a, &j->json, e) || target(j, e))
		return -1;
	if (a->size && parse_size(a->size, &j->rq.size, e))
		return err_prefix(e, "--size");
	if (a->operands.n) {
		if (native_source(a, a->operands.v[0], &j->name, &j->source,
			    e) || policy_native(a, &j->gate, e))
			return -1;
		j->rq.source = &j->source;
		j->rq.gate = &j->gate;
		sandbox_read_only(&j->source.path, 1, j->gate.allow_dirs,
			j->gate.n_allow, j->gate.trusted);
	}
	if (measure_check(&j->rq, e))
		return -1;
	progress_start(&p, "measure", false, false, false, -1,
		report_warning);
	j->rq.watch = &p.watch;
	report_started();
	if (measure_run(&j->rq, &result, NULL, e))
		return -1;
	measure_text(&result, j->json, out);
	return 0;
}

int
cmd_measure(struct options_args *a)
{
	struct job j = {.a = a};
	struct buf out = BUF_INIT;
	struct err e = {0};
	int r;

	if (a->operands.n > 1 || (a->operands.n == 1) == (a->size != NULL))
		return report_usage("either one image or --size is needed");
	r = run(&j, &out, &e);
	name_free(&j.name);
	imgopts_free(&j.o);
	if (r) {
		buf_free(&out);
		return report_error(&e);
	}
	return report_output(&out);
}
