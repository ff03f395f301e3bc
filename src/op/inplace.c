/* SPDX-License-Identifier: MIT */
/* Opening for a change in place, and what must be in order before. What is
 * changed is the callers' business. */
#include "op/inplace.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "format/qcow2_check.h"
#include "io/lock.h"

#define FIRST_MAX 256 /* bytes of a message that is passed on */

struct inplace_request
inplace_of(const struct source *s, const struct gate *g)
{
	return (struct inplace_request){
		.dirfd = s->dirfd,
		.path = s->path,
		.data_path = s->data_path,
		.no_locks = s->no_locks,
		.format = s->format,
		.gate = g,
	};
}

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
		.no_locks = rq->no_locks,
		.data_path = rq->data_path,
		.no_data_file = rq->check && rq->no_backing,
		.check = rq->check,
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

/* The first thing that a check has to say. */
static void
keep_first(void *arg, const char *line, bool named)
{
	char *first = arg;

	(void)named;
	if (first[0] == '\0')
		snprintf(first, FIRST_MAX, "%s", line);
}

static int
require_clean(struct inplace *p, const struct inplace_request *rq,
	struct err *e)
{
	char first[FIRST_MAX] = "";
	struct watch w = {
		.found = keep_first, .arg = first,
		.cancel = rq->watch ? rq->watch->cancel : NULL,
	};
	const struct qcow2_check_request q = {.watch = &w};
	struct qcow2_header h = qcow2_of(p->chain->im[0])->h;
	struct qcow2_check_result r;

	if (qcow2_check(p->file, &h, &q, &r, e) < 0)
		return -1;
	if (r.eno || r.errors)
		return err_set(e, ERR_DENIED, "refused by the safe policy: it "
			"cannot be checked: %s", first[0] ? first
				: strerror(r.eno));
	if (r.corruptions)
		return err_set(e, ERR_DENIED, "refused by the safe policy: a "
			"check finds %" PRIu64 " errors: %s", r.corruptions,
			first);
	return 0;
}

static int
repair_dirty(struct inplace *p, const struct inplace_request *rq,
	struct err *e)
{
	const struct qcow2_check_request q = {
		.fix = QCOW2_FIX_ALL, .durable = true, .watch = rq->watch,
	};
	struct image *top = p->chain->im[0];
	struct qcow2_header h = qcow2_of(top)->h;
	struct qcow2_check_result r;

	if (!(h.incompatible & QCOW2_DIRTY))
		return 0;
	if (qcow2_check(p->file, &h, &q, &r, e) < 0)
		return -1;
	if (r.eno || r.errors) {
		err_set(e, ERR_CORRUPT, "Could not repair dirty image");
		if (e)
			e->eno = r.eno ? r.eno : EIO;
		return -1;
	}
	return qcow2_reload(top, e);
}

/* In what state a qcow2 may be changed. */
static int
make_ready(struct inplace *p, const struct inplace_request *rq, struct err *e)
{
	if (p->format != FORMAT_QCOW2 || rq->check)
		return 0;
	if (((rq->gate && rq->gate->safe) || rq->must_be_clean) &&
		require_clean(p, rq, e) < 0)
		return -1;
	return repair_dirty(p, rq, e);
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
		(!rq->no_locks &&
			lock_image(p.file, LOCK_WRITER_USE, keep, e) < 0) ||
		decide_format(rq, p.file, &p.format, e) < 0 ||
		(p.format == FORMAT_QCOW2 && open_chain(&p, rq, e) < 0) ||
		make_ready(&p, rq, e) < 0) {
		inplace_close(&p);
		return -1;
	}
	*ret = p;
	return 0;
}

int
inplace_again(struct inplace *p, struct err *e)
{
	struct image *top = p->chain->im[0];
	uint64_t size;

	if ((p->data && file_size(p->data, &size, e) < 0) ||
		qcow2_reload(top, e) < 0)
		return -1;
	p->chain->size = top->size;
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
