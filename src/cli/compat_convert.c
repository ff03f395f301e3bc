/* SPDX-License-Identifier: MIT */
/*
 * qemu-img convert. Options are checked in qemu-img's order, sources are
 * opened before the target is, and -t means what it says: unsafe, the
 * default, does not flush.
 */
#include "config.h"

#include "cli/compat.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/parse.h"
#include "base/units.h"
#include "cli/bitmaps.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "op/convert.h"

#define COROUTINES_MAX 16 /* qemu-img's limit of -m */

struct job {
	const struct options_args *a;
	const char *const *src;
	unsigned n_src;
	const char *dst;
	struct name *names;
	struct source *sources;
	struct name target;
	struct imgopts o;
	struct gate gate;
	struct compat_snapshot snapshot;
};

static int
bad_size(const char *what)
{
	compat_fail("Invalid %s specified. You may use k, M, G, T, P or E "
		"suffixes for", what);
	return compat_fail("kilobytes, megabytes, gigabytes, terabytes, "
		"petabytes and exabytes.");
}

static int
numbers(const struct options_args *a, struct convert_request *rq)
{
	struct err e;
	uint64_t n = 0;

	rq->sparse_size = CONVERT_SPARSE_DEFAULT;
	rq->sparse_given = a->sparse != NULL;
	if (a->sparse) {
		if (compat_size(a->sparse, &rq->sparse_size, &e))
			return bad_size("buffer size for sparse output");
		if (rq->sparse_size % 512 ||
			rq->sparse_size > CONVERT_SPARSE_MAX)
			return compat_fail("Invalid buffer size for sparse "
				"output specified. Valid sizes are multiples "
				"of 512 up to %u. Select 0 to disable sparse "
				"detection (fully allocates output).",
				CONVERT_SPARSE_MAX);
	}
	if (a->rate_limit && compat_size(a->rate_limit, &rq->rate_limit, &e))
		return bad_size("rate limit");
	if (a->workers && parse_u64(a->workers, 1, COROUTINES_MAX, &n, &e))
		return compat_fail("Invalid number of coroutines. Allowed "
			"number of coroutines is between 1 and %d",
			COROUTINES_MAX);
	return 0;
}

/* What excludes or needs what. */
static int
conflicts(const struct job *j)
{
	const struct options_args *a = j->a;

	if (a->image_opts && a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	if (a->compress && a->copy_range)
		return compat_fail("Cannot enable copy offloading when -c is "
			"used");
	if (a->sparse && a->copy_range)
		return compat_fail("Cannot enable copy offloading when -S is "
			"used");
	if (a->salvage && a->copy_range)
		return compat_fail("Cannot use copy offloading in salvaging "
			"mode");
	if (a->target_image_opts && !a->no_create)
		return compat_fail("--target-image-opts requires use of -n "
			"flag");
	if (a->skip_broken_bitmaps && !a->bitmaps)
		return compat_fail("Use of --skip-broken-bitmaps requires "
			"--bitmaps");
	if (a->no_create && a->options.n)
		return compat_fail("-o has no effect when skipping image "
			"creation");
	if (a->target_is_zero && !a->no_create)
		return compat_fail("--target-is-zero requires use of -n flag");
	return 0;
}

static int
caches(const struct options_args *a, struct convert_request *rq,
	bool *ret_direct)
{
	static const struct {
		const char *name;
		enum cache_mode mode;
	} words[] = {
		{"unsafe", CACHE_UNSAFE},
		{"none", CACHE_NONE},
		{"off", CACHE_NONE},
		{"directsync", CACHE_DIRECTSYNC},
		{"writeback", CACHE_WRITEBACK},
		{"writethrough", CACHE_WRITETHROUGH},
	};
	unsigned i, k;

	for (i = 0; a->cache && i < COUNT_OF(words); i++)
		if (strcmp(words[i].name, a->cache) == 0)
			break;
	for (k = 0; a->source_cache && k < COUNT_OF(words); k++)
		if (strcmp(words[k].name, a->source_cache) == 0)
			break;
	if (k == COUNT_OF(words))
		return compat_fail("Invalid source cache option: %s",
			a->source_cache);
	if (i == COUNT_OF(words))
		return compat_fail("Invalid cache option: %s", a->cache);
	rq->cache = words[i].mode;
	*ret_direct = k >= 1 && k <= 3;
	return 0;
}

static int
sources(struct job *j, struct convert_request *rq, bool direct)
{
	struct gate g;
	unsigned i;

	for (i = 0; i < j->n_src; i++) {
		if (compat_source(j->a, j->src[i], &j->names[i],
			    &j->sources[i], &g))
			return 1;
		j->sources[i].direct |= direct;
		compat_snapshot_of(&j->snapshot, &j->sources[i]);
		/* one source that is not trusted: none is */
		if (i == 0 || g.safe)
			j->gate = g;
	}
	rq->sources = j->sources;
	rq->n_sources = j->n_src;
	rq->gate = &j->gate;
	return 0;
}

#define HOST_DEVICE "host_device"

/* -O host_device: raw, onto a device that is there. */
static int
device(const struct job *j)
{
	char before[1024], q[256];
	struct err e = {0};
	struct stat st;

	if (stat(j->target.path, &st) < 0)
		err_sys(&e, errno, "cannot open");
	else if (!S_ISBLK(st.st_mode))
		err_set(&e, ERR_UNSUPPORTED, "'" HOST_DEVICE "' driver requires "
			"'%s' to be either a character or block device",
			err_quote(q, sizeof(q), j->dst,
				(unsigned)strlen(j->dst)));
	else
		return 0;
	err_file(&e, j->target.path);
	if (j->a->no_create)
		return compat_open_failed(j->dst, j->target.path, &e);
	snprintf(before, sizeof(before), "%s: error while converting "
		HOST_DEVICE ": Protocol driver '" HOST_DEVICE "' does not "
		"support image creation, and opening the image failed: ",
		j->dst);
	return compat_fault(before, &e, false);
}

static int
name_target(struct job *j)
{
	bool list = j->a->target_image_opts;
	struct err e = {0};

	if (list)
		compat_short_forms(j->dst, "file");
	if (name_parse(&j->target, j->dst, list, &e))
		return list ? compat_open_failed(j->dst, NULL, &e)
			: compat_fault("", &e, true);
	if (list && j->target.read_only)
		return compat_fail("Could not open '%s': Block node is "
			"read-only", j->dst);
	if (j->target.data_path)
		return compat_fail("data-file.filename of a target is not "
			"supported by byre");
	return 0;
}

static int
target(struct job *j, struct convert_request *rq)
{
	const struct options_args *a = j->a;
	bool onto_device = a->output_format &&
		strcmp(a->output_format, HOST_DEVICE) == 0;
	enum format format;
	char before[1024];
	struct err e = {0};

	if (a->target_image_opts && a->output_format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	if (compat_target_format(onto_device ? NULL : a->output_format, "",
		    &format))
		return 1;
	if (*j->dst == '\0')
		return compat_fail(": error while converting %s: Could not "
			"create '': No such file or directory",
			probe_format_name(format));
	if (name_target(j))
		return 1;
	if (a->target_image_opts && j->target.format != FORMAT_PROBE)
		format = j->target.format;
	if (imgopts_parse(&j->o, format, &a->options, a->backing,
		    a->backing_format, &e))
		return compat_bad_options("", &e);
	compat_old_sizes(&j->o);
	compat_old_sizes(&j->o); /* read twice, told twice */
	if (j->o.qcow2.backing && j->n_src > 1)
		return compat_fail("Having a backing file for the target makes "
			"no sense when concatenating multiple input images");
	if (!a->no_create && j->o.qcow2.backing &&
		!j->o.qcow2.backing_format)
		return compat_fail("Use of backing file requires explicit "
			"backing format");
	if (a->compress && format != FORMAT_QCOW2)
		return compat_fail("Compression not supported for this file "
			"format");
	snprintf(before, sizeof(before), "%s: error while converting %s: ",
		j->dst, probe_format_name(format));
	if (imgopts_finish(&j->o, &e))
		return compat_fault(before, &e, true);
	if (a->compress && j->o.preallocation != PREALLOC_OFF)
		return compat_fail("Compression and preallocation not "
			"supported at the same time");
	if (onto_device && device(j))
		return 1;
	rq->target_dirfd = AT_FDCWD;
	rq->target_fd = -1;
	rq->target = j->target.path;
	rq->target_no_locks = j->target.no_locks;
	rq->target_shared = j->target.force_share;
	rq->target_format = format;
	rq->qcow2 = j->o.qcow2;
	rq->raw_preallocation = j->o.preallocation;
	return 0;
}

/* Which source a fault is about: itself, or something behind it. */
static const struct name *
source_at_fault(const struct job *j, const struct err *e)
{
	unsigned i;

	for (i = 0; i < j->n_src; i++)
		if (compat_is_about(e, j->names[i].path))
			return &j->names[i];
	return e->file[0] ? &j->names[0] : NULL;
}

/* What op/convert puts in front of a fault of -B's file. */
#define OF_TARGET "backing file of the target: "

static bool
starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static int
failed(const struct job *j, const struct convert_request *rq,
	const struct err *e)
{
	const struct name *n;
	char before[1024];
	/* these have a sentence of their own in the middle of the work */
	bool moving = e->eno && (starts(e->msg, "cannot read") ||
		starts(e->msg, "cannot write"));

	if (e->kind == ERR_USAGE &&
		starts(e->msg, "output file is smaller than input file"))
		return compat_fail("output file is smaller than input file");
	if (j->a->snapshot && compat_snapshot_failed(e))
		return 1;
	if (starts(e->msg, OF_TARGET)) {
		struct err inner = *e;

		snprintf(inner.msg, sizeof(inner.msg),
			"Could not open backing file: %s",
			e->msg + strlen(OF_TARGET));
		return compat_open_failed(j->dst, NULL, &inner);
	}
	if (moving)
		return compat_fault("", e, false);
	n = compat_is_about(e, rq->target) ? NULL : source_at_fault(j, e);
	if (n)
		return compat_open_failed(n->shown, n->path, e);
	if (rq->no_create)
		return compat_open_failed(j->dst, rq->target, e);
	snprintf(before, sizeof(before), "%s: error while converting %s: ",
		j->dst, probe_format_name(rq->target_format));
	return compat_fault(before, e, true);
}

/* No source of such a format opens here: what qemu-img says of -O once its
 * sources are open comes before that. */
static int
foreign(const struct options_args *a)
{
	enum format format;
	struct err e;

	if (!a->format || !a->output_format ||
		strcmp(a->output_format, HOST_DEVICE) == 0 ||
		name_format(a->format, &format, &e) == 0 ||
		e.kind != ERR_UNSUPPORTED)
		return 0;
	return compat_target_format(a->output_format, "", &format);
}

static int
convert(struct job *j)
{
	const struct options_args *a = j->a;
	struct convert_request rq = {
		.no_create = a->no_create,
		.target_is_zero = a->target_is_zero,
		.compress = a->compress,
		.codec = {.window_bits = 12},
		.copy_range = a->copy_range,
		.salvage = a->salvage,
		.explicit_zeros = true,
		.count_data = a->progress,
	};
	struct convert_result result;
	struct progress p;
	struct err e = {0};
	bool direct = false;
	int r;

	if (numbers(a, &rq) || conflicts(j) || caches(a, &rq, &direct) ||
		compat_snapshot_parse(a->snapshot, &j->snapshot))
		return 1;
	if (j->a->snapshot && j->n_src > 1)
		return compat_fail("No support for concatenating multiple "
			"snapshot");
	if (foreign(a) || sources(j, &rq, direct) || target(j, &rq))
		return 1;
	if (a->bitmaps && bitmaps_check(&rq, a->skip_broken_bitmaps, &e)) {
		/* it has to be opened for that */
		if (e.kind != ERR_MISMATCH && e.kind != ERR_USAGE &&
			strncmp(e.msg, "Source lacks", 12) != 0)
			return failed(j, &rq, &e);
		compat_fault("", &e, false);
		if (e.kind == ERR_MISMATCH)
			fputs("Try --skip-broken-bitmaps, or use 'qemu-img "
			      "bitmap --remove' to delete it\n", stderr);
		return 1;
	}
	progress_start(&p, "convert", a->progress, false, a->quiet, -1,
		compat_warn);
	rq.watch = &p.watch;
	r = convert_run(&rq, &result, &e);
	if (r == 0 && a->bitmaps && bitmaps_copy(&rq, &e)) {
		progress_end(&p, false);
		return compat_fault("", &e, false);
	}
	progress_end(&p, r == 0);
	return r ? failed(j, &rq, &e) : 0;
}

static int
run(struct job *j)
{
	const struct options_args *a = j->a;
	unsigned i;

	for (i = 0; i < a->options.n; i++)
		if (!imgopts_valid_list(a->options.v[i]))
			return compat_fail("Invalid option list: %s",
				a->options.v[i]);
	if (imgopts_wants_help(&a->options))
		return compat_options_help(a->output_format,
			a->operands.n > 1);
	if (a->operands.n < 2)
		return compat_fail("Must specify image file name");
	j->src = a->operands.v;
	j->n_src = a->operands.n - 1;
	j->dst = a->operands.v[j->n_src];
	j->names = calloc(j->n_src, sizeof(*j->names));
	j->sources = calloc(j->n_src, sizeof(*j->sources));
	if (!j->names || !j->sources)
		return compat_fail("out of memory");
	return convert(j);
}

int
compat_convert(int argc, char **argv)
{
	struct options_args a = {0};
	struct job j = {.a = &a};
	int status;
	unsigned i;

	if (compat_parse(&table_convert, argc, argv, &a, &status) == 0)
		status = run(&j);
	for (i = 0; j.names && i < j.n_src; i++)
		name_free(&j.names[i]);
	free(j.names);
	free(j.sources);
	name_free(&j.target);
	compat_snapshot_free(&j.snapshot);
	imgopts_free(&j.o);
	options_free(&a);
	return status;
}
