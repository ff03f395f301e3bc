/* SPDX-License-Identifier: MIT */
/* Which way a source goes into the cache. Nothing is opened here. */
#include "config.h"

#include "cli/cache_source.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/units.h"
#include "cli/native.h"

/* What a transfer may be long at most: an image's file is little longer than
 * its disk. */
static uint64_t
transfer_limit(uint64_t max_size)
{
	if (max_size == 0 || max_size > INT64_MAX / 2)
		return 0;
	return max_size + max_size / 4 + 64 * MIB;
}

/* A file whose digests nobody asked for is read where it is; all else goes
 * through byre-fetch. */
static int
source(const struct options_args *a, struct ensure_request *rq,
	struct fetch *f, struct err *e)
{
	bool from_stdin = strcmp(a->from, "-") == 0;
	struct stat st;

	if (fetch_expect(&a->expected, &f->expect, e))
		return -1;
	rq->source_name = from_stdin ? "standard input" : a->from;
	rq->source_fd = -1;
	rq->expect = &f->expect;
	if (a->expected.n == 0 && !from_stdin) {
		rq->source_path = a->from;
		return 0;
	}
	if (a->expected.n == 0 && fstat(STDIN_FILENO, &st) == 0 &&
		S_ISREG(st.st_mode) &&
		lseek(STDIN_FILENO, 0, SEEK_CUR) == 0) {
		rq->source_fd = STDIN_FILENO;
		return 0;
	}
	f->source = a->from;
	f->limit = transfer_limit(rq->max_size);
	rq->fetch = fetch_run;
	rq->fetch_arg = f;
	return 0;
}

int
cache_source(const struct options_args *a, struct ensure_request *rq,
	struct fetch *f, struct err *e)
{
	enum engine_kind engine;

	if (a->kernel && a->keep_qcow2)
		return err_set(e, ERR_USAGE,
			"--kernel and --keep-qcow2 exclude each other");
	if (a->kernel && a->format)
		return err_set(e, ERR_USAGE,
			"--kernel and -f exclude each other");
	if (native_format(a->format, "-f", &rq->format, e) ||
		native_engine(a, &engine, &rq->workers, e))
		return -1;
	if (a->max_size && parse_size(a->max_size, &rq->max_size, e))
		return err_prefix(e, "--max-size");
	rq->id = a->operands.v[0];
	rq->kernel = a->kernel;
	rq->keep_qcow2 = a->keep_qcow2;
	rq->wait = !a->no_wait;
	return source(a, rq, f, e);
}
