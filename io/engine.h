/* SPDX-License-Identifier: MIT */
/*
 * Data I/O with a queue: io_uring, or the same answers from pread/pwrite. One
 * engine belongs to one thread. engine.c is the only caller of the ops tables
 * and asserts the contract on both sides.
 */
#ifndef IO_ENGINE_H
#define IO_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "io/file.h"

enum engine_kind {
	ENGINE_AUTO,    /* the caller decides by file; see engine_choose */
	ENGINE_URING,
	ENGINE_THREADS, /* pread/pwrite; inline when depth is 0 */
};

enum io_op {
	IO_READ,
	IO_WRITE,
};

/* Owned by the caller and left alone by him from submit until it is reaped. */
struct io_req {
	enum io_op op;
	struct file *file;
	void *buf;      /* best aligned to file->align, as len and hoff */
	size_t len;     /* > 0 */
	uint64_t hoff;
	/* answers: */
	size_t done;    /* bytes moved; a read stops short only at end of file */
	int eno;        /* 0, or why done < len */
	/* the caller's: */
	void *tag;
	/* the engine's: */
	struct io_req *next;
};

struct engine;

struct engine_ops {
	const char *name;
	int (*open)(struct engine *g, unsigned depth, struct err *e);
	/* Takes one request; never refuses when fewer than depth are out. */
	int (*submit)(struct engine *g, struct io_req *r, struct err *e);
	/* One finished request; waits for it if wait; NULL if none. */
	int (*reap)(struct engine *g, bool wait, struct io_req **ret,
		struct err *e);
	/* Waits for what is out, drops it, frees. */
	void (*close)(struct engine *g);
};

struct engine {
	const struct engine_ops *ops;
	void *priv;
	unsigned depth;
	unsigned out; /* submitted and not yet reaped */
};

/* True when the kernel and its policy let us make a ring; probed once per
 * call, cheap. */
bool engine_uring_works(void);
/* AUTO -> URING for direct files where it works, else THREADS. */
enum engine_kind engine_choose(enum engine_kind asked, bool direct);

#define ENGINE_DEPTH_MAX 1024

/* depth: most requests that may be out, at most ENGINE_DEPTH_MAX; THREADS with
 * depth 0 runs a request inside submit, and it is reaped at once. URING where
 * it does not work is ERR_UNSUPPORTED. */
int engine_open(struct engine *g, enum engine_kind kind, unsigned depth,
	struct err *e);
int engine_submit(struct engine *g, struct io_req *r, struct err *e);
int engine_reap(struct engine *g, bool wait, struct io_req **ret,
	struct err *e);
void engine_close(struct engine *g);

extern const struct engine_ops engine_uring_ops;
extern const struct engine_ops engine_threads_ops;

#endif
