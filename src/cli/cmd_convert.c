/* SPDX-License-Identifier: MIT */
/*
 * byre convert: always durable at exit 0, safe unless told otherwise. The
 * request is built and every contradiction of the command line refused before
 * a file is opened.
 */
#include "config.h"

#include "cli/cmd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/parse.h"
#include "cli/bitmaps.h"
#include "cli/imgopts.h"
#include "cli/native.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "op/convert.h"

struct job {
	struct options_args *a;
	const char *const *src; /* the sources' operands */
	unsigned n_src;
	const char *dst;
	struct name *names;
	struct source *sources;
	struct name target;
	struct imgopts o;
	struct gate gate;
	int progress_fd;
};

static int
conflict(bool both, const char *text, struct err *e)
{
	return both ? err_set(e, ERR_USAGE, "%s", text) : 0;
}

/* What excludes or needs what; the rules are qemu-img's. */
static int
check(const struct options_args *a, unsigned n_src, struct err *e)
{
	if (conflict(a->copy_range && a->compress,
		    "-C and -c exclude each other", e) ||
		conflict(a->copy_range && a->sparse,
			"-C and -S exclude each other", e) ||
		conflict(a->copy_range && a->salvage,
			"-C and --salvage exclude each other", e) ||
		conflict(a->target_image_opts && !a->no_create,
			"--target-image-opts needs -n", e) ||
		conflict(a->no_create && a->options.n,
			"-o has no effect with -n", e) ||
		conflict(a->target_is_zero && !a->no_create,
			"--target-is-zero needs -n", e) ||
		conflict(a->target_is_zero && a->backing,
			"--target-is-zero and -B exclude each other", e) ||
		conflict(a->skip_broken_bitmaps && !a->bitmaps,
			"--skip-broken-bitmaps needs --bitmaps", e) ||
		conflict(a->snapshot && n_src > 1,
			"-l is for one source", e) ||
		conflict(a->backing && n_src > 1, "-B is for one source", e))
		return -1;
	return 0;
}

/* -t: never less than durable. */
static int
cache_modes(const struct options_args *a, struct convert_request *rq,
	bool *ret_direct_source, struct err *e)
{
	static const char *const words[] = {"auto", "none", "directsync",
		"writeback", "writethrough", NULL};
	static const enum cache_mode modes[] = {CACHE_AUTO, CACHE_NONE,
		CACHE_DIRECTSYNC, CACHE_WRITEBACK, CACHE_WRITETHROUGH};
	unsigned t = 0, s = 3;

	if (native_word(a->cache, "-t", words, &t, e) ||
		native_word(a->source_cache, "-T", words, &s, e))
		return -1;
	rq->cache = modes[t];
	*ret_direct_source = s == 1 || s == 2;
	return 0;
}

static int
numbers(const struct options_args *a, struct convert_request *rq,
	struct err *e)
{
	uint64_t level = 0, window = 4096;

	rq->sparse_size = CONVERT_SPARSE_DEFAULT;
	rq->sparse_given = a->sparse != NULL;
	if (a->sparse && parse_size(a->sparse, &rq->sparse_size, e))
		return err_prefix(e, "-S");
	if (rq->sparse_size % 512 || rq->sparse_size > CONVERT_SPARSE_MAX)
		return err_set(e, ERR_USAGE, "-S: %" PRIu64 " is not a "
			"multiple of 512 up to %u", rq->sparse_size,
			CONVERT_SPARSE_MAX);
	if (a->rate_limit && parse_size(a->rate_limit, &rq->rate_limit, e))
		return err_prefix(e, "-r");
	if (a->deflate_window &&
		parse_size(a->deflate_window, &window, e))
		return err_prefix(e, "--deflate-window");
	if (window != 4096 && window != 32768)
		return err_set(e, ERR_USAGE, "--deflate-window: %" PRIu64
			" is neither 4k nor 32k", window);
	rq->codec.window_bits = window == 4096 ? 12 : 15;
	if (native_number(a->level, "--level", 1, 22, &level, e))
		return -1;
	rq->codec.level = (int)level;
	return native_engine(a, &rq->engine, &rq->workers, e);
}

static int
sources(struct job *j, struct convert_request *rq, bool direct, struct err *e)
{
	unsigned i;

	for (i = 0; i < j->n_src; i++) {
		if (native_source(j->a, j->src[i], &j->names[i],
			    &j->sources[i], e))
			return -1;
		j->sources[i].direct |= direct;
	}
	rq->sources = j->sources;
	rq->n_sources = j->n_src;
	return 0;
}

static int
target(struct job *j, struct convert_request *rq, struct err *e)
{
	const struct options_args *a = j->a;
	enum format format = FORMAT_RAW;

	if (a->output_format &&
		native_format(a->output_format, "-O", &format, e))
		return -1;
	rq->target_dirfd = AT_FDCWD;
	rq->target_fd = -1;
	rq->target = j->dst;
	if (a->target_image_opts) {
		if (name_parse(&j->target, j->dst, true, e))
			return err_file(e, j->dst);
		if (j->target.read_only) {
			err_set(e, ERR_USAGE, "Block node is read-only");
			return err_file(e, j->dst);
		}
		if (j->target.data_path)
			return err_set(e, ERR_UNSUPPORTED, "data-file.filename "
				"of a target is not supported");
		rq->target = j->target.path;
		rq->target_no_locks = j->target.no_locks;
		rq->target_shared = j->target.force_share;
		if (j->target.format != FORMAT_PROBE)
			format = j->target.format;
	}
	if (imgopts_parse(&j->o, format, &a->options, a->backing,
		    a->backing_format, e) ||
		imgopts_finish(&j->o, e))
		return err_prefix(e, "-o");
	if (j->o.qcow2.backing && !j->o.qcow2.backing_format)
		return err_set(e, ERR_USAGE,
			"a backing file needs its format (-F)");
	if (a->compress && format != FORMAT_QCOW2)
		return err_set(e, ERR_USAGE,
			"-c: Compression not supported for this file format");
	if (a->compress && j->o.preallocation != PREALLOC_OFF)
		return err_set(e, ERR_USAGE,
			"-c and preallocation exclude each other");
	rq->target_format = format;
	rq->qcow2 = j->o.qcow2;
	rq->raw_preallocation = j->o.preallocation;
	return 0;
}

static int
say_digest(const struct convert_result *r, const char *name)
{
	struct buf out = BUF_INIT;
	char text[DIGEST_TEXT], q[4096];

	digest_text(&r->digest, text);
	err_quote(q, sizeof(q), name, (unsigned)strlen(name));
	buf_fmt(&out, "%s  %" PRIu64 "  %s\n", text, r->virtual_size, q);
	return report_output(&out);
}

static int
run(struct job *j, struct convert_result *result, struct err *e)
{
	struct options_args *a = j->a;
	struct convert_request rq = {
		.gate = &j->gate,
		.no_create = a->no_create,
		.target_is_zero = a->target_is_zero,
		.compress = a->compress,
		.copy_range = a->copy_range,
		.salvage = a->salvage,
		.digest = a->digest,
	};
	struct progress p;
	bool direct = false;
	int r;

	if (check(a, j->n_src, e) || cache_modes(a, &rq, &direct, e) ||
		numbers(a, &rq, e) || sources(j, &rq, direct, e) ||
		target(j, &rq, e) || policy_native(a, &j->gate, e) ||
		native_progress_fd(a, &j->progress_fd, e))
		return -1;
	if (a->bitmaps && bitmaps_check(&rq, a->skip_broken_bitmaps, e))
		return -1;
	rq.max_size = j->gate.size_max;
	progress_start(&p, "convert", a->progress, true, a->quiet,
		j->progress_fd, report_warning);
	rq.watch = &p.watch;
	report_started();
	r = convert_run(&rq, result, e);
	if (r == 0 && a->bitmaps)
		r = bitmaps_copy(&rq, e);
	progress_end(&p, r == 0);
	return r;
}

static int
help_of(const struct options_args *a)
{
	enum format format = FORMAT_RAW;
	struct buf out = BUF_INIT;
	struct err e = {0};

	if (a->output_format &&
		native_format(a->output_format, "-O", &format, &e))
		return report_error(&e);
	imgopts_help(format, &out);
	return report_output(&out);
}

int
cmd_convert(struct options_args *a)
{
	struct convert_result result = {0};
	struct job j = {.a = a};
	struct err e = {0};
	unsigned i;
	int r;

	if (imgopts_wants_help(&a->options))
		return help_of(a);
	if (a->operands.n < 2)
		return report_usage("SRC and DST are needed, %u operands are "
			"given", a->operands.n);
	j.src = a->operands.v;
	j.n_src = a->operands.n - 1;
	j.dst = a->operands.v[j.n_src];
	j.names = calloc(j.n_src, sizeof(*j.names));
	j.sources = calloc(j.n_src, sizeof(*j.sources));
	if (j.names && j.sources)
		r = run(&j, &result, &e);
	else
		r = err_set(&e, ERR_NOMEM, "no memory for the names");
	for (i = 0; j.names && i < j.n_src; i++)
		name_free(&j.names[i]);
	free(j.names);
	free(j.sources);
	name_free(&j.target);
	imgopts_free(&j.o);
	if (r)
		return report_error(&e);
	return result.has_digest ? say_digest(&result, j.dst) : REPORT_OK;
}
