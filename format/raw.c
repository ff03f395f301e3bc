/* SPDX-License-Identifier: MIT */
/*
 * A raw file as a struct image: guest byte n is host byte n. Holes of the file
 * read as zeros and are told as such. The last run is remembered, so that a
 * walk in order asks the kernel once per run and not once per window.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/ck.h"
#include "base/units.h"
#include "format/image.h"
#include "format/info.h"
#include "io/sparse.h"

struct raw {
	/* guards the run that was found last: [run, run_end) */
	pthread_mutex_t mutex;
	uint64_t run, run_end;
	bool run_data;
};

static int
raw_open(struct image *im, unsigned flags, struct err *e)
{
	struct raw *r;

	(void)flags;
	/* QEMU counts in sectors: what the last one lacks reads as zeros */
	if (!ck_align_up(im->file->size, 512, &im->size) ||
		im->size > INT64_MAX)
		return err_set(e, ERR_LIMIT, "the file is too large (%" PRIu64
			" bytes)", im->file->size);
	r = calloc(1, sizeof(*r));
	if (!r)
		return err_set(e, ERR_NOMEM, "no memory for an image");
	pthread_mutex_init(&r->mutex, NULL);
	im->priv = r;
	return 0;
}

static void
raw_close(struct image *im)
{
	struct raw *r = im->priv;

	if (r)
		pthread_mutex_destroy(&r->mutex);
	free(r);
	im->priv = NULL;
}

/* The run at off (inside the file): *ret_len bytes of one kind. */
static int
next_run(struct image *im, uint64_t off, uint64_t *ret_len, bool *ret_data,
	struct err *e)
{
	struct raw *r = im->priv;
	uint64_t len;
	bool data, known;

	pthread_mutex_lock(&r->mutex);
	known = off >= r->run && off < r->run_end;
	if (known) {
		*ret_len = r->run_end - off;
		*ret_data = r->run_data;
	}
	pthread_mutex_unlock(&r->mutex);
	if (known)
		return 0;
	if (sparse_next(im->file, off, &len, &data, e))
		return -1;
	pthread_mutex_lock(&r->mutex);
	r->run = off;
	r->run_end = off + len;
	r->run_data = data;
	pthread_mutex_unlock(&r->mutex);
	*ret_len = len;
	*ret_data = data;
	return 0;
}

static int
raw_describe(struct image *im, uint64_t voff, uint64_t len,
	struct extent *ret, size_t cap, size_t *ret_n, struct err *e)
{
	uint64_t file_size = im->file->size, end = voff + len, run = 0;
	size_t n = 0;

	for (; voff < end && n < cap; voff += run) {
		bool data = false;

		run = end - voff;
		if (voff < file_size &&
			next_run(im, voff, &run, &data, e)) {
			if (n == 0)
				return -1;
			break;
		}
		run = units_min(run, end - voff);
		if (!data && n && ret[n - 1].kind == EXTENT_ZERO) {
			ret[n - 1].len += run;
			continue;
		}
		ret[n++] = (struct extent){
			.voff = voff,
			.len = run,
			.hoff = data ? voff : 0,
			.hlen = data ? run : 0,
			.kind = data ? EXTENT_DATA : EXTENT_ZERO,
		};
	}
	*ret_n = n;
	return 0;
}

static int
raw_info(struct image *im, struct image_info *ret, struct err *e)
{
	(void)im;
	(void)ret;
	(void)e;
	return 0;
}

const struct image_ops raw_ops = {
	.name = "raw",
	.format = FORMAT_RAW,
	.open = raw_open,
	.describe = raw_describe,
	.info = raw_info,
	.close = raw_close,
};
