/* SPDX-License-Identifier: MIT */
/*
 * Brings a window's guest bytes into memory: reads plain runs to their place,
 * neighbouring packed clusters in one read, and unpacks. Belongs to one
 * worker; holes become zeros.
 */
#ifndef OP_FETCH_H
#define OP_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "format/codec.h"
#include "io/engine.h"
#include "op/scan.h"

/* What a worker owns for all its windows. */
struct fetch_codecs {
	struct codec unpack[CODEC_COUNT];
	uint8_t *scratch;  /* one unpacked cluster: that at hoff of file */
	size_t scratch_cap;
	const struct file *file; /* NULL: scratch holds nothing */
	uint64_t hoff, hlen;
	uint32_t plen;
	uint8_t *late;     /* one packed cluster that was not read ahead */
	size_t late_cap;
	bool salvage;
	const struct watch *watch;
};

struct fetch {
	uint8_t *buf;      /* guest bytes of the window */
	size_t buf_cap;    /* the window's size */
	uint8_t *in;       /* packed input */
	size_t in_cap;
	struct io_req *req; /* reads, then writes, of this window */
	size_t n_req, req_cap;
	size_t out;        /* requests not yet reaped */
	uint64_t host_bytes; /* read so far */
};

int fetch_open(struct fetch *f, uint64_t window, struct err *e);
void fetch_close(struct fetch *f);
void fetch_codecs_close(struct fetch_codecs *c);

/* Plans the reads of w into f->req; the caller submits them. */
int fetch_plan(struct fetch *f, struct window *w, struct err *e);
/* After the reads were reaped: checks them, unpacks, zeroes holes. */
int fetch_finish(struct fetch *f, struct fetch_codecs *c, struct window *w,
	struct err *e);
/* Room for one more request, zeroed; NULL (and *e) without memory. Requests
 * may move until the first one is submitted. */
struct io_req *fetch_add_req(struct fetch *f, struct err *e);

#endif
