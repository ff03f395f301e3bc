/* SPDX-License-Identifier: MIT */
/*
 * How qemu-img's users name an image: a path, file:PATH, json:{...}, or a
 * list with --image-opts. Only host files are images here: any other protocol
 * is refused by name.
 */
#ifndef CLI_NAME_H
#define CLI_NAME_H

#include <stdbool.h>

#include "base/err.h"
#include "op/source.h"

struct name {
	const char *shown;  /* as given; the caller's */
	char *path;         /* the host file; owned */
	char *data_path;    /* data-file.filename, or NULL; owned */
	enum format format; /* FORMAT_PROBE when the name does not say */
	bool no_locks;      /* locking=off */
	bool force_share;   /* force-share=on, of any node */
	bool read_only;     /* read-only=on, of any node */
	bool direct;        /* cache.direct=on */
};

/* list: --image-opts. Messages are qemu-img's, without "Could not open". */
int name_parse(struct name *ret, const char *text, bool list, struct err *e);
void name_free(struct name *n);

/* A format by its name, as -f and -O give it. NULL gives FORMAT_PROBE. Known
 * names of formats that are not supported are ERR_UNSUPPORTED. */
int name_format(const char *text, enum format *ret, struct err *e);

/* The source that n names. a_format: what -f says, or FORMAT_PROBE. */
struct source name_source(const struct name *n, enum format a_format);

#endif
