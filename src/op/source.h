/* SPDX-License-Identifier: MIT */
/* How an operation names an image that it reads. */
#ifndef OP_SOURCE_H
#define OP_SOURCE_H

#include <stdbool.h>

#include "format/chain.h"
#include "format/gate.h"

struct source {
	int dirfd;            /* AT_FDCWD usually */
	const char *path;     /* or NULL when fd is used */
	int fd;               /* an open fd of the caller's, when path is NULL */
	enum format format;   /* FORMAT_PROBE: detect */
	/* the data file to use instead of the one that the image names, or
	 * NULL; relative to the working directory */
	const char *data_path;
	const char *snapshot; /* internal snapshot, or NULL */
	const char *snapshot_id, *snapshot_name; /* see struct chain_request */
	bool force_share;     /* -U */
	bool no_locks;        /* locking=off; -U is no less for who reads */
	bool share_raw;       /* others may write to raw images: io/lock.h */
	bool direct;          /* -T none, directsync */
	bool verbatim;        /* see IMAGE_VERBATIM */
};

/* The path by which a target's backing name, given by the caller, is opened:
 * "file:" taken off, the file of a json: name, else relative to the target.
 * Other protocols are refused (ERR_UNSUPPORTED). To be freed. */
int source_backing_path(char **ret, const char *target, const char *name,
	struct err *e);
/* Opens the file alone; for those who look at it without reading guest data. */
int source_file(const struct source *s, struct file **ret, struct err *e);
/* Opens it with its chain. Under gate->safe the whole policy is applied first
 * (gate_inspect, deep) and a refusal is ERR_DENIED. */
int source_open(const struct source *s, const struct gate *g,
	bool no_backing, const struct watch *w, struct chain **ret,
	struct err *e);

#endif
