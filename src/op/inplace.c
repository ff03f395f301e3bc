/* SPDX-License-Identifier: MIT */
/* Opening for a change in place. What is changed is the callers' business. */
#include "op/inplace.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "io/lock.h"

static int
decide_format(const struct inplace_request *rq, struct file *f,
	enum format *ret, struct err *e)
{
	struct probe_result p;

	*ret = rq->format;
	if (rq->format == FORMAT_PROBE) {
		if (probe_load(f, &p, e) < 0)
			return -1;
		if (p.format != FORMAT_RAW && !rq->allow_probed)
			return err_set(e, ERR_DENIED, "the format was not "
				"given and the content looks like %s: say "
				"which it is (-f raw or -f %s)",
				probe_format_name(p.format),
				probe_format_name(p.format));
		*ret = p.format;
	}
	if (*ret != FORMAT_RAW && *ret != FORMAT_QCOW2)
		return err_set(e, ERR_UNSUPPORTED, "%s: not supported",
			probe_format_name(*ret));
	return 0;
}

int
inplace_reopen(struct file *f, struct file **ret, struct err *e)
{
	CLEANUP(file_close_p) struct file *w = NULL;
	CLEANUP_FREE char *name = strdup(f->name);
	char path[64];

	if (!name)
		return err_set(e, ERR_NOMEM, "out of memory");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	if (file_open(&w, AT_FDCWD, path, FILE_WRITE, e) < 0) {
		if (e)
			e->file[0] = '\0';
		return err_file(e, f->name);
	}
	if (!file_same(f, w)) {
		err_set(e, ERR_MISMATCH, "the file was replaced");
		return err_file(e, f->name);
	}
	free(w->name);
	w->name = TAKE_PTR(name);
	lock_release(f);
	*ret = TAKE_PTR(w);
	return 0;
}

/* The data file was opened for reading, by the gate's leave; the same file is
 * wanted for writing. */
static int
open_data(struct file *f, struct file **ret, struct err *e)
{
	CLEANUP(file_close_p) struct file *w = NULL;

	if (inplace_reopen(f, &w, e) < 0)
		return -1;
	if (lock_image(w, LOCK_WRITER_USE, LOCK_WRITER_KEEP, e) < 0)
		return -1;
	*ret = TAKE_PTR(w);
	return 0;
}

static int
open_chain(struct inplace *p, const struct inplace_request *rq, struct err *e)
{
	const struct gate nothing = {0};
	struct chain_request cr = {
		.format = FORMAT_QCOW2,
		.gate = rq->gate ? rq->gate : &nothing,
		.no_backing = rq->no_backing,
		.data_path = rq->data_path,
		.watch = rq->watch,
	};
	struct file *f = p->file;
	struct image *top;

	p->file = NULL; /* the chain takes it, come what may */
	if (chain_open(&p->chain, f, &cr, e) < 0)
		return -1;
	top = p->chain->im[0];
	p->file = top->file;
	return top->data_file ? open_data(top->data_file, &p->data, e)
		: 0;
}

int
inplace_open(struct inplace *ret, const struct inplace_request *rq,
	struct err *e)
{
	struct inplace p = {.file = rq->path ? NULL : rq->file};
	unsigned keep = rq->format == FORMAT_RAW ? LOCK_RAW_WRITER_KEEP
		: LOCK_WRITER_KEEP;

	if ((rq->path &&
		    file_open(&p.file, rq->dirfd, rq->path, FILE_WRITE, e) <
			    0) ||
		lock_image(p.file, LOCK_WRITER_USE, keep, e) < 0 ||
		decide_format(rq, p.file, &p.format, e) < 0 ||
		(p.format == FORMAT_QCOW2 && open_chain(&p, rq, e) < 0)) {
		inplace_close(&p);
		return -1;
	}
	*ret = p;
	return 0;
}

void
inplace_close(struct inplace *p)
{
	file_close(p->data);
	if (p->chain)
		chain_close(p->chain);
	else
		file_close(p->file);
	*p = (struct inplace){0};
}
