/* SPDX-License-Identifier: MIT */
/*
 * An image opened to be changed in place: locks, the question of its format
 * (a guest can make a raw disk look like a qcow2, so a guess is never written
 * to unless the caller says so), its chain, its data file.
 */
#ifndef OP_INPLACE_H
#define OP_INPLACE_H

#include <stdbool.h>

#include "base/watch.h"
#include "format/chain.h"
#include "format/gate.h"
#include "op/source.h"

struct inplace_request {
	int dirfd;
	const char *path;
	/* or, when path is NULL: open for writing; taken, also on failure */
	struct file *file;
	/* FORMAT_PROBE: a file that looks like anything but raw is opened as
	 * what it looks like only if allow_probed; raw content that looks like
	 * qcow2 is otherwise ERR_DENIED */
	enum format format;
	bool allow_probed;
	bool no_backing; /* a qcow2 without the files below it */
	bool must_be_clean; /* as under gate->safe */
	bool no_locks; /* of the image itself: locking=off */
	/* the caller will check it: it is opened broken or not */
	bool check;
	const char *data_path; /* as chain_request's; or NULL */
	/* for the backing and data files; NULL: neither is opened, and an
	 * image that has one is refused (a backing file: unless no_backing) */
	const struct gate *gate;
	const struct watch *watch;
};

/* The image that s names; a guess of its format is not written to. */
struct inplace_request inplace_of(const struct source *s,
	const struct gate *g);

struct inplace {
	enum format format; /* RAW or QCOW2 */
	struct file *file;  /* open for writing, locked; the chain's if QCOW2 */
	struct chain *chain; /* QCOW2; owned */
	struct file *data;  /* the data file, open for writing; owned, or NULL */
};

/*
 * Takes QEMU's writer locks, which last until it is closed. Nothing is changed,
 * but where a qcow2 was left dirty: it is repaired first, as `check -r all`
 * does, with all its messages (watch->found). Under the safe policy
 * (gate->safe) a qcow2 must pass a full check before; leaks are no fault.
 * ERR_DENIED.
 */
int inplace_open(struct inplace *ret, const struct inplace_request *rq,
	struct err *e);
/* A qcow2 after a change that left its chain stale, without letting go of it. */
int inplace_again(struct inplace *p, struct err *e);
/* The same file, open for writing, under the same name and without locks; f
 * gives up the ones that it has, which would stand in the way. */
int inplace_reopen(struct file *f, struct file **ret, struct err *e);
void inplace_close(struct inplace *p); /* a zeroed one is fine */

#endif
