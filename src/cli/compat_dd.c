/* SPDX-License-Identifier: MIT */
/* qemu-img dd. Its operands are words of dd(1), taken in their order. */
#include "config.h"

#include "cli/compat.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/progress.h"
#include "cli/table.h"
#include "op/dd.h"

struct job {
	const struct options_args *a;
	struct dd_request rq;
	const char *in, *out;
	struct name in_name, out_name;
	struct source source;
	struct gate gate;
};

static int
word(struct job *j, const char *text)
{
	size_t n = strcspn(text, "=");
	const char *value = text + n + 1;

	if (text[n] == '\0')
		return compat_fail("unrecognized operand %s", text);
	if (n == 2 && strncmp(text, "if", n) == 0) {
		j->in = value;
		return 0;
	}
	if (n == 2 && strncmp(text, "of", n) == 0) {
		j->out = value;
		return 0;
	}
	if (n == 2 && strncmp(text, "bs", n) == 0)
		return compat_number("bs", value, 1, DD_BLOCK_MAX,
			&j->rq.block);
	if (n == 5 && strncmp(text, "count", n) == 0)
		return compat_number("count", value, 0, INT64_MAX,
			&j->rq.count);
	if (n == 4 && strncmp(text, "skip", n) == 0)
		return compat_number("skip", value, 0, INT64_MAX,
			&j->rq.skip);
	return compat_fail("unrecognized operand %.*s", (int)n, text);
}

static int
failed(const struct job *j, enum dd_stage stage, const struct err *e)
{
	char before[1024], q[512];

	switch (stage) {
	case DD_OPEN:
		return compat_open_failed(j->in, j->in_name.path, e);
	case DD_CREATE:
		snprintf(before, sizeof(before), "%s: error while creating "
			"output image: ", err_quote(q, sizeof(q), j->out,
				(unsigned)strlen(j->out)));
		return compat_fault(before, e, true);
	case DD_READ:
		compat_corrupt(e);
		return compat_fail("error while reading from input image file: "
			"%s", strerror(e->eno ? e->eno : EIO));
	case DD_WRITE:
		break;
	}
	if (!e->eno)
		return compat_fault("", e, false);
	return compat_fail("error while writing to output image file: %s",
		strerror(e->eno));
}

/* The source alone, for its faults come before those of the target. */
static int
open_alone(struct job *j)
{
	struct chain *c;
	struct err e = {0};

	if (source_open(&j->source, &j->gate, false, NULL, &c, &e))
		return compat_open_failed(j->in, j->in_name.path, &e);
	chain_close(c);
	return 0;
}

static int
target(struct job *j)
{
	const char *format = j->a->output_format;
	struct err e = {0};

	j->rq.target_format = FORMAT_RAW;
	if (format && name_format(format, &j->rq.target_format, &e)) {
		if (open_alone(j))
			return 1;
		return e.kind == ERR_UNSUPPORTED
			? compat_fail("%s by byre", e.msg)
			: compat_fail("Unknown file format");
	}
	if (*j->out == '\0') {
		if (open_alone(j))
			return 1;
		return compat_fail(": error while creating output image: Could "
			"not create '': No such file or directory");
	}
	if (name_parse(&j->out_name, j->out, false, &e))
		return open_alone(j) ? 1 : compat_fault("", &e, true);
	j->rq.target = j->out_name.path;
	j->rq.target_dirfd = AT_FDCWD;
	return 0;
}

static int
dd(struct job *j)
{
	struct dd_result result;
	enum dd_stage stage = DD_OPEN;
	struct progress p;
	struct err e = {0};

	if (j->a->image_opts && j->a->format)
		return compat_fail("--image-opts and --format are mutually "
			"exclusive");
	if (compat_source(j->a, j->in, &j->in_name, &j->source, &j->gate))
		return 1;
	j->source.share_raw = true;
	if (target(j))
		return 1;
	j->rq.source = &j->source;
	j->rq.gate = &j->gate;
	progress_start(&p, "dd", false, false, false, -1, compat_warn);
	j->rq.watch = &p.watch;
	if (dd_run(&j->rq, &result, &stage, &e))
		return failed(j, stage, &e);
	if (result.skips_all)
		compat_fail("%s: cannot skip to specified offset", j->in);
	return 0;
}

static int
run(struct job *j)
{
	unsigned i;

	for (i = 0; i < j->a->operands.n; i++)
		if (word(j, j->a->operands.v[i]))
			return 1;
	if (!j->in || !j->out)
		return compat_fail("Must specify both input and output files");
	return dd(j);
}

int
compat_dd(int argc, char **argv)
{
	struct options_args a = {0};
	struct job j = {
		.a = &a,
		.rq = {.block = DD_BLOCK, .count = UINT64_MAX},
	};
	int status;

	if (compat_parse(&table_dd, argc, argv, &a, &status) == 0)
		status = run(&j);
	name_free(&j.in_name);
	name_free(&j.out_name);
	options_free(&a);
	return status;
}
