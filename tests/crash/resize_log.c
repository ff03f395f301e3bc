/* SPDX-License-Identifier: MIT */
/*
 * resize_log [-o LOG] [-s] [-p MODE] [-f FORMAT] FILE SIZE: resizes FILE in
 * place, trusting its references, and writes the plan to LOG as it is run,
 * one operation per line:
 *   write FILE HOFF HEX | clear|fill|allocate FILE HOFF LEN |
 *   truncate FILE LEN | barrier NAME
 * FILE 0 is the image, 1 its data file. Exit 1 with the error on stderr.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "format/qcow2_update.h"
#include "op/resize.h"

static void
log_op(void *arg, const struct plan_op *op)
{
	static const char *const name[] = {
		"write", "clear", "fill", "allocate", "truncate", "barrier",
	};
	FILE *f = arg;

	fprintf(f, "%s ", name[op->kind]);
	if (op->kind == PLAN_BARRIER) {
		fprintf(f, "%s\n", op->why);
		return;
	}
	fprintf(f, "%u %" PRIu64, op->file, op->hoff);
	if (op->kind == PLAN_WRITE) {
		fputc(' ', f);
		for (uint64_t i = 0; i < op->len; i++)
			fprintf(f, "%02x", op->data[i]);
	} else if (op->kind != PLAN_TRUNCATE) {
		fprintf(f, " %" PRIu64, op->len);
	}
	fputc('\n', f);
}

static enum preallocation
mode(const char *s)
{
	return !strcmp(s, "metadata") ? PREALLOC_METADATA
		: !strcmp(s, "falloc") ? PREALLOC_FALLOC
		: !strcmp(s, "full") ? PREALLOC_FULL
		: PREALLOC_OFF;
}

int
main(int argc, char **argv)
{
	struct gate gate = {.trusted = true};
	struct resize_request rq = {
		.dirfd = AT_FDCWD, .format = FORMAT_QCOW2, .gate = &gate,
		.durable = true,
	};
	struct resize_result ret;
	struct err e = {0};
	char text[1024];
	FILE *log = NULL;
	int c;

	while ((c = getopt(argc, argv, "o:sp:f:")) != -1) {
		if (c == 'o')
			log = fopen(optarg, "w");
		else if (c == 's')
			rq.shrink = true;
		else if (c == 'p')
			rq.preallocation = mode(optarg);
		else if (c == 'f')
			rq.format = probe_format_from_name(optarg);
		else
			return 2;
	}
	if (argc - optind != 2)
		return 2;
	rq.path = argv[optind];
	rq.size = strtoull(argv[optind + 1], NULL, 10);
	if (log) {
		rq.tap = log_op;
		rq.tap_arg = log;
	}
	if (resize_run(&rq, &ret, &e) < 0) {
		fprintf(stderr, "%s\n", err_text(&e, text, sizeof(text)));
		return 1;
	}
	if (log && fclose(log) != 0)
		return 1;
	return 0;
}
