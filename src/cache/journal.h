/* SPDX-License-Identifier: MIT */
/*
 * What the cache did, one event at a time, for whoever keeps a log. Every
 * change of a file beneath _base is told once, after it happened; what was
 * looked at and left alone is told only where somebody asked (clean's plan).
 */
#ifndef CACHE_JOURNAL_H
#define CACHE_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

struct journal_event {
	/* one word: present, added, touched, kept, removed, quarantined,
	 * recorded, spawned, skipped ... */
	const char *what;
	const char *name;   /* the file, beneath _base or as given */
	const char *id;     /* the image's id, or NULL */
	const char *why;    /* one line, or NULL; not escaped */
	uint64_t bytes;     /* on disk; 0: does not matter */
};

struct journal {
	/* from the caller's thread; may be NULL */
	void (*event)(void *arg, const struct journal_event *ev);
	void *arg;
};

static inline void
journal_tell(const struct journal *j, struct journal_event ev)
{
	if (j && j->event)
		j->event(j->arg, &ev);
}

#endif
