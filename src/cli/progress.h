/* SPDX-License-Identifier: MIT */
/* How far an operation is: as qemu-img prints it, as a bar on a terminal, as
 * JSON lines for a program, or to whoever sends SIGUSR1. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "base/watch.h"

struct progress {
	struct watch watch;   /* for the operation */
	void (*warn)(const char *line);
	bool front;           /* the qemu-img front speaks */
	const char *label;    /* the command's name, on the bar */
	bool shown;           /* -p */
	bool bar;             /* stdout is a terminal and the caller wants one */
	bool quiet;
	int fd;               /* of --progress-fd, or -1 */
	double last_percent;  /* as printed; -1: nothing yet */
	/* progress_start_steps: a sum of steps, rounded as QEMU rounds it, is
	 * printed when it differs by so much from what was printed last */
	float skip;           /* percent; 0: not so */
	float sum, last_sum;
	uint64_t done, total;
	struct timespec start;
	int64_t last_msec;    /* when something was printed, since start */
};

/* Fills p (also p->watch, with cancellation by signal) and prints the start.
 * warn prints a warning. */
void progress_start(struct progress *p, const char *label, bool shown,
	bool allow_bar, bool quiet, int fd, void (*warn)(const char *line));
/* The front's, of an operation that tells its steps, the first being 0: so much
 * is skipped, and the end is printed only when the steps reach it. */
void progress_start_steps(struct progress *p, const char *label, bool shown,
	bool quiet, float skip);
/* Ends the line or the bar. */
void progress_end(struct progress *p, bool ok);

#endif
