/* SPDX-License-Identifier: MIT */
/*
 * qemu-img create. "Formatting ..." goes to stdout even when the creation
 * fails afterwards, and not when qemu-img would have stopped before it.
 */
#include "config.h"

#include "cli/compat.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/table.h"
#include "op/create.h"
#include "op/info.h"

struct job {
	const struct options_args *a;
	const char *shown;
	char before[512]; /* "NAME: " of messages */
	struct name n;
	struct imgopts o;
	struct gate gate; /* of the backing file */
	bool has_size;
	uint64_t size;
};

static int
size_argument(struct job *j)
{
	struct err e;

	if (compat_size(j->a->operands.v[1], &j->size, &e) == 0) {
		j->has_size = true;
		return 0;
	}
	if (e.kind == ERR_LIMIT)
		return compat_fail("Invalid image size specified. Must be "
			"between 0 and 9223372036854775807.");
	compat_fail("Invalid image size specified. You may use k, M, G, T, P "
		"or E suffixes for");
	return compat_fail("kilobytes, megabytes, gigabytes, terabytes, "
		"petabytes and exabytes.");
}

static int
backing_failed(const struct job *j, const struct err *e)
{
	struct buf out = BUF_INIT;

	buf_str(&out, j->before);
	compat_text(e, false, &out);
	compat_fail("%s\nCould not open backing image.",
		buf_failed(&out) ? "out of memory" : out.p);
	buf_free(&out);
	return 1;
}

/* The backing file as qemu-img looks at it before it creates: it must open,
 * its format is told to those who left it out, its size is the default. */
static int
backing(struct job *j)
{
	const char *name = j->o.qcow2.backing;
	const char *format = j->o.qcow2.backing_format;
	struct info_result r = {0};
	struct source s = {.dirfd = AT_FDCWD, .fd = -1, .force_share = true};
	struct err e = {0};
	char *path = NULL;
	int status = 0;

	/* -u looks at nothing, and stores whatever it is told */
	if (!j->a->unsafe_backing) {
		if (source_backing_path(&path, j->n.path, name, &e))
			return backing_failed(j, &e);
	} else if (!(path = chain_full_name(j->n.path, name))) {
		return compat_fail("out of memory");
	}
	s.path = path;
	if (name_format(format, &s.format, &e) ||
		policy_front(j->a, path, &j->gate, &e)) {
		status = backing_failed(j, &e);
	} else if ((!format || !j->has_size) && !j->a->unsafe_backing) {
		if (info_run(&s, &j->gate, false, NULL, &r, &e))
			status = backing_failed(j, &e);
		else if (format)
			j->size = r.v[0].i.virtual_size;
		if (status == 0)
			j->has_size = j->has_size || format;
	}
	if (status == 0 && !format) {
		fprintf(stderr, "qemu-img: %sBacking file specified without "
			"backing format\n", j->before);
		if (r.n)
			fprintf(stderr, "Detected format of %s.",
				probe_format_name(r.v[0].i.format));
		status = 1;
	}
	info_result_free(&r);
	free(path);
	return status;
}

static void
formatting(const struct job *j)
{
	struct buf out = BUF_INIT;

	if (j->a->quiet)
		return;
	imgopts_formatting(&j->o, j->shown, j->size, &out);
	/* the image is there: as with qemu-img, a lost line is no failure */
	if (!buf_failed(&out))
		fwrite(out.p, 1, out.len, stdout);
	fflush(stdout);
	buf_free(&out);
}

/* A fault in a file that is neither the new one nor its data file is the
 * backing file's, which qemu-img opens before it says anything. */
static int
failed(const struct job *j, const struct err *e)
{
	const char *backing = j->a->unsafe_backing ? NULL
						   : j->o.qcow2.backing;

	if (backing && e->file[0] && !compat_is_about(e, j->n.path) &&
		!compat_is_about(e, j->o.qcow2.data_file))
		return backing_failed(j, e);
	formatting(j);
	if (e->eno == EFBIG)
		return compat_fail("%sThe image size is too large for file "
			"format '%s'", j->before,
			probe_format_name(j->o.format));
	if (strncmp(e->msg, "cannot allocate", 15) == 0 && e->eno)
		return compat_fail("%sCould not preallocate new data: %s",
			j->before, strerror(e->eno));
	if (strncmp(e->msg, "cannot write", 12) == 0 && e->eno &&
		j->o.preallocation == PREALLOC_FULL)
		return compat_fail("%sCould not write zeros for "
			"preallocation: %s", j->before, strerror(e->eno));
	return compat_fault(j->before, e, true);
}

static int
create(struct job *j)
{
	struct create_request rq = {
		.dirfd = AT_FDCWD,
		.path = j->n.path,
		.format = j->o.format,
		.has_size = true,
		.size = j->size,
		.unsafe_backing = j->a->unsafe_backing,
		.durable = true,
		.qemu_raw_block = true,
		.gate = &j->gate,
	};
	struct create_result result;
	struct progress p;
	struct err e = {0};

	/* qemu-img reads them once more, and tells once more */
	compat_old_sizes(&j->o);
	if (imgopts_finish(&j->o, &e)) {
		formatting(j);
		return compat_fault(j->before, &e, true);
	}
	rq.qcow2 = j->o.qcow2;
	rq.raw_preallocation = j->o.preallocation;
	progress_start(&p, "create", false, false, j->a->quiet, -1,
		compat_warn);
	rq.watch = &p.watch;
	if (create_run(&rq, &result, &e))
		return failed(j, &e);
	formatting(j);
	return 0;
}

static int
run(struct job *j)
{
	const struct options_args *a = j->a;
	enum format format;
	struct err e = {0};

	if (a->operands.n == 2 && size_argument(j))
		return 1;
	if (a->operands.n > 2)
		return compat_try("Unexpected argument: %s", a->operands.v[2]);
	snprintf(j->before, sizeof(j->before), "%s: ", j->shown);
	if (compat_target_format(a->format, j->before, &format))
		return 1;
	if (name_parse(&j->n, j->shown, false, &e))
		return compat_fault(j->before, &e, true);
	if (imgopts_parse(&j->o, format, &a->options, a->backing,
		    a->backing_format, &e))
		return compat_bad_options(j->before, &e);
	compat_old_sizes(&j->o);
	if (j->o.has_size && j->has_size)
		return compat_fail("%sThe image size must be specified only "
			"once", j->before);
	if (j->o.has_size)
		j->size = j->o.size;
	j->has_size |= j->o.has_size;
	if (j->o.qcow2.backing) {
		if (*j->o.qcow2.backing == '\0')
			return compat_fail("%sExpected backing file name, got "
				"empty string", j->before);
		if (strcmp(j->o.qcow2.backing, j->shown) == 0)
			return compat_fail("%sError: Trying to create an image "
				"with the same filename as the backing file",
				j->before);
		if (backing(j))
			return 1;
	} else {
		j->gate = (struct gate){.trusted = true};
	}
	if (!j->has_size)
		return compat_fail("%sImage creation needs a size parameter",
			j->before);
	return create(j);
}

int
compat_create(int argc, char **argv)
{
	struct options_args a = {0};
	struct job j = {.a = &a};
	int status;
	unsigned i;

	if (compat_parse(&table_create, argc, argv, &a, &status)) {
		options_free(&a);
		return status;
	}
	for (i = 0; i < a.options.n; i++) {
		if (!imgopts_valid_list(a.options.v[i])) {
			compat_fail("Invalid option list: %s", a.options.v[i]);
			options_free(&a);
			return 1;
		}
	}
	if (imgopts_wants_help(&a.options)) {
		status = compat_options_help(a.format, a.operands.n > 0);
	} else if (a.operands.n == 0) {
		status = compat_try("Expecting image file name");
	} else {
		j.shown = a.operands.v[0];
		status = run(&j);
	}
	name_free(&j.n);
	imgopts_free(&j.o);
	options_free(&a);
	return status;
}
