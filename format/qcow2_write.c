/* SPDX-License-Identifier: MIT */
/*
 * The streaming writer behind convert, and the list of what it wants written.
 * Turns the guest's requests into placed buffers; where they go is qcow2_place's
 * matter, and the beginning and end of an image are qcow2_create's.
 */
#include "config.h"

#include "format/qcow2_write.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "format/qcow2_create.h"

#define ZEROS_LEN (16 * KIB)
/* QEMU writes zeros that it cannot mark in pieces of this size. */
#define BOUNCE_MAX (16 * MIB)

static const uint8_t zeros[ZEROS_LEN] __attribute__((aligned(4096)));

struct qcow2_writer {
	struct qcow2_place p;
	bool durable;
	bool compressed;
};

void
placed_list_free(struct placed_list *l)
{
	free(l->v);
	memset(l, 0, sizeof(*l));
}

int
placed_add(struct placed_list *l, const void *buf, size_t len, uint64_t hoff,
	bool to_data_file, struct err *e)
{
	struct placed *v;
	size_t cap;

	if (l->n == l->cap) {
		cap = l->cap ? 2 * l->cap : 16;
		v = realloc(l->v, cap * sizeof(*v));
		if (!v)
			return err_sys(e, ENOMEM, "cannot list writes");
		l->v = v;
		l->cap = cap;
	}
	l->v[l->n++] = (struct placed){
		.buf = buf,
		.len = len,
		.hoff = hoff,
		.to_data_file = to_data_file,
	};
	return 0;
}

int
qcow2_writer_open(struct qcow2_writer **ret, struct file *f,
	struct file *data, const struct qcow2_options *o, bool durable,
	struct err *e)
{
	struct qcow2_writer *w = calloc(1, sizeof(*w));

	if (!w)
		return err_sys(e, ENOMEM, "cannot write qcow2");
	w->durable = durable;
	if (qcow2_create_begin(&w->p, f, data, o, e)) {
		qcow2_writer_close(w);
		return -1;
	}
	*ret = w;
	return 0;
}

void
qcow2_writer_close(struct qcow2_writer *w)
{
	if (!w)
		return;
	qcow2_place_close(&w->p);
	free(w);
}

/* Zeros at hoff, unless the place reads as zeros anyway. */
static int
put_zeros(struct qcow2_writer *w, uint64_t hoff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	struct file *data = w->p.data;
	uint64_t n;

	if (data ? !data->is_block : !qcow2_alloc_stale(&w->p.a, hoff, len))
		return 0;
	for (; len; hoff += n, len -= n) {
		n = units_min(len, ZEROS_LEN);
		if (placed_add(out, zeros, n, hoff, data != NULL, e))
			return -1;
	}
	return 0;
}

/* buf NULL: zeros */
static int
put(struct qcow2_writer *w, uint64_t voff, const uint8_t *buf, uint64_t len,
	struct placed_list *out, struct err *e)
{
	struct qcow2_run run;
	bool to_data = w->p.data != NULL;

	for (; len; voff += run.len, len -= run.len) {
		if (qcow2_place_data(&w->p, voff, len, false, &run, e) ||
			put_zeros(w, run.hoff - run.head, run.head, out, e))
			return -1;
		if (!buf) {
			if (put_zeros(w, run.hoff, run.len, out, e))
				return -1;
		} else {
			if (placed_add(out, buf, run.len, run.hoff, to_data,
				    e))
				return -1;
			buf += run.len;
		}
		if (put_zeros(w, run.hoff + run.len, run.tail, out, e))
			return -1;
	}
	return 0;
}

int
qcow2_writer_data(struct qcow2_writer *w, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e)
{
	return put(w, voff, buf, len, out, e);
}

int
qcow2_writer_zero(struct qcow2_writer *w, uint64_t voff, uint64_t len,
	struct placed_list *out, struct err *e)
{
	uint64_t unit = qcow2_cluster_size(&w->p.h), end = voff + len, n;

	if (qcow2_has_extl2(&w->p.h))
		unit /= QCOW2_SUBCLUSTERS;
	for (; voff < end; voff += n) {
		n = end - voff;
		if (voff % unit) {
			n = units_min(n, unit - voff % unit);
		} else if (n > unit && end < w->p.h.size) {
			n -= n % unit;
		}
		if (w->p.h.version < 3 || voff % unit ||
			(n % unit && voff + n < w->p.h.size)) {
			/* cannot be marked, must be written */
			n = units_min(n, BOUNCE_MAX);
			if (put(w, voff, NULL, n, out, e))
				return -1;
		} else if (qcow2_place_zero(&w->p, voff, n, e)) {
			return -1;
		}
	}
	return 0;
}

int
qcow2_writer_packed(struct qcow2_writer *w, uint64_t voff, const void *buf,
	size_t len, struct placed_list *out, struct err *e)
{
	uint64_t hoff;

	if (qcow2_place_packed(&w->p, voff, len, &hoff, e))
		return -1;
	return placed_add(out, buf, len, hoff, false, e);
}

void
qcow2_writer_compressed(struct qcow2_writer *w)
{
	w->compressed = true;
}

int
qcow2_writer_finish(struct qcow2_writer *w, struct err *e)
{
	/* Whoever reads the file by sectors finds the last one whole. */
	if (w->compressed)
		qcow2_alloc_reach(&w->p.a, units_align_up(w->p.a.end, 512));
	return qcow2_create_end(&w->p, w->durable, e);
}
