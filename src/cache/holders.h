/* SPDX-License-Identifier: MIT */
/*
 * Which files do other processes of this host hold open or locked? Two ways:
 * a look through /proc, which is as complete as our rights; and, of one file
 * at hand, the kernel's own count of openers (a lease) and its locks.
 */
#ifndef CACHE_HOLDERS_H
#define CACHE_HOLDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/watch.h"

struct holders_file {
	ino_t ino;
	pid_t pid;
};

struct holders {
	struct holders_file *v; /* by inode; owned */
	size_t n;
};

/* The files of device dev that other processes have open, of those processes
 * that we may look at. */
int holders_scan(dev_t dev, const struct watch *w, struct holders *ret,
	struct err *e);
/* One who has it open, or 0. */
pid_t holders_of(const struct holders *h, ino_t ino);
void holders_free(struct holders *h);

/* The names that open files had, which have none any more. */
struct holders_gone {
	char **v; /* last parts of paths; owned, both */
	size_t n;
};

/* Files of device dev that other processes have open though they were removed,
 * of those processes that we may look at. */
int holders_scan_gone(dev_t dev, const struct watch *w,
	struct holders_gone *ret, struct err *e);
void holders_gone_free(struct holders_gone *g); /* zeroed is fine */

enum holders_answer {
	HOLDERS_FREE,   /* nobody on this host, in any container */
	HOLDERS_HELD,
	HOLDERS_UNTOLD, /* no locks are held; who has it open the kernel does
			 * not tell us of this file */
};

/* fd: the only open one of this process, opened for reading. */
enum holders_answer holders_ask(int fd);
/* Whether somebody on this host has it open for writing, as far as the kernel
 * tells. fd: opened for reading; others of this process may be, too. */
bool holders_writing(int fd);

#endif
