/* SPDX-License-Identifier: MIT */
/*
 * The engine of io_uring. Knows the ring and how a short or refused transfer
 * goes on; falls to pread and pwrite for what a ring will not do. The only
 * user of liburing; without it the engine is refused by name.
 */
#include "config.h"

#include "io/engine.h"

#include <errno.h>
#include <stdlib.h>

#ifdef HAVE_LIBURING
#include <liburing.h>

#include "base/cleanup.h"

struct uring {
	struct io_uring ring;
	unsigned inside; /* requests that the ring holds */
	int dead; /* errno of a ring that failed */
};

bool
engine_uring_works(void)
{
	struct io_uring ring;
	struct io_uring_probe *probe;
	bool works = false;

	if (io_uring_queue_init(2, &ring, 0))
		return false;
	probe = io_uring_get_probe_ring(&ring);
	if (probe) {
		works = io_uring_opcode_supported(probe, IORING_OP_READ) &&
			io_uring_opcode_supported(probe, IORING_OP_WRITE);
		io_uring_free_probe(probe);
	}
	io_uring_queue_exit(&ring);
	return works;
}

static int
uring_open(struct engine *g, unsigned depth, struct err *e)
{
	CLEANUP_FREE struct uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return err_sys(e, ENOMEM, "cannot start io_uring");
	g->depth = depth ? depth : 1;
	r = io_uring_queue_init(g->depth, &u->ring, 0);
	if (r == -ENOMEM)
		return err_sys(e, ENOMEM, "cannot start io_uring");
	if (r) {
		err_sys(e, -r, "io_uring does not work here");
		if (e)
			e->kind = ERR_UNSUPPORTED;
		return -1;
	}
	g->priv = TAKE_PTR(u);
	return 0;
}

/* Tells the kernel. What it will not take now stays in the queue, and the
 * next call, at the latest a waiting one, offers it again. */
static int
flush(struct uring *u)
{
	int r = io_uring_submit(&u->ring);

	if (r >= 0 || r == -EINTR || r == -EAGAIN || r == -EBUSY)
		return 0;
	return u->dead = -r;
}

static int
push(struct uring *u, struct io_req *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	uint8_t *p = (uint8_t *)r->buf + r->done;
	size_t n = r->len - r->done;
	int fd = file_piece(r->file, p, r->hoff + r->done, &n);

	/* No room though fewer than depth are out: cannot be, and yet the
	 * request must not be lost. */
	if (!sqe)
		return u->dead = EOVERFLOW;
	if (r->op == IO_WRITE)
		io_uring_prep_write(sqe, fd, p, (unsigned)n, r->hoff + r->done);
	else
		io_uring_prep_read(sqe, fd, p, (unsigned)n, r->hoff + r->done);
	io_uring_sqe_set_data(sqe, r);
	u->inside++;
	return flush(u);
}

static int
uring_submit(struct engine *g, struct io_req *r, struct err *e)
{
	struct uring *u = g->priv;

	if (u->dead || push(u, r))
		return err_sys(e, u->dead, "io_uring failed");
	return 0;
}

/* Without the ring, to the end: it tells EAGAIN of a device that would make
 * it wait and EINVAL of O_DIRECT that wants more from the real refusals. */
static void
finish_plainly(struct io_req *r)
{
	r->done += file_move(r->file, r->op == IO_WRITE,
		(uint8_t *)r->buf + r->done, r->len - r->done,
		r->hoff + r->done, &r->eno);
}

/* Takes one answer into account; true if the request is finished. */
static bool
account(struct io_req *r, int res)
{
	if (res == -EINTR)
		return false;
	if (res == -EAGAIN || res == -EINVAL || res == -ECANCELED) {
		finish_plainly(r);
		return true;
	}
	if (res < 0 || (res == 0 && r->op == IO_WRITE)) {
		r->eno = res < 0 ? -res : EIO;
		return true;
	}
	r->done += (size_t)res;
	return res == 0 || r->done == r->len;
}

static int
next_cqe(struct uring *u, bool wait, struct io_uring_cqe **ret)
{
	int r;

	*ret = NULL;
	if (io_uring_peek_cqe(&u->ring, ret) == 0 && *ret)
		return 0;
	do {
		r = wait ? io_uring_submit_and_wait(&u->ring, 1)
			 : io_uring_submit(&u->ring);
		if (r < 0 && r != -EINTR && r != -EAGAIN && r != -EBUSY)
			return u->dead = -r;
		if (io_uring_peek_cqe(&u->ring, ret))
			*ret = NULL;
	} while (wait && !*ret);
	return 0;
}

static int
uring_reap(struct engine *g, bool wait, struct io_req **ret, struct err *e)
{
	struct uring *u = g->priv;
	struct io_uring_cqe *cqe;
	struct io_req *r;
	int res;

	for (;;) {
		if (u->dead || next_cqe(u, wait, &cqe))
			return err_sys(e, u->dead, "io_uring failed");
		if (!cqe) {
			*ret = NULL;
			return 0;
		}
		r = io_uring_cqe_get_data(cqe);
		res = cqe->res;
		io_uring_cqe_seen(&u->ring, cqe);
		u->inside--;
		if (account(r, res))
			break;
		if (push(u, r))
			return err_sys(e, u->dead, "io_uring failed");
	}
	*ret = r;
	return 0;
}

static void
uring_close(struct engine *g)
{
	struct uring *u = g->priv;
	struct io_uring_cqe *cqe;

	/* The kernel writes into the callers' memory until it has answered. */
	while (u->inside > 0 && !u->dead && next_cqe(u, true, &cqe) == 0) {
		io_uring_cqe_seen(&u->ring, cqe);
		u->inside--;
	}
	io_uring_queue_exit(&u->ring);
	free(u);
}

#else

bool
engine_uring_works(void)
{
	return false;
}

static int
uring_open(struct engine *g, unsigned depth, struct err *e)
{
	(void)g;
	(void)depth;
	return err_set(e, ERR_UNSUPPORTED,
		"io_uring: this program was built without it");
}

static int
uring_submit(struct engine *g, struct io_req *r, struct err *e)
{
	(void)r;
	return uring_open(g, 0, e);
}

static int
uring_reap(struct engine *g, bool wait, struct io_req **ret, struct err *e)
{
	(void)wait;
	(void)ret;
	return uring_open(g, 0, e);
}

static void
uring_close(struct engine *g)
{
	(void)g;
}

#endif

const struct engine_ops engine_uring_ops = {
	.name = "uring",
	.open = uring_open,
	.submit = uring_submit,
	.reap = uring_reap,
	.close = uring_close,
};
