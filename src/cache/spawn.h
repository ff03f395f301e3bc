/* SPDX-License-Identifier: MIT */
/*
 * A disk made from a base: an overlay on it, an overlay on an extended copy of
 * it, or a copy. The disk appears when it is whole; before that its format is
 * noted in disk.info.
 */
#ifndef CACHE_SPAWN_H
#define CACHE_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/watch.h"
#include "cache/journal.h"
#include "cache/layout.h"
#include "cache/store.h"
#include "format/probe.h"

enum spawn_mode {
	SPAWN_OVERLAY, /* a qcow2 on the base */
	SPAWN_SIZED,   /* a qcow2 on <sha1>_<GiB>, as Nova once did */
	SPAWN_FLAT,    /* raw, with no backing file: reflinked where the file
			* system can, else copied without its holes */
};

struct spawn_request {
	const struct store *store; /* opened with create */
	const char *id;
	const char *target;  /* path of the disk, which must not exist */
	uint64_t size;       /* bytes; 0: the image's */
	enum spawn_mode mode;
	/* reserve the room that the whole disk can need: of an overlay its
	 * metadata too */
	bool preallocate;
	bool verify;         /* read the base and compare its digest */
	/* FLAT, SIZED: makes the bare ext file system in fd as large as fd,
	 * which is not published yet; called only where there is one and it
	 * is to grow. NULL: not asked for */
	int (*grow)(void *arg, int fd, struct err *e);
	void *grow_arg;
	const struct watch *watch;
	const struct journal *journal;
};

struct spawn_result {
	char base[LAYOUT_NAME]; /* that it stands on, or was copied from */
	enum format format;     /* of the disk */
	uint64_t size;          /* bytes, virtual */
	bool grown;             /* the file system, too */
};

/*
 * Refuses a size below the image's (ERR_LIMIT, "image virtual size larger than
 * flavor root disk"), a base that is not the one of its record (ERR_CORRUPT,
 * ERR_MISMATCH), a kernel (ERR_MISMATCH), and one without a record that does
 * not look raw (ERR_DENIED). What is missing of the target's directory is made.
 * An overlay where clean does not look for users is a note, and an event; one
 * by a name that it passes over is ERR_USAGE, and so is any by one that it
 * removes. On failure there is no disk, and no note of it.
 */
int spawn_run(const struct spawn_request *rq, struct spawn_result *ret,
	struct err *e);

#endif
