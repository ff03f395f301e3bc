/* SPDX-License-Identifier: MIT */
/*
 * A resize of whatever claims to be a qcow2. The first eight bytes say how:
 * mode, direction, whether other files may be named (never), and the size in
 * sectors; the rest is the image. It must end, keep to its file, and leave
 * something of the new size when it says so; every write must be in the plan.
 */
#include "config.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "format/qcow2.h"
#include "format/qcow2_update.h"
#include "fuzz/fuzz.h"

#define HEAD 8
#define SECTORS_MAX 65536
#define FILE_MAX (UINT64_C(1) << 32) /* longer files fail to grow */

struct seen {
	bool barrier_last;
	uint64_t ops;
};

static void
tap(void *arg, const struct plan_op *op)
{
	struct seen *s = arg;

	FUZZ_CHECK(op->file == PLAN_IMAGE);
	FUZZ_CHECK(op->kind == PLAN_BARRIER ? op->why != NULL
		: op->hoff + op->len >= op->hoff);
	s->barrier_last = op->kind == PLAN_BARRIER;
	s->ops++;
}

static void
limit_files(void)
{
	const struct rlimit r = {FILE_MAX, FILE_MAX};

	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &r);
}

static void
check_size(struct file *f, uint64_t size)
{
	uint8_t head[32];
	struct err e;

	FUZZ_CHECK(file_read(f, head, sizeof(head), 0, &e) == 0);
	FUZZ_CHECK(load_be64(head + 24) == size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct gate g = {0};
	struct chain_request rq = {.format = FORMAT_QCOW2, .force_share = true,
		.gate = &g};
	struct seen seen = {0};
	struct qcow2_resize how = {.tap = tap, .tap_arg = &seen};
	struct chain *c;
	struct file *f;
	struct err e;

	if (size < HEAD)
		return 0;
	limit_files();
	how.preallocation = data[0] % 4;
	how.shrink = data[1] & 1;
	how.new_size = (load_le32(data + 4) % SECTORS_MAX) * 512;
	f = fuzz_file(data + HEAD, size - HEAD);
	f->writable = true;
	if (chain_open(&c, f, &rq, &e))
		return 0;
	if (qcow2_resize(c, &how, &e) == 0) {
		FUZZ_CHECK(seen.barrier_last && seen.ops >= 2);
		check_size(c->im[0]->file, how.new_size);
	}
	chain_close(c);
	return 0;
}
