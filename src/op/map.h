/* SPDX-License-Identifier: MIT */
/* Where the guest's bytes are, as qemu-img map tells it. */
#ifndef OP_MAP_H
#define OP_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/watch.h"
#include "format/status.h"
#include "op/source.h"

struct map_request {
	const struct source *source;
	const struct gate *gate;
	uint64_t start;  /* guest byte; behind the end: one empty entry */
	uint64_t length; /* at most; UINT64_MAX: to the end */
	/* compressed runs are entries of their own (qemu-img 8.2 and later) */
	bool split_packed;
	const struct watch *watch;
};

struct map_entry {
	uint64_t start;
	struct status s; /* s.len may be 0, for an empty image */
};

/* What map_run gives its entries to. last: there is no more. May fail. */
typedef int map_put(void *arg, const struct map_entry *x, bool last,
	struct err *e);

/* ret_opened (may be NULL): the image could be opened, so that an error is
 * about its tables. Entries before a bad table are given. */
int map_run(const struct map_request *rq, map_put *put, void *arg,
	bool *ret_opened, struct err *e);

/* One entry as qemu-img prints it, appended. JSON: no newline, no comma;
 * packed: with the member "compressed". */
void map_json(const struct map_entry *x, bool packed, struct buf *out);
/* Appends nothing for what is not data. ERR_UNSUPPORTED, with qemu-img's
 * sentence, for data that has no place. */
int map_human(const struct map_entry *x, struct buf *out, struct err *e);
#define MAP_HUMAN_HEAD                                                         \
	"Offset          Length          Mapped to       File\n"

#endif
