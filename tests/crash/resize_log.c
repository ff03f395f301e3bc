/* SPDX-License-Identifier: MIT */
/*
 * resize_log [-o LOG] [-s] [-p MODE] [-f FORMAT] FILE SIZE: resizes FILE in
 * place, trusting its references, and writes the plan to LOG as it is run
 * (plan_log.h). Exit 1 with the error on stderr.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "format/qcow2_update.h"
#include "op/resize.h"
#include "plan_log.h"

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
		rq.tap = plan_log;
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
