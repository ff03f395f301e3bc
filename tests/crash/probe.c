/* SPDX-License-Identifier: MIT */
/*
 * probe [-r] FILE SIZE: publishes FILE with SIZE bytes of a pattern and a hole
 * before it, by the ring with -r. The smallest user of the shim: its test is
 * the shim's own.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "io/engine.h"
#include "io/publish.h"

#define HOLE (UINT64_C(1) << 20)

static int
fill(struct engine *g, struct file *f, size_t size, struct err *e)
{
	struct io_req r = {.op = IO_WRITE, .file = f, .len = size,
		.hoff = HOLE};
	struct io_req *back;
	void *mem;
	int ret = -1;

	if (posix_memalign(&mem, 4096, (size + 4095) & ~(size_t)4095))
		return err_sys(e, ENOMEM, "no buffer");
	memset(mem, 0x5a, size);
	r.buf = mem;
	if (file_truncate(f, HOLE, e) == 0 && file_zero(f, 0, HOLE, e) == 0 &&
		engine_submit(g, &r, e) == 0 &&
		engine_reap(g, true, &back, e) == 0)
		ret = r.eno ? err_sys(e, r.eno, "cannot write") : 0;
	engine_close(g); /* before its memory goes */
	free(mem);
	return ret;
}

static int
run(bool ring, const char *path, size_t size, struct err *e)
{
	CLEANUP(publish_abandon_p) struct publish *p = NULL;
	struct engine g;

	if (engine_open(&g, ring ? ENGINE_URING : ENGINE_THREADS, 4, e))
		return -1;
	if (publish_begin(&p, AT_FDCWD, path, 0, 0644, e)) {
		engine_close(&g);
		return -1;
	}
	if (fill(&g, publish_file(p), size, e) || publish_commit(p, true, e))
		return -1;
	p = NULL; /* gone with the commit */
	return 0;
}

int
main(int argc, char **argv)
{
	struct err e = {0};
	char line[1024];
	bool ring = argc > 1 && !strcmp(argv[1], "-r");

	if (argc - ring != 3)
		return 2;
	if (run(ring, argv[1 + ring], (size_t)atol(argv[2 + ring]), &e) == 0)
		return 0;
	fprintf(stderr, "probe: %s\n", err_text(&e, line, sizeof(line)));
	return 1;
}
