/* SPDX-License-Identifier: MIT */
/*
 * meta_log LOG FILE COMMAND WORD...: changes FILE in place, trusting its
 * references, and writes the plan to LOG as it is run (plan_log.h). Exit 1
 * with the error on stderr.
 *   snapshot create|apply|delete NAME
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op/snapshot.h"
#include "plan_log.h"

static const struct gate gate = {.trusted = true};

static struct inplace_request
image(const char *path)
{
	return (struct inplace_request){
		.dirfd = AT_FDCWD, .path = path, .format = FORMAT_QCOW2,
		.gate = &gate,
	};
}

static int
snapshot(FILE *log, const char *path, char **word, struct err *e)
{
	struct snapshot_request rq = {
		.image = image(path), .name = word[1], .durable = true,
		.date_sec = 1700000000, .tap = plan_log, .tap_arg = log,
	};
	struct snapshot_result r;

	rq.action = !strcmp(word[0], "create") ? SNAPSHOT_CREATE
		: !strcmp(word[0], "apply") ? SNAPSHOT_APPLY
		: SNAPSHOT_DELETE;
	return snapshot_run(&rq, &r, e);
}

int
main(int argc, char **argv)
{
	struct err e = {0};
	char text[1024];
	FILE *log;
	int r = -1;

	if (argc < 4)
		return 2;
	log = fopen(argv[1], "w");
	if (!log)
		return 2;
	if (!strcmp(argv[3], "snapshot") && argc == 6)
		r = snapshot(log, argv[2], argv + 4, &e);
	else
		return 2;
	if (r < 0) {
		fprintf(stderr, "%s\n", err_text(&e, text, sizeof(text)));
		return 1;
	}
	return fclose(log) != 0;
}
