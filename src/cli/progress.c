/* SPDX-License-Identifier: MIT */
/*
 * Progress in its several shapes. Called by the operation's workers, one call
 * at a time; prints at most ten times a second, but for qemu-img's own form,
 * which moves by whole percents.
 */
#include "config.h"

#include "cli/progress.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/compat.h"
#include "cli/report.h"
#include "cli/signals.h"

#define BAR_WIDTH 32
#define PRINT_MSEC 100

static int64_t
elapsed_msec(const struct progress *p)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)(now.tv_sec - p->start.tv_sec) * 1000 +
		(now.tv_nsec - p->start.tv_nsec) / 1000000;
}

static double
percent_of(const struct progress *p)
{
	return p->total ? 100.0 * (double)p->done / (double)p->total : 0.0;
}

static void
draw_bar(const struct progress *p, int64_t msec)
{
	double percent = percent_of(p), rate;
	char bar[BAR_WIDTH + 1];
	int filled = (int)(percent / 100 * BAR_WIDTH);

	memset(bar, '-', BAR_WIDTH);
	memset(bar, '#', filled > BAR_WIDTH ? BAR_WIDTH : (size_t)filled);
	bar[BAR_WIDTH] = '\0';
	rate = msec > 0 ? (double)p->done / 1048.576 / (double)msec : 0;
	printf("\rbyre %s [%s] %5.1f %% %8.1f MiB/s", p->label, bar, percent,
		rate);
	if (percent > 0 && percent < 100)
		printf("  %3.0f s left ",
			(double)msec / 1000 * (100 - percent) / percent);
	else
		printf("            ");
	fflush(stdout);
}

/* A reader that went away is no reason to stop the work. */
static void
write_json(const struct progress *p)
{
	char line[80];
	int n = snprintf(line, sizeof(line),
		"{\"done\":%" PRIu64 ",\"total\":%" PRIu64 "}\n", p->done,
		p->total);
	ssize_t r;

	do
		r = write(p->fd, line, (size_t)n);
	while (r < 0 && errno == EINTR);
}

/* At least a percent on, back, or an end of the scale, as qemu-img does. */
static void
print_percent(struct progress *p, double percent)
{
	if (percent >= p->last_percent && percent < p->last_percent + 1.0 &&
		percent < 100.0)
		return;
	p->last_percent = percent;
	printf("    (%3.2f/100%%)\r", percent);
	fflush(stdout);
}

/* A step from p->done to done. Single precision, for QEMU has that. */
static void
print_step(struct progress *p, uint64_t done, uint64_t total)
{
	float step = (float)(done - p->done) / (float)total * 100;
	float sum = p->sum + step / 100 * 100;

	p->sum = sum = sum > 100 ? 100 : sum;
	if (sum > 0 && sum < 100 && sum <= p->last_sum + p->skip)
		return;
	p->last_sum = sum;
	printf("    (%3.2f/100%%)\r", (double)sum);
	fflush(stdout);
}

static void
show(struct progress *p, bool last)
{
	int64_t msec = elapsed_msec(p);
	bool due = last || p->last_msec < 0 ||
		msec - p->last_msec >= PRINT_MSEC;

	if (p->shown && !p->bar)
		print_percent(p, percent_of(p));
	if (!due)
		return;
	p->last_msec = msec;
	if (p->shown && p->bar)
		draw_bar(p, msec);
	if (p->fd >= 0)
		write_json(p);
}

static void
on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct progress *p = arg;

	if (p->shown && p->skip > 0)
		print_step(p, done, total);
	p->done = done;
	p->total = total;
	if (signals_asked() && !p->shown)
		fprintf(stderr, "    (%3.2f/100%%)\n", percent_of(p));
	if ((p->shown && p->skip <= 0) || p->fd >= 0)
		show(p, false);
}

static void
on_note(void *arg, const char *line)
{
	struct progress *p = arg;

	/* QEMU's -q leaves its warnings but for those of convert --salvage */
	if (!p->quiet || (p->front && strncmp(line, "salvage: ", 9) != 0))
		p->warn(line);
}

static void
on_found(void *arg, const char *line, bool named)
{
	const struct progress *p = arg;

	if (p->front)
		compat_found(line, named);
	else
		report_found(line);
}

void
progress_start(struct progress *p, const char *label, bool shown,
	bool allow_bar, bool quiet, int fd, void (*warn)(const char *line))
{
	*p = (struct progress){
		.watch = {
			.progress = on_progress,
			.note = on_note,
			.found = on_found,
			.cancel = signals_install(),
			.arg = p,
		},
		.warn = warn,
		.front = warn == compat_warn,
		.label = label,
		.shown = shown && !quiet,
		.quiet = quiet,
		.fd = fd,
		.last_percent = -1,
		.last_msec = -1,
	};
	p->bar = p->shown && allow_bar && isatty(STDOUT_FILENO);
	if (p->shown || fd >= 0)
		clock_gettime(CLOCK_MONOTONIC, &p->start);
	if (p->shown && !p->bar)
		print_percent(p, 0);
}

void
progress_start_steps(struct progress *p, const char *label, bool shown,
	bool quiet, float skip)
{
	progress_start(p, label, false, false, quiet, -1, compat_warn);
	p->shown = shown && !quiet;
	p->skip = skip;
}

void
progress_end(struct progress *p, bool ok)
{
	if (ok && p->total == 0)
		p->total = 1;
	if (ok)
		p->done = p->total;
	if ((p->shown || p->fd >= 0) && ok)
		show(p, true);
	if (p->shown) {
		putchar('\n');
		fflush(stdout);
	}
}
