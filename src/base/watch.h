/* SPDX-License-Identifier: MIT */
/*
 * How the library speaks without printing: progress, notes and cancellation.
 * Every member may be NULL. The functions may be called from any worker
 * thread, one call at a time.
 */
#ifndef BASE_WATCH_H
#define BASE_WATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct watch {
	/* done and total in bytes of work; total > 0 */
	void (*progress)(void *arg, uint64_t done, uint64_t total);
	/* a warning: one line, no newline; the work goes on */
	void (*note)(void *arg, const char *line);
	/* a fault that a check found or mended: one line, no newline. named:
	 * a program puts its name before it */
	void (*found)(void *arg, const char *line, bool named);
	/* set to non-zero by a signal handler or another thread to stop */
	const atomic_int *cancel;
	void *arg;
};

static inline bool
watch_cancelled(const struct watch *w)
{
	return w && w->cancel &&
		atomic_load_explicit(w->cancel, memory_order_relaxed) != 0;
}

static inline void
watch_note(const struct watch *w, const char *line)
{
	if (w && w->note)
		w->note(w->arg, line);
}

static inline void
watch_progress(const struct watch *w, uint64_t done, uint64_t total)
{
	if (w && w->progress)
		w->progress(w->arg, done, total);
}

#endif
