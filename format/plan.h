/* SPDX-License-Identifier: MIT */
/*
 * A change of a file in place, as data: an ordered list of writes and
 * barriers. Whoever plans decides the order; whoever runs keeps it. Crash
 * model: any subset of the 512-byte sectors (and of the changes of length)
 * since the last completed barrier may be lost; a barrier that fails ends the
 * run.
 *
 * Running the head of a plan early is always correct, as the order stays the
 * same: that bounds its memory (PLAN_BYTES). Who reads the file while planning
 * must either know what he has planned there or call plan_run first.
 */
#ifndef FORMAT_PLAN_H
#define FORMAT_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/watch.h"
#include "io/file.h"

#define PLAN_BYTES (4u << 20)
#define PLAN_OPS 4096u

enum plan_kind {
	PLAN_WRITE,    /* data at hoff */
	PLAN_CLEAR,    /* [hoff, hoff+len) reads as zeros, holes preferred */
	PLAN_FILL,     /* the same with real zeros, blocks allocated */
	PLAN_ALLOCATE, /* posix_fallocate: allocates and grows, keeps content */
	PLAN_TRUNCATE, /* the file's length becomes hoff */
	PLAN_BARRIER,
};

enum plan_file {
	PLAN_IMAGE,
	PLAN_DATA, /* the external data file */
	PLAN_FILES,
};

struct plan_op {
	enum plan_kind kind;
	enum plan_file file;
	uint64_t hoff; /* host byte */
	uint64_t len;
	uint8_t *data;   /* WRITE: len bytes, owned */
	const char *why; /* BARRIER: its name; static */
};

struct plan {
	struct file *file[PLAN_FILES]; /* borrowed; DATA may be NULL */
	bool durable; /* barriers reach the disk; else they only keep order */
	/* for cancellation: of who plans, and of a long FILL or ALLOCATE; other
	 * operations are run to the end. May be NULL */
	const struct watch *watch;
	struct plan_op *op;
	size_t n, cap;
	uint64_t bytes;   /* of data held */
	uint64_t end[PLAN_FILES]; /* length of the file once all has run */
	uint64_t touched[PLAN_FILES]; /* from here on it reads as zeros */
	bool open_writes; /* something was planned since the last barrier */
	bool data_dirty;  /* and something of it in the data file */
	/* a barrier failed: what is on disk of all before it is not known, and
	 * a later one would not tell */
	bool failed;
	/* every operation in order, as it is run; for tests; may be NULL */
	void (*tap)(void *arg, const struct plan_op *op);
	void *tap_arg;
};

void plan_init(struct plan *p, struct file *image, struct file *data,
	bool durable);
/* Copies data. May run what is there already. */
int plan_write(struct plan *p, enum plan_file f, uint64_t hoff,
	const void *data, uint64_t len, struct err *e);
/* CLEAR, FILL or ALLOCATE of [hoff, hoff+len); neighbours are merged. */
int plan_range(struct plan *p, enum plan_kind kind, enum plan_file f,
	uint64_t hoff, uint64_t len, struct err *e);
int plan_truncate(struct plan *p, enum plan_file f, uint64_t len,
	struct err *e);
/* Bytes of f up to `end` were written past the plan: the next barrier is for
 * them too. */
void plan_touch(struct plan *p, enum plan_file f, uint64_t end);
/* What comes later is written only when what came before is on disk. No two
 * in a row: with nothing in between this does nothing. */
int plan_barrier(struct plan *p, const char *why, struct err *e);
/* ERR_CANCELLED if it is time to stop. For loops whose work can be dropped: not
 * behind the first reference that changed. */
int plan_go_on(const struct plan *p, struct err *e);
/* Runs everything planned so far and forgets it. A FILL or ALLOCATE that fails
 * or is cancelled gives back by how much it made the file longer. */
int plan_run(struct plan *p, struct err *e);
/* Drops what was not run. */
void plan_forget(struct plan *p);
void plan_free(struct plan *p); /* what was not run is dropped */

#endif
